"""What would be wrong with the tasks of a stage: told before anything is sent.

Every task is made once and looked at; none is held.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path

from batchspec.diagnostics import Diagnostic, SpecError
from batchspec.plan.lazy import duplicates
from batchspec.plan.observed import Observed
from batchspec.plan.rules.catalogue import finding
from batchspec.plan.rules.outputs import output_faults
from batchspec.plan.rules.task_limits import Limits, limits
from batchspec.plan.tasks import Expansion, expand
from batchspec.spec import EachBlob, Rows, Spec, Stage

_SHOWN = 5
"""How many faults of one kind are told one by one."""


def check_tasks(
    spec: Spec, stage: Stage, observed: Observed, *, windows: bool, folder: Path | None = None
) -> tuple[Diagnostic, ...]:
    """Everything that is wrong with the tasks of a stage, in one pass over them.

    No task can be made of an item; no item at all; ids that are the same but for case, of this
    stage or an earlier one; two tasks that write one blob; a body that fits into no request, a
    command that no shell takes; a file that would leave the working directory. ``folder`` is where
    temporary files go.
    """
    tasks = expand(spec, stage, observed, windows=windows)
    if not len(tasks):
        return (_nothing(stage),)
    look = _Scan(limits(spec, stage, windows=windows))
    pairs = list(_first(duplicates(look.ids(tasks), folder=folder)))
    found = [*look.found, *(_same_id(stage, tasks, *pair) for pair in pairs)]
    if look.number > _SHOWN:
        more = look.number - _SHOWN
        found.append(
            Diagnostic("more-faults", f"{more} more tasks of {stage.name} have such faults")
        )
    found += _across(spec, stage, observed, windows=windows, folder=folder)
    if not look.number:
        found += output_faults(spec, stage, observed, windows=windows, folder=folder)
    return tuple(found)


@dataclass(slots=True)
class _Scan:
    """Goes over tasks and keeps the faults of the first few."""

    limits: Limits
    found: list[Diagnostic] = field(default_factory=list)
    number: int = 0

    def ids(self, tasks: Expansion) -> Iterator[str]:
        """The ids of the tasks that can be made, as the service compares them."""
        for index, item in enumerate(tasks.items):
            try:
                task = tasks.maker.task(index, item)
            except SpecError as error:
                self._keep(*error.problems)
                # A place in the order is kept, and equals no other.
                yield f"\0{index}"
                continue
            if (fault := self.limits.fault(task)) is not None:
                self._keep(fault)
            yield task.id.lower()

    def _keep(self, *problems: Diagnostic) -> None:
        self.number += 1
        if self.number <= _SHOWN:
            self.found.extend(problems)


def _nothing(stage: Stage) -> Diagnostic:
    """What is in the account or in a file may be nothing for once; a spec may not say nothing."""
    data = isinstance(stage.for_each, EachBlob | Rows)
    return finding(
        "no-items-now" if data else "no-items",
        f"`for_each` of {stage.name} has no item, so the stage has no task",
        where=stage.where,
    )


def _first(pairs: Iterator[tuple[int, int]], number: int = _SHOWN) -> Iterator[tuple[int, int]]:
    """The first pairs. The rest are gone through, so that what happens on the way is complete."""
    for count, pair in enumerate(pairs):
        if count < number:
            yield pair


def _same_id(stage: Stage, tasks: Expansion, first: int, second: int) -> Diagnostic:
    task = tasks.at(second)
    name = "" if task is None else f" {task.id!r}"
    if stage.id is not None:
        return Diagnostic(
            "same-id",
            f"two tasks of {stage.name} have the id{name} (case does not count)",
            f"Indexes {first} and {second}.",
            stage.id.where,
            "Put into `id` what tells them apart, or `{{ index }}`.",
        )
    return Diagnostic(
        "same-work",
        f"two tasks of {stage.name} do the same: both would be{name}",
        f"Indexes {first} and {second} give the same command, environment and files.",
        stage.where,
        "Leave one out, or set `id` with `{{ index }}` in it to run both.",
    )


def _across(
    spec: Spec, stage: Stage, observed: Observed, *, windows: bool, folder: Path | None
) -> Iterator[Diagnostic]:
    """Ids that another stage has too: only templates of the user's own can do that."""
    for other in takewhile(lambda other: other.name != stage.name, spec.stages):
        if stage.id is None and other.id is None:
            continue
        border = len(expand(spec, other, observed, windows=windows))
        ids = _ids(spec, (other, stage), observed, windows=windows)
        try:
            crossing = [
                pair for pair in duplicates(ids, folder=folder) if pair[0] < border <= pair[1]
            ]
        except SpecError:
            continue  # told where the tasks of that stage are looked at
        if crossing:
            first, second = crossing[0]
            yield Diagnostic(
                "same-id",
                f"tasks of {other.name} and {stage.name} have the same id (case does not count)",
                f"Index {first} of {other.name} and {second - border} of {stage.name}.",
                stage.where if stage.id is None else stage.id.where,
                "Begin the `id` with the name of the stage.",
            )


def _ids(
    spec: Spec, stages: tuple[Stage, ...], observed: Observed, *, windows: bool
) -> Iterator[str]:
    for stage in stages:
        for task in expand(spec, stage, observed, windows=windows):
            yield task.id.lower()
