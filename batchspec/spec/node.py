"""A spec as a tree of nodes that know their places, before it has a meaning.

Nothing here knows YAML (:mod:`batchspec.spec.tree` makes the tree) or the language.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

from batchspec.problems import Place
from batchspec.spec.values import Kind, Text

Scalar: TypeAlias = "str | int | float | bool | Text | None"


@dataclass(frozen=True, slots=True)
class Node:
    """A scalar, a list or a mapping, and where it stands.

    ``raw`` is a scalar as it was written. ``key`` is the place of its key when it is a member.
    ``inner`` is the place of a text's first character. ``quoted`` tells a text in quotes from one
    that only did not look like anything else. ``filled`` marks a text that came of a template,
    ``wrong`` a member whose fault was told: it is there, and nothing is known of its value.
    ``kind`` is what a template that differs from task to task becomes, where that is no text.
    """

    value: Scalar | tuple[Node, ...] | Mapping[str, Node]
    where: Place
    raw: str = ""
    key: Place | None = None
    inner: Place | None = None
    quoted: bool = False
    filled: bool = False
    wrong: bool = False
    kind: Kind | None = None

    @property
    def at(self) -> Place:
        """The best place to point at: a value in one line, or else its key."""
        nothing = self.value is None and not self.raw
        return self.key if self.key and (self.is_collection or nothing) else self.where

    @property
    def name(self) -> Place:
        """The place of the key, or of the value where there is none."""
        return self.key or self.where

    @property
    def is_collection(self) -> bool:
        """Whether it is a list or a mapping."""
        return isinstance(self.value, tuple | Mapping)

    @property
    def members(self) -> Mapping[str, Node]:
        """The members of a mapping; nothing of anything else."""
        return self.value if isinstance(self.value, Mapping) else {}

    @property
    def items(self) -> tuple[Node, ...]:
        """The items of a list; nothing of anything else."""
        return self.value if isinstance(self.value, tuple) else ()

    @property
    def text(self) -> str | None:
        """The value of a text, or ``None``."""
        return self.value if isinstance(self.value, str) else None

    @property
    def template(self) -> str | None:
        """The text of a template that was not filled in yet, or ``None``."""
        return self.value if isinstance(self.value, str) and is_template(self) else None

    def get(self, *path: str) -> Node | None:
        """The member at the end of a path of keys, or ``None``."""
        node: Node | None = self
        for key in path:
            node = node.members.get(key) if node else None
        return node

    def with_(self, **named: Node | None) -> Node:
        """A mapping with these members set; ``None`` takes a member away."""
        merged = {**self.members, **named}
        return replace(self, value={key: node for key, node in merged.items() if node is not None})

    def walk(self) -> Iterator[Node]:
        """This node and every node below it, in order."""
        yield self
        for child in (*self.items, *self.members.values()):
            yield from child.walk()

    def plain(self) -> object:
        """Dicts, lists and scalars; what is deferred as it may be shown."""
        if isinstance(self.value, Text):
            return self.value.shown
        if isinstance(self.value, Mapping):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, tuple):
            return [node.plain() for node in self.value]
        return self.value


def is_template(node: Node) -> bool:
    """Whether the node is a text with a ``{{`` in it that is still to be filled in."""
    return not node.filled and isinstance(node.value, str) and "{{" in node.value


def made(value: object, origin: Node) -> Node:
    """A node that stands for ``origin``, which was written in its place.

    ``value`` is plain data in which nodes may stand as they are; texts in it are no templates.
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
