"""The plan of a job schedule: data, pool and schedule. The service creates its jobs.

The plan waits for nothing, downloads nothing and deletes nothing, because jobs keep coming.
"""

from __future__ import annotations

from dataclasses import replace

from batchspec.diagnostics import Diagnostic, Diagnostics, SpecError, UsageError
from batchspec.plan.actions import CreateSchedule, ReplaceSchedule, UpdateSchedule, WaitForPool
from batchspec.plan.assemble import assemble
from batchspec.plan.data import container_steps, upload_steps
from batchspec.plan.metadata import SPEC
from batchspec.plan.observed import Observed, ScheduleFacts
from batchspec.plan.options import Part, PlanOptions
from batchspec.plan.plan import Plan, Step, Verb, ids
from batchspec.plan.pool import pool_steps
from batchspec.plan.pool_body import pool_body, runs_windows
from batchspec.plan.rules.context import RuleContext
from batchspec.plan.rules.data import missing_container
from batchspec.plan.rules.registry import advice, errors
from batchspec.plan.rules.schedule import (
    endless_schedule,
    job_exists,
    schedule_active,
    schedule_disabled,
    schedule_drift,
    schedule_not_ours,
    schedule_over,
)
from batchspec.plan.rules.tasks import check_tasks
from batchspec.plan.sas_lifetime import sas_lifetime
from batchspec.plan.schedule_body import (
    drift,
    for_the_next,
    job_manager_task,
    schedule_body,
    schedule_change,
)
from batchspec.plan.stage_tasks import Selection
from batchspec.plan.task_sets import TaskSets
from batchspec.spec import PoolKind, Record, Spec

_CHANGEABLE = frozenset({"active", "disabled"})
"""The states in which a schedule can be changed."""


def build_schedule(
    spec: Spec, observed: Observed, *, only: Selection | None, options: PlanOptions
) -> Plan:
    """The plan that brings the schedule to what the spec describes.

    Raises:
        SpecError: the spec cannot be applied to this account; contains every reason.
        UsageError: ``only`` is given, or the plan has no step with the id in ``options``.
    """
    if only is not None:
        raise UsageError(_not_retried(spec, observed.schedule))
    problems = Diagnostics()
    problems.extend(spec.warnings)
    windows = runs_windows(spec, observed)
    pool = pool_body(spec, observed, problems)
    context = RuleContext(spec, observed, pool)
    problems.extend(errors(context))
    problems.extend(missing_container(spec, observed))
    for stage in spec.stages:
        problems.extend(check_tasks(spec, stage, observed, windows=windows))
    problems.raise_if_any()
    manager = job_manager_task(spec, observed, windows=windows, problems=problems)
    if manager is None:
        raise SpecError(*problems.found)
    body = schedule_body(spec, observed, pool, manager)
    step = _schedule_step(spec, observed, body, problems, options)
    mixed = [step]
    # A schedule that has ended creates no jobs, so nothing else is needed.
    if step.action is not None or not _ended(observed.schedule):
        before = _resource_steps(spec, observed, pool, problems, options)
        if step.action is None:
            # The schedule's URLs were signed for all of it when it was created. For a schedule with
            # a single job, the computed end moves with the time of the plan.
            before = [other for other in before if not other.id.endswith(":sign")]
        # The body of the schedule contains an auto pool.
        own_pool = (pool,) if spec.pool.kind is PoolKind.OWN else ()
        problems.extend(endless_schedule(spec, body, *own_pool))
        # The first job may start immediately, and uses what the other steps create.
        mixed = [*before, replace(step, after=ids(before))]
    steps = [each for each in mixed if each.action is not None]
    kept = [each for each in mixed if each.action is None]
    problems.extend(advice(context, steps))
    problems.raise_if_any()
    return assemble(spec, observed, steps, kept, problems=problems, options=options, scheduled=True)


def _resource_steps(
    spec: Spec, observed: Observed, pool: Record, problems: Diagnostics, options: PlanOptions
) -> list[Step]:
    """The steps for containers, uploads and the pool."""
    containers = tuple(container_steps(spec, observed))
    nothing = TaskSets(spec.job.id, None, whole=True, stages=())
    uploads = upload_steps(spec, observed, nothing, frozenset(ids(containers)))
    pools = pool_steps(spec, observed, pool, problems, replace=Part.POOL in options.replace)
    ready = (step for step in pools if not isinstance(step.action, WaitForPool))
    return [*containers, *uploads, *ready]


def _schedule_step(
    spec: Spec, observed: Observed, body: Record, problems: Diagnostics, options: PlanOptions
) -> Step:
    """Create, keep, update or replace the schedule; adds errors if that is impossible."""
    name, facts = spec.job.id, observed.schedule
    sas = sas_lifetime(spec, observed.now)
    step_id, subject = f"schedule:{name}", f"schedule {name}"
    new = Step(
        step_id, ReplaceSchedule(name, body, sas), Verb.REPLACE, subject, _why_new(facts, options)
    )
    if facts is None:
        create = CreateSchedule(name, body, sas)
        _check_new(spec, observed, problems)
        return Step(step_id, create, Verb.CREATE, subject, "new")
    if facts.metadata.get(SPEC) != spec.name:
        problems.extend(schedule_not_ours(spec, facts))
        return new
    change = schedule_change(body, facts)
    if options.rerun and not _ended(facts):
        problems.extend(schedule_active(spec, facts))
    if not new.reason and change is not None and (_ended(facts) or not change.patch):
        ended = "; the existing schedule has ended" if _ended(facts) else ""
        new = replace(new, reason=change.reason + ended)
    if new.reason:
        _check_new(spec, observed, problems)
        return new
    if change is not None:
        _check_new(spec, observed, problems)
        update = UpdateSchedule(name, change.patch, sas)
        reason = f"{change.reason}; applies to its next job{for_the_next(body, facts)}"
        return Step(step_id, update, Verb.UPDATE, subject, reason)
    changed = drift(body, facts)
    problems.extend(schedule_drift(spec, facts, changed))
    problems.extend(schedule_disabled(spec, facts))
    why = "changed by another client" if changed else "up to date"
    why = f"ended; {why}" if _ended(facts) else why
    return Step(step_id, None, Verb.KEEP, subject, why + for_the_next(body, facts))


def _why_new(facts: ScheduleFacts | None, options: PlanOptions) -> str:
    """Why a schedule is replaced whatever its properties are; empty if it is not."""
    if facts is not None and facts.state == "deleting":
        return "the existing schedule is being deleted"
    if Part.JOB in options.replace:
        return "requested by --replace job"
    return "requested by --rerun" if options.rerun else ""


def _ended(facts: ScheduleFacts | None) -> bool:
    return facts is not None and facts.state not in _CHANGEABLE


def _check_new(spec: Spec, observed: Observed, problems: Diagnostics) -> None:
    """Whether the schedule will create a job, and its id is free."""
    problems.extend(schedule_over(spec, observed))
    problems.extend(job_exists(spec, observed.jobs))


def _not_retried(spec: Spec, facts: ScheduleFacts | None) -> Diagnostic:
    active = facts is not None and not _ended(facts)
    return Diagnostic(
        "not-retried",
        f"{spec.name} is a schedule: `retry` does not apply; its next job runs the tasks again",
        fix="`batchspec status` shows when the next job starts." if active else "",
    )
