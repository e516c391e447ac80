"""The plan of a job schedule, and the body of Create Job Schedule. The service creates the jobs.

The plan has no steps that wait, download or clean up, because more jobs follow. Changes apply to
jobs that start afterwards; a running job does not change.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from batchspec.diagnostics import Diagnostic, Diagnostics, SpecError, UsageError, abridged
from batchspec.frozen import frozen
from batchspec.plan.actions import CreateSchedule, ReplaceSchedule, UpdateSchedule, WaitForPool
from batchspec.plan.assemble import assemble
from batchspec.plan.changes import SCHEDULE, ChangeMethod, Difference, differences
from batchspec.plan.data import changed_packages, container_steps, package_steps, upload_steps
from batchspec.plan.failures import Selection
from batchspec.plan.identity import digest
from batchspec.plan.job import job_differences, properties
from batchspec.plan.managed_identity import authorized
from batchspec.plan.metadata import (
    AT,
    BY,
    DIGEST,
    ORIGIN,
    POOL_DIGEST,
    SPEC,
    START,
    UNTIL,
    metadata_differences,
    metadata_of,
    provenance,
    unstamped,
    version,
)
from batchspec.plan.observed import Observed, ScheduleFacts
from batchspec.plan.options import Part, PlanOptions
from batchspec.plan.plan import Plan, Step, Verb, ids
from batchspec.plan.pool import pool_body, pool_steps, without_size
from batchspec.plan.rules.checks import errors
from batchspec.plan.rules.cost import estimate_of, fit_to_bound
from batchspec.plan.rules.data import missing_container
from batchspec.plan.rules.image import runs_windows
from batchspec.plan.rules.other_runs import (
    foreign_blobs,
    other_containers,
    other_pool,
    other_schedule,
)
from batchspec.plan.rules.registry import advice
from batchspec.plan.rules.rule import RuleContext
from batchspec.plan.rules.sas import sas_lifetime
from batchspec.plan.rules.schedule import (
    endless_schedule,
    job_exists,
    one_task,
    schedule_active,
    schedule_disabled,
    schedule_drift,
    schedule_not_ours,
    schedule_over,
)
from batchspec.plan.rules.tasks import check_stages
from batchspec.plan.task_sets import TaskSets
from batchspec.plan.tasks import expand
from batchspec.spec import PoolKind, Record, Spec

JOB_MANAGER = "jobManagerTask"
"""The property of a job with its job manager task."""


def job_manager_task(
    spec: Spec, observed: Observed, *, windows: bool, problems: Diagnostics
) -> Record | None:
    """The job manager task of a schedule's jobs; ``None``, with an error, if there is not one task.

    It is ``job_manager_task`` of the spec, otherwise the task of its only stage. That task may add
    tasks, so the job ends with its last task. It shares its node like other tasks.
    """
    given = spec.job.properties.get(JOB_MANAGER)
    if isinstance(given, Record):
        return authorized(given, spec.storage_identity)
    (stage,) = spec.stages
    tasks = expand(spec, stage, observed, windows=windows)
    first = next(iter(tasks), None)
    if first is None or len(tasks) != 1:
        problems.extend(one_task(stage, len(tasks)))
        return None
    # The schedule's digest covers the work, so marks and stamps are not needed to detect changes.
    return first.body.with_(
        displayName=stage.body.string("displayName"),
        outputFiles=unstamped(first.body.array("outputFiles")) or None,
        killJobOnCompletion=False,
        runExclusive=False,
    )


def schedule_body(spec: Spec, observed: Observed, pool: Record, manager: Record) -> Record:
    """The body of Create Job Schedule; ``pool`` is the body of Create Pool.

    Unless the spec sets ``onAllTasksComplete``, a job ends when its tasks are completed. A schedule
    does not create the next job while a job is active.
    """
    jobs = properties(spec, observed, pool).with_(id=None, **{JOB_MANAGER: manager})
    if "onAllTasksComplete" not in jobs:
        jobs = jobs.with_(onAllTasksComplete="terminatejob")
    jobs = jobs.with_(metadata=(*jobs.array("metadata"), Record(name=SPEC, value=spec.name)))
    schedule = spec.job.schedule or Record()
    made = digest(Record(schedule=schedule, jobs=_lasting(jobs)))
    ours = {SPEC: spec.name, DIGEST: made, POOL_DIGEST: _pool_digest(spec, jobs)}
    given = spec.job.schedule_properties.array("metadata")
    body = Record(id=spec.job.id, schedule=schedule, jobSpecification=jobs)
    return body.with_(
        displayName=spec.job.schedule_properties.get("displayName"),
        metadata=(
            *given,
            *(Record(name=k, value=v) for k, v in ours.items() if v),
            *provenance(observed),
        ),
    )


def _auto_pool(jobs: Record) -> tuple[Record, Record] | None:
    """The auto pool's specification, and the pool in it."""
    auto = jobs.record("poolInfo", "autoPoolSpecification")
    pool = auto.record("pool")
    return (auto, pool) if pool else None


def _lasting(jobs: Record) -> Record:
    """The jobs without values that differ in every plan: provenance, and expiry of signed URLs."""
    if (found := _auto_pool(jobs)) is None:
        return jobs
    auto, pool = found
    moving = {UNTIL, BY, AT, ORIGIN}
    pairs = (pair for pair in pool.records("metadata") if pair.get("name") not in moving)
    pool = pool.with_(metadata=tuple(pairs))
    return jobs.with_(poolInfo=Record(autoPoolSpecification=auto.with_(pool=pool)))


def _pool_digest(spec: Spec, jobs: Record) -> str:
    """The digest of the auto pool with the lifetime of the schedule; empty for other pools."""
    found = _auto_pool(jobs)
    if found is None or spec.pool.auto.get("poolLifetimeOption") != "jobschedule":
        return ""
    auto, pool = found
    starts = metadata_of(pool)[START]
    return digest(auto.with_(pool=without_size(pool).with_(metadata=None)), starts)


_JOBS = "jobSpecification"
_TASK_ID = f"{_JOBS}.{JOB_MANAGER}.id"
_CONTENT_CHANGED = "content of the task's files changed"
_HIDDEN_CHANGE = "properties changed that the service does not return"
_POOL_CHANGED = "the pool of the schedule changed"
_SHOWN = 3


@frozen
class ScheduleChange:
    """The reason why a schedule changes. ``patch`` is the update; empty if it is replaced."""

    reason: str
    patch: Record


def schedule_change(body: Record, facts: ScheduleFacts) -> ScheduleChange | None:
    """The change that brings the schedule up to date with the spec; ``None`` if it is.

    ``body`` is the body of Create Job Schedule. An update always contains the job specification, so
    that its URLs are signed until the end of the new schedule.
    """
    wanted = metadata_of(body)
    found = [d for d in _changes(body, facts) if SCHEDULE[d.property] is ChangeMethod.NOW]
    same = all(facts.metadata.get(name) == wanted.get(name) for name in (DIGEST, POOL_DIGEST))
    if same and not any(d.property == "metadata" for d in found):
        return None
    if facts.metadata.get(POOL_DIGEST) != wanted.get(POOL_DIGEST):
        return ScheduleChange(
            f"{_summary(found)}; {_POOL_CHANGED}" if found else _POOL_CHANGED, Record()
        )
    changed = {d.property for d in found} | {_JOBS, "metadata"}
    return ScheduleChange(
        _summary(found) or _HIDDEN_CHANGE,
        Record({key: body[key] for key in SCHEDULE if key in changed}),
    )


def for_the_next(body: Record, facts: ScheduleFacts) -> str:
    """The properties that only a new schedule would have, as text; empty if there are none."""
    fixed = [key for key, how in SCHEDULE.items() if how is ChangeMethod.NEXT]
    wanted, there = ({key: value.get(key) for key in fixed} for value in (body, facts.properties))
    found = (Difference(key, wanted[key], there[key]) for key in fixed)
    return "".join(
        f"; a new schedule has {difference.words}"
        for difference in found
        if difference.wanted != difference.found
    )


def drift(body: Record, facts: ScheduleFacts) -> tuple[Difference, ...]:
    """The properties that another client changed in a schedule with the same digest."""
    keys = ("schedule", _JOBS)
    wanted = Record({key: body[key] for key in keys})
    return tuple(d for d in differences(wanted, facts.properties) if _counts(d))


def _changes(body: Record, facts: ScheduleFacts) -> Iterator[Difference]:
    """The properties in which the schedule differs from the body."""
    times, there = body.record("schedule"), facts.properties.record("schedule")
    yield from differences(times, there, "schedule.")
    yield from (Difference(f"schedule.{k}", None, v) for k, v in there.items() if k not in times)
    jobs, found = body.record(_JOBS), facts.properties.record(_JOBS)
    ends = "onAllTasksComplete"
    for d in (*job_differences(jobs, found), *differences(Record({ends: jobs[ends]}), found)):
        if _counts(d):
            yield Difference(f"{_JOBS}.{d.path}", d.wanted, d.found)
    yield from metadata_differences(body, facts.metadata)


def _counts(difference: Difference) -> bool:
    """Whether a difference is relevant: an expiry in the metadata of an auto pool is not."""
    return "metadata" not in difference.path


def _summary(found: list[Difference]) -> str:
    # The task's id is a digest of its work: if only the id differs, the content of files changed.
    words = [difference.words for difference in found if difference.path != _TASK_ID]
    words = words or [_CONTENT_CHANGED for _ in found]
    return abridged(words, _SHOWN, "; ")


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
    spec = fit_to_bound(spec, observed, problems)
    problems.extend(spec.warnings)
    windows = runs_windows(spec, observed)
    pool = pool_body(spec, observed, problems)
    context = RuleContext(spec, observed, pool)
    problems.extend(errors(context))
    problems.extend(missing_container(spec, observed))
    problems.extend(changed_packages(spec, observed.packages))
    problems.extend(check_stages(spec, spec.stages, observed, windows=windows))
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
            # The URLs of the schedule were signed until its end when it was created. For a schedule
            # with a single job, the computed end moves with the time of the plan.
            before = [other for other in before if not other.id.endswith(":sign")]
        # The body of the schedule contains an auto pool.
        own_pool = (pool,) if spec.pool.kind is PoolKind.OWN else ()
        problems.extend(endless_schedule(spec, body, *own_pool))
        # The first job may start immediately, and uses what the other steps create.
        mixed = [*before, replace(step, after=ids(before))]
    steps = [each for each in mixed if each.action is not None]
    kept = [each for each in mixed if each.action is None]
    if steps:
        others = tuple(other_schedule(spec, observed))
        problems.extend(others)
        problems.extend(foreign_blobs(spec, observed, steps))
        if not others:
            problems.extend(other_containers(spec, observed, (), steps))
            problems.extend(other_pool(spec, observed, steps))
    problems.extend(advice(context, steps))
    cost = estimate_of(spec, observed, pool, steps, problems)
    problems.raise_if_any()
    plan = assemble(spec, observed, steps, kept, problems=problems, options=options, scheduled=True)
    return replace(plan, estimate=cost, release=None if cost is None else cost.release)


def _resource_steps(
    spec: Spec, observed: Observed, pool: Record, problems: Diagnostics, options: PlanOptions
) -> list[Step]:
    """The steps for containers, uploads and the pool."""
    containers = tuple(container_steps(spec, observed, version(spec, observed)))
    nothing = TaskSets(spec.job.id, None, whole=True, stages=())
    uploads = upload_steps(spec, observed, nothing, frozenset(ids(containers)))
    packages = package_steps(spec, observed)
    pools = pool_steps(spec, observed, pool, problems, replace=Part.POOL in options.replace)
    ready = (step for step in pools if not isinstance(step.action, WaitForPool))
    return [*containers, *uploads, *packages, *ready]


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
    """The reason to replace a schedule regardless of its properties; empty if there is none."""
    if facts is not None and facts.state == "deleting":
        return "the existing schedule is being deleted"
    if Part.JOB in options.replace:
        return "requested by --replace job"
    return "requested by --rerun" if options.rerun else ""


def _ended(facts: ScheduleFacts | None) -> bool:
    return facts is not None and facts.state not in _CHANGEABLE


def _check_new(spec: Spec, observed: Observed, problems: Diagnostics) -> None:
    """Add errors if the schedule would create no job, or if a job has its id."""
    problems.extend(schedule_over(spec, observed))
    problems.extend(job_exists(spec, observed.jobs))


def _not_retried(spec: Spec, facts: ScheduleFacts | None) -> Diagnostic:
    active = facts is not None and not _ended(facts)
    return Diagnostic(
        "not-retried",
        f"{spec.name} is a schedule: `retry` does not apply; its next job runs the tasks again",
        fix="`batchspec status` shows when the next job starts." if active else "",
    )
