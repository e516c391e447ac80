"""The items of a stage, one for each task, in order and streamed.

An item has variables for templates, a few words for the task's id, and files. Its position in the
stream is the task's index.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from fnmatch import fnmatchcase
from itertools import islice

from batchspec.frozen import frozen
from batchspec.plan.lazy import First, Mapped
from batchspec.plan.observed import Blob, LocalFile, Observed, Stream
from batchspec.spec import (
    EachBlob,
    EachFile,
    EachNumber,
    EachValue,
    Matrix,
    NumberRange,
    Once,
    Record,
    Rows,
    Spec,
    Stage,
    Value,
    file_item,
)


@frozen
class Source:
    """A file or blob of an item; ``container`` is a key. ``ours``: this spec uploads it.

    ``content`` identifies the content together with ``size``; see :attr:`.observed.Blob.content`.
    """

    container: str
    blob: str
    size: int
    content: bytes
    ours: bool


@frozen
class Item:
    """The variables for the templates of a task, words for its id, and its files."""

    variables: Mapping[str, object]
    words: tuple[str, ...] = ()
    sources: tuple[Source, ...] = ()


def items(spec: Spec, stage: Stage, observed: Observed) -> Stream[Item]:
    """The items of a stage."""
    found = _all_items(spec, stage, observed)
    return found if observed.most_items is None else First(found, observed.most_items)


def _all_items(spec: Spec, stage: Stage, observed: Observed) -> Stream[Item]:
    source = stage.for_each
    match source:
        case Once():
            return (Item({}),)
        case EachFile() | EachBlob():
            return _files(spec, source, observed)
        case Matrix():
            return Mapped(_Combinations(source), _combination_item)
        case Rows():
            return Mapped(observed.rows[stage.name], _row_item)
        case EachNumber(numbers=numbers):
            return Mapped(Numbers(numbers), _value_item)
        case EachValue(values=values):
            return Mapped(values, _value_item)


def _value_item(value: Value) -> Item:
    members = value if isinstance(value, Record) else {}
    return Item({"value": value, **members}, _words(members.values() if members else (value,)))


def _combination_item(combination: Mapping[str, Value]) -> Item:
    return Item(combination, _words(combination.values()))


def _row_item(row: Record) -> Item:
    return Item({"row": row, **row}, _words(row.values()))


def _words(values: Iterable[Value]) -> tuple[str, ...]:
    """The values that can be part of an id; secrets are left out."""
    return tuple(str(value) for value in values if isinstance(value, str | int | float))


# --- files -------------------------------------------------------------------------------------


def _files(spec: Spec, each: EachFile | EachBlob, observed: Observed) -> Stream[Item]:
    facts = observed.containers[each.container]
    ours = isinstance(each, EachFile)
    found: Stream[LocalFile] | Stream[Blob] = facts.files if ours else facts.blobs
    prefix = "" if isinstance(each, EachFile) else each.prefix
    chosen = _Chosen(found, each.container, ours, prefix, each.match)
    container = spec.container_id(each.container)
    if each.group is None:
        return Mapped(chosen, lambda source: _file_item(container, source))
    return _Grouped(chosen, container, each.group)


@dataclass(slots=True)
class _Chosen:
    """The files or blobs of a container for which a stage has tasks."""

    found: Stream[LocalFile] | Stream[Blob]
    container: str
    ours: bool
    prefix: str
    match: tuple[str, ...]
    _length: int | None = None

    def __iter__(self) -> Iterator[Source]:
        for file in self.found:
            name = file.blob if isinstance(file, LocalFile) else file.name
            if name.startswith(self.prefix) and (not self.match or matches(name, self.match)):
                content = file.md5 if isinstance(file, LocalFile) else file.content
                yield Source(self.container, name, file.size, content, self.ours)

    def __len__(self) -> int:
        if self._length is None:
            whole = not self.prefix and not self.match
            self._length = len(self.found) if whole else sum(1 for _ in self)
        return self._length


def matches(name: str, patterns: tuple[str, ...]) -> bool:
    """Whether a blob's name, or its last part, matches a pattern; case-sensitive."""
    last = name.rpartition("/")[2]
    return any(fnmatchcase(last, p) or fnmatchcase(name, p) for p in patterns)


def _file_item(container: str, source: Source) -> Item:
    file = file_item(container, source.blob, source.size, keep_path=False)
    return Item({"file": file}, (str(file["stem"]),), (source,))


@frozen
class _Grouped:
    """Items of several files each; the last may have fewer."""

    chosen: _Chosen
    container: str
    size: int

    def __iter__(self) -> Iterator[Item]:
        sources = iter(self.chosen)
        while group := tuple(islice(sources, self.size)):
            files = tuple(
                file_item(self.container, source.blob, source.size, keep_path=True)
                for source in group
            )
            yield Item({"files": files}, (str(files[0]["stem"]),), group)

    def __len__(self) -> int:
        return (len(self.chosen) + self.size - 1) // self.size


# --- numbers and combinations ------------------------------------------------------------------


@frozen
class Numbers:
    """The numbers of a range. Integers stay integers; steps of 0.1 add up exactly, as decimals."""

    range: NumberRange

    def __iter__(self) -> Iterator[int | float]:
        start, step = self.range.start, self.range.step
        if isinstance(start, int) and isinstance(step, int):
            yield from (start + number * step for number in range(len(self)))
            return
        first, by = Decimal(str(start)), Decimal(str(step))
        yield from (float(first + number * by) for number in range(len(self)))

    def __len__(self) -> int:
        numbers = self.range
        first, last, by = (Decimal(str(n)) for n in (numbers.start, numbers.stop, numbers.step))
        return max(0, math.ceil((last - first) / by))


@dataclass(slots=True)
class _Combinations:
    """Every combination of a matrix, the first axis slowest; included ones are last."""

    matrix: Matrix
    _length: int | None = field(default=None)

    def __iter__(self) -> Iterator[Mapping[str, Value]]:
        # Excluded combinations by their axes: the time does not depend on their number.
        excluded: dict[tuple[str, ...], set[tuple[Value, ...]]] = {}
        for part in self.matrix.exclude:
            excluded.setdefault(tuple(sorted(part)), set()).add(
                tuple(part[n] for n in sorted(part))
            )
        names = {name for name, _ in self.matrix.axes}
        relevant = [(axes, values) for axes, values in excluded.items() if names.issuperset(axes)]
        for combination in _product(self.matrix.axes):
            if not any(tuple(combination[n] for n in axes) in values for axes, values in relevant):
                yield combination
        yield from self.matrix.include

    def __len__(self) -> int:
        if self._length is None:
            if self.matrix.exclude:
                self._length = sum(1 for _ in self)
            else:
                axes = [len(_axis(values)) for _, values in self.matrix.axes]
                self._length = (math.prod(axes) if axes else 0) + len(self.matrix.include)
        return self._length


def _axis(values: tuple[Value, ...] | NumberRange) -> Stream[Value]:
    return Numbers(values) if isinstance(values, NumberRange) else values


def _product(
    axes: tuple[tuple[str, tuple[Value, ...] | NumberRange], ...],
) -> Iterator[dict[str, Value]]:
    """Like ``itertools.product``, which would keep every axis in memory, up to a million values."""
    if not axes:
        return
    *outer, (name, values) = axes
    if not outer:
        yield from ({name: value} for value in _axis(values))
        return
    for combination in _product(tuple(outer)):
        for value in _axis(values):
            yield {**combination, name: value}
