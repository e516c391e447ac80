"""YAML → :class:`Node`: composed from events, so that no text can exhaust stack or memory.

Scalars are read as JSON (and YAML 1.2) has them, and not by the wider rules of YAML 1.1: ``no``,
``0755``, ``1:30`` and ``2026-01-01`` are texts. Merge keys (``<<``) and aliases work; tags and
second documents do not.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NoReturn

import yaml

from batchspec.problems import Place, Problem, Problems, SpecError
from batchspec.spec.node import Node, Scalar
from batchspec.spec.source import Source
from batchspec.spec.yaml_faults import faulty, unquoted_template

DEEPEST = 60
"""The most levels of nesting; a spec needs ten."""

MOST_COPIES = 20_000
"""The most nodes that aliases may add to those written; a bomb makes millions of a page."""

_NUMBER = re.compile(r"[-+]?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_TRUTHS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_LONGEST_NUMBER = 40


@dataclass(slots=True)
class _Open:
    """A collection whose end is still to come."""

    start: yaml.Event
    anchor: str | None
    pairs: bool
    nodes: list[tuple[Node, int]] = field(default_factory=list)


def parse(source: Source) -> Node:
    """The tree of a YAML text.

    Raises:
        SpecError: it is not YAML, or more than a spec may be; every duplicate key is among the
            problems.
    """
    composer = _Composer(source)
    try:
        for event in yaml.parse(source.text, Loader=yaml.SafeLoader):
            composer.take(event)
    except yaml.MarkedYAMLError as error:
        raise SpecError(faulty(source, error)) from None
    except (yaml.YAMLError, RecursionError) as error:
        raise SpecError(Problem("not-yaml", f"{source.file} is not YAML: {error}")) from None
    if composer.root is None:
        raise SpecError(
            Problem("empty", f"{source.file} is empty", hint="A spec starts with `version: 1`.")
        )
    composer.problems.raise_if_any()
    return composer.root


def resolve(text: str) -> Scalar:
    """The value of a plain scalar."""
    if text in _NULLS:
        return None
    if text in _TRUTHS:
        return _TRUTHS[text]
    match = _NUMBER.fullmatch(text)
    if not match or len(text) > _LONGEST_NUMBER:
        return text
    if not any(match.groups()):
        return int(text)
    number = float(text)
    return number if math.isfinite(number) else text


class _Composer:
    """Nodes from events. ``size`` beside a node counts what it is once aliases are followed."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.problems = Problems()
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
                        "a second document starts here",
                        event,
                        "A spec is one document.",
                    )
            case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                self._untagged(event)
                if len(self._open) >= DEEPEST:
                    self._fail("too-deep", f"more than {DEEPEST} levels of nesting", event)
                if event.anchor:
                    self._anchors[event.anchor] = None
                self._open.append(
                    _Open(event, event.anchor, isinstance(event, yaml.MappingStartEvent))
                )
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                done = self._open.pop()
                node = self._mapping(done) if done.pairs else self._sequence(done)
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
                f"nothing is anchored as `&{event.anchor}`",
                event,
                "A text that starts with `*` is written in quotes.",
            )
        anchored = self._anchors[event.anchor]
        if anchored is None:
            self._fail("recursive", f"`*{event.anchor}` is a part of itself", event)
        node, size = anchored
        self._copied += size
        if self._copied > MOST_COPIES:
            self._fail(
                "alias-bomb",
                f"aliases make more than {MOST_COPIES} copies",
                event,
                "Write out what you mean; a spec needs no more than a few.",
            )
        self._add(node, size, None)

    def _scalar(self, event: yaml.ScalarEvent) -> Node:
        plain = event.style is None
        start, end = event.start_mark, event.end_mark
        assert start is not None
        assert end is not None
        as_text = event.tag == "tag:yaml.org,2002:str"
        if event.tag is not None and not as_text and event.tag != "!":
            self._untagged(event)
        one_line = start.line == end.line
        length = end.column - start.column if one_line else len(self.source.line(start.line + 1))
        where = self.source.place(start.line + 1, start.column + 1, length)
        value = resolve(event.value) if plain and not as_text else event.value
        inner = self._inner(event, where)
        return Node(value, where, raw=event.value, inner=inner, quoted=not plain)

    def _inner(self, event: yaml.ScalarEvent, where: Place) -> Place:
        """Where the text itself starts: after the quote, or on the line after ``|`` or ``>``."""
        if event.style in ("|", ">"):
            line = where.line + 1
            text = self.source.line(line)
            indent = len(text) - len(text.lstrip(" "))
            return Place(where.file, line, indent + 1, text)
        if event.style is None:
            return where
        return replace(where, column=where.column + 1)

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
                self._key_fault(key, node)
                continue
            if key.raw == "<<" and not key.quoted:
                self._merge(merged, node)
                continue
            name = key.raw
            if key.value is None and not key.quoted:
                self.problems.add(
                    Problem("no-key", "there is no key before the `:`", where=key.where)
                )
            elif name in members:
                first = members[name].name.line
                self.problems.add(
                    Problem(
                        "duplicate-key",
                        f"`{name}` is here a second time",
                        where=key.where,
                        hint=f"The first one is in line {first}. Keep one of them.",
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
                    Problem(
                        "bad-merge",
                        "`<<` takes a mapping, or a list of mappings",
                        where=part.where,
                        hint="Name one with `&NAME`, and write `<<: *NAME`.",
                    )
                )
                continue
            for name, value in part.members.items():
                merged.setdefault(name, value)

    def _key_fault(self, key: Node, node: Node) -> None:
        if node.value is None and (fault := unquoted_template(self.source, key.where)):
            self.problems.add(fault)
            return
        self.problems.add(
            Problem("bad-key", "a key must be a text", where=key.where, hint="Put it in quotes.")
        )

    def _untagged(self, event: yaml.Event) -> None:
        tag = getattr(event, "tag", None)
        if tag is None or tag in ("!", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"):
            return
        shown = tag.replace("tag:yaml.org,2002:", "!!")
        self._fail(
            "unknown-tag", f"the tag `{shown}` has no meaning in a spec", event, "Take it out."
        )

    def _fail(self, code: str, summary: str, event: yaml.Event, hint: str = "") -> NoReturn:
        found = Problem(code, summary, where=self._place(event), hint=hint)
        raise SpecError(*self.problems.found, found)
