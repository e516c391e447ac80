"""Rules about single tasks, which are created and checked one by one before anything is sent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice, takewhile
from typing import TypeAlias

from batchspec.diagnostics import Diagnostic, Place, SpecError, counted
from batchspec.plan.items import Item, items
from batchspec.plan.lazy import are_distinct, duplicates
from batchspec.plan.observed import Observed
from batchspec.plan.rules.data import same_outputs
from batchspec.plan.rules.limits import TaskLimits, has_room, limits_of, room_for_strings
from batchspec.plan.rules.rule import ERROR, WARNING, Finding, RuleGroup
from batchspec.plan.task_template import Draft
from batchspec.plan.tasks import Expansion, Task, expand
from batchspec.spec import EachBlob, Rows, Spec, Stage

TASKS = RuleGroup(
    "Tasks",
    "Every task is created and checked before any is sent. An error that several tasks of a stage"
    " have is reported once; of different errors, those of the first five tasks.",
)

_NO_WORK = 1 << 60
"""Digests of work are smaller numbers."""
_REPORTED = 5
"""The number of tasks whose errors are reported one by one."""


def check_tasks(
    spec: Spec, stage: Stage, observed: Observed, *, windows: bool
) -> tuple[Diagnostic, ...]:
    """All errors of the tasks of a stage, found in one pass over the tasks."""
    tasks = expand(spec, stage, observed, windows=windows)
    scan = _Scan(limits_of(spec, stage, observed, windows=windows))
    pairs = list(_equal(tasks, scan))
    if not len(tasks):
        return (*no_items(stage), *no_items_now(stage))
    found = [*scan.found(), *same_id(stage, tasks, pairs), *same_work(stage, tasks, pairs)]
    found += more_faults(stage, scan.unreported)
    found += tasks_not_checked(spec, stage, observed, len(tasks))
    found += _same_ids_across(spec, stage, observed, windows=windows)
    if not scan.counts:
        found += same_outputs(spec, stage, observed, windows=windows)
    return tuple(found)


def _equal(tasks: Expansion, scan: _Scan) -> Iterator[tuple[int, int]]:
    """The indexes of the first pairs of tasks with the same id; ``scan`` checks all tasks."""
    if tasks.maker.names_ids:
        yield from _first(duplicates(scan.ids(tasks)))
    elif not are_distinct(scan.works(tasks)):
        # A generated id ends with the digest of the work, so equal ids have equal digests.
        yield from islice(duplicates(_Scan(scan.limits).ids(tasks)), _REPORTED)


def check_stages(
    spec: Spec, stages: Iterable[Stage], observed: Observed, *, windows: bool
) -> tuple[Diagnostic, ...]:
    """All errors of the tasks of several stages.

    An error of a stage is found again in the stages that need it; it is reported once.
    """
    found: dict[_Error, Diagnostic] = {}
    for stage in stages:
        try:
            problems = check_tasks(spec, stage, observed, windows=windows)
        except SpecError as error:  # Of a file of rows, or of a stage that it needs.
            problems = error.problems
        for problem in problems:
            found.setdefault(_error(problem), problem)
    return tuple(found.values())


_Error: TypeAlias = tuple[str, str, Place | None]
"""The parts that are equal in an error of several tasks; the detail names the task."""


def _error(problem: Diagnostic) -> _Error:
    return problem.code, problem.summary, problem.where


@dataclass(slots=True)
class _Scan:
    """Checks tasks one by one and keeps the different errors of the first few.

    ``first`` contains the first occurrence of each error, ``counts`` the number of tasks with it.
    ``unreported`` is the number of tasks that have only other errors. ``room`` is the result of
    :func:`room_for_strings`; 0 if all tasks have to be created.
    """

    limits: TaskLimits
    first: dict[_Error, Diagnostic] = field(default_factory=dict)
    counts: Counter[_Error] = field(default_factory=Counter)
    tasks: int = 0
    unreported: int = 0
    room: int = 0

    def ids(self, tasks: Expansion) -> Iterator[str]:
        """The ids of the tasks that can be created, as the service compares them."""
        for index, item in enumerate(tasks.items):
            draft = self._draft(tasks, index, item)
            if draft is not None and draft.own is not None:
                yield draft.own.lower()
                continue
            task = self._checked(tasks, index, item)
            # A unique text that equals no id.
            yield f"\0{index}" if task is None else task.id.lower()

    def works(self, tasks: Expansion) -> Iterator[int]:
        """The digests of the work of the tasks, as numbers of 64 bits.

        If tasks of the stage can have errors only in their commands, the bodies of most of them
        are not created.
        """
        factory, room = tasks.maker, 0
        for index, item in enumerate(tasks.items):
            text = factory.command_identity(index, item) if room else None
            if text is not None and has_room(text, room):
                yield int(factory.work(text, item), 16)
                continue
            draft = self._draft(tasks, index, item)
            if draft is not None:
                yield int(draft.work, 16)
                continue
            task = self._checked(tasks, index, item)
            yield _NO_WORK + index if task is None else int(task.marks.work, 16)
            if index == 0 and task is not None and not self.counts and factory.only_commands_differ:
                room = self.limits.room_for_command(task)

    def _draft(self, tasks: Expansion, index: int, item: Item) -> Draft | None:
        """The draft of a task that certainly has no errors; ``None`` for other tasks.

        The first task is created and checked. If it has no errors, similar tasks can have errors
        only in size and id.
        """
        if not self.room:
            return None
        found = tasks.maker.draft(index, item)
        if found is None or found[1] > self.room or not self.limits.allow(found[0]):
            return None
        return found[0]

    def _checked(self, tasks: Expansion, index: int, item: Item) -> Task | None:
        """Create a task and keep its errors; ``None`` if it cannot be created."""
        try:
            task = tasks.maker.task(index, item)
        except SpecError as error:
            self._keep(*error.problems)
            return None
        error_found = next(self.limits.errors(task), None)
        if error_found is not None:
            self._keep(error_found)
        elif index == 0 and not self.limits.vary:
            self.room = room_for_strings(task.body)
        return task

    def _keep(self, *problems: Diagnostic) -> None:
        errors = {_error(problem): problem for problem in problems}
        if errors.keys() - self.first.keys() and self.tasks < _REPORTED:
            self.tasks += 1
            for error, problem in errors.items():
                self.first.setdefault(error, problem)
        known = errors.keys() & self.first.keys()
        self.counts.update(known)
        self.unreported += not known

    def found(self) -> Iterator[Diagnostic]:
        """The errors; the detail of an error gives the number of further items with it."""
        for error, problem in self.first.items():
            more = self.counts[error] - 1
            if not more:
                yield problem
                continue
            items = counted(more, "more item")
            detail = problem.detail.removesuffix(".")
            yield replace(problem, detail=f"{detail}, and {items}." if detail else f"And {items}.")


@TASKS.rule(
    "no-items",
    ERROR,
    title="A stage has no items, so it has no tasks",
    why="Items that the spec defines itself (files, values, ranges) must not be empty.",
    fix="Fix `match`, `exclude` or the range.",
)
def no_items(stage: Stage) -> Iterator[Finding]:
    """A stage without tasks, with items that the spec defines."""
    if not isinstance(stage.for_each, EachBlob | Rows):
        yield _without_items(stage)


@TASKS.rule(
    "no-items-now",
    WARNING,
    title="A stage has no items in this run, so it has no tasks",
    why="No blob in the account matches, or the file has no rows, which may be intended.",
    fix="Check the name of the container or the file.",
)
def no_items_now(stage: Stage) -> Iterator[Finding]:
    """A stage without tasks whose items are blobs or rows."""
    if isinstance(stage.for_each, EachBlob | Rows):
        yield _without_items(stage)


def _without_items(stage: Stage) -> Finding:
    summary = f"`for_each` of {stage.name} has no items, so the stage has no tasks"
    return Finding(summary, stage.where)


TASKS.describe(
    "task-id",
    ERROR,
    "A task id is invalid",
    "Ids have up to 64 letters, digits, `-` and `_`, and are visible to every user of the account.",
    "Use `| slug` to make a string valid, or `| hash` to shorten it.",
)


TASKS.describe(
    "renamed-output",
    ERROR,
    "An output whose name contains a wildcard character is renamed",
    "The character is escaped in the pattern, and with a pattern the path is a folder.",
    "Write a `path` that ends in `/`, or rename the file in the command.",
)


@TASKS.rule(
    "same-id",
    ERROR,
    title="Two tasks or two stages have the same id",
    why="The service ignores case in ids, so one of the tasks would be lost.",
    fix="Add a value that distinguishes them to `id`, such as `{{ index }}`.",
)
def same_id(stage: Stage, tasks: Expansion, pairs: list[tuple[int, int]]) -> Iterator[Finding]:
    """Tasks of a stage with equal values of ``id``; ``pairs`` are their indexes."""
    for first, second in pairs if stage.id is not None else ():
        assert stage.id is not None
        yield Finding(
            f"two tasks of {stage.name} have the id{_id_at(tasks, second)} (ignoring case)",
            stage.id.where,
            f"Indexes {first} and {second}.",
        )


@TASKS.rule(
    "same-work",
    ERROR,
    title="Two tasks of a stage are equal",
    why="A generated id is derived from what the task computes, so the two have the same id.",
    fix="Remove one, or add `{{ index }}` to `id` to run both.",
)
def same_work(stage: Stage, tasks: Expansion, pairs: list[tuple[int, int]]) -> Iterator[Finding]:
    """Tasks of a stage without ``id`` that compute the same; ``pairs`` are their indexes."""
    for first, second in pairs if stage.id is None else ():
        yield Finding(
            f"two tasks of {stage.name} are equal and would have the id{_id_at(tasks, second)}",
            stage.where,
            f"Indexes {first} and {second} have the same command, environment and files.",
        )


def _id_at(tasks: Expansion, index: int) -> str:
    task = tasks.at(index)
    return "" if task is None else f" {task.id!r}"


@TASKS.rule(
    "more-faults",
    ERROR,
    title="More tasks have errors",
    why="Only the errors of the first five tasks are listed. The others often have the same cause.",
    fix="Fix the reported errors, and run `batchspec plan` again.",
)
def more_faults(stage: Stage, number: int) -> Iterator[Finding]:
    """Tasks with errors that are not reported; ``number`` is their number."""
    if number > 0:
        tasks = counted(
            number, f"more task of {stage.name} has", f"more tasks of {stage.name} have"
        )
        yield Finding(f"{tasks} other errors")


@TASKS.rule(
    "tasks-not-checked",
    WARNING,
    title="Only the first tasks of a stage are checked",
    why="`validate` checks the first 20,000 tasks of each stage, so that it takes seconds.",
    fix="`batchspec plan` checks all tasks.",
)
def tasks_not_checked(
    spec: Spec, stage: Stage, observed: Observed, checked: int
) -> Iterator[Finding]:
    """A stage with more tasks than are checked."""
    if observed.most_items is not None and checked >= observed.most_items:
        total = len(items(spec, stage, replace(observed, most_items=None)))
        if total > checked:
            yield Finding(
                f"only the first {checked:,} of {total:,} tasks of {stage.name} are checked",
                stage.where,
            )


def _first(pairs: Iterator[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """The first pairs; the others are read, too, so that every task is checked."""
    for count, pair in enumerate(pairs):
        if count < _REPORTED:
            yield pair


def _same_ids_across(
    spec: Spec, stage: Stage, observed: Observed, *, windows: bool
) -> Iterator[Diagnostic]:
    """Ids that are also in an earlier stage, which is possible only if one of them sets ``id``."""
    for other in takewhile(lambda other: other.name != stage.name, spec.stages):
        if stage.id is None and other.id is None:
            continue
        ids = _ids(spec, (other, stage), observed, windows=windows)
        try:
            border = len(expand(spec, other, observed, windows=windows))
            crossing = [pair for pair in duplicates(ids) if pair[0] < border <= pair[1]]
        except SpecError:
            continue  # Reported with the tasks of that stage.
        if crossing:
            first, second = crossing[0]
            yield same_id.report(
                Finding(
                    f"tasks of {other.name} and {stage.name} have the same id (ignoring case)",
                    stage.where if stage.id is None else stage.id.where,
                    f"Index {first} of {other.name} and {second - border} of {stage.name}.",
                    "Begin the `id` with the name of the stage.",
                )
            )


def _ids(
    spec: Spec, stages: tuple[Stage, ...], observed: Observed, *, windows: bool
) -> Iterator[str]:
    for stage in stages:
        for task in expand(spec, stage, observed, windows=windows):
            yield task.id.lower()
