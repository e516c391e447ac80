"""``needs``: tasks that wait for all tasks of another stage, at any number of tasks.

The service accepts 64,000 characters of ids in a task's ``dependsOn``, and ranges only of numeric
ids; generated ids are not numeric. If there are too many ids, joins are added: tasks that do
nothing and wait for up to about 900 tasks each. Further joins wait for joins, until there are few
enough ids. 100,000 tasks need 112 joins and one more that waits for them. The rules of the service
apply to a join: a failed task blocks it, unless its exit code satisfies dependencies.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import chain

from batchspec.frozen import frozen
from batchspec.plan.observed import Marks, Stream
from batchspec.plan.tasks import Task
from batchspec.spec import FilledRecord, JsonTemplate, Record, Stage, Value, wrapped

ROOM = 60_000
"""Characters of ids in one ``dependsOn``, with quotes and commas; the service accepts 64,000."""
_VOLUME = 2_000_000
"""Characters of ids in all tasks of a stage together, above which joins are cheaper to send."""
_AROUND = 3
"""Two quotes and a comma."""
_LONGEST = 64
_DIGEST = 14


def link(
    stages: Iterable[Stage],
    tasks: Mapping[str, Stream[Task]],
    ids: Mapping[str, Stream[str]],
    *,
    windows: bool,
    elsewhere: Iterable[Stream[str]] = (),
) -> Mapping[str, Stream[Task]]:
    """The tasks of each stage with their dependencies, and the joins that other stages need.

    ``tasks`` are the tasks to submit, ``ids`` the ids to wait for, both by stage. The service would
    wait forever for an id without a task in the job, so ``ids`` must not contain tasks that are
    done in another job. The ids of these tasks are ``elsewhere``; they are removed from
    ``depends_on``. The ids of a stage that others need are iterated once.
    """
    stages = tuple(stages)
    depends = any(stage.body.get("dependsOn") is not None for stage in stages)
    done = (
        frozenset(name.lower() for ids_ in elsewhere for name in ids_) if depends else frozenset()
    )
    needed = dict.fromkeys(name for stage in stages for name in stage.needs)
    numbers = tuple(sorted({int(name) for name in done if name.isascii() and name.isdigit()}))
    trees = {name: _tree(name, stages, tasks, ids[name], windows) for name in needed}
    linked: dict[str, Stream[Task]] = {}
    for stage in stages:
        waits = tuple(wait for name in stage.needs for wait in trees[name].last)
        joins = trees[stage.name].joins if stage.name in trees else ()
        linked[stage.name] = Linked(tasks[stage.name], waits, joins, done, numbers)
    return linked


@frozen
class Linked:
    """The tasks of a stage, which wait for ``waits``, and then its joins: a stream.

    ``done`` are ids (lower case) of tasks in earlier jobs, which are not waited for, and
    ``numbers`` those of them that are whole numbers, sorted.
    """

    tasks: Stream[Task]
    waits: tuple[str, ...]
    joins: Stream[Task]
    done: frozenset[str] = frozenset()
    numbers: tuple[int, ...] = ()

    def __iter__(self) -> Iterator[Task]:
        tasks: Iterable[Task] = self.tasks
        if self.waits or self.done:
            templates: dict[JsonTemplate, JsonTemplate] = {}
            tasks = (self._waiting(task, templates) for task in tasks)
        return chain(tasks, self.joins)

    def __len__(self) -> int:
        return len(self.tasks) + len(self.joins)

    def _waiting(self, task: Task, templates: dict[JsonTemplate, JsonTemplate]) -> Task:
        """The task with its dependencies; ``templates`` are those of bodies with them."""
        body = task.body
        if isinstance(body, FilledRecord) and "dependsOn" not in body.template.names:
            if not self.waits:
                return task
            waits = Record(taskIds=self.waits)
            if (template := templates.get(body.template)) is None:
                template = body.template.with_member("dependsOn", waits)
                templates[body.template] = template
            return replace(task, body=body.extended(template, dependsOn=waits))
        if not self.waits and body.get("dependsOn") is None:
            return task
        own = body.record("dependsOn")
        left = [name for name in own.array("taskIds") if not self._is_done(name)]
        own = own.with_(taskIds=(*left, *self.waits) or None)
        ranges = own.get("taskIdRanges")
        if self.done and isinstance(ranges, tuple):
            parts = tuple(part for each in ranges for part in _without(each, self.numbers))
            own = own.with_(taskIdRanges=parts or None)
        return replace(task, body=body.with_(dependsOn=own if len(own) else None))

    def _is_done(self, name: Value) -> bool:
        return isinstance(name, str) and name.lower() in self.done


def _without(ids: Value, numbers: tuple[int, ...]) -> Iterator[Value]:
    """A range of ids in parts without those that are done."""
    start = ids.get("start") if isinstance(ids, Record) else None
    end = ids.get("end") if isinstance(ids, Record) else None
    if not isinstance(start, int) or not isinstance(end, int):
        yield ids
        return
    for number in numbers[bisect_left(numbers, start) : bisect_right(numbers, end)]:
        if start < number:
            yield Record(start=start, end=number - 1)
        start = number + 1
    if start <= end:
        yield Record(start=start, end=end)


@frozen
class _Tree:
    """``last`` are the ids to wait for; ``joins`` are the tasks in between."""

    last: tuple[str, ...]
    joins: Stream[Task] = ()


@frozen
class Joins:
    """The joins of a stage, by level, as a stream. Only the ids of joins are in memory."""

    stage: str
    ids: Stream[str]
    levels: tuple[tuple[str, ...], ...]
    common: Record

    def __iter__(self) -> Iterator[Task]:
        index = 0
        below: Iterable[str] = self.ids
        for level in self.levels:
            for name, waits in zip(level, _parts(below), strict=True):
                marks = _marks(name)
                body = Record(
                    id=name,
                    displayName=marks.named(f"{self.stage} join"),
                    dependsOn=Record(taskIds=waits),
                    **self.common,
                )
                yield Task(name, self.stage, index, body, marks=marks)
                index += 1
            below = level

    def __len__(self) -> int:
        return sum(map(len, self.levels))


def _tree(
    name: str,
    stages: tuple[Stage, ...],
    tasks: Mapping[str, Stream[Task]],
    ids: Stream[str],
    windows: bool,
) -> _Tree:
    """Levels of joins, until a stage that needs this one can list the ids of the last level."""
    waiting = [stage for stage in stages if name in stage.needs]
    number = sum(len(tasks[stage.name]) for stage in waiting)
    room = min(ROOM // len(stage.needs) for stage in waiting)
    room = max(_LONGEST + _AROUND, min(room, _VOLUME // max(1, number)))
    levels: list[tuple[str, ...]] = []
    left: Iterable[str] = ids
    while (few := _few(left, room)) is None:
        left = tuple(_name(name, part) for part in _parts(left))
        levels.append(left)
    if not levels:
        return _Tree(few)
    like = chain(tasks[name], *(tasks[stage.name] for stage in waiting))
    return _Tree(few, Joins(name, ids, tuple(levels), _common(next(iter(like), None), windows)))


def _few(ids: Iterable[str], room: int) -> tuple[str, ...] | None:
    """The ids if they fit, otherwise ``None``; reads only as many ids as fit."""
    found: list[str] = []
    for name in ids:
        room -= len(name) + _AROUND
        if room < 0:
            return None
        found.append(name)
    return tuple(found)


def _parts(ids: Iterable[str]) -> Iterator[tuple[str, ...]]:
    """The ids in parts that each fit in one task."""
    part: list[str] = []
    size = 0
    for name in ids:
        size += len(name) + _AROUND
        if size > ROOM:
            yield tuple(part)
            part, size = [], len(name) + _AROUND
        part.append(name)
    if part:
        yield tuple(part)


def _name(stage: str, waits: tuple[str, ...]) -> str:
    """The id of a join, with a digest of the ids it waits for: other ids need another join."""
    ending = "-join-" + hashlib.sha256("\n".join(waits).encode()).hexdigest()[:_DIGEST]
    return stage[: _LONGEST - len(ending)] + ending


def _marks(name: str) -> Marks:
    """The marks of a join: digests of its id."""
    mark = hashlib.sha256(name.encode()).hexdigest()[:_DIGEST]
    return Marks(mark, "", mark)


def _common(like: Task | None, windows: bool) -> Record:
    """The body of every join: a command that does nothing, in a container if the pool needs one."""
    command = wrapped("exit 0", windows=windows)
    common: dict[str, Value] = {"commandLine": command}
    settings = like.body.get("containerSettings") if like is not None else None
    if isinstance(settings, Record):
        # The image's own entry point would take the command for its arguments.
        given = settings.get("containerRunOptions")
        options = f"{given} --entrypoint=" if isinstance(given, str) else "--entrypoint="
        common["containerSettings"] = settings.with_(containerRunOptions=options)
    return Record(common)
