"""Parameters that are declared in a word or two, and values that plainly fit: told at a glance.

Most declarations say a type, a least and a greatest value, or a few choices. Whatever says more, or
does not fit, is for ``jsonschema``, which has the last word: a yes of these functions is one of its
own.
"""

from __future__ import annotations

from collections.abc import Mapping

_TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
}
_BOUNDS = ("minimum", "maximum")
_SCALARS = (str, int, float, bool)


def plainly_declared(fragment: Mapping[str, object]) -> bool:
    """Whether a fragment of JSON Schema is good, and nothing of it is out of the common."""
    return all(_is_plain(keyword, value) for keyword, value in fragment.items())


def _is_plain(keyword: str, value: object) -> bool:
    if keyword == "type":
        return isinstance(value, str) and value in _TYPES
    if keyword == "enum":
        return isinstance(value, list) and bool(value) and all(type(v) in _SCALARS for v in value)
    return keyword in _BOUNDS and type(value) in (int, float)


def plainly_fits(fragment: Mapping[str, object], value: object) -> bool:
    """Whether a value is one of those that a plainly declared parameter takes."""
    if not plainly_declared(fragment):
        return False
    kind, enum = fragment.get("type"), fragment.get("enum")
    choices = enum if isinstance(enum, list) else ()
    if isinstance(kind, str) and type(value) not in _TYPES[kind]:
        return False
    if isinstance(choices, list) and not any(
        type(c) is type(value) and c == value for c in choices
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
