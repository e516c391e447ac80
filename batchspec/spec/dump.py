"""Writes an expanded spec as a document, for ``batchspec config``."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import yaml

from batchspec.diagnostics import Secret
from batchspec.spec.scope import READ, WRITE
from batchspec.spec.substitute import Rendered
from batchspec.spec.values import BlobUrl, Piece, Quoted, Quoting, Text, Value, thaw
from batchspec.spec.yaml_tree import Node, is_number_elsewhere, resolve

_URLS = {"": "url", READ: "read_url", WRITE: "write_url"}


def document(found: Rendered) -> dict[str, object]:
    """An expanded spec as plain data, in the order of the file; implied members come last.

    Secrets and URLs remain templates, since they are only known at submission.
    """
    containers = found.root.members["containers"].members.items()
    names = _Names(
        {_id(key, node): key for key, node in containers},
        {id(value): name for name, value in found.parameters.items() if isinstance(value, Secret)},
    )
    plain = {key: _plain(node, names) for key, node in found.root.members.items()}
    if found.parameters:
        plain["parameters"] = {
            name: _set(node, found.parameters[name])
            for name, node in found.root.members["parameters"].members.items()
        }
    return plain


@dataclass(frozen=True, slots=True)
class _Names:
    """What templates call the containers (by id) and secrets (by identity) of a spec."""

    containers: Mapping[str, str]
    secrets: Mapping[int, str]


def dump_document(document: Mapping[str, object], form: str) -> str:
    """A document as text. ``form`` is ``yaml`` or ``json``."""
    if form == "json":
        text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
        return _ONLY_JSON.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=_WIDEST)


class _Dumper(yaml.SafeDumper):
    """Writes strings of several lines as block scalars, and no aliases.

    A string that a reader of YAML 1.1 or 1.2 takes for another value is quoted.
    """

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - the name is the base class's
        """Write repeated values in full."""
        return True

    def _str(self, text: str) -> yaml.ScalarNode:
        style = "|" if "\n" in text else None
        if not isinstance(resolve(text), str) or is_number_elsewhere(text):
            style = "'"
        elif _ONLY_JSON.search(text):
            style = '"'
        return self.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _Dumper._str)

_ONLY_JSON = re.compile("[\x7f\x85\u2028\u2029\ufeff]")
"""Characters that JSON allows in a string, and that YAML forbids or may take for a line break."""

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


def _plain(node: Node, names: _Names) -> object:
    if isinstance(node.value, Text):
        return _text(node.value, names)
    if isinstance(node.value, Mapping):
        return dict(_member(key, child, names) for key, child in node.value.items())
    if isinstance(node.value, tuple):
        return [_plain(item, names) for item in node.value]
    if node.filled and isinstance(node.value, str):
        return _escaped(node.value)
    return node.value


def _member(key: str, node: Node, names: _Names) -> tuple[str, object]:
    """A member of a mapping; a script with secrets or URLs is a ``command``.

    In a command line, the values in the script could not be quoted twice. The task is then written
    under the keys that accept ``command``.
    """
    if key in _COMMAND_LINES and isinstance(node.value, Text):
        return key, _command(node.value.pieces, names)
    short, keys = _SHORT_FORMS.get(key, (key, {}))
    lines = {long: node.members[long] for long in keys if long in node.members}
    scripts = {
        keys[long]: _command(script, names)
        for long, line in lines.items()
        if long in _COMMAND_LINES and (script := _script(line)) is not None
    }
    if not scripts:
        return key, _plain(node, names)
    plain = {keys.get(long, long): _plain(child, names) for long, child in node.members.items()}
    return short, {**plain, **scripts}


def _script(line: Node) -> tuple[Piece, ...] | None:
    """What the shell reads of a command line with secrets or URLs; ``None`` without a shell."""
    match line.value:
        case Text(("/bin/sh -c ", Quoted(script))):
            return script.pieces
        case Text((str(first), *pieces, str(last))) if first.startswith(_CMD):
            quoted = [piece.quoting for piece in pieces if isinstance(piece, Quoted)]
            if Quoting.WINDOWS_PROGRAM not in quoted and last.endswith('"'):
                return (first.removeprefix(_CMD), *pieces, last.removesuffix('"'))
    return None


_CMD = 'cmd /c "'
_COMMAND_LINES = ("command_line", "coordination_command_line")
_TASK = {"command_line": "command"}
_SHORT_FORMS = {
    "start_task": ("start_task", _TASK),
    "job_preparation_task": ("prepare", _TASK),
    "job_release_task": ("release", _TASK),
    "multi_instance_settings": (
        "instances",
        {
            "number_of_instances": "count",
            "coordination_command_line": "command",
            "common_resource_files": "resources",
        },
    ),
}
"""The short form of a task with a command, and its keys by those of the long form."""


def _text(text: Text, names: _Names) -> str:
    return "".join(_expression(piece, names) for piece in text.pieces)


def _command(pieces: Sequence[Piece], names: _Names) -> str:
    """Pieces as a template in which values are quoted when they are inserted."""
    parts = []
    for piece in pieces:
        match piece:
            case str():
                parts.append(_escaped(piece))
            case Quoted(Text((Quoted(inner),))):
                parts += [_expression(part, names, " | quote") for part in inner.pieces]
            case Quoted(inner):
                parts += [_expression(part, names) for part in inner.pieces]
            case _:
                parts.append(_expression(piece, names, " | raw"))
    return "".join(parts)


def _expression(piece: Piece, names: _Names, quote: str = "") -> str:
    """A piece in a template; ``quote`` is the filter that says how it is inserted."""
    match piece:
        case str():
            return _escaped(piece)
        case Secret():
            return f"{{{{ {names.secrets[id(piece)]}{quote} }}}}"
        case BlobUrl(container, _, permissions):
            key = names.containers.get(container, container)
            return f"{{{{ containers[{key!r}].{_URLS.get(permissions, 'read_url')}{quote} }}}}"
        case Quoted(inner):
            return "".join(_expression(part, names, quote) for part in inner.pieces)


def _escaped(text: str) -> str:
    """A literal text as a template that yields it."""
    return text.replace("{{", "{{ '{{' | raw }}")
