"""Values as template expressions see them. Secrets and signed URLs are opaque.

An opaque value can be inserted into a string, and nothing else. This module does not import Jinja.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple, NoReturn

from batchspec.diagnostics import Secret
from batchspec.spec.values import BlobUrl, Text

LIMIT = 1_000_000
"""The maximum number of characters that an expression may yield; no request can be longer."""


class RefusalError(Exception):
    """An expression cannot be evaluated; carries the reason and the fix."""

    def __init__(self, summary: str, fix: str = "") -> None:
        super().__init__(summary)
        self.summary = summary
        self.fix = fix


class Opaque:
    """A value that can only be inserted into a string; its content is not available."""

    __slots__ = ("value",)

    def __init__(self, value: Secret | BlobUrl | Text) -> None:
        self.value = value

    def __repr__(self) -> str:
        return "***"

    def refuse(self, *_: object) -> NoReturn:
        """Refuse an operation on the value.

        Raises:
            RefusalError: always.
        """
        url = isinstance(self.value, BlobUrl)
        kind = "a URL that is signed at submission" if url else "a secret"
        raise RefusalError(
            f"{kind} can be inserted but not processed",
            "Insert it with a separate expression: `{{ name }}`.",
        )

    __str__ = __format__ = __iter__ = __len__ = __getitem__ = __contains__ = refuse
    __add__ = __radd__ = __mod__ = __rmod__ = __mul__ = __rmul__ = refuse
    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = refuse
    __hash__ = refuse


class Raw(NamedTuple):
    """The result of ``| raw``: inserted without quotes."""

    value: object


class Argument(NamedTuple):
    """The result of ``| quote``: inserted as one argument of the node's shell."""

    value: object


class Named(dict[str, object]):
    """A mapping with a string form: a file inserted as a string is its path."""

    __slots__ = ("text",)

    def __init__(self, text: str, members: Mapping[str, object]) -> None:
        super().__init__(members)
        self.text = text


_OPAQUE = (Secret, BlobUrl, Text)
_LISTS = (tuple, list)


def guard(value: object) -> object:
    """A value as expressions see it."""
    if type(value) is str or type(value) is int:
        return value
    if isinstance(value, _OPAQUE):
        return Opaque(value)
    if isinstance(value, _LISTS):
        return [guard(item) for item in value]
    return value


def plain(value: object) -> str:
    """A value as text; booleans are written as in YAML.

    Raises:
        RefusalError: the value is a list, an object, null, opaque or undefined.
    """
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int() | float():
            return str(value)
        case Named():
            return value.text
        case Opaque():
            value.refuse()
    raise RefusalError(f"a string or number is required, not {_kind(value)}", _fix(value))


def _kind(value: object) -> str:
    """The type of a value that has no text form."""
    match value:
        case None:
            return "null"
        case Mapping():
            return "an object"
        case list() | tuple() | Iterator():
            return "a list"
    # An undefined name raises its own message here, except for a condition without `else`.
    text = str(value)
    return text or "the missing result of an `if` without `else`"


def _fix(value: object) -> str:
    match value:
        case None:
            return "Give a default: `| default('', true)`."
        case Mapping():
            return "Insert one of its members, or convert it with `| tojson`."
        case list() | tuple() | Iterator():
            return "Join the items with `| join(',')`."
    return ""
