"""Finds tasks that differ in a few words of their commands, which one stage can describe."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from batchspec.importers.draft import Body, unsigned
from batchspec.importers.rest import member, records
from batchspec.spec import LOGS

Json: TypeAlias = Mapping[str, Any]

_MOST_VARIABLES = 4
"""How many words of a command may differ between the tasks of one stage."""
_COMPARED = frozenset(
    (
        *("resourcefiles", "outputfiles", "environmentsettings", "constraints", "dependson"),
        *("useridentity", "requiredslots", "containersettings", "exitconditions"),
        *("multiinstancesettings", "affinityinfo", "applicationpackagereferences"),
    )
)


@dataclass(frozen=True, slots=True)
class TaskGroup:
    """Tasks whose command lines differ in at most a few words.

    ``pieces`` are the parts that all share; between them are the variables of ``names``.
    ``variables`` are their names by their values, one for each task.
    """

    bodies: Sequence[Json]
    pieces: Sequence[str]
    names: Sequence[str] = ()
    variables: Mapping[tuple[str, ...], str] = field(default_factory=dict)

    @property
    def ids(self) -> list[str]:
        """The ids of the tasks."""
        return [str(member(body, "id") or "") for body in self.bodies]

    @property
    def pattern(self) -> tuple[str, str] | None:
        """What stands before and after the only variable in every id; ``None`` without one."""
        if len(self.variables) != 1:
            return None
        (values,) = self.variables
        return _pattern(self.ids, values)


def task_groups(bodies: Sequence[Json]) -> Iterator[TaskGroup]:
    """The tasks in few groups, in the order of the first task of each.

    Tasks are compared if their ids differ only in a number at the end, or else if their commands
    begin with the same word.
    """
    found: dict[int, TaskGroup] = {}
    left = list(range(len(bodies)))
    for kind in (_stem, _program):
        buckets: dict[tuple[object, ...], list[int]] = {}
        for index in left:
            buckets.setdefault((_signature(bodies[index]), *kind(bodies[index])), []).append(index)
        left_over: list[int] = []
        for indexes in buckets.values():
            alike = _alike([bodies[index] for index in indexes]) if len(indexes) > 1 else None
            if alike is None:
                left_over += indexes
            else:
                found[indexes[0]] = alike
        left = sorted(left_over)
    found |= {index: TaskGroup([bodies[index]], [_command_line(bodies[index])]) for index in left}
    yield from (found[index] for index in sorted(found))


def _stem(body: Json) -> tuple[object, ...]:
    words = _command_line(body).split()
    task = str(member(body, "id") or "")
    return without_number(task) if task[-1:].isdecimal() else task, len(words)


def without_number(text: str) -> str:
    """An id without the number at its end, and the characters before it but letters and digits."""
    end = len(text)
    while end and text[end - 1].isdecimal():
        end -= 1
    while end and not text[end - 1].isalnum():
        end -= 1
    return text[:end]


def _program(body: Json) -> tuple[object, ...]:
    words = _command_line(body).split()
    return " ".join(words[:1]), len(words)


def _command_line(body: Json) -> str:
    return unsigned(str(member(body, "commandLine") or ""))


def _alike(bodies: Sequence[Json]) -> TaskGroup | None:
    """Tasks as one group; ``None`` if their command lines differ in too much."""
    found = _shared([_command_line(body) for body in bodies])
    if found is None:
        return None
    pieces, columns = found
    different = list(dict.fromkeys(columns))
    names = {column: f"value{number}" for number, column in enumerate(different, 1)}
    return TaskGroup(bodies, pieces, [names[column] for column in columns], names)


def _shared(lines: Sequence[str]) -> tuple[list[str], list[tuple[str, ...]]] | None:
    """The pieces that all lines share, and what stands between them in each line, by column."""
    words = [re.split(r"(\s+)", line) for line in lines]
    if len({len(row) for row in words}) != 1:
        return None
    columns = list(zip(*words, strict=True))
    varying = [index for index, column in enumerate(columns) if len(set(column)) > 1]
    if len(varying) > min(_MOST_VARIABLES, len(lines[0].split()) - 1) or any(
        index % 2 for index in varying
    ):
        return None
    pieces: list[str] = []
    values: list[tuple[str, ...]] = []
    before = ""
    for index, column in enumerate(columns):
        if index not in varying:
            before += column[0]
            continue
        start, end = _around(column)
        pieces.append(before + start)
        before = end
        values.append(tuple(word[len(start) : len(word) - len(end)] for word in column))
    return [*pieces, before], values


def _around(words: Sequence[str]) -> tuple[str, str]:
    """The prefix and suffix that words share, up to a character that is neither a digit nor a
    letter."""
    start = _common_prefix(words)
    start = start.rstrip("0123456789.")
    rest = [word[len(start) :] for word in words]
    end = _common_prefix([word[::-1] for word in rest])[::-1]
    return start, end[len(re.match(r"[0-9]*", end)[0]) :]  # type: ignore[index]


def _common_prefix(words: Sequence[str]) -> str:
    # The first and the last in order differ at the first character that not all share.
    first, last = min(words), max(words)
    shared = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False))
    return first[: sum(1 for _ in shared)]


def _pattern(ids: Sequence[str], values: Sequence[str]) -> tuple[str, str] | None:
    """What stands before and after the value in each id; ``None`` if an id differs."""
    if not values or not values[0] or values[0] not in ids[0]:
        return None
    at = ids[0].rindex(values[0])
    before, after = ids[0][:at], ids[0][at + len(values[0]) :]
    same = all(name == f"{before}{value}{after}" for name, value in zip(ids, values, strict=True))
    valid = all(re.fullmatch(r"[\w-]+", value, re.ASCII) for value in values)
    return (before, after) if same and valid else None


def typed(values: Sequence[str]) -> list[str | int]:
    """Numbers as numbers, unless they would be written differently."""
    return [int(each) if re.fullmatch(r"0|[1-9]\d{0,14}", each) else each for each in values]


def number_range(values: Sequence[str]) -> Body | None:
    """A range, if the values are one."""
    numbers = typed(values)
    if len(numbers) < 3 or not all(isinstance(each, int) for each in numbers):
        return None
    first, second, last = int(numbers[0]), int(numbers[1]), int(numbers[-1])
    step = second - first
    expected = range(first, last + 1, step) if step > 0 else ()
    if len(expected) != len(numbers) or numbers != list(expected):
        return None
    return {"range": [first, last + 1] if step == 1 else [first, last + 1, step]}


def is_log(file: Json) -> bool:
    """Whether an output stores stdout and stderr, which a stage does by default."""
    return bool(member(file, "filePattern") == LOGS)


def _signature(body: Json) -> str:
    """What tasks of one stage have in common: all but the id, the name and the command."""
    kept = {
        key: value
        for key, value in body.items()
        if key.lower() in _COMPARED and value not in (None, [], {})
    }
    # The path of the logs contains the id.
    kept |= {"logs": [each for each in records(kept.pop("outputFiles", [])) if not is_log(each)]}
    return json.dumps(kept, sort_keys=True, default=str)
