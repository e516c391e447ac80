"""JSON values in rows and on the command line, with the limits of specs."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any, NoReturn

from batchspec.spec.yaml_parser import DEEPEST


def read_json(
    text: str, members: Callable[[list[tuple[str, object]]], dict[str, object]] = dict
) -> object:
    """The value of a JSON text, with the limits of specs; ``members`` makes an object of pairs.

    Raises:
        ValueError: no JSON, a number that is not finite, or more than :data:`DEEPEST` levels.
    """
    try:
        value = json.loads(
            text,
            object_pairs_hook=members,
            parse_constant=_no_constant,
            parse_float=_finite,
            parse_int=_integer,
        )
    except RecursionError:
        raise ValueError(_NESTED) from None
    if _is_too_deep(value):
        raise ValueError(_NESTED)
    return value


_TOO_LARGE = "the number is too large"
_NESTED = f"the value has more than {DEEPEST} levels of nesting"


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(_TOO_LARGE)
    return number


def _integer(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        # Python's limit of the digits of an integer.
        raise ValueError(_TOO_LARGE) from None


def _is_too_deep(value: object) -> bool:
    layer: list[Any] = [value] if isinstance(value, dict | list) else []
    for _ in range(DEEPEST):
        layer = [
            item
            for parent in layer
            for item in (parent.values() if isinstance(parent, dict) else parent)
            if isinstance(item, dict | list)
        ]
        if not layer:
            return False
    return True
