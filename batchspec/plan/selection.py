"""Which of the failed tasks are to run again: all of them, those of some causes, or some by id."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from batchspec.plan.causes import cause_of
from batchspec.plan.observed import JobFacts, TaskFacts


@dataclass(frozen=True, slots=True)
class Selection:
    """Failed tasks: of ``causes`` and with ``ids`` (lower case), each empty where it is not asked.

    ``jobs`` are the facts of the jobs of the run by id; why a task ended may be why its job did.
    ``alike`` are the ids (lower case) of tasks that count as being of one of the ``causes``: those
    of a part of a cause. ``nodes`` are those whose start task failed; they restart.
    """

    causes: frozenset[str] = frozenset()
    ids: frozenset[str] = frozenset()
    jobs: Mapping[str, JobFacts] = field(default_factory=dict)
    alike: frozenset[str] = frozenset()
    nodes: tuple[str, ...] = ()

    @property
    def all(self) -> bool:
        """Whether every failed task is to run again."""
        return not self.causes and not self.ids

    def picks(self, task: TaskFacts | None, job: str | None) -> bool:
        """Whether a task of that job is to run again."""
        if task is None or task.succeeded is not False:
            return False
        if self.ids and task.id.lower() not in self.ids:
            return False
        if not self.causes or task.id.lower() in self.alike:
            return True
        return cause_of(task, self.jobs.get(job or "")) in self.causes
