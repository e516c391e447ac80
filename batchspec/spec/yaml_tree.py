"""The tree of a spec: nodes that keep the position of every key and value.

:mod:`~batchspec.spec.yaml_parser` creates it from text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TypeAlias

from batchspec.diagnostics import Place
from batchspec.frozen import frozen
from batchspec.spec.values import Kind, Text

_POSITION_DEPTH = 8
"""``tasks.STAGE.output_files[0].destination.container.container_url`` is the deepest key that a
message refers to."""
_NO_POSITIONS = frozenset({"for_each"})
"""Keys whose members no message refers to; their lists may be long."""

Scalar: TypeAlias = "str | int | float | bool | Text | None"


@frozen
class Node:
    """A scalar, a list or a mapping, with its position.

    ``raw`` is the scalar as written. ``key`` is the position of the key of a mapping member.
    ``inner`` is the position of the first character of a string, ``lines`` are the positions of the
    first characters of its lines if there are several. ``quoted``: the string is quoted.
    ``filled``: the value is the result of a template. ``wrong``: an error was reported for the
    member; it is present, but its value is unknown. ``kind`` is the type that the schema expects in
    the place of a template.
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
    def shown(self) -> str:
        """The value as a string; deferred parts as placeholders."""
        return self.value.shown if isinstance(self.value, Text) else str(self.value)

    @property
    def template(self) -> str | None:
        """The text of a template that is not filled in yet, otherwise ``None``."""
        unfilled = isinstance(self.value, str) and not self.filled and "{{" in self.value
        return self.value if unfilled else None  # type: ignore[return-value]

    @property
    def literal(self) -> str | None:
        """The value if it is a string that is not a template, otherwise ``None``."""
        return self.text if self.template is None else None

    def part(self, offset: int, text: str) -> Place:
        """The position in the file of ``text``, which is at ``offset`` in a string.

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

    def mapping(self, *path: str) -> Mapping[str, Node]:
        """The members of the mapping at a path of keys; none if there is no mapping."""
        found = self.get(*path)
        return found.members if found is not None else {}

    def sequence(self, *path: str) -> tuple[Node, ...]:
        """The items of the list at a path of keys; none if there is no list."""
        found = self.get(*path)
        return found.items if found is not None else ()

    def string(self, *path: str, default: str = "") -> str:
        """The value at a path of keys as a string; ``default`` if there is none."""
        found = self.get(*path)
        return found.shown if found is not None else default

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
"""The notation of one letter of a string, by the quote around it."""
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
