"""Frozen JSON values of a spec, some parts of which are resolved only when they are sent.

A URL with a SAS is signed at submission and never shown; a secret parameter is never shown. Both
are pieces of a :class:`Text`, so that a plan, a log or a saved file can only contain ``<sas>`` and
``***``. :class:`Record` is a frozen JSON object. In template expressions both are :class:`Opaque`:
they can be inserted into a string, and nothing else.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, ItemsView, Iterator, KeysView, Mapping, ValuesView
from dataclasses import field
from enum import StrEnum
from types import BuiltinMethodType
from typing import Any, Literal, NamedTuple, NoReturn, TypeAlias

from batchspec.diagnostics import Place, Secret
from batchspec.frozen import frozen


class Quoting(StrEnum):
    """The quoting that makes a value one argument of a command line on the node."""

    POSIX = "posix"
    """For ``sh``, and for a line that the service itself splits on Linux."""
    WINDOWS = "windows"
    """For ``cmd /c``, which starts a program that parses its own command line."""
    WINDOWS_PROGRAM = "windows-program"
    """For a Windows program started without ``cmd``."""
    IN_SINGLE = "in-single"
    """A part of an argument between single quotes of ``sh``."""
    IN_DOUBLE = "in-double"
    """A part of an argument between double quotes of ``sh``."""
    IN_WINDOWS = "in-windows"
    """A part of an argument between double quotes on Windows."""
    IN_JSON = "in-json"
    """A part of a string in a JSON text."""


UNQUOTE = "Remove the quotes: inserted values are quoted automatically."
"""The fix for a value that cannot be inserted between quotes."""


class UnquotableError(ValueError):
    """The command line cannot contain the value.

    The text of the error does not include the value.
    """

    def __init__(self, reason: str, fix: str = "") -> None:
        super().__init__(reason)
        self.fix = fix


@frozen
class BlobUrl:
    """The URL of a container or of a blob in it.

    ``container`` is the name in the account. ``permissions`` are SAS letters in the service's order
    (``r``, ``rl``, ``cw`` ...); empty means the plain URL without a SAS.
    """

    container: str
    blob: str | None = None
    permissions: str = ""

    @property
    def shown(self) -> str:
        """The placeholder in a plan or a log."""
        name = self.container if self.blob is None else f"{self.container}/{self.blob}"
        return f"<sas>{name}" if self.permissions else f"<url>{name}"


@frozen
class Quoted:
    """A string that is quoted as one argument after it is resolved."""

    inner: Text
    quoting: Quoting


Piece: TypeAlias = str | BlobUrl | Secret | Quoted
"""A part of a :class:`Text`."""


@frozen
class Text:
    """A string with pieces that are resolved at submission."""

    pieces: tuple[Piece, ...]

    @property
    def shown(self) -> str:
        """The text with ``<sas>`` for signed URLs and ``***`` for secrets."""
        return self._join(lambda url: "<sas>" if url.permissions else "<url>", str, _show)

    def resolve(self, url: Callable[[BlobUrl], str]) -> str:
        """The text to send to the service; ``url`` signs and formats each URL.

        Raises:
            UnquotableError: a command line cannot contain the value of a secret.
        """
        return self._join(url, Secret.reveal, lambda text, quoted: quote(text, quoted.quoting))

    def identity(self) -> str:
        """The text for hashing and comparison, without signatures and values of secrets."""
        return self._join(
            lambda u: f"\x00{u.container}\x00{u.blob or ''}\x00{u.permissions}\x00",
            lambda _: "\x00***\x00",
            lambda text, quoted: f"\x01{quoted.quoting}\x01{text}\x02",
        )

    def flat(self) -> Iterator[str | BlobUrl | Secret]:
        """The pieces of the text, and those within its arguments."""
        for piece in self.pieces:
            if isinstance(piece, Quoted):
                yield from piece.inner.flat()
            else:
                yield piece

    def urls(self) -> Iterator[BlobUrl]:
        """Every blob URL in the text."""
        return (piece for piece in self.flat() if isinstance(piece, BlobUrl))

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
    # A plan is easier to read without quotes around a placeholder.
    pieces = quoted.inner.pieces
    bare = len(pieces) == 1 and isinstance(pieces[0], BlobUrl | Secret)
    return text if bare else quote(text, quoted.quoting)


_PLAIN = re.compile(r"[A-Za-z0-9_./:\\@+-]*[A-Za-z0-9_./:@+-]")
"""Values that ``cmd`` and Windows programs take without quotes; a final backslash would escape a
quote."""

_IN_DOUBLE = re.compile(r'[\\"$`]')
_IN_WINDOWS = re.compile(r'["%\r\n]|\\\Z')

_META = re.compile(r"(?<=%).|[^A-Za-z0-9_./:\\-]")
"""Characters that get a caret: all characters that ``cmd`` may interpret, and the character after a
``%``."""


def quote(value: str, quoting: Quoting) -> str:
    """Quote ``value`` so that the node passes it as exactly one argument.

    POSIX: ``shlex.quote``; ``sh`` expands nothing between single quotes.

    Windows: the rules of the C runtime's argument parser (a backslash is doubled before a quote,
    and only there). ``cmd`` parses the line first: between quotes it interprets only ``%``, and it
    counts quotes without regard to backslashes. A value with either is therefore escaped with
    carets throughout, quotes included, so that ``cmd`` is never between quotes; it expands
    variables before it processes carets, and ``%^PATH%`` is not a variable. A batch file parses its
    arguments a second time, and quoting is not reliable there.

    Between the user's quotes, only characters that would close them are quoted.

    Raises:
        UnquotableError: the value contains NUL, which ends an argument everywhere, or for ``cmd`` a
            line break, which ends the command; or, between quotes on Windows, a character with an
            effect there.
    """
    if "\0" in value:
        raise UnquotableError("an argument cannot contain a NUL character")
    match quoting:
        case Quoting.POSIX:
            return shlex.quote(value)
        case Quoting.IN_SINGLE:
            return value.replace("'", "'\"'\"'")
        case Quoting.IN_DOUBLE:
            # Both `sh` and a service that splits the line itself read adjacent quotes as one
            # argument; they differ in what a backslash means between double quotes.
            return f'"{shlex.quote(value)}"' if _IN_DOUBLE.search(value) else value
        case Quoting.IN_WINDOWS:
            return _in_windows(value)
        case Quoting.IN_JSON:
            return json.dumps(value, ensure_ascii=False)[1:-1]
        case Quoting.WINDOWS | Quoting.WINDOWS_PROGRAM:
            return _for_windows(value, cmd=quoting is Quoting.WINDOWS)


def _for_windows(value: str, *, cmd: bool) -> str:
    if _PLAIN.fullmatch(value):
        return value
    escaped = re.sub(r'(\\*)("|$)', lambda found: found[1] * 2 + ('\\"' if found[2] else ""), value)
    argument = f'"{escaped}"'
    if not cmd:
        return argument
    if "\n" in value or "\r" in value:
        raise UnquotableError("an argument for cmd cannot contain a line break")
    if '"' in value or "%" in value:
        return _META.sub(r"^\g<0>", argument)
    return argument


def _in_windows(value: str) -> str:
    """The value itself, if ``cmd`` and the program do not interpret it between double quotes."""
    acts = _IN_WINDOWS.search(value)
    if acts is not None:
        name = "a line break" if acts.group() in "\r\n" else f"`{acts.group()}`"
        where = " at its end" if acts.group() == "\\" else ""
        raise UnquotableError(
            f"a value with {name}{where} cannot be inserted inside double quotes", UNQUOTE
        )
    return value


@frozen
class Kind:
    """The type that the schema expects in the place of a template.

    ``schema`` is the subschema, ``name`` the key, ``where`` the position of the whole value.
    ``form`` is ``text`` where any text is accepted, ``scalar`` for a number, choice, duration or
    the like, ``collection`` for a list or mapping. ``becomes`` maps each choice of a short form to
    the value that it is short for.
    """

    name: str
    schema: Mapping[str, Any] = field(hash=False)
    where: Place
    form: Literal["text", "scalar", "collection"] = "scalar"
    becomes: Mapping[Any, Value] | None = field(default=None, hash=False)


class Target(StrEnum):
    """The target of a template whose values are escaped for it."""

    PATTERN = "pattern"
    """The pattern of an output, in which ``*``, ``?``, ``[`` and variables are special."""
    URL = "url"


@frozen
class Template:
    """A ``{{ ... }}`` text of a stage that is evaluated for every task.

    ``where`` is the position of its first character in the spec. ``kind`` is the type that the
    result is converted to; ``None`` for a string. Values are escaped for ``target``. Every template
    is evaluated before a value is sent (:func:`thaw` refuses one that is not).
    """

    source: str
    where: Place
    kind: Kind | None = None
    target: Target | None = None


Value: TypeAlias = (
    "bool | int | float | str | Text | Template | Secret | BlobUrl"
    " | tuple[Value, ...] | Record | None"
)
"""A JSON value whose strings may be resolved later."""


class Record(Mapping[str, Value]):
    """A frozen, hashable JSON object that keeps its order; compared by content."""

    __slots__ = ("_items",)

    def __init__(self, items: Mapping[str, Value] | None = None, /, **named: Value) -> None:
        self._items: dict[str, Value] = {**(items or {}), **named}

    def __getitem__(self, key: str) -> Value:
        return self._items[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    # Faster than the methods of Mapping, which matters for millions of tasks.

    def __contains__(self, key: object) -> bool:
        return key in self._items

    def keys(self) -> KeysView[str]:
        """The names in order."""
        return self._items.keys()

    def values(self) -> ValuesView[Value]:
        """The values in order."""
        return self._items.values()

    def items(self) -> ItemsView[str, Value]:
        """Names and values in order."""
        return self._items.items()

    def record(self, *path: str) -> Record:
        """The object at a path of names; an empty one if there is none."""
        found = self
        for name in path:
            member = found._items.get(name)
            found = member if isinstance(member, Record) else Record()
        return found

    def array(self, *path: str) -> tuple[Value, ...]:
        """The items of the list at a path of names; none if there is no list."""
        found = self.record(*path[:-1])._items.get(path[-1])
        return found if isinstance(found, tuple) else ()

    def records(self, *path: str) -> Iterator[Record]:
        """The objects in the list at a path of names."""
        return (item for item in self.array(*path) if isinstance(item, Record))

    def string(self, *path: str) -> str | None:
        """The string at a path of names; ``None`` if there is none, or it is a deferred text."""
        found = self.record(*path[:-1])._items.get(path[-1])
        return found if isinstance(found, str) else None

    def number(self, name: str, default: int = 0) -> int:
        """The whole number with this name; ``default`` if there is none."""
        found = self._items.get(name)
        return found if isinstance(found, int) and not isinstance(found, bool) else default

    def __hash__(self) -> int:
        return hash(tuple(sorted(self._items.items(), key=lambda item: item[0])))

    def __repr__(self) -> str:
        return f"Record({self._items!r})"

    def with_(self, **named: Value) -> Record:
        """A copy with these members set; ``None`` removes a member."""
        merged = {**self._items, **named}
        return Record({key: value for key, value in merged.items() if value is not None})


def freeze(value: object) -> Value:
    """Freeze a plain JSON value (dicts and lists).

    Raises:
        TypeError: a part of the value is not JSON.
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
    """Convert a frozen value to plain dicts and lists; ``text`` converts each :class:`Text`.

    With ``lambda t: t.resolve(sign)`` the result is a request body, with ``lambda t: t.shown`` it
    can be printed, with ``Text.identity`` it can be hashed or compared. A single :class:`BlobUrl`
    or :class:`Secret` is converted as a string of one piece.

    Raises:
        TypeError: the value contains a :class:`Template`.
    """
    match value:  # The most frequent types first; Record is last, because its check is slow.
        case str() | int() | float() | None:
            return value
        case tuple():
            return [thaw(item, text) for item in value]
        case Text():
            return text(value)
        case BlobUrl() | Secret():
            return text(Text((value,)))
        case Template():
            raise TypeError(f"a template was not evaluated: {value.source!r}")
        case Record():
            return {key: thaw(item, text) for key, item in value.items()}


LIMIT = 1_000_000
"""The maximum number of characters that an expression may yield; no request can be longer."""
TOO_LARGE = "a number is too large"


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
        """Refuse an operation on the value: always a :class:`RefusalError`."""
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
            try:
                return str(value)
            except ValueError:
                # Python's limit of the digits of an integer.
                raise RefusalError(TOO_LARGE) from None
        case Named():
            return value.text
        case Opaque():
            value.refuse()
    kind, fix = _without_text(value)
    raise RefusalError(f"a string or number is required, not {kind}", fix)


def _without_text(value: object) -> tuple[str, str]:
    """The type of a value without a text form, and the fix to insert it."""
    match value:
        case None:
            return "null", "Give a default: `| default('', true)`."
        case Mapping():
            return "an object", "Insert one of its members, or convert it with `| tojson`."
        case list() | tuple() | Iterator():
            return "a list", "Join the items with `| join(',')`."
        case BuiltinMethodType():
            return "a method", f"Call it: `{value.__name__}()`."
    # An undefined name raises a separate message here, except for a condition without `else`.
    return str(value) or "the missing result of an `if` without `else`", ""
