"""How the tasks of a run are counted by stage: what a job records of it, and what a list adds.

A job of a spec with several stages records for each stage how many tasks the run has and how many
of them succeeded in earlier jobs. With that, one list of the newest job gives the numbers of the
whole run.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import AsyncIterable, Iterable
from dataclasses import dataclass

from batchspec.plan.metadata import STAGES
from batchspec.plan.observed import JobFacts, TaskFacts
from batchspec.plan.stage_tasks import StageTasks, state_of
from batchspec.spec import Spec


@dataclass(frozen=True, slots=True)
class StageTotals:
    """A stage as the plan counts it.

    ``total`` is how many tasks the stage has, ``kept`` how many of them succeeded in earlier jobs.
    ``superseded`` tasks in the job are of an earlier version of the spec, have succeeded, and are
    not counted.
    """

    stage: str
    total: int = 0
    kept: int = 0
    superseded: int = 0


@dataclass(frozen=True, slots=True)
class StageCounts:
    """The tasks of a stage over all jobs of the run.

    ``total`` may be more than the others together: tasks that are not submitted (yet).
    """

    total: int
    active: int
    running: int
    succeeded: int
    failed: int


def stage_totals(stages: Iterable[StageTasks]) -> tuple[StageTotals, ...]:
    """What a plan knows of the stages; nothing where there is only one."""
    found = tuple(
        StageTotals(work.stage.name, work.total, work.before, work.superseded) for work in stages
    )
    return found if len(found) > 1 else ()


def recorded(totals: Iterable[StageTotals]) -> str:
    """The text that a job records; empty without stages."""
    found = {each.stage: (each.total, each.kept, each.superseded) for each in totals}
    return json.dumps(found, separators=(",", ":")) if found else ""


def read_recorded(job: JobFacts, spec: Spec) -> tuple[StageTotals, ...]:
    """What a job records of the stages of a spec that has several, zeros where it records nothing.

    The tasks of a schedule's jobs are submitted by their job manager task and carry no stage.
    """
    if len(spec.stages) < 2 or spec.job.schedule is not None:
        return ()
    try:
        found = json.loads(job.metadata.get(STAGES, "{}"))
    except ValueError:
        found = None
    members = found if isinstance(found, dict) else {}
    return tuple(
        StageTotals(name, *members[name]) if _is_numbers(members.get(name)) else StageTotals(name)
        for name in (stage.name for stage in spec.stages)
    )


def _is_numbers(member: object) -> bool:
    return isinstance(member, list) and len(member) == 3 and all(type(n) is int for n in member)


async def count_stages(
    totals: Iterable[StageTotals], tasks: AsyncIterable[TaskFacts]
) -> dict[str, StageCounts]:
    """The numbers of each stage, with one pass over the tasks of the run's newest job."""
    found: defaultdict[str, Counter[str]] = defaultdict(Counter)
    async for task in tasks:
        found[task.marks.stage][state_of(task)] += 1
    counts: dict[str, StageCounts] = {}
    for each in totals:
        states = found[each.stage]
        succeeded = each.kept + max(0, states["succeeded"] - each.superseded)
        others = states["active"], states["running"], states["failed"]
        total = max(each.total, succeeded + sum(others))
        counts[each.stage] = StageCounts(total, others[0], others[1], succeeded, others[2])
    return counts
