"""Parameters: their declarations, the values given for them, and the resulting values.

A ``--var`` value is a string that is parsed by the declared type. A ``--var-file`` is YAML or JSON,
and its values have their own types. The value of a secret is not part of any message.

A declaration is JSON Schema (:mod:`~batchspec.spec.parameter_schema`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from batchspec.diagnostics import Diagnostic, Diagnostics, MissingSecret, Place, Secret, SpecError
from batchspec.spec.parameter_schema import (
    declaration_mismatch,
    fits_simple,
    is_simple,
    value_mismatch,
)
from batchspec.spec.rows import read_json
from batchspec.spec.validator_messages import TYPE_NAMES, did_you_mean, is_long_number
from batchspec.spec.values import Value, freeze
from batchspec.spec.yaml_parser import LONGEST_NUMBER, parse, read_source
from batchspec.spec.yaml_tree import Node

RESERVED = frozenset(
    {"name", "job", "pool", "containers", "index", "task", "file", "files", "value"}
)
"""Names that have another meaning in templates."""

_NUMBERS = frozenset(f"must be {TYPE_NAMES[kind]}" for kind in ("integer", "number"))
_ANNOTATIONS = ("secret", "examples", "default", "title", "description")
"""Members of a declaration that do not restrict the value."""


@dataclass(frozen=True, slots=True)
class _Given:
    """A value; ``where`` is its position in a file, ``None`` for the command line."""

    value: object
    is_option: bool = False
    where: Place | None = None


def read_parameters(
    declared: Mapping[str, Node],
    variables: Mapping[str, str],
    variable_files: Sequence[Path],
    problems: Diagnostics,
    *,
    needs_secrets: bool = True,
) -> dict[str, Value]:
    """The value of every declared parameter that has a valid one; the rest are problems.

    A secret without a value is a :class:`MissingSecret`, and a problem if ``needs_secrets``.
    """
    given = dict(_from_files(variable_files, declared, problems))
    for name, text in variables.items():
        if name not in declared:
            problems.add(_unknown(f"--var {name}", name, declared, None))
        elif (read := _from_option(name, text, declared[name], problems)) is not None:
            given[name] = read
    values: dict[str, Value] = {}
    for name, node in declared.items():
        if name in RESERVED:
            problems.add(
                Diagnostic(
                    "reserved-name",
                    f"a parameter cannot be named `{name}`, which has another meaning in templates",
                    where=node.name,
                    fix=f"Rename it, for example to `my_{name}`.",
                )
            )
        if not _is_valid_declaration(name, node, problems):
            continue
        default = node.get("default")
        if name in given:
            found = given[name]
        elif default is not None:
            found = _Given(default.plain(), where=default.at)
        else:
            if is_secret(node) and name not in variables:
                values[name] = MissingSecret()
            if name not in variables and (needs_secrets or not is_secret(node)):
                problems.add(
                    Diagnostic(
                        "missing-variable",
                        f"the parameter `{name}` has no value and no default",
                        where=node.name,
                        fix=f"Set it with `--var {name}=VALUE`.",
                    )
                )
            continue
        if _fits(name, node, found, problems):
            value = found.value
            secret = is_secret(node) and isinstance(value, str)
            values[name] = Secret(str(value)) if secret else freeze(value)
    return values


def is_secret(node: Node) -> bool:
    """Whether a parameter is declared as secret."""
    secret = node.get("secret")
    return secret is not None and secret.value is True


def _from_files(
    files: Sequence[Path], declared: Mapping[str, Node], problems: Diagnostics
) -> Iterator[tuple[str, _Given]]:
    for file in files:
        try:
            root = parse(read_source(file, "Give `--var-file` a YAML or JSON file of values."))
        except SpecError as error:
            problems.extend(error.problems)
            continue
        if not isinstance(root.value, Mapping):
            problems.add(
                Diagnostic(
                    "wrong-type",
                    f"{file} is not a mapping",
                    where=root.where,
                    fix="Write lines such as `top: 5` in a variable file.",
                )
            )
        for name, node in root.members.items():
            if name not in declared:
                problems.add(_unknown(f"`{name}`", name, declared, node.name))
                continue
            number = isinstance(node.value, int | float)
            # A number in a variable file is a string if only a string is declared.
            as_text = number and _types(declared[name]) == ("string",)
            value = node.raw if as_text else node.plain()
            yield name, _Given(value, where=_without_text(node.at, declared[name]))


def _types(declared: Node) -> tuple[str, ...]:
    """The declared types; without a declaration the type of the default, or string."""
    kind = declared.get("type")
    if kind is not None:
        return tuple(str(item.value) for item in kind.items or (kind,))
    default = declared.get("default")
    if default is None:
        return ("string",)
    for name, test in _TYPE_TESTS.items():
        if test(default.plain()):
            return (name,)
    return ("string",)


_TYPE_TESTS: Mapping[str, Callable[[object], bool]] = {
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: isinstance(value, int),
    "number": lambda value: isinstance(value, float),
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
}


def _from_option(name: str, text: str, declared: Node, problems: Diagnostics) -> _Given | None:
    types = _types(declared)
    if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
        problems.add(
            Diagnostic("bad-variable", f"--var {name} is not UTF-8 text", where=declared.name)
        )
        return None
    for kind in types:
        if kind == "string":
            continue
        try:
            value = read_json(text)
        except ValueError:
            break
        if _TYPE_TESTS.get(kind, _is_number)(value) or (kind == "number" and _is_number(value)):
            return _Given(value, is_option=True)
    if "string" in types or not set(types) & (_TYPE_TESTS.keys() | {"null"}):
        return _Given(text, is_option=True)
    shown = "" if is_secret(declared) else f", not `{text}`"
    problems.add(
        Diagnostic(
            "bad-variable",
            f"--var {name} must be {TYPE_NAMES.get(types[0], types[0])}{shown}",
            where=declared.name,
            fix=_OPTION_EXAMPLES.get(types[0], "").format(name=name),
        )
    )
    return None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_OPTION_EXAMPLES = {
    "boolean": "Write `--var {name}=true`.",
    "array": "Write `--var '{name}=[1, 2]'`.",
    "object": "Write `--var '{name}={{\"a\": 1}}'`.",
}


def _is_valid_declaration(name: str, node: Node, problems: Diagnostics) -> bool:
    if any(below.wrong for below in node.walk()):
        return False
    if not isinstance(node.value, Mapping):
        # The schema lets a template pass in place of the mapping; here its value is not known yet.
        problems.add(
            Diagnostic(
                "bad-parameter",
                f"the declaration of the parameter `{name}` is not a mapping",
                where=node.at,
                fix=f"Write for example `{name}: {{type: string, default: x}}`.",
            )
        )
        return False
    if not is_simple(_fragment(node)) and not _is_json_schema(name, node, problems):
        return False
    return not is_secret(node) or _is_valid_secret(name, node, problems)


def _is_valid_secret(name: str, node: Node, problems: Diagnostics) -> bool:
    default = node.get("default")
    if default is not None:
        place = default.name
        problems.add(
            Diagnostic(
                "secret-in-clear",
                f"the secret `{name}` has a default in plain text",
                where=Place(place.file, place.line, place.column),
                fix="Remove it, and give the value with `--var` or `--var-file`.",
            )
        )
        return False
    if _types(node) != ("string",):
        problems.add(
            Diagnostic(
                "bad-parameter",
                f"the secret `{name}` must be a string",
                where=node.name,
                fix="Write `type: string`.",
            )
        )
        return False
    return True


def _is_json_schema(name: str, node: Node, problems: Diagnostics) -> bool:
    error = declaration_mismatch(_fragment(node))
    if error is None:
        return True
    path = [str(step) for step in error.path]
    problems.add(
        Diagnostic(
            "bad-parameter",
            f"`{'.'.join((name, *path))}` {error.expected}{_shown(error.value)}",
            "The declaration of a parameter is JSON Schema.",
            where=_position(node, error.path),
        )
    )
    return False


def _fragment(node: Node) -> dict[str, object]:
    return {key: item.plain() for key, item in node.members.items() if key not in _ANNOTATIONS}


def _fits(name: str, node: Node, given: _Given, problems: Diagnostics) -> bool:
    fragment = _fragment(node)
    if fits_simple(fragment, given.value):
        return True
    error = value_mismatch(fragment, given.value)
    if error is None:
        return True
    what = f"--var {name}" if given.is_option else f"`{name}`"
    path = "".join(f"[{step}]" for step in error.path)
    shown = "" if is_secret(node) else _shown(error.value)
    expected = error.expected
    if expected in _NUMBERS and isinstance(error.value, str) and is_long_number(error.value):
        expected, shown = f"must have at most {LONGEST_NUMBER} digits", ""
    where = _without_text(given.where or node.name, node)
    problems.add(Diagnostic("bad-variable", f"{what}{path} {expected}{shown}", where=where))
    return False


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False) if not isinstance(value, str) else value
    line = " ".join(text.split())
    return f", not `{line if len(line) <= 60 else f'{line[:57]}...'}`"


def _position(node: Node, path: Iterable[str | int]) -> Place:
    """The position of the deepest node on a path of keys and indices."""
    for step in path:
        if isinstance(step, int) and step < len(node.items):
            node = node.items[step]
        elif (member := node.members.get(str(step))) is not None:
            node = member
    return node.at


def _without_text(where: Place, declared: Node) -> Place:
    """A position without its source line if the value there is a secret."""
    return Place(where.file, where.line, where.column) if is_secret(declared) else where


def _unknown(what: str, name: str, declared: Mapping[str, Node], where: Place | None) -> Diagnostic:
    fix = did_you_mean(name, declared) or "The spec declares no parameters; remove it."
    return Diagnostic(
        "unknown-variable", f"{what} is not a parameter of the spec", where=where, fix=fix
    )
