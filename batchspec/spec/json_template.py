"""JSON texts of objects that differ in a few strings only: what they share is encoded once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from json.encoder import encode_basestring_ascii
from typing import TypeAlias, TypeVar

from batchspec.diagnostics import Secret
from batchspec.spec.values import BlobUrl, Record, Template, Text, Value, thaw

T = TypeVar("T")
_Part: TypeAlias = str | int | Text
"""A literal text, the number of a value, or a string that is resolved later."""

json_string: Callable[[str], str] = encode_basestring_ascii
"""A string as JSON in ASCII, as ``json.dumps`` encodes it."""


class JsonTemplate:
    """The JSON text of an object whose templates are replaced by strings."""

    __slots__ = ("_numbers", "_parts", "names")

    def __init__(self, parts: Iterable[_Part], names: frozenset[str]) -> None:
        """``names`` are those of the members; :meth:`of` makes the parts."""
        self._parts = tuple(_merged(parts))
        self._numbers = [part for part in self._parts if isinstance(part, int)]
        self.names = names

    @classmethod
    def of(
        cls, value: Record, numbers: Mapping[Template, int], *, canonical: bool = False
    ) -> JsonTemplate:
        """The template of an object.

        ``numbers`` has the number of the string for each template. ``canonical``: members are
        sorted by name and separators have spaces, as in digests; otherwise the text is short.
        """
        return cls(_encoded(value, numbers, canonical=canonical), frozenset(value))

    def with_member(self, name: str, value: Value) -> JsonTemplate:
        """The template with one more member, which has no templates."""
        *before, last = self._parts
        assert isinstance(last, str)
        added = _encoded(value, {}, canonical=False)
        parts = (*before, f"{last[:-1]},{json_string(name)}:", *added, "}")
        return JsonTemplate(parts, self.names | {name})

    def arguments(self, strings: Sequence[T]) -> tuple[T, ...]:
        """The arguments of a format from all strings in the order of their numbers."""
        return tuple([strings[number] for number in self._numbers])

    def format(self, text: Callable[[Text], str]) -> str:
        """The format of the JSON texts, for ``%``; ``text`` resolves deferred strings."""
        return "".join(
            "%s"
            if isinstance(part, int)
            else (part if isinstance(part, str) else json_string(text(part))).replace("%", "%%")
            for part in self._parts
        )


def _encoded(value: Value, numbers: Mapping[Template, int], *, canonical: bool) -> Iterator[_Part]:
    comma, colon = (", ", ": ") if canonical else (",", ":")
    match value:
        case Template():
            yield numbers[value]
        case Text():
            yield value
        case BlobUrl() | Secret():
            yield Text((value,))
        case tuple():
            yield "["
            for index, item in enumerate(value):
                if index:
                    yield comma
                yield from _encoded(item, numbers, canonical=canonical)
            yield "]"
        case Record():
            yield "{"
            for index, key in enumerate(sorted(value) if canonical else value):
                yield f"{comma if index else ''}{json_string(key)}{colon}"
                yield from _encoded(value[key], numbers, canonical=canonical)
            yield "}"
        case _:
            yield json.dumps(value)


def _merged(parts: Iterable[_Part]) -> Iterator[_Part]:
    """The parts with adjacent literal texts joined."""
    literal = ""
    for part in parts:
        if isinstance(part, str):
            literal += part
            continue
        yield literal
        yield part
        literal = ""
    yield literal


class FilledRecord(Record):
    """An object with a JSON text that is cheap to make; its members are made on first use.

    ``id`` is the member of that name. The text is the format of ``template`` with ``arguments``,
    which are JSON, or strings that are resolved later. ``make`` makes an equal object.
    """

    __slots__ = ("_make", "arguments", "id", "template")

    def __init__(
        self,
        name: str,
        template: JsonTemplate,
        arguments: tuple[str | Text, ...],
        make: Callable[[], Record],
    ) -> None:
        self.id = name
        self.template = template
        self.arguments = arguments
        self._make = make

    def extended(self, template: JsonTemplate, **named: Value) -> FilledRecord:
        """This object with more members, which ``template`` has too."""
        return FilledRecord(self.id, template, self.arguments, lambda: self.with_(**named))

    def __getattr__(self, name: str) -> dict[str, Value]:
        # Called for attributes that are not set: the members, the first time.
        if name != "_items":
            raise AttributeError(name)
        self._items = dict(self._make())
        return self._items


def json_texts(records: Sequence[Record], text: Callable[[Text], str]) -> list[str]:
    """The JSON texts of objects; ``text`` resolves deferred strings.

    What several objects share (:class:`FilledRecord`) is resolved once.
    """
    formats: dict[JsonTemplate, str] = {}
    found: list[str] = []
    for record in records:
        if not isinstance(record, FilledRecord):
            found.append(json.dumps(thaw(record, text), separators=(",", ":")))
            continue
        if (shared := formats.get(record.template)) is None:
            shared = formats[record.template] = record.template.format(text)
        strings = [
            each if isinstance(each, str) else json_string(text(each)) for each in record.arguments
        ]
        found.append(shared % tuple(strings))
    return found


def record_id(record: Record) -> str:
    """The member ``id`` of an object; of a filled one without its other members."""
    return record.id if isinstance(record, FilledRecord) else str(record["id"])
