"""Values of a spec that are complete, though a part of them is only known when they are sent.

A URL that carries a SAS is minted at submission, never before, and never shown; a secret parameter
is never shown at all. Both travel as parts of a :class:`Text`, so a plan, a log or a saved file can
only hold ``<sas>`` and ``***``. :class:`Record` is the frozen form of a JSON object.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, ItemsView, Iterator, KeysView, Mapping, ValuesView
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeAlias

from batchspec.problems import Place, Secret


class Quoting(StrEnum):
    """How a value becomes one argument of a command line on the node."""

    POSIX = "posix"
    """For ``sh``, and for a line that the service splits itself on Linux."""
    WINDOWS = "windows"
    """For ``cmd /c``, which then starts a program that splits its own command line."""
    WINDOWS_PROGRAM = "windows-program"
    """For a Windows program that is started without ``cmd``."""


class UnquotableError(ValueError):
    """A value that no command line of that kind can carry. The value is not in the text."""


@dataclass(frozen=True, slots=True)
class BlobUrl:
    """The URL of a container, or of a blob in it.

    ``container`` is the name in the account. ``permissions`` are SAS letters in the service's order
    (``r``, ``rl``, ``cw`` ...); empty means the plain URL without a SAS.
    """

    container: str
    blob: str | None = None
    permissions: str = ""

    @property
    def shown(self) -> str:
        """What a plan or a log may show in its place."""
        name = self.container if self.blob is None else f"{self.container}/{self.blob}"
        return f"<sas>{name}" if self.permissions else f"<url>{name}"


@dataclass(frozen=True, slots=True)
class Quoted:
    """Inner text that is quoted as one argument once it is resolved."""

    inner: Text
    quoting: Quoting


Piece: TypeAlias = str | BlobUrl | Secret | Quoted
"""A part of a :class:`Text`."""


@dataclass(frozen=True, slots=True)
class Text:
    """A string of which some pieces are filled in at submission."""

    pieces: tuple[Piece, ...]

    @property
    def shown(self) -> str:
        """The text with ``<sas>`` for URLs that carry one and ``***`` for secrets."""
        return self._join(lambda url: "<sas>" if url.permissions else "<url>", str, _show)

    def resolve(self, url: Callable[[BlobUrl], str]) -> str:
        """The text as it goes to the service; ``url`` mints the URLs.

        Raises:
            UnquotableError: a secret that is an argument cannot be one.
        """
        return self._join(url, Secret.reveal, lambda text, quoted: quote(text, quoted.quoting))

    def identity(self) -> str:
        """What the text says, independent of signatures and secret values: stable over time."""
        return self._join(
            lambda u: f"\x00{u.container}\x00{u.blob or ''}\x00{u.permissions}\x00",
            lambda _: "\x00***\x00",
            lambda text, quoted: f"\x01{quoted.quoting}\x01{text}\x02",
        )

    def urls(self) -> Iterator[BlobUrl]:
        """Every blob URL in it."""
        for piece in self.pieces:
            if isinstance(piece, BlobUrl):
                yield piece
            elif isinstance(piece, Quoted):
                yield from piece.inner.urls()

    def _join(
        self,
        url: Callable[[BlobUrl], str],
        secret: Callable[[Secret], str],
        argument: Callable[[str, Quoted], str],
    ) -> str:
        parts: list[str] = []
        for piece in self.pieces:
            match piece:
                case str():
                    parts.append(piece)
                case BlobUrl():
                    parts.append(url(piece))
                case Secret():
                    parts.append(secret(piece))
                case Quoted(inner):
                    parts.append(argument(inner._join(url, secret, argument), piece))
        return "".join(parts)


def _show(text: str, quoted: Quoted) -> str:
    # A placeholder needs no quotes; a reader of the plan is better off without.
    pieces = quoted.inner.pieces
    bare = len(pieces) == 1 and isinstance(pieces[0], BlobUrl | Secret)
    return text if bare else quote(text, quoted.quoting)


_PLAIN = re.compile(r"[A-Za-z0-9_./:\\@+-]*[A-Za-z0-9_./:@+-]")
"""What needs no quotes for ``cmd`` and for a Windows program; a backslash last would escape one."""


_META = re.compile(r"(?<=%).|[^A-Za-z0-9_./:\\-]")
"""What gets a caret: everything that could mean something, and whatever comes after a ``%``."""


def quote(value: str, quoting: Quoting) -> str:
    """Quote ``value`` so that the node hands it on as exactly one argument.

    POSIX: ``shlex.quote``; ``sh`` expands nothing between single quotes.

    Windows: the rules of the C runtime's argument parser (a backslash is doubled before a quote,
    and only there). ``cmd`` reads the line first: between quotes it leaves all alone but ``%``, and
    it counts quotes without regard to backslashes. A value with either is therefore escaped by
    carets throughout, quotes included, so that ``cmd`` never takes itself to be between quotes; it
    expands variables before it looks at carets, and ``%^PATH%`` names none. A batch file reads its
    arguments once more, and no quoting holds there.

    Raises:
        UnquotableError: NUL, which ends an argument everywhere; for ``cmd`` also a line break,
            which ends the line.
    """
    if "\0" in value:
        raise UnquotableError("no argument can hold a NUL character")
    if quoting is Quoting.POSIX:
        return shlex.quote(value)
    if _PLAIN.fullmatch(value):
        return value
    argument = '"' + re.sub(r'(\\*)("|$)', _double, value) + '"'
    if quoting is Quoting.WINDOWS_PROGRAM:
        return argument
    if "\n" in value or "\r" in value:
        raise UnquotableError("no argument of a cmd line can hold a line break")
    if '"' in value or "%" in value:
        return _META.sub(r"^\g<0>", argument)
    return argument


def _double(match: re.Match[str]) -> str:
    backslashes, end = match.groups()
    return backslashes * 2 + ('\\"' if end else "")


@dataclass(frozen=True, slots=True)
class Kind:
    """What is wanted where a template stands, if it is not any text: a number, a choice, a unit.

    ``schema`` is the part of the spec's schema that says which values are good there, ``name`` the
    key, and ``where`` the place of the whole value. ``becomes`` is given for the choice of a short
    form: what each of them is short for.
    """

    name: str
    schema: Mapping[str, Any] = field(hash=False)
    where: Place
    becomes: Mapping[Any, Value] | None = field(default=None, hash=False)


@dataclass(frozen=True, slots=True)
class Template:
    """A ``{{ ... }}`` text of a stage, to be evaluated once for every task.

    ``where`` is the place of its first character in the spec. ``kind`` says what its text is read
    as; ``None`` leaves it a text. A template is gone from a value once it was evaluated; one that
    is still there cannot be sent (:func:`thaw` refuses it).
    """

    source: str
    where: Place
    kind: Kind | None = None


Value: TypeAlias = (
    "bool | int | float | str | Text | Template | Secret | BlobUrl"
    " | tuple[Value, ...] | Record | None"
)
"""A JSON value whose strings may still be deferred."""


class Record(Mapping[str, Value]):
    """A frozen JSON object that keeps its order. Equal when it holds the same; hashable."""

    __slots__ = ("_items",)

    def __init__(self, items: Mapping[str, Value] | None = None, /, **named: Value) -> None:
        self._items: dict[str, Value] = {**(items or {}), **named}

    def __getitem__(self, key: str) -> Value:
        return self._items[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    # What Mapping would make of the above, without its detour: tasks by the million are made so.

    def __contains__(self, key: object) -> bool:
        return key in self._items

    def keys(self) -> KeysView[str]:
        """The names, in order."""
        return self._items.keys()

    def values(self) -> ValuesView[Value]:
        """The values, in order."""
        return self._items.values()

    def items(self) -> ItemsView[str, Value]:
        """Names and values, in order."""
        return self._items.items()

    def __hash__(self) -> int:
        return hash(tuple(sorted(self._items.items(), key=lambda item: item[0])))

    def __repr__(self) -> str:
        return f"Record({self._items!r})"

    def with_(self, **named: Value) -> Record:
        """A copy with these members set; ``None`` takes a member away."""
        merged = {**self._items, **named}
        return Record({key: value for key, value in merged.items() if value is not None})


def freeze(value: object) -> Value:
    """A plain JSON value (dicts and lists) as a frozen one.

    Raises:
        TypeError: something in it is not JSON.
    """
    match value:
        case None | bool() | int() | float() | str():
            return value
        case Text() | Template() | Secret() | BlobUrl() | Record():
            return value
        case Mapping():
            return Record({str(key): freeze(item) for key, item in value.items()})
        case list() | tuple():
            return tuple(freeze(item) for item in value)
    raise TypeError(f"not a JSON value: {type(value).__name__}")


def thaw(value: Value, text: Callable[[Text], str]) -> object:
    """A frozen value as plain dicts and lists; ``text`` says what becomes of a :class:`Text`.

    ``thaw(body, lambda t: t.resolve(mint))`` is a request body; ``lambda t: t.shown`` is what may
    be printed; ``Text.identity`` is what may be hashed or compared. A lone :class:`BlobUrl` or
    :class:`Secret` counts as a text of one piece.

    Raises:
        TypeError: a :class:`Template` was not evaluated.
    """
    match value:
        case Text():
            return text(value)
        case BlobUrl() | Secret():
            return text(Text((value,)))
        case Template():
            raise TypeError(f"a template was not evaluated: {value.source!r}")
        case Record():
            return {key: thaw(item, text) for key, item in value.items()}
        case tuple():
            return [thaw(item, text) for item in value]
    return value
