"""A file of YAML → a tree of :class:`~batchspec.spec.yaml_tree.Node`.

Lines that contain a key or a signature are stored redacted. The tree is composed from parser
events, so that no text can exhaust the stack or the memory. Scalars are resolved by the rules of
JSON and YAML 1.2, not by the wider rules of YAML 1.1: ``no``, ``0755``, ``1:30`` and ``2026-01-01``
are strings. Merge keys (``<<``) and aliases are supported; tags and multiple documents are not.
:func:`read_outline` reads names without the rules of a spec, for shell completion.
"""

from __future__ import annotations

import math
import re
import stat
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO, NoReturn

import yaml

from batchspec.diagnostics import Diagnostic, Diagnostics, Place, Severity, SpecError, redact
from batchspec.frozen import frozen
from batchspec.spec.yaml_tree import Node, Scalar

LARGEST = 1024 * 1024
"""The maximum size of a spec in bytes; larger data belongs in a file of rows."""

_CONTROL = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]|\ufeff")
_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
"""The line breaks of the parser (YAML 1.1), so that its positions are positions in these lines."""

_WIDE = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}

_START = "Check the path, or create a spec with `batchspec init`."


@frozen
class Source:
    """The text of ``file`` (the path as the user wrote it).

    ``starts`` are the offsets of its lines; ``lines`` are the lines without their ends, redacted.
    """

    file: str
    text: str
    starts: tuple[int, ...] = field(repr=False)
    lines: tuple[str, ...] = field(repr=False)

    def line(self, number: int) -> str:
        """A line by its number (from 1), redacted."""
        return self.lines[number - 1] if 1 <= number <= len(self.lines) else ""

    def place(self, line: int, column: int, length: int = 1) -> Place:
        """A position by line and column, both from 1."""
        return Place(self.file, line, column, self.line(line), max(1, length))

    def at(self, offset: int, length: int = 1) -> Place:
        """A position by its offset in characters."""
        line = bisect_right(self.starts, offset)
        return self.place(line, offset - self.starts[line - 1] + 1, length)


def source(text: str, file: str) -> Source:
    """A source for a string."""
    starts = (0, *(match.end() for match in _BREAK.finditer(text)))
    lines = tuple(redact(line) for line in _BREAK.split(text))
    return Source(file, text, starts, lines)


def read_source(path: Path, missing: str = _START) -> Source:
    """Read a file of the user; ``missing`` is the fix if it does not exist.

    Raises:
        SpecError: the file is missing, a folder, not readable, larger than :data:`LARGEST`, not
            UTF-8, or contains characters that YAML does not allow.
    """
    file = str(path)
    data = _bytes(path, file, missing)
    for mark, encoding in _WIDE.items():
        if data.startswith(mark):
            _refuse(
                "not-utf8",
                f"{file} is {encoding} text",
                "Save the file as UTF-8.",
                Place(file, 1, 1),
            )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = source(data[: error.start].decode("utf-8-sig"), file)
        place = before.at(len(before.text))
        _refuse(
            "not-utf8",
            f"byte 0x{data[error.start]:02x} is not UTF-8 text",
            "Save the file as UTF-8.",
            place,
        )
    found = source(text, file)
    if control := _CONTROL.search(text):
        code = ord(control.group())
        _refuse(
            "control-character",
            f"the character U+{code:04X} is not allowed in YAML",
            "Remove it, or write it as an escape in a double-quoted string.",
            found.at(control.start()),
        )
    return found


class NotRegularError(OSError):
    """A file is a pipe or a device: a read could block or have no end."""

    def __init__(self) -> None:
        super().__init__(0, "it is not a regular file")


def open_file(path: Path) -> BinaryIO:
    """Open a regular file, or a pipe that the shell has opened: ``/dev/stdin``, ``/dev/fd/63``.

    Raises:
        NotRegularError: it is another pipe, a device or a socket.
        OSError: it does not exist, is a folder, or cannot be opened.
        ValueError: the path contains a NUL character.
    """
    kind = path.stat().st_mode
    opened = str(path) == "/dev/stdin" or str(path).startswith("/dev/fd/")
    if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind) or (opened and stat.S_ISFIFO(kind))):
        raise NotRegularError
    return path.open("rb")


def _bytes(path: Path, file: str, missing: str) -> bytes:
    try:
        with open_file(path) as stream:
            data = stream.read(LARGEST + 1)
    except FileNotFoundError:
        _refuse("no-file", f"the file {file} does not exist", missing)
    except IsADirectoryError:
        _refuse("not-a-file", f"{file} is a folder", "Give the path of the spec file in it.")
    except PermissionError:
        _refuse("no-permission", f"no permission to read {file}", f"Run `chmod u+r {file}`.")
    except NotRegularError:
        _refuse("not-a-file", f"{file} is not a regular file", "Give the path of a file.")
    except OSError as error:
        _refuse("not-readable", f"{file} cannot be read: {error.strerror or error}", "")
    except ValueError:
        _refuse("no-file", f"{file!r} is not a valid path", "")
    if len(data) > LARGEST:
        _refuse(
            "too-large",
            f"{file} is larger than {LARGEST // 1024:,} KiB",
            "Move data to a .csv or .jsonl file, and use `for_each: {rows: FILE}`.",
        )
    return data


def _refuse(code: str, summary: str, fix: str, where: Place | None = None) -> NoReturn:
    raise SpecError(Diagnostic(code, summary, fix=fix, where=where))


DEEPEST = 60
"""The maximum nesting depth; a spec needs about ten levels."""

MOST_COPIES = 20_000
"""The maximum number of nodes that aliases may add; an alias bomb makes millions."""

MOST_VALUES = 50_000
"""The maximum number of values in a file; long lists belong in a file of rows."""

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
"""The maximum number of characters of a number; a longer scalar is a string."""


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
    """A collection whose end event is not read yet."""

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
        self._values = 0

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
                self._count(event)
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
                self._count(event)
                self._add(self._scalar(event), 1, event.anchor)
            case yaml.AliasEvent():
                self._alias(event)

    def _count(self, event: yaml.Event) -> None:
        self._values += 1
        if self._values > MOST_VALUES:
            self._fail(
                "too-large",
                f"the file has more than {MOST_VALUES:,} values",
                event,
                "Move data to a .csv or .jsonl file, and use `for_each: {rows: FILE}`.",
            )

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


_LARGEST = 64 * 1024
"""The maximum number of bytes of a spec for completion; a larger spec takes too long."""
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""A valid name. Records are in a folder with this name, and another text could lead out of it."""


@frozen
class Outline:
    """The name of a spec, empty if none is valid, and the keys of its sections in their order."""

    name: str = ""
    parameters: tuple[str, ...] = ()
    containers: tuple[str, ...] = ()
    stages: tuple[str, ...] = ()


def read_outline(path: Path) -> Outline:
    """The outline of a spec; an empty one if the file is not YAML, too large or not a file."""
    try:
        # Not a pipe or a terminal, where a read could block.
        if not path.is_file() or path.stat().st_size > _LARGEST:
            return Outline()
        members = parse(read_source(path)).members
    except (OSError, ValueError, SpecError):
        return Outline()
    sections = {key: tuple(node.members) for key, node in members.items()}
    name = members["name"].value if "name" in members else ""
    return Outline(
        name if isinstance(name, str) and _NAME.fullmatch(name) else "",
        sections.get("parameters", ()),
        sections.get("containers", ()),
        sections.get("tasks", ()),
    )
