"""Templates of which many tasks fill in a few strings only.

A stage can have a million tasks. The shared parts of their commands, of their other templates and
of their JSON texts are evaluated or encoded once. Commands with other values are evaluated by
:func:`~batchspec.spec.convert.command_line`, other templates by
:func:`~batchspec.spec.template.evaluate`.
"""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from json.encoder import encode_basestring_ascii
from operator import itemgetter
from typing import TypeAlias, TypeVar

from batchspec.diagnostics import Secret, SpecError
from batchspec.frozen import frozen
from batchspec.spec.model import Command, Shell
from batchspec.spec.template import evaluate, looked_up, parts, places
from batchspec.spec.values import (
    LIMIT,
    BlobUrl,
    Quoted,
    Quoting,
    Record,
    Template,
    Text,
    Value,
    thaw,
)

T = TypeVar("T")
_Path: TypeAlias = tuple[str, ...]
_SHELL = "/bin/sh -c "
_BEFORE, _AFTER = Text((Quoted(Text(("?",)), Quoting.POSIX),)).identity().split("?")
"""The identity of an argument that is quoted later."""
_OBJECTS = (dict, Mapping)
_LARGEST = 1 << 63
"""Larger numbers are left to ``command_line``, which may refuse them."""


@frozen
class _BoundText:
    """A template with the values that all tasks share.

    ``tokens`` are texts, and paths of adjacent values that form one argument. ``deferred``: a part
    of it is known at submission only, so that it becomes a :class:`~batchspec.spec.values.Text`.
    """

    tokens: tuple[str | tuple[_Path, ...], ...]
    deferred: bool
    quoted: bool

    def identity(self, variables: Mapping[str, object]) -> str | None:
        """The identity of the text; ``None`` if a value is not a plain one."""
        found: list[str] = []
        for token in self.tokens:
            if type(token) is str:
                found.append(token)
                continue
            argument = ""
            for path in token:
                value: object = variables
                for name in path:
                    if not isinstance(value, _OBJECTS) or name not in value:
                        return None
                    value = value[name]
                if type(value) is int and -_LARGEST < value < _LARGEST:
                    value = str(value)
                if type(value) is not str or "\0" in value:
                    return None
                argument += value
            found.append(shlex.quote(argument) if self.quoted else argument)
        return "".join(found)


@frozen
class BoundCommand:
    """A command with the values that all tasks share; ``shared`` are their names."""

    texts: tuple[_BoundText, ...]
    shell: Shell
    is_list: bool
    shared: frozenset[str]

    @property
    def deferred(self) -> bool:
        """Whether the command line is a text that is resolved at submission."""
        return any(each.deferred for each in self.texts)

    def identity(self, variables: Mapping[str, object]) -> str | None:
        """The identity of the command line with these values: unless deferred, the line itself.

        ``None`` if ``command_line`` has to create it: a value is not a plain one, is missing or has
        the name of a shared one, or an error has to be reported.
        """
        if not self.shared.isdisjoint(variables):
            return None
        found: list[str] = []
        for each in self.texts:
            text = each.identity(variables)
            if text is None or len(text) > LIMIT:
                return None
            found.append(_argument(text, deferred=each.deferred) if self.is_list else text)
        if self.is_list:
            return " ".join(found)
        (script,) = found
        if self.shell is Shell.NONE:
            return script
        return _SHELL + _argument(script, deferred=self.texts[0].deferred)


@frozen
class BoundTemplate:
    """A template with the values that all tasks share; ``shared`` are their names."""

    text: _BoundText
    shared: frozenset[str]

    def filled(self, variables: Mapping[str, object]) -> str | None:
        """The text with these values.

        ``None`` if ``evaluate`` has to create it: a value is not a plain one, is missing or has the
        name of a shared one, or an error has to be reported.
        """
        if not self.shared.isdisjoint(variables):
            return None
        text = self.text.identity(variables)
        return None if text is None or len(text) > LIMIT else text


def bind_template(template: Template, scope: Mapping[str, object]) -> BoundTemplate | None:
    """A template with the values of a scope that all tasks share.

    ``None`` for a template that only ``evaluate`` can fill in: with expressions other than names,
    with secrets or URLs, or with values that are escaped.
    """
    text = _bind(template, scope, None)
    if text is None or text.deferred:
        return None
    return BoundTemplate(text, _shared_names((template,), scope))


def _shared_names(templates: Iterable[Template], scope: Mapping[str, object]) -> frozenset[str]:
    """The names of a scope that templates with nothing but paths use."""
    found = (parts(template.source) or () for template in templates)
    names = {part[0] for each in found for part in each if isinstance(part, tuple)}
    return frozenset(names & scope.keys())


def bind_command(
    command: Command, scope: Mapping[str, object], *, windows: bool
) -> BoundCommand | None:
    """A command with the values of a scope that all tasks share.

    ``None`` for a command that only ``command_line`` can create: for Windows, with expressions
    other than names, or with values between quotes.
    """
    templates = command.arguments if command.template is None else (command.template,)
    quoting = None if command.template is None else Quoting.POSIX
    texts: list[_BoundText] = []
    for template in templates:
        text = None if windows else _bind(template, scope, quoting)
        if text is None:
            return None
        if quoting is not None and command.shell is not Shell.NONE:
            text = _without_final_newline(text)
        texts.append(text)
    if quoting is not None and not templates[0].source.strip():
        return None  # An empty command stays empty.
    return BoundCommand(
        tuple(texts), command.shell, command.template is None, _shared_names(templates, scope)
    )


def _bind(
    template: Template, scope: Mapping[str, object], quoting: Quoting | None
) -> _BoundText | None:
    source = template.source
    simple = parts(source)
    if not simple or template.target is not None or template.kind is not None:
        return None
    if quoting is None and isinstance(simple[0], str) and simple[0].lstrip()[:1] in ("{", "["):
        return None  # May be a JSON text, in which values are escaped.
    if quoting is not None and any(place is not quoting for place in places(source, quoting)):
        return None
    tokens: list[str | tuple[_Path, ...]] = []
    deferred = False
    for is_path, group in groupby(simple, lambda part: isinstance(part, tuple)):
        if not is_path:
            tokens += [part for part in group if isinstance(part, str)]
            continue
        paths = tuple(part for part in group if isinstance(part, tuple))
        own = [path[0] not in scope for path in paths]
        if all(own):
            tokens.append(paths)
            continue
        shared = None if any(own) else _shared(paths, scope, template, quoting)
        if shared is None:
            return None
        deferred = deferred or isinstance(shared, Text)
        tokens.append(shared if isinstance(shared, str) else shared.identity())
    return _BoundText(tuple(tokens), deferred, quoting is not None)


def _shared(
    paths: tuple[_Path, ...],
    scope: Mapping[str, object],
    template: Template,
    quoting: Quoting | None,
) -> str | Text | None:
    """Adjacent values of the scope as one argument; ``None`` if they cannot be inserted."""
    if looked_up(paths, scope) is None:
        return None
    members = ("".join(f"['{name}']" for name in path[1:]) for path in paths)
    source = "".join(
        f"{{{{ {path[0]}{rest} }}}}" for path, rest in zip(paths, members, strict=True)
    )
    try:
        return evaluate(replace(template, source=source), scope, quoting=quoting)
    except SpecError:
        return None  # `command_line` reports the error.


def _without_final_newline(text: _BoundText) -> _BoundText:
    """The text of a script without the line break at the end of a block scalar."""
    *before, last = text.tokens or ("",)
    if not isinstance(last, str):
        return text
    return replace(text, tokens=(*before, last.rstrip("\r\n")))


def _argument(text: str, *, deferred: bool) -> str:
    """The identity of an argument; one with a deferred part is quoted when that is known."""
    return f"{_BEFORE}{text}{_AFTER}" if deferred else shlex.quote(text)


_Part: TypeAlias = str | int | Text
"""A literal text, the number of a value, or a string that is resolved later."""

json_string: Callable[[str], str] = encode_basestring_ascii
"""A string as JSON in ASCII, as ``json.dumps`` encodes it."""


class JsonTemplate:
    """The JSON text of an object whose templates are replaced by strings."""

    __slots__ = ("_parts", "arguments", "names", "repeats")

    def __init__(self, parts: Iterable[_Part], names: frozenset[str]) -> None:
        """``names`` are those of the members; :meth:`of` makes the parts.

        ``arguments`` makes the arguments of a text from all strings in the order of their numbers;
        one string occurs up to ``repeats`` times in them.
        """
        self._parts = tuple(_merged(parts))
        numbers = [part for part in self._parts if isinstance(part, int)]
        self.arguments = _selection(numbers)
        self.repeats = max(Counter(numbers).values(), default=0)
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

    def bind(self, text: Callable[[Text], str]) -> Callable[[Sequence[str]], str]:
        """A function from arguments to the JSON text; ``text`` resolves deferred strings."""
        parts = [""]
        for part in self._parts:
            if isinstance(part, int):
                parts += ["", ""]
            else:
                parts[-1] += part if isinstance(part, str) else json_string(text(part))

        def filled(arguments: Sequence[str]) -> str:
            made = parts.copy()
            made[1::2] = arguments
            return "".join(made)

        return filled


def _selection(numbers: Sequence[int]) -> Callable[[Sequence[T]], tuple[T, ...]]:
    """A function from a sequence to its elements with these indexes."""
    if len(numbers) > 1:
        return itemgetter(*numbers)
    return lambda found: tuple([found[number] for number in numbers])


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

    ``id`` is the member of that name. The text is that of ``template`` with ``arguments``, which
    are JSON, or strings that are resolved later. ``make`` makes an equal object.
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

    Shared parts of several objects (:class:`FilledRecord`) are resolved once.
    """
    bound: dict[JsonTemplate, Callable[[Sequence[str]], str]] = {}
    found: list[str] = []
    for record in records:
        if not isinstance(record, FilledRecord):
            found.append(json.dumps(thaw(record, text), separators=(",", ":")))
            continue
        if (filled := bound.get(record.template)) is None:
            filled = bound[record.template] = record.template.bind(text)
        strings = [
            each if isinstance(each, str) else json_string(text(each)) for each in record.arguments
        ]
        found.append(filled(strings))
    return found


def record_id(record: Record) -> str:
    """The member ``id`` of an object; of a filled one without its other members."""
    return record.id if isinstance(record, FilledRecord) else str(record["id"])
