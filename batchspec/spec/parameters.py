"""Parameters: their declarations, the values given for them, and the resulting values.

A ``--var`` value and an environment variable are strings that are parsed by the declared type. A
``--var-file`` is YAML or JSON, and its values have their own types. The value of a secret is not
part of any message.

A declaration is JSON Schema (:mod:`~batchspec.spec.parameter_values`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from batchspec.diagnostics import (
    Diagnostic,
    Diagnostics,
    KeyVaultSecret,
    MissingSecret,
    Place,
    Secret,
    Severity,
    SpecError,
    UsageError,
)
from batchspec.frozen import frozen
from batchspec.spec.parameter_values import (
    ValueSources,
    declaration_mismatch,
    environment_variable,
    fits_simple,
    is_in_vault,
    is_reference,
    is_simple,
    missing_value,
    resembles_reference,
    value_mismatch,
)
from batchspec.spec.rows import read_json
from batchspec.spec.validator_messages import TYPE_NAMES, is_long_number, nearest_or_all
from batchspec.spec.values import Value, freeze
from batchspec.spec.yaml_parser import LONGEST_NUMBER, parse, read_source
from batchspec.spec.yaml_tree import Node

RESERVED = frozenset(
    {"name", "job", "pool", "containers", "index", "task", "file", "files", "value"}
)
"""Names that have another meaning in templates."""

_NUMBERS = frozenset(f"must be {TYPE_NAMES[kind]}" for kind in ("integer", "number"))
_ANNOTATIONS = ("secret", "key_vault", "examples", "default", "title", "description")
"""Members of a declaration that do not restrict the value."""


@frozen
class _Given:
    """A value; ``where`` is its position in a file, ``source`` the option or variable with it."""

    value: object
    source: str = ""
    where: Place | None = None


def read_parameters(
    declared: Mapping[str, Node],
    sources: ValueSources,
    problems: Diagnostics,
    *,
    needs_secrets: bool = True,
) -> dict[str, Value]:
    """The value of every declared parameter that has a valid one; the rest are problems.

    An option takes precedence over a file, a file over the environment, and the environment over
    the default. A secret without a value is a :class:`MissingSecret`, and a problem if
    ``needs_secrets``. A secret in a key vault is a :class:`KeyVaultSecret` until
    ``sources.fetched`` contains its value.
    """
    given = _given(declared, sources, problems)
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
        secret = is_secret(node)
        found = given[name] if name in given else _declared_value(node)
        if found is None and name not in given:
            if secret:
                values[name] = MissingSecret()
            if needs_secrets or not secret:
                problems.add(missing_value(name, node, declared, sources, secret=secret))
        elif found is not None and secret:
            if (value := _secret(name, node, found, sources, problems)) is not None:
                values[name] = value
        elif found is not None and _fits(name, node, found, problems):
            values[name] = freeze(found.value)
    return values


def _declared_value(node: Node) -> _Given | None:
    """The value that the declaration contains: a key vault's secret, or the default."""
    if (vault := node.get("key_vault")) is not None:
        return _Given(str(vault.value))
    default = node.get("default")
    return None if default is None else _Given(default.plain(), where=default.at)


def _given(
    declared: Mapping[str, Node], sources: ValueSources, problems: Diagnostics
) -> dict[str, _Given | None]:
    """The given values by name; ``None`` for a value with a problem."""
    given: dict[str, _Given | None] = dict(_from_files(sources.files, declared, problems))
    for name, text in sources.variables.items():
        if name in declared:
            given[name] = _from_option(name, text, declared[name], sources, problems)
        else:
            problems.add(_unknown(f"--var {name}", name, declared, None))
    for name, node in declared.items():
        variable = environment_variable(name, declared, sources.environ)
        if variable is not None and name not in given:
            given[name] = _from_text(variable, sources.environ[variable], node, problems)
    return given


def _secret(
    name: str, node: Node, given: _Given, sources: ValueSources, problems: Diagnostics
) -> Secret | None:
    """The value of a secret, or its reference to a key vault; ``None`` if it is not valid."""
    fetched = sources.fetched.get(name)
    if fetched is not None:
        given = _Given(fetched.reveal(), f"`{name}` in the key vault")
    elif isinstance(given.value, str) and is_reference(given.value):
        return KeyVaultSecret(given.value)
    elif isinstance(given.value, str) and is_in_vault(given.value):
        problems.add(_no_reference(name, given.source or f"`{name}`", node))
        return None
    elif isinstance(given.value, str) and resembles_reference(given.value):
        problems.add(_unknown_vault(name, given, node))
    if not isinstance(given.value, str):
        problems.add(
            Diagnostic(
                "bad-variable",
                f"the secret `{name}` must be a string",
                where=_without_text(given.where or node.name, node),
            )
        )
        return None
    if not given.value and "minLength" not in node.members:
        problems.add(
            Diagnostic(
                "bad-variable",
                f"{given.source or f'`{name}`'} is empty, and a secret must have a value",
                where=_without_text(given.where or node.name, node),
                fix="Give it a value; or declare `minLength: 0` if it can be empty.",
            )
        )
        return None
    return Secret(given.value) if _fits(name, node, given, problems) else None


def _no_reference(name: str, what: str, node: Node) -> Diagnostic:
    return Diagnostic(
        "bad-variable",
        f"{what} is not the URL of a secret in a key vault",
        where=_without_text(node.name, node),
        fix=f"Use the output of `az keyvault secret show --vault-name VAULT --name {name} "
        "--query id --output tsv`.",
    )


def _unknown_vault(name: str, given: _Given, node: Node) -> Diagnostic:
    """The warning that a value is used unchanged.

    The value may be secret and is not part of the text.
    """
    return Diagnostic(
        "unknown-vault",
        f"{given.source or f'`{name}`'} resembles the URL of a secret in a key vault, but its host"
        " is not one of Azure Key Vault: the URL itself is the value",
        where=_without_text(given.where or node.name, node),
        fix=f"For the value in the vault, use the output of `az keyvault secret show --vault-name"
        f" VAULT --name {name} --query id --output tsv`.",
        severity=Severity.WARNING,
    )


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


def _from_option(
    name: str, text: str, declared: Node, sources: ValueSources, problems: Diagnostics
) -> _Given | None:
    """The value of a ``--var`` option, or the content of its file or of standard input."""
    named = text == "-" or text.startswith("@")
    if is_secret(declared) and sources.read is not None and named:
        try:
            text = sources.read(name, text)
        except UsageError as error:
            problems.extend(error.problems)
            return None
    return _from_text(f"--var {name}", text, declared, problems)


def _from_text(source: str, text: str, declared: Node, problems: Diagnostics) -> _Given | None:
    """The value of a text, converted to one of the declared types."""
    types = _types(declared)
    if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
        problems.add(Diagnostic("bad-variable", f"{source} is not UTF-8 text", where=declared.name))
        return None
    for kind in types:
        if kind == "string":
            continue
        try:
            value = read_json(text)
        except ValueError:
            break
        if _TYPE_TESTS.get(kind, _is_number)(value) or (kind == "number" and _is_number(value)):
            return _Given(value, source)
    if "string" in types or not set(types) & (_TYPE_TESTS.keys() | {"null"}):
        return _Given(text, source)
    shown = "" if is_secret(declared) else f", not `{text}`"
    problems.add(
        Diagnostic(
            "bad-variable",
            f"{source} must be {TYPE_NAMES.get(types[0], types[0])}{shown}",
            where=declared.name,
            fix=_TEXT_EXAMPLES.get(types[0], "").format(source=source),
        )
    )
    return None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_TEXT_EXAMPLES = {
    "boolean": "Write `{source}=true`.",
    "array": "Write `{source}='[1, 2]'`.",
    "object": "Write `{source}='{{\"a\": 1}}'`.",
}


def _is_valid_declaration(name: str, node: Node, problems: Diagnostics) -> bool:
    if any(below.wrong for below in node.walk()):
        return False
    if not isinstance(node.value, Mapping):
        # The schema accepts a template instead of the mapping; its value is not known here.
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
    vault = node.get("key_vault")
    if vault is not None and not is_secret(node):
        problems.add(
            Diagnostic(
                "bad-parameter",
                f"the parameter `{name}` has a `key_vault` but is not secret",
                where=vault.name,
                fix="Add `secret: true`.",
            )
        )
        return False
    if vault is not None and not is_reference(str(vault.value)):
        problems.add(replace(_no_reference(name, f"`key_vault` of `{name}`", node), where=vault.at))
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
                fix=f"Remove it, and set the environment variable BATCHSPEC_VAR_{name.upper()}.",
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
    what = given.source or f"`{name}`"
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
    fix = nearest_or_all(name, declared) or "Remove it: the spec declares no parameters."
    return Diagnostic(
        "unknown-variable", f"{what} is not a parameter of the spec", where=where, fix=fix
    )
