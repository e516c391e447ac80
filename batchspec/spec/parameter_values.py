"""Values of parameters: where they come from, and the JSON Schema of each.

They come from options, files, the environment and key vaults. ``jsonschema`` validates, with
separate functions for two keywords. ``pattern`` has its meaning in ECMAScript, as in an editor, and
matches have a time limit: the engine of ``jsonschema_rs`` is linear in the length of the value, and
the steps of patterns with look-around or back-references are limited. ``multipleOf`` compares
decimals. Declarations with only a type, bounds and choices are checked without these libraries,
whose imports add to the start time.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import field
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import urlsplit

from batchspec.diagnostics import Diagnostic, Secret, nearest
from batchspec.frozen import frozen
from batchspec.spec.validator_messages import TYPE_NAMES
from batchspec.spec.yaml_tree import Node

if TYPE_CHECKING:
    import jsonschema_rs
    from jsonschema import ValidationError

_SIMPLE_TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
}
_BOUNDS = ("minimum", "maximum")


@frozen
class Mismatch:
    """The reason why a value does not match a schema.

    ``expected`` is in words, ``path`` leads to the ``value`` from the root.
    """

    expected: str
    path: tuple[str | int, ...]
    value: object


def declaration_mismatch(fragment: Mapping[str, object]) -> Mismatch | None:
    """The most relevant reason why a declaration is not JSON Schema (draft-07)."""
    from jsonschema import Draft7Validator, FormatChecker  # noqa: PLC0415 - slow to import
    from referencing import Registry  # noqa: PLC0415
    from referencing.exceptions import Unresolvable  # noqa: PLC0415
    from referencing.jsonschema import DRAFT7  # noqa: PLC0415

    formats = FormatChecker(formats=())
    formats.checks("regex")(_is_expression)
    meta_schema = Draft7Validator(Draft7Validator.META_SCHEMA, format_checker=formats)
    if (found := _best(meta_schema.iter_errors(dict(fragment)))) is not None:
        return found
    resolver = DRAFT7.create_resource(dict(fragment))
    known = Registry().with_resource("", resolver).resolver()
    for reference in _references(fragment):
        try:
            known.lookup(reference)
        except (Unresolvable, ValueError):
            return Mismatch(f"must refer to a part of itself (`{reference}`)", (), "")
    return None


def value_mismatch(fragment: Mapping[str, object], value: object) -> Mismatch | None:
    """The most relevant reason why a value does not match a valid declaration."""
    from referencing import Registry  # noqa: PLC0415

    # An empty registry: nothing is fetched.
    validator = _validator_class()(dict(fragment), registry=Registry())
    try:
        return _best(validator.iter_errors(value))
    except RecursionError:
        return Mismatch("cannot be checked: references of the declaration have no end", (), value)


def _references(fragment: object) -> Iterator[str]:
    """Every ``$ref`` in a declaration."""
    if isinstance(fragment, Mapping):
        if isinstance(reference := fragment.get("$ref"), str):
            yield reference
        for member in fragment.values():
            yield from _references(member)
    elif isinstance(fragment, list):
        for item in fragment:
            yield from _references(item)


@cache
def _validator_class() -> Any:
    """Draft 7 with ECMAScript's expressions and exact decimals."""
    from jsonschema import Draft7Validator, validators  # noqa: PLC0415 - slow to import

    keywords = {
        "pattern": _pattern,
        "patternProperties": _pattern_properties,
        "multipleOf": _multiple_of,
    }
    return validators.extend(Draft7Validator, keywords)  # type: ignore[no-untyped-call]


def _pattern(
    _validator: object, pattern: str, instance: object, _schema: object
) -> Iterator[ValidationError]:
    from jsonschema import ValidationError  # noqa: PLC0415 - slow to import

    if isinstance(instance, str):
        for error in _expression(pattern).iter_errors(instance):
            yield ValidationError(error.message)


def _pattern_properties(
    validator: Any, patterns: Mapping[str, object], instance: object, _schema: object
) -> Iterator[ValidationError]:
    if not isinstance(instance, Mapping):
        return
    for pattern, schema in patterns.items():
        for key, value in instance.items():
            if _expression(pattern).is_valid(key):
                yield from validator.descend(value, schema, path=key, schema_path=pattern)


def _multiple_of(
    _validator: object, step: float, instance: object, _schema: object
) -> Iterator[ValidationError]:
    from jsonschema import ValidationError  # noqa: PLC0415 - slow to import

    if isinstance(instance, bool) or not isinstance(instance, int | float):
        return
    if (_exact(instance) / _exact(step)).denominator != 1:
        yield ValidationError(f"{instance} is not a multiple of {step}")


def _exact(number: float) -> Fraction:
    """A number as it is written: 4.35 is exactly 435/100."""
    return Fraction(number) if isinstance(number, int) else Fraction(repr(number))


@cache
def _expression(pattern: str) -> jsonschema_rs.Draft7Validator:
    """A regular expression of ECMAScript.

    Raises:
        jsonschema_rs.ValidationError: it is not one.
    """
    from jsonschema_rs import Draft7Validator  # noqa: PLC0415 - slow to import

    return Draft7Validator({"pattern": pattern}, offline=True)


def _is_expression(text: object) -> bool:
    from jsonschema_rs import ValidationError  # noqa: PLC0415 - slow to import

    try:
        return not isinstance(text, str) or bool(_expression(text))
    except ValidationError:
        return False


def _best(errors: Iterable[ValidationError]) -> Mismatch | None:
    """The error nearest to the root; for a union, the error of the most likely branch."""
    error = min(errors, key=lambda error: len(error.absolute_path), default=None)
    if error is None:
        return None
    while error.context:
        # The branch with the deepest error.
        error = max(error.context, key=lambda branch: len(branch.absolute_path))
    expected = _expectation(str(error.validator), error.validator_value)
    if error.validator == "pattern" and "limit" in error.message:
        expected = f"cannot be compared with `pattern`: {error.message}"
    return Mismatch(expected, tuple(error.absolute_path), error.instance)


def _expectation(keyword: str, wanted: object) -> str:
    """The requirement of a keyword of JSON Schema, in words."""
    items = wanted if isinstance(wanted, list) else [wanted]
    shown = [item if isinstance(item, str) else json.dumps(item) for item in items]
    choices = ", ".join(f"`{item}`" for item in shown)
    types = " or ".join(TYPE_NAMES.get(str(kind), str(kind)) for kind in items)
    words = {
        "type": f"must be {types}",
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
        "uniqueItems": "must not have duplicate items",
        "required": f"must have {choices}",
        "format": "must be a regular expression" if wanted == "regex" else f"must be a {wanted}",
    }
    return words.get(keyword, f"does not match its `{keyword}`")


def is_simple(fragment: Mapping[str, object]) -> bool:
    """Whether a declaration is valid and has only a type, choices and bounds."""
    return all(_is_simple_keyword(keyword, value) for keyword, value in fragment.items())


def _is_simple_keyword(keyword: str, value: object) -> bool:
    if keyword == "type":
        return isinstance(value, str) and value in _SIMPLE_TYPES
    if keyword == "enum":
        scalars = (str, int, float, bool)
        return isinstance(value, list) and bool(value) and all(type(v) in scalars for v in value)
    return keyword in _BOUNDS and type(value) in (int, float)


def fits_simple(fragment: Mapping[str, object], value: object) -> bool:
    """Whether a declaration is simple and a value is valid for it."""
    if not is_simple(fragment):
        return False
    kind, choices = fragment.get("type"), fragment.get("enum")
    if isinstance(kind, str) and type(value) not in _SIMPLE_TYPES[kind]:
        return False
    if isinstance(choices, list) and not any(
        type(choice) is type(value) and choice == value for choice in choices
    ):
        return False
    least, most = (fragment.get(bound) for bound in _BOUNDS)
    if least is None and most is None:
        return True
    return (
        isinstance(value, int | float)
        and (not isinstance(least, int | float) or value >= least)
        and (not isinstance(most, int | float) or value <= most)
    )


PREFIX = "BATCHSPEC_VAR_"
"""The start of the names of environment variables that set parameters."""

ReadValue: TypeAlias = Callable[[str, str], str]
"""Returns the value of a secret from its name and ``@FILE`` or ``-``; raises ``UsageError``."""


@frozen
class ValueSources:
    """Where values of parameters come from, beside their declarations.

    ``variables`` are texts, which are parsed by the declared type; ``files`` are YAML or JSON
    files. ``read`` reads the file or standard input for the texts ``@FILE`` and ``-`` of a secret;
    without it, these texts are values. ``fetched`` are values of secrets that were read from a key
    vault.
    """

    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    files: Sequence[Path] = ()
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)
    read: ReadValue | None = None
    fetched: Mapping[str, Secret] = field(default_factory=dict)


def environment_variable(
    name: str, declared: Iterable[str], environ: Mapping[str, str]
) -> str | None:
    """The environment variable that sets a parameter; ``None``: no variable with a value.

    Its name is ``BATCHSPEC_VAR_`` and the declared name, or the name in upper case if no other
    parameter has it. An empty variable counts as not set: CI systems define one for an unset
    secret.
    """
    for variable in _variable_names(name, declared):
        if environ.get(variable):
            return variable
    return None


def _variable_names(name: str, declared: Iterable[str]) -> tuple[str, ...]:
    upper = name.upper()
    if upper == name or upper in declared:
        return (PREFIX + name,)
    return (PREFIX + name, PREFIX + upper)


def missing_value(
    name: str, node: Node, declared: Iterable[str], sources: ValueSources, *, secret: bool
) -> Diagnostic:
    """The error for a parameter without a value.

    For a secret, it lists all ways to set the value.
    """
    if not secret:
        return Diagnostic(
            "missing-variable",
            f"the parameter `{name}` has no value and no default",
            where=node.name,
            fix=f"Set it with `--var {name}=VALUE`.",
        )
    variable = _variable_names(name, declared)[-1]
    return Diagnostic(
        "missing-variable",
        f"the secret parameter `{name}` has no value",
        _empty_or_similar(name, declared, sources.environ),
        where=node.name,
        fix=f"Set the environment variable {variable}; or pass `--var {name}=@FILE` (a file), "
        f"`--var {name}=-` (standard input, or a prompt on a terminal) or `--var-file FILE`; "
        "or declare it with `key_vault: https://VAULT.vault.azure.net/secrets/NAME`.",
    )


def _empty_or_similar(name: str, declared: Iterable[str], environ: Mapping[str, str]) -> str:
    """The variable of the environment that explains why a parameter has no value."""
    for variable in _variable_names(name, declared):
        if variable in environ:
            return f"{variable} is empty, which counts as not set."
    given = [each for each in environ if each.startswith(PREFIX)]
    near = nearest(PREFIX + name, given)
    if near is None or any(near in _variable_names(other, declared) for other in declared):
        return ""
    return f"{near} is set, and the spec has no parameter of this name."


_VAULTS = ("vault.azure.net", "vault.azure.cn", "vault.usgovcloudapi.net")
"""The DNS suffixes of key vaults: the public cloud, China and US Government."""

_REFERENCE = re.compile(
    r"(https://[A-Za-z0-9-]+\.(?:" + "|".join(map(re.escape, _VAULTS)) + r")"
    r"|https?://(?:127\.0\.0\.1|localhost|\[::1\])(?::\d{1,5})?)"
    r"/secrets/[A-Za-z0-9-]{1,127}(?:/[A-Za-z0-9]{1,64})?/?"
)
"""The URL of a secret, which Key Vault calls its identifier; the version is optional. A URL on the
loopback interface is a secret of an emulator."""


def is_reference(text: str) -> bool:
    """Whether a text is the URL of a secret in a key vault."""
    return _REFERENCE.fullmatch(text) is not None


def is_in_vault(text: str) -> bool:
    """Whether a text is a URL in a key vault."""
    return _host(text).endswith(tuple(f".{suffix}" for suffix in _VAULTS))


_SECRET_PATH = re.compile(r"/secrets/[A-Za-z0-9-]{1,127}(?:/[A-Za-z0-9]{1,64})?/?")


def resembles_reference(text: str) -> bool:
    """Whether a text is the URL of a secret in a key vault except for its host."""
    return bool(_host(text)) and _SECRET_PATH.fullmatch(urlsplit(text.strip()).path) is not None


def _host(text: str) -> str:
    """The host of a URL; empty for another text."""
    try:
        url = urlsplit(text.strip())
        return (url.hostname or "") if url.scheme in {"http", "https"} else ""
    except ValueError:
        return ""
