"""What jsonschema says of a declaration and of a value; it is loaded when it is first asked."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError


def declaration_error(fragment: Mapping[str, object]) -> ValidationError | None:
    """What is wrong with a fragment of JSON Schema: of all there may be, the most to the point."""
    from jsonschema import Draft7Validator  # noqa: PLC0415 - for those who ask

    formats = Draft7Validator.FORMAT_CHECKER
    rules = Draft7Validator(Draft7Validator.META_SCHEMA, format_checker=formats)
    error = _best(rules, dict(fragment))
    while error is not None and error.context:
        # Of a union, the branch that was got to furthest is the one that was meant.
        error = max(error.context, key=lambda below: len(below.absolute_path))
    return error


def value_error(fragment: Mapping[str, object], value: object) -> ValidationError | None:
    """What is wrong with a value, as a good fragment has it."""
    from jsonschema import Draft7Validator  # noqa: PLC0415 - for those who ask

    return _best(Draft7Validator(dict(fragment)), value)


def _best(validator: object, instance: object) -> ValidationError | None:
    from jsonschema.exceptions import best_match  # noqa: PLC0415 - for those who ask

    with warnings.catch_warnings():
        # A pattern that a later Python may read in another way is good until then.
        warnings.simplefilter("ignore", FutureWarning)
        return best_match(validator.iter_errors(instance))  # type: ignore[attr-defined,no-any-return]
