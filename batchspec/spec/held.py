"""What expressions see of values: as they are, or held, so that they can only be put into a text.

No Jinja here: ``sandbox`` and ``filters`` are made of this.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple, NoReturn

from batchspec.problems import Secret
from batchspec.spec.values import BlobUrl, Text

LIMIT = 1_000_000
"""The most characters that an expression may make: no request to the service may be longer."""


class RefusalError(Exception):
    """An expression that may not be evaluated: what is wrong, and how to write it instead."""

    def __init__(self, summary: str, hint: str = "") -> None:
        super().__init__(summary)
        self.summary = summary
        self.hint = hint


class Held:
    """A value that may be put into a text, and nothing else: its content is not known here."""

    __slots__ = ("value",)

    def __init__(self, value: Secret | BlobUrl | Text) -> None:
        self.value = value

    def __repr__(self) -> str:
        return "***"

    def refuse(self, *_: object) -> NoReturn:
        """Say that this is not possible; every operation on it ends here."""
        url = isinstance(self.value, BlobUrl)
        kind = "the URL of a blob or container, made at submission," if url else "a secret"
        raise RefusalError(
            f"{kind} can be inserted, and not worked on",
            "Put it into an expression of its own: `{{ name }}`.",
        )

    __str__ = __format__ = __iter__ = __len__ = __getitem__ = __contains__ = refuse
    __add__ = __radd__ = __mod__ = __rmod__ = __mul__ = __rmul__ = refuse
    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = refuse
    __hash__ = refuse


class Raw(NamedTuple):
    """The outcome of ``| raw``: goes in without quotes."""

    value: object


class Argument(NamedTuple):
    """The outcome of ``| quote``: goes in as one argument of the node's shell."""

    value: object


class Named(dict[str, object]):
    """An object that has a text of its own: a file is its path where an object is no text."""

    __slots__ = ("text",)

    def __init__(self, text: str, members: Mapping[str, object]) -> None:
        super().__init__(members)
        self.text = text


_HELD = (Secret, BlobUrl, Text)
_LISTS = (tuple, list)


def guard(value: object) -> object:
    """A value as expressions may see it."""
    if type(value) is str or type(value) is int:
        return value
    if isinstance(value, _HELD):
        return Held(value)
    if isinstance(value, _LISTS):
        return [guard(item) for item in value]
    return value


def plain(value: object) -> str:
    """A value as text: booleans as in YAML; lists, objects and null have none.

    Raises:
        RefusalError: it has none, it is held, or there is no such value.
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
        case Held():
            value.refuse()
    raise RefusalError(f"a text or a number is wanted, and this is {_kind(value)}", _mend(value))


def _kind(value: object) -> str:
    """What a value that has no text is, in the words of a spec."""
    match value:
        case None:
            return "null"
        case Mapping():
            return "an object"
        case list() | tuple() | Iterator():
            return "a list"
    # What is undefined has its own words, and raises them; but for a condition without `else`.
    words = str(value)
    return f"no value of a spec: {words}" if words else "nothing: an `if` without `else` fails"


def _mend(value: object) -> str:
    match value:
        case None:
            return "Say what stands for it: `| default('', true)`."
        case Mapping():
            return "Name one of its members, or write it as JSON: `| tojson`."
        case list() | tuple() | Iterator():
            return "Make one text of it: `| join(',')`."
    return ""
