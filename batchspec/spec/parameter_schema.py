"""The JSON Schema of a parameter: whether a declaration is valid, and a value for it.

``jsonschema_rs`` compares decimals, gives ``pattern`` its meaning in ECMAScript, as an editor does,
and bounds the time of a match: its engine is linear in the length of the value, and patterns with
look-around or back-references have a limit of steps. Declarations of a type, bounds and choices,
which are most of them, are checked without it, because imports count in the start time.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from batchspec.spec.validator_messages import TYPE_NAMES

if TYPE_CHECKING:
    from jsonschema_rs import ValidationError

_SIMPLE_TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
}
_BOUNDS = ("minimum", "maximum")
_META_SCHEMA = {"$ref": "http://json-schema.org/draft-07/schema#"}


@dataclass(frozen=True, slots=True)
class Mismatch:
    """Why a value does not match a schema.

    ``expected`` is in words, ``path`` leads to the ``value`` from the root.
    """

    expected: str
    path: tuple[str | int, ...]
    value: object


def declaration_mismatch(fragment: Mapping[str, object]) -> Mismatch | None:
    """Why a declaration is not JSON Schema (draft-07); the most relevant error."""
    from jsonschema_rs import Draft7Validator, ValidationError  # noqa: PLC0415 - slow to import

    meta_schema = Draft7Validator(_META_SCHEMA, validate_formats=True, offline=True)
    found = _best(meta_schema.iter_errors(dict(fragment)))
    if found is not None:
        return found
    try:
        Draft7Validator(dict(fragment), offline=True)
    except ValidationError as error:
        # A reference to nothing, or to another document.
        return Mismatch(f"must refer to a part of itself ({error.message})", (), "")
    return None


def value_mismatch(fragment: Mapping[str, object], value: object) -> Mismatch | None:
    """Why a value does not match a valid declaration; the most relevant error."""
    from jsonschema_rs import Draft7Validator  # noqa: PLC0415 - slow to import

    return _best(Draft7Validator(dict(fragment), offline=True).iter_errors(value))


def _best(errors: Iterable[ValidationError]) -> Mismatch | None:
    """The error nearest to the root; of a union, that of the branch that was probably meant."""
    error = min(errors, key=lambda error: len(error.instance_path), default=None)
    if error is None:
        return None
    while branches := [branch for part in _context(error) for branch in part]:
        # The branch with the deepest error.
        error = max(branches, key=lambda branch: len(branch.instance_path))
    kind: Any = error.kind
    expected = _expectation(kind.name, kind.value)
    if kind.name == "pattern" and "limit" in error.message:
        expected = f"cannot be compared with `pattern`: {error.message}"
    return Mismatch(expected, tuple(error.instance_path), error.instance)


def _context(error: ValidationError) -> list[list[ValidationError]]:
    context: list[list[ValidationError]] = getattr(error.kind, "context", [])
    return context


def _expectation(keyword: str, wanted: object) -> str:
    """What a keyword of JSON Schema requires, in words."""
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
