"""YAML text → a tree of :class:`Node` that keeps the position of every key and value.

The tree is composed from parser events, so that no text can exhaust the stack or the memory.
Scalars are resolved by the rules of JSON and YAML 1.2, not by the wider rules of YAML 1.1: ``no``,
``0755``, ``1:30`` and ``2026-01-01`` are strings. Merge keys (``<<``) and aliases are supported;
tags and multiple documents are not.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import NoReturn, TypeAlias

import yaml

from batchspec.diagnostics import Diagnostic, Diagnostics, Place, Severity, SpecError
from batchspec.spec.source import Source
from batchspec.spec.values import Kind, Text

DEEPEST = 60
"""The maximum nesting depth; a spec needs about ten levels."""

MOST_COPIES = 20_000
"""The maximum number of nodes that aliases may add; an alias bomb makes millions."""

_NUMBER = re.compile(r"[-+]?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_PROPERTIES = re.compile(r"(?:[&!]\S*\s+)*")
"""An anchor and a tag before a value."""
_SURROGATE = re.compile("[\ud800-\udfff]")
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEANS = {
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
LONGEST_NUMBER = 40
"""The most characters of a number; what is longer is a string."""
_POSITION_DEPTH = 8
"""``tasks.STAGE.output_files[0].destination.container.container_url`` is the deepest key that a
message refers to."""
_NO_POSITIONS = frozenset({"for_each"})
"""Keys whose members no message refers to; their lists may be long."""

Scalar: TypeAlias = "str | int | float | bool | Text | None"


@dataclass(frozen=True, slots=True)
class Node:
    """A scalar, a list or a mapping, with its position.

    ``raw`` is the scalar as written. ``key`` is the position of the key of a mapping member.
    ``inner`` is the position of the first character of a string, ``lines`` are those of the first
    characters of its lines if there are several. ``quoted``: the string is quoted.
    ``filled``: the value is the result of a template. ``wrong``: an error was reported for the
    member; it is present, but its value is unknown. ``kind`` is what the schema expects where a
    template is written.
    """

    value: Scalar | tuple[Node, ...] | Mapping[str, Node]
    where: Place
    raw: str = ""
    key: Place | None = None
    inner: Place | None = None
    lines: tuple[Place, ...] = ()
    quoted: bool = False
    filled: bool = False
    wrong: bool = False
    kind: Kind | None = None

    @property
    def at(self) -> Place:
        """The best position for a message: a scalar's value, otherwise the key."""
        nothing = self.value is None and not self.raw
        return self.key if self.key and (self.is_collection or nothing) else self.where

    @property
    def name(self) -> Place:
        """The position of the key, or of the value when there is no key."""
        return self.key or self.where

    @property
    def is_collection(self) -> bool:
        """Whether this is a list or a mapping."""
        return isinstance(self.value, tuple | Mapping)

    @property
    def is_block(self) -> bool:
        """Whether this is a string that starts on the line after ``|`` or ``>``."""
        return self.inner is not None and self.inner.line > self.where.line

    @property
    def members(self) -> Mapping[str, Node]:
        """The members of a mapping; empty for anything else."""
        return self.value if isinstance(self.value, Mapping) else {}

    @property
    def items(self) -> tuple[Node, ...]:
        """The items of a list; empty for anything else."""
        return self.value if isinstance(self.value, tuple) else ()

    @property
    def text(self) -> str | None:
        """The value if it is a string, otherwise ``None``."""
        return self.value if isinstance(self.value, str) else None

    @property
    def template(self) -> str | None:
        """The text of a template that is not filled in yet, otherwise ``None``."""
        unfilled = isinstance(self.value, str) and not self.filled and "{{" in self.value
        return self.value if unfilled else None  # type: ignore[return-value]

    def part(self, offset: int, text: str) -> Place:
        """The position in the file of ``text``, which a string has at ``offset``.

        Blank characters are not counted, because lines can be folded and indented. In a string that
        is the result of a template, ``text`` is searched for in its line.
        """
        assert isinstance(self.value, str)
        lines = self.lines or (self.inner or self.where,)
        if self.filled:
            row = self.value.count("\n", 0, offset)
            at = lines[row] if len(lines) == self.value.rstrip("\n").count("\n") + 1 else lines[0]
            found = at.text.find(text, at.column - 1) + 1 if text else 0
            return replace(at, column=found or at.column, length=max(1, len(text)))
        before = sum(not letter.isspace() for letter in self.value[:offset])
        quote = self.where.text[lines[0].column - 2] if self.quoted and not self.is_block else ""
        for line in lines:
            for column, is_letter in _letters(line, quote):
                if is_letter and not before:
                    return replace(line, column=column, length=max(1, len(text)))
                before -= is_letter
        return lines[-1]

    def get(self, *path: str) -> Node | None:
        """The member at the end of a path of keys, or ``None``."""
        node: Node | None = self
        for key in path:
            node = node.members.get(key) if node else None
        return node

    def with_(self, **named: Node | None) -> Node:
        """A copy of a mapping with these members set; ``None`` removes a member."""
        merged = {**self.members, **named}
        return replace(self, value={key: node for key, node in merged.items() if node is not None})

    def invalid(self) -> Node:
        """A copy without its value, for a member whose error was reported."""
        return replace(self, value=None, wrong=True)

    def walk(self) -> Iterator[Node]:
        """This node and every node below it, in document order."""
        yield self
        for child in (*self.items, *self.members.values()):
            yield from child.walk()

    def plain(self) -> object:
        """The value as dicts, lists and scalars; deferred parts as placeholders."""
        if isinstance(self.value, Text):
            return self.value.shown
        if isinstance(self.value, Mapping):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, tuple):
            return [node.plain() for node in self.value]
        return self.value


_LETTERS = {
    '"': re.compile(r"\\(?:x(..)|u(.{4})|U(.{8})|(.)|$)|."),
    "'": re.compile(r"''|."),
    "": re.compile(r"."),
}
"""What stands for one letter of a string, by the quote around it."""
_BLANK_ESCAPES = frozenset("tnvfr N_LP\t")
"""Escapes of YAML that stand for a blank character."""


def _letters(line: Place, quote: str) -> Iterator[tuple[int, bool]]:
    """The columns of the letters of a line, and whether each is not blank."""
    for match in _LETTERS[quote].finditer(line.text, line.column - 1):
        written = match.group()
        if quote != '"' or not written.startswith("\\"):
            yield match.start() + 1, not written.isspace()
        elif code := match[1] or match[2] or match[3]:
            yield match.start() + 1, not chr(int(code, 16)).isspace()
        elif match[4]:
            yield match.start() + 1, match[4] not in _BLANK_ESCAPES


def made(value: object, origin: Node) -> Node:
    """A generated node that keeps the position of ``origin``, the node that it replaces.

    ``value`` is plain data that may contain nodes. Strings in it are not templates.
    """
    if isinstance(value, Node):
        return value
    if isinstance(value, Mapping):
        members = {str(key): made(item, origin) for key, item in value.items()}
        return Node(members, origin.where, key=origin.key)
    if isinstance(value, list | tuple):
        return Node(tuple(made(item, origin) for item in value), origin.where, key=origin.key)
    assert value is None or isinstance(value, str | int | float | bool | Text)
    return Node(value, origin.where, key=origin.key, inner=origin.inner, quoted=True, filled=True)


def positions(root: Node) -> Mapping[str, Place]:
    """The position of every key and list item by its path, such as ``pool.mounts[0].nfs``."""
    return dict(_positions(root, "", _POSITION_DEPTH))


def _positions(node: Node, path: str, depth: int) -> Iterator[tuple[str, Place]]:
    dot = "." if path else ""
    below = [(f"{path}{dot}{key}", member) for key, member in node.members.items()]
    below += [(f"{path}[{number}]", item) for number, item in enumerate(node.items)]
    for name, member in below:
        yield name, member.at
        if depth > 1 and name.rpartition(".")[2] not in _NO_POSITIONS:
            yield from _positions(member, name, depth - 1)


def parse(source: Source) -> Node:
    """Parse a YAML text.

    Raises:
        SpecError: the text is not YAML, or exceeds a limit; all duplicate keys are reported.
    """
    composer = _Composer(source)
    try:
        for event in yaml.parse(source.text, Loader=yaml.SafeLoader):
            composer.take(event)
    except yaml.MarkedYAMLError as error:
        from batchspec.spec.yaml_errors import explained  # noqa: PLC0415 - only after an error

        raise SpecError(explained(source, error)) from None
    except (yaml.YAMLError, RecursionError) as error:
        raise SpecError(
            Diagnostic("not-yaml", f"{source.file} is not valid YAML: {error}")
        ) from None
    if composer.root is None:
        raise SpecError(
            Diagnostic("empty", f"{source.file} is empty", fix="Start the spec with `version: 1`.")
        )
    composer.problems.raise_if_any()
    return composer.root


_CORE_NUMBER = re.compile(
    r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+"
    r"|[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)
"""A number in the core schema of YAML 1.2, which editors use."""


def is_number_elsewhere(text: str) -> bool:
    """Whether a plain scalar is a string here and a number in the core schema of YAML 1.2."""
    return _CORE_NUMBER.fullmatch(text) is not None and isinstance(resolve(text), str)


def ambiguous_numbers(root: Node) -> Iterator[Diagnostic]:
    """Warnings about strings without quotes that an editor takes for numbers."""
    for node in root.walk():
        if not node.quoted and isinstance(node.value, str) and is_number_elsewhere(node.raw):
            yield Diagnostic(
                "ambiguous-number",
                f"`{node.raw}` is a string here, and a number in an editor",
                "Readers of YAML 1.2, such as editors, take it for a number.",
                where=node.where,
                fix=f'Write "{node.raw}" in quotes.',
                severity=Severity.WARNING,
            )


def resolve(text: str) -> Scalar:
    """The value of a plain (unquoted) scalar."""
    if text in _NULLS:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    match = _NUMBER.fullmatch(text)
    if not match or len(text) > LONGEST_NUMBER:
        return text
    if not any(match.groups()):
        return int(text)
    number = float(text)
    return number if math.isfinite(number) else text


@dataclass(slots=True)
class _Open:
    """A collection whose end event has not been read yet."""

    start: yaml.Event
    anchor: str | None
    is_mapping: bool
    nodes: list[tuple[Node, int]] = field(default_factory=list)


class _Composer:
    """Builds nodes from events. The number beside a node is its size with aliases expanded."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.problems = Diagnostics()
        self.root: Node | None = None
        self._open: list[_Open] = []
        self._anchors: dict[str, tuple[Node, int] | None] = {}
        self._copied = 0
        self._documents = 0

    def take(self, event: yaml.Event) -> None:
        match event:
            case yaml.DocumentStartEvent():
                self._documents += 1
                if self._documents > 1:
                    self._fail(
                        "two-documents",
                        "a second YAML document starts here",
                        event,
                        "A spec is a single document; remove the `---`.",
                    )
            case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                self._refuse_tag(event)
                if len(self._open) >= DEEPEST:
                    self._fail("too-deep", f"more than {DEEPEST} levels of nesting", event)
                if event.anchor:
                    self._anchors[event.anchor] = None
                self._open.append(
                    _Open(event, event.anchor, isinstance(event, yaml.MappingStartEvent))
                )
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                done = self._open.pop()
                node = self._mapping(done) if done.is_mapping else self._sequence(done)
                self._add(node, 1 + sum(size for _, size in done.nodes), done.anchor)
            case yaml.ScalarEvent():
                self._add(self._scalar(event), 1, event.anchor)
            case yaml.AliasEvent():
                self._alias(event)

    def _add(self, node: Node, size: int, anchor: str | None) -> None:
        if anchor:
            self._anchors[anchor] = (node, size)
        if self._open:
            self._open[-1].nodes.append((node, size))
        else:
            self.root = node

    def _alias(self, event: yaml.AliasEvent) -> None:
        if event.anchor not in self._anchors:
            self._fail(
                "unknown-anchor",
                f"the anchor `&{event.anchor}` is not defined",
                event,
                "Put a string that starts with `*` in quotes.",
            )
        anchored = self._anchors[event.anchor]
        if anchored is None:
            self._fail(
                "recursive", f"`*{event.anchor}` refers to a collection that contains it", event
            )
        node, size = anchored
        self._copied += size
        if self._copied > MOST_COPIES:
            self._fail(
                "alias-bomb",
                f"aliases add more than {MOST_COPIES:,} values",
                event,
                "Replace some of the aliases by the values themselves.",
            )
        self._add(node, size, None)

    def _scalar(self, event: yaml.ScalarEvent) -> Node:
        plain = event.style is None
        start, end = event.start_mark, event.end_mark
        assert start is not None
        assert end is not None
        as_text = event.tag == "tag:yaml.org,2002:str"
        if event.tag is not None and not as_text and event.tag != "!":
            self._refuse_tag(event)
        one_line = start.line == end.line
        length = end.column - start.column if one_line else len(self.source.line(start.line + 1))
        where = self.source.place(start.line + 1, start.column + 1, length)
        text = self._whole_characters(event.value, where)
        value = resolve(text) if plain and not as_text else text
        inner = self._inner(event, where)
        last = end.line if event.style in ("|", ">") else end.line + 1
        below = (self._line(number) for number in range(inner.line + 1, last + 1))
        lines = () if one_line else (inner, *below)
        return Node(value, where, text, inner=inner, lines=lines, quoted=not plain)

    def _whole_characters(self, text: str, where: Place) -> str:
        """The text with pairs of escapes such as ``\\ud83d\\ude00`` joined, as JSON writes them."""
        if not _SURROGATE.search(text):
            return text
        try:
            return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
        except UnicodeDecodeError:
            self.problems.add(
                Diagnostic(
                    "control-character",
                    "an escape in the string is half of a character",
                    where=where,
                    fix="Write the character itself, or both of its escapes.",
                )
            )
            return ""

    def _inner(self, event: yaml.ScalarEvent, where: Place) -> Place:
        """The start of the text: after the opening quote, or on the line after ``|`` or ``>``."""
        if event.style in ("|", ">"):
            return self._line(where.line + 1)
        properties = _PROPERTIES.match(where.text, where.column - 1)
        assert properties is not None
        column = properties.end() + 1
        return replace(where, column=column if event.style is None else column + 1)

    def _line(self, number: int) -> Place:
        """The start of the text in a line of a string."""
        text = self.source.line(number)
        return Place(self.source.file, number, len(text) - len(text.lstrip(" ")) + 1, text)

    def _place(self, event: yaml.Event) -> Place:
        assert event.start_mark is not None
        return self.source.place(event.start_mark.line + 1, event.start_mark.column + 1)

    def _sequence(self, done: _Open) -> Node:
        return Node(tuple(node for node, _ in done.nodes), self._place(done.start))

    def _mapping(self, done: _Open) -> Node:
        members: dict[str, Node] = {}
        merged: dict[str, Node] = {}
        nodes = [node for node, _ in done.nodes]
        for key, node in zip(nodes[::2], nodes[1::2], strict=True):
            if key.is_collection:
                self._refuse_key(key, node)
                continue
            if key.raw == "<<" and not key.quoted:
                self._merge(merged, node)
                continue
            name = key.raw
            if key.value is None and not key.quoted:
                self.problems.add(
                    Diagnostic("no-key", "the key before the `:` is missing", where=key.where)
                )
            elif name in members:
                first = members[name].name.line
                self.problems.add(
                    Diagnostic(
                        "duplicate-key",
                        f"the key `{name}` is used twice",
                        where=key.where,
                        fix=f"Keep this one or the one in line {first}.",
                    )
                )
            else:
                members[name] = replace(node, key=key.where)
        inherited = {name: node for name, node in merged.items() if name not in members}
        return Node({**inherited, **members}, self._place(done.start))

    def _merge(self, merged: dict[str, Node], node: Node) -> None:
        for part in node.items or (node,):
            if not isinstance(part.value, Mapping):
                self.problems.add(
                    Diagnostic(
                        "bad-merge",
                        "`<<` takes a mapping or a list of mappings",
                        where=part.where,
                        fix="Anchor a mapping with `&NAME`, and merge it with `<<: *NAME`.",
                    )
                )
                continue
            for name, value in part.members.items():
                merged.setdefault(name, value)

    def _refuse_key(self, key: Node, node: Node) -> None:
        from batchspec.spec.yaml_errors import unquoted_template  # noqa: PLC0415

        if node.value is None and (found := unquoted_template(self.source, key.where)):
            self.problems.add(found)
            return
        self.problems.add(
            Diagnostic(
                "bad-key", "a key must be a string", where=key.where, fix="Put it in quotes."
            )
        )

    def _refuse_tag(self, event: yaml.Event) -> None:
        tag = getattr(event, "tag", None)
        if tag is None or tag in ("!", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"):
            return
        shown = tag.replace("tag:yaml.org,2002:", "!!")
        self._fail(
            "unknown-tag", f"the YAML tag `{shown}` is not supported", event, "Remove the tag."
        )

    def _fail(self, code: str, summary: str, event: yaml.Event, fix: str = "") -> NoReturn:
        found = Diagnostic(code, summary, where=self._place(event), fix=fix)
        raise SpecError(*self.problems.found, found)
