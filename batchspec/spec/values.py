"""Values of a spec that are complete, though a part of them is only known when they are sent.

A URL that carries a SAS is minted at submission, never before, and never shown; a secret parameter
is never shown at all. Both travel as parts of a :class:`Text`, so a plan, a log or a saved file can
only hold ``<sas>`` and ``***``. :class:`Record` is the frozen form of a JSON object.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from batchspec.problems import Place, Secret


class Quoting(StrEnum):
    """How a value becomes one argument of a command line on the node."""

    POSIX = "posix"
    WINDOWS = "windows"


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
        return self._join(lambda _: "<sas>", lambda _: "***", quote_held=False)

    def resolve(self, url: Callable[[BlobUrl], str]) -> str:
        """The text as it goes to the service; ``url`` mints the URLs."""
        return self._join(url, Secret.reveal, quote_held=True)

    def identity(self) -> str:
        """What the text says, independent of signatures and secret values: stable over time."""
        return self._join(
            lambda u: f"\x00{u.container}\x00{u.blob or ''}\x00{u.permissions}\x00",
            lambda _: "\x00***\x00",
            quote_held=True,
        )

    def urls(self) -> Iterator[BlobUrl]:
        """Every blob URL in it."""
        for piece in self.pieces:
            if isinstance(piece, BlobUrl):
                yield piece
            elif isinstance(piece, Quoted):
                yield from piece.inner.urls()

    def _join(
        self, url: Callable[[BlobUrl], str], secret: Callable[[Secret], str], *, quote_held: bool
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
                case Quoted(inner, quoting):
                    text = inner._join(url, secret, quote_held=quote_held)
                    # A placeholder needs no quotes; a reader of the plan is better off without.
                    bare = not quote_held and len(inner.pieces) == 1 and _held(inner.pieces[0])
                    parts.append(text if bare else quote(text, quoting))
        return "".join(parts)


def _held(piece: Piece) -> bool:
    return isinstance(piece, BlobUrl | Secret)


def quote(value: str, quoting: Quoting) -> str:
    """Quote ``value`` so that the node's shell hands it on as exactly one argument.

    POSIX: single quotes (``sh`` expands nothing inside). Windows: the rules of the C runtime's
    argument parser (backslashes before a quote are doubled), with every character special to
    ``cmd`` escaped by a caret, since ``cmd`` reads the line first; ``%`` cannot be escaped on a
    ``cmd /c`` line, but ``^%`` breaks up a variable reference.
    """
    if quoting is Quoting.POSIX:
        return shlex.quote(value)
    if value and not any(c in value for c in ' \t\n\v"&|<>^()%!,;='):
        return value
    out: list[str] = ['"']
    backslashes = 0
    for character in value:
        if character == "\\":
            backslashes += 1
            continue
        if character == '"':
            out.append("\\" * (2 * backslashes + 1))
        else:
            out.append("\\" * backslashes)
        backslashes = 0
        out.append(character)
    out.append("\\" * (2 * backslashes))
    out.append('"')
    return "".join(f"^{c}" if c in '"&|<>^()%!' else c for c in "".join(out))


@dataclass(frozen=True, slots=True)
class Template:
    """A ``{{ ... }}`` text of a stage, to be evaluated once for every task.

    ``where`` is the place of its first character in the spec. A template is gone from a value once
    it was evaluated; one that is still there cannot be sent (:func:`thaw` refuses it).
    """

    source: str
    where: Place


Value: TypeAlias = "bool | int | float | str | Text | Template | Secret | BlobUrl | tuple[Value, ...] | Record | None"
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
