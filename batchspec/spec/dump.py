"""Writes an expanded spec as a document, for ``batchspec config``. Secrets are ``***``."""

from __future__ import annotations

import json
from collections.abc import Mapping

import yaml

from batchspec.diagnostics import Secret
from batchspec.spec.scope import READ, WRITE
from batchspec.spec.substitute import Rendered
from batchspec.spec.values import BlobUrl, Piece, Quoted, Text, Value, quote, thaw
from batchspec.spec.yaml_tree import Node

_URLS = {"": "url", READ: "read_url", WRITE: "write_url"}


def document(found: Rendered) -> dict[str, object]:
    """An expanded spec as plain data, in the order of the file; implied members come last."""
    keys = {_id(key, node): key for key, node in found.root.members["containers"].members.items()}
    plain = {key: _plain(node, keys) for key, node in found.root.members.items()}
    if found.parameters:
        plain["parameters"] = {
            name: _set(node, found.parameters[name])
            for name, node in found.root.members["parameters"].members.items()
        }
    return plain


def dump_document(document: Mapping[str, object], form: str) -> str:
    """A document as text. ``form`` is ``yaml`` or ``json``."""
    if form == "json":
        return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=_WIDEST)


class _Dumper(yaml.SafeDumper):
    """Writes strings of several lines as block scalars, and no aliases."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - the name is the base class's
        """Write repeated values in full."""
        return True

    def _str(self, text: str) -> yaml.ScalarNode:
        style = "|" if "\n" in text else None
        return self.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _Dumper._str)

_WIDEST = 10_000
"""Do not fold lines, so that commands can be copied."""


def _id(key: str, node: Node) -> str:
    id_ = node.get("id")
    return str(id_.value) if id_ is not None else key


def _set(declared: Node, value: Value) -> dict[str, object]:
    """A declaration with the value as its default, except for a secret."""
    plain = declared.plain()
    assert isinstance(plain, dict)
    if isinstance(value, Secret):
        return plain
    return {**plain, "default": thaw(value, lambda text: text.shown)}


def _plain(node: Node, keys: Mapping[str, str]) -> object:
    if isinstance(node.value, Text):
        return _text(node.value, keys)
    if isinstance(node.value, Mapping):
        return {key: _plain(child, keys) for key, child in node.value.items()}
    if isinstance(node.value, tuple):
        return [_plain(item, keys) for item in node.value]
    if node.filled and isinstance(node.value, str):
        return _escaped(node.value)
    return node.value


def _text(text: Text, keys: Mapping[str, str]) -> str:
    return "".join(_piece(piece, keys) for piece in text.pieces)


def _piece(piece: Piece, keys: Mapping[str, str]) -> str:
    match piece:
        case str():
            return _escaped(piece)
        case Secret():
            return "***"
        case BlobUrl():
            member = _URLS.get(piece.permissions, "read_url")
            return f"{{{{ containers[{keys.get(piece.container, piece.container)!r}].{member} }}}}"
        case Quoted(inner, quoting):
            if len(inner.pieces) == 1:
                return _text(inner, keys)
            return quote(_text(inner, keys), quoting)


def _escaped(text: str) -> str:
    """A literal text as a template that yields it."""
    return text.replace("{{", "{{ '{{' | raw }}")
