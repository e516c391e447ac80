"""The failed tasks and nodes that a user selects to run again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from batchspec.plan.failures import (
    AT_LIMIT,
    BLOCKED,
    PREPARATION_TASK,
    START_TASK_UNFINISHED,
    UNPREPARED,
    cause_of,
)
from batchspec.plan.observed import JobFacts, TaskFacts


@dataclass(frozen=True, slots=True)
class Selection:
    """Failed tasks: of ``causes`` and with ``ids`` (lower case), each empty for all.

    ``jobs`` are the facts of the jobs of the run by id; why a task ended may be why its job did.
    ``alike`` are the ids (lower case) of tasks that count as being of one of the ``causes``: those
    of a part of a cause. ``nodes`` are those whose start task failed, ``unprepared`` those on which
    the preparation task of the open job failed: they restart.
    """

    causes: frozenset[str] = frozenset()
    ids: frozenset[str] = frozenset()
    jobs: Mapping[str, JobFacts] = field(default_factory=dict)
    alike: frozenset[str] = frozenset()
    nodes: tuple[str, ...] = ()
    unprepared: tuple[str, ...] = ()

    @property
    def all(self) -> bool:
        """Whether every failed task is to run again."""
        return not self.causes and not self.ids

    def picks(self, task: TaskFacts | None, job: str | None) -> bool:
        """Whether a task of that job is to run again."""
        if task is None:
            return False
        if task.succeeded is None:
            return self._picks_blocked(job)
        if task.succeeded:
            return False
        if self.ids and task.id.lower() not in self.ids:
            return False
        if not self.causes or task.id.lower() in self.alike:
            return True
        return cause_of(task, self.jobs.get(job or "")) in self.causes

    def _picks_blocked(self, job: str | None) -> bool:
        """Whether tasks that could not start are to run, and their job ended before they could."""
        facts = self.jobs.get(job or "")
        reason = facts.terminate_reason if facts is not None else None
        if reason == UNPREPARED and PREPARATION_TASK in self.causes:
            return True
        if reason in AT_LIMIT and START_TASK_UNFINISHED in self.causes:
            return True
        return self.all and reason in {UNPREPARED, BLOCKED}
