"""The plan of a job schedule: data, pool and schedule. The service creates its jobs.

The plan waits for nothing, downloads nothing and deletes nothing, because jobs keep coming.
"""

from __future__ import annotations

from collections.abc import Iterator

from batchspec.diagnostics import Diagnostic, Diagnostics, SpecError, UsageError
from batchspec.plan.actions import CreateSchedule, ReplaceSchedule, UpdateSchedule, WaitForPool
from batchspec.plan.assemble import assemble
from batchspec.plan.changes import Difference
from batchspec.plan.data import container_steps, missing_containers, upload_steps
from batchspec.plan.metadata import SPEC
from batchspec.plan.observed import Observed, ScheduleFacts
from batchspec.plan.options import Part, PlanOptions
from batchspec.plan.plan import Plan, Step, Verb
from batchspec.plan.pool import pool_steps
from batchspec.plan.pool_body import pool_body, runs_windows
from batchspec.plan.rules.catalogue import finding
from batchspec.plan.rules.check import in_the_way, worth_knowing
from batchspec.plan.rules.context import RuleContext
from batchspec.plan.rules.tasks import check_tasks
from batchspec.plan.sas_lifetime import is_over, sas_lifetime
from batchspec.plan.schedule_body import (
    drift,
    endless,
    for_the_next,
    job_manager_task,
    schedule_body,
    schedule_change,
)
from batchspec.plan.stage_tasks import Selection
from batchspec.plan.task_sets import TaskSets
from batchspec.spec import PoolKind, Record, Spec

_GOES_ON = frozenset({"active", "disabled"})
"""The states in which a schedule can be changed."""
_UNTIL = ("job.schedule.until", "job.schedule.do_not_run_after", "job.schedule")


def build_schedule(
    spec: Spec, observed: Observed, *, only: Selection | None, options: PlanOptions
) -> Plan:
    """The plan that makes the schedule what the spec says; see :func:`~batchspec.plan.build.build`.

    Raises:
        SpecError: the spec cannot be carried out on this account; every reason is carried.
        UsageError: failed tasks are to be run again, or there is no step that is wished for.
    """
    if only is not None:
        raise UsageError(_not_retried(spec, observed.schedule))
    problems = Diagnostics()
    problems.extend(spec.warnings)
    windows = runs_windows(spec, observed)
    pool = pool_body(spec, observed, problems)
    scene = RuleContext(spec, observed, pool)
    problems.extend(in_the_way(scene))
    problems.extend(missing_containers(spec, observed))
    for stage in spec.stages:
        problems.extend(check_tasks(spec, stage, observed, windows=windows))
    problems.raise_if_any()
    manager = job_manager_task(spec, observed, windows=windows, problems=problems)
    if manager is None:
        raise SpecError(*problems.found)
    body = schedule_body(spec, observed, pool, manager)
    step = _schedule_step(spec, observed, body, problems, options)
    steps: list[Step]
    kept: list[Step]
    if step.action is None and _ended(observed.schedule):
        # Nothing of it is needed any more: no job comes.
        steps, kept = [], [step]
    else:
        steps, kept = _around(spec, observed, pool, problems, anew=Part.POOL in options.replace)
        if step.action is None:
            # Whoever made the schedule signed for all of it; how long one lasts that makes a single
            # job seems longer at every look.
            steps = [other for other in steps if not other.id.endswith(":sign")]
        if (problem := endless(spec, body, *_own(spec, pool))) is not None:
            problems.add(problem)
        (kept if step.action is None else steps).append(_after(step, steps))
    problems.extend(worth_knowing(scene, steps))
    problems.raise_if_any()
    return assemble(spec, observed, steps, kept, problems=problems, options=options, scheduled=True)


def _own(spec: Spec, pool: Record) -> tuple[Record, ...]:
    """What the nodes of a pool of its own start with; an auto pool is in the schedule's body."""
    return (pool,) if spec.pool.kind is PoolKind.OWN else ()


def _around(
    spec: Spec, observed: Observed, pool: Record, problems: Diagnostics, *, anew: bool
) -> tuple[list[Step], list[Step]]:
    """Containers, uploads and pool: the steps, and what is kept."""
    containers = list(container_steps(spec, observed))
    made = frozenset(step.id for step, kept in containers if not kept)
    work = TaskSets(spec.job.id, None, whole=True, stages=())
    pools = pool_steps(spec, observed, pool, problems, anew=anew)
    mixed = [*containers, *upload_steps(spec, observed, work, made)]
    mixed += [(step, False) for step in pools.steps if not isinstance(step.action, WaitForPool)]
    mixed += [(step, True) for step in pools.kept]
    return [step for step, kept in mixed if not kept], [step for step, kept in mixed if kept]


def _after(step: Step, others: list[Step]) -> Step:
    """The step behind all others: its first job may come at once, and needs what they make."""
    names = tuple(other.id for other in others)
    return Step(step.id, step.action, step.verb, step.subject, step.reason, names)


def _schedule_step(
    spec: Spec, observed: Observed, body: Record, problems: Diagnostics, options: PlanOptions
) -> Step:
    """Make, keep, change or replace the schedule; problems are added where it cannot be."""
    name, facts = spec.job.id, observed.schedule
    sas = sas_lifetime(spec, observed.now)
    step_id, subject = f"schedule:{name}", f"schedule {name}"
    anew = Step(
        step_id, ReplaceSchedule(name, body, sas), Verb.REPLACE, subject, _why_new(facts, options)
    )
    if facts is None:
        create = CreateSchedule(name, body, sas)
        _check_new(spec, observed, problems)
        return Step(step_id, create, Verb.CREATE, subject, "it is not there yet")
    if facts.metadata.get(SPEC) != spec.name:
        problems.add(_not_ours(spec, facts))
        return anew
    change = schedule_change(body, facts)
    if options.rerun and not _ended(facts):
        problems.add(_goes_on(spec, facts))
    if not anew.reason and change is not None and (_ended(facts) or not change.patch):
        gone = "; it has ended, and cannot be changed" if _ended(facts) else ""
        anew = Step(step_id, anew.action, anew.verb, subject, change.reason + gone)
    if anew.reason:
        _check_new(spec, observed, problems)
        return anew
    if change is not None:
        _check_new(spec, observed, problems)
        update = UpdateSchedule(name, change.patch, sas)
        reason = f"{change.reason}; from its next job on{for_the_next(body, facts)}"
        return Step(step_id, update, Verb.UPDATE, subject, reason)
    changed = drift(body, facts)
    problems.extend(_kept_so(spec, facts, changed))
    why = "as somebody has changed it" if changed else "as the spec says"
    why = f"it has ended, {why}" if _ended(facts) else f"it is there, {why}"
    return Step(step_id, None, Verb.KEEP, subject, why + for_the_next(body, facts))


def _why_new(facts: ScheduleFacts | None, options: PlanOptions) -> str:
    """Why a schedule of this spec is made anew whatever it is; empty if that is not so."""
    if facts is not None and facts.state == "deleting":
        return "the one that is there is being deleted"
    if Part.JOB in options.replace:
        return "as asked for (--replace job)"
    return "as asked for (--rerun)" if options.rerun else ""


def _ended(facts: ScheduleFacts | None) -> bool:
    return facts is not None and facts.state not in _GOES_ON


def _check_new(spec: Spec, observed: Observed, problems: Diagnostics) -> None:
    """That there will be a job, and no other job is in the way of the schedule."""
    if spec.job.schedule is not None and is_over(spec.job.schedule, observed.now):
        summary = "the schedule would make no job: its `until` has passed"
        problems.add(finding("schedule-over", summary, where=spec.place(*_UNTIL)))
    for job in observed.jobs:
        if job.id.lower() == spec.job.id.lower():
            summary = f"a job {job.id!r} is there, and a schedule cannot have its id"
            problems.add(finding("job-in-the-way", summary, where=spec.job.where))


def _kept_so(
    spec: Spec, facts: ScheduleFacts, changed: tuple[Difference, ...]
) -> Iterator[Diagnostic]:
    """What is to be said of a schedule that stays as it is."""
    where = spec.place("job.schedule")
    if changed:
        summary = f"somebody has changed the schedule {facts.id!r} since this spec made it"
        detail = "\n".join(difference.words for difference in changed)
        yield finding("schedule-drift", f"{summary}; it stays so", detail=detail, where=where)
    if facts.state == "disabled":
        summary = f"somebody has disabled the schedule {facts.id!r}: it makes no jobs"
        yield finding("schedule-disabled", summary, where=where)


def _not_ours(spec: Spec, facts: ScheduleFacts) -> Diagnostic:
    summary = f"a job schedule {facts.id!r} is there that this spec did not make"
    return finding("schedule-not-ours", summary, where=spec.job.where)


def _goes_on(spec: Spec, facts: ScheduleFacts) -> Diagnostic:
    summary = f"the schedule {facts.id!r} does its work again by itself: there is nothing to rerun"
    return finding("schedule-goes-on", summary, where=spec.place("job.schedule"))


def _not_retried(spec: Spec, facts: ScheduleFacts | None) -> Diagnostic:
    there = facts is not None and not _ended(facts)
    return Diagnostic(
        "not-retried",
        f"{spec.name} is a schedule: its tasks are not run again, its next job does the work",
        fix="`batchspec status` says when that comes." if there else "",
    )
