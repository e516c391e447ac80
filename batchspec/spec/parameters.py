"""Parameters: what is declared, what is given, and the values that follow.

A ``--var`` value is a text, read by the declared type; a ``--var-file`` is YAML (or JSON), its
values have types of their own. The value of a secret is in no message, whatever is wrong with it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from batchspec.problems import Place, Problem, Problems, Secret, SpecError
from batchspec.spec.judged import declaration_error, value_error
from batchspec.spec.node import Node
from batchspec.spec.plainly import plainly_declared, plainly_fits
from batchspec.spec.shape_words import did_you_mean
from batchspec.spec.source import read_source
from batchspec.spec.tree import parse
from batchspec.spec.values import Value, freeze

RESERVED = frozenset(
    {"name", "job", "pool", "containers", "index", "task", "file", "files", "value"}
)
"""Names that templates have for other things."""

_BESIDE = ("secret", "examples", "default", "title", "description")
"""Members of a declaration that say nothing of which values are good."""


@dataclass(frozen=True, slots=True)
class _Given:
    """A value and where it comes from: an option (no place), a file, or the default."""

    value: object
    source: str
    where: Place | None = None


def read_parameters(
    declared: Mapping[str, Node],
    variables: Mapping[str, str],
    variable_files: Sequence[Path],
    problems: Problems,
) -> dict[str, Value]:
    """The value of every declared parameter that has a good one; the rest are problems."""
    given = dict(_from_files(variable_files, declared, problems))
    for name, text in variables.items():
        if name not in declared:
            problems.add(_unknown(f"--var {name}", name, declared, None))
        elif (read := _read_option(name, text, declared[name], problems)) is not None:
            given[name] = read
    values: dict[str, Value] = {}
    for name, node in declared.items():
        if name in RESERVED:
            problems.add(_reserved(name, node))
        if not _is_good_declaration(name, node, problems):
            continue
        if name not in given and node.get("default") is None:
            if name not in variables:
                problems.add(_missing(name, node))
            continue
        found = given.get(name) or _default(node)
        if _fits(name, node, found, problems):
            value = found.value
            secret = is_secret(node) and isinstance(value, str)
            values[name] = Secret(str(value)) if secret else freeze(value)
    return values


def is_secret(node: Node) -> bool:
    """Whether a declared parameter keeps its value out of everything."""
    secret = node.get("secret")
    return secret is not None and secret.value is True


def _default(node: Node) -> _Given:
    default = node.members["default"]
    return _Given(default.plain(), "default", default.at)


def _from_files(
    files: Sequence[Path], declared: Mapping[str, Node], problems: Problems
) -> Iterator[tuple[str, _Given]]:
    for file in files:
        try:
            root = parse(read_source(file, "`--var-file` names a YAML or JSON file of values."))
        except SpecError as error:
            problems.extend(error.problems)
            continue
        if not isinstance(root.value, Mapping):
            problems.add(
                Problem(
                    "wrong-type",
                    f"{file} is not a mapping",
                    where=root.where,
                    hint="A variable file holds lines such as `top: 5`.",
                )
            )
        for name, node in root.members.items():
            if name in declared:
                value = node.raw if _as_written(declared[name], node) else node.plain()
                yield name, _Given(value, "file", _hidden(node.at, declared[name]))
            else:
                problems.add(_unknown(f"`{name}`", name, declared, node.name))


def _as_written(declared: Node, node: Node) -> bool:
    """A bare number in a variable file is a text where only a text is declared."""
    return _types(declared) == ("string",) and isinstance(node.value, int | float)


def _types(declared: Node) -> tuple[str, ...]:
    """The declared types; without any, that of the default, or else text."""
    kind = declared.get("type")
    if kind is not None:
        return tuple(str(item.value) for item in kind.items or (kind,))
    default = declared.get("default")
    if default is None:
        return ("string",)
    for name, test in _TESTS.items():
        if test(default.plain()):
            return (name,)
    return ("string",)


_TESTS: Mapping[str, Callable[[object], bool]] = {
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: isinstance(value, int),
    "number": lambda value: isinstance(value, float),
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
}


def _read_option(name: str, text: str, declared: Node, problems: Problems) -> _Given | None:
    types = _types(declared)
    for kind in types:
        if kind == "string":
            continue
        try:
            value = json.loads(text, parse_constant=_no_constant)
        except (ValueError, RecursionError):
            break
        if _TESTS.get(kind, _is_number)(value) or (kind == "number" and _is_number(value)):
            return _Given(value, "option")
    if "string" in types or not set(types) & (_TESTS.keys() | {"null"}):
        return _Given(text, "option")
    shown = "" if is_secret(declared) else f", and `{text}` is none"
    problems.add(
        Problem(
            "bad-variable",
            f"--var {name} takes {_KINDS.get(types[0], types[0])}{shown}",
            where=declared.name,
            hint=_EXAMPLES.get(types[0], "").format(name=name),
        )
    )
    return None


def _no_constant(constant: str) -> float:
    raise ValueError(constant)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_KINDS = {
    "string": "a text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "`true` or `false`",
    "array": "a list",
    "object": "an object",
}
_EXAMPLES = {
    "boolean": "Write `--var {name}=true`.",
    "array": "Write `--var '{name}=[1, 2]'`.",
    "object": "Write `--var '{name}={{\"a\": 1}}'`.",
}


def _is_good_declaration(name: str, node: Node, problems: Problems) -> bool:
    if node.wrong or any(below.wrong for below in node.walk()):
        return False
    if not plainly_declared(_fragment(node)) and not _is_good_schema(name, node, problems):
        return False
    if not is_secret(node):
        return True
    default = node.get("default")
    if default is not None:
        place = default.name
        problems.add(
            Problem(
                "secret-in-clear",
                f"the secret `{name}` has a default in the clear",
                where=Place(place.file, place.line, place.column),
                hint="Take it out; a secret is given with `--var` or `--var-file`.",
            )
        )
        return False
    if _types(node) != ("string",):
        problems.add(
            Problem(
                "bad-parameter",
                f"the secret `{name}` must be a text",
                where=node.name,
                hint="Write `type: string`.",
            )
        )
        return False
    return True


def _is_good_schema(name: str, node: Node, problems: Problems) -> bool:
    error = declaration_error(_fragment(node))
    if error is None:
        return True
    path = [str(step) for step in error.absolute_path]
    said = _said(str(error.validator), error.validator_value, _shown(error.instance))
    problems.add(
        Problem(
            "bad-parameter",
            f"`{'.'.join((name, *path))}` {said}",
            "A parameter is declared as JSON Schema has it.",
            where=_within(node, list(error.absolute_path)),
        )
    )
    return False


def _fragment(node: Node) -> dict[str, object]:
    return {key: item.plain() for key, item in node.members.items() if key not in _BESIDE}


def _fits(name: str, node: Node, given: _Given, problems: Problems) -> bool:
    fragment = _fragment(node)
    if plainly_fits(fragment, given.value):
        return True
    error = value_error(fragment, given.value)
    if error is None:
        return True
    secret = is_secret(node)
    where = given.where or node.name
    what = f"--var {name}" if given.source == "option" else f"`{name}`"
    path = "".join(f"[{step}]" for step in error.absolute_path)
    said = _said(
        str(error.validator), error.validator_value, "" if secret else _shown(error.instance)
    )
    problems.add(Problem("bad-variable", f"{what}{path} {said}", where=_hidden(where, node)))
    return False


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False) if not isinstance(value, str) else value
    return f", not `{_one_line(text)}`"


def _said(keyword: str, wanted: object, value: str) -> str:
    """What a keyword of JSON Schema asks for, in words."""
    many = isinstance(wanted, list)
    shown = [item if isinstance(item, str) else json.dumps(item) for item in _list(wanted)]
    choices = ", ".join(f"`{item}`" for item in shown)
    words = {
        "type": f"must be {_kinds(wanted)}",
        "enum": f"must be one of {choices}",
        "const": f"must be `{wanted}`",
        "minimum": f"must be at least {wanted}",
        "maximum": f"must be at most {wanted}",
        "exclusiveMinimum": f"must be greater than {wanted}",
        "exclusiveMaximum": f"must be less than {wanted}",
        "multipleOf": f"must be a multiple of {wanted}",
        "pattern": f"must match `{wanted}`",
        "minLength": f"must have at least {wanted} characters",
        "maxLength": f"must have at most {wanted} characters",
        "minItems": f"must have at least {wanted} items",
        "maxItems": f"must have at most {wanted} items",
        "uniqueItems": "must have no item twice",
        "required": f"must have {choices}" if many else "lacks a member",
        "format": "must be a regular expression" if wanted == "regex" else f"must be a {wanted}",
    }
    return words.get(keyword, f"does not fit its `{keyword}`") + value


def _list(wanted: object) -> list[object]:
    return wanted if isinstance(wanted, list) else []


def _kinds(wanted: object) -> str:
    given = _list(wanted) or [wanted]
    return " or ".join(_KINDS.get(str(kind), str(kind)) for kind in given)


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 60 else f"{line[:57]}..."


def _within(node: Node, path: Sequence[str | int]) -> Place:
    """The place of what is at a path of keys and indices, as deep as the path leads."""
    for step in path:
        if isinstance(step, int) and step < len(node.items):
            node = node.items[step]
        elif (member := node.members.get(str(step))) is not None:
            node = member
    return node.at


def _hidden(where: Place, declared: Node) -> Place:
    """A place whose line is not shown when the value in it is a secret."""
    return Place(where.file, where.line, where.column) if is_secret(declared) else where


def _unknown(what: str, name: str, declared: Mapping[str, Node], where: Place | None) -> Problem:
    hint = did_you_mean(name, declared) or "The spec declares no parameters."
    return Problem(
        "unknown-variable", f"{what} is no parameter of the spec", where=where, hint=hint
    )


def _reserved(name: str, node: Node) -> Problem:
    return Problem(
        "reserved-name",
        f"a parameter cannot be called `{name}`: templates have that name for something else",
        where=node.name,
        hint=f"Call it `my_{name}`, say.",
    )


def _missing(name: str, node: Node) -> Problem:
    return Problem(
        "missing-variable",
        f"the parameter `{name}` has no default, and was not given",
        where=node.name,
        hint=f"Give it with `--var {name}=...`.",
    )
