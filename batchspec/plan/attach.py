"""The plans for a job that exists: wait for its end, or download its results now.

Nothing is submitted, and the files of the spec are not read: they may be on another machine.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime

from batchspec.diagnostics import Diagnostic, UsageError
from batchspec.plan.actions import DeleteContainers, DeletePool, WaitForTasks
from batchspec.plan.cleanup import cleanup_steps, result_steps, results_safe
from batchspec.plan.identity import digest
from batchspec.plan.metadata import kept_before, left_before, scope_is_whole
from batchspec.plan.observed import JobFacts, Observed, ScheduleFacts
from batchspec.plan.plan import Gate, Plan, Step, Verb
from batchspec.plan.rules.run import job_open, not_all_results, part_of_run
from batchspec.plan.stage_tasks import read_recorded
from batchspec.spec import PoolKind, Record, Spec

_COMPLETED = "completed"


def build_attach(spec: Spec, observed: Observed, tasks: int) -> Plan:
    """Wait for the newest job, download its results, clean up; ``tasks`` is how many it has now.

    After a job of a schedule nothing is cleaned up, because the next job uses the same resources.

    Raises:
        UsageError: there is no job.
    """
    job = _newest(spec, observed)
    closed = job.state == _COMPLETED or _ends_automatically(job)
    pool = "" if spec.pool.kind is PoolKind.JOB else spec.pool.id
    scheduled = spec.job.schedule is not None
    absent, failed_before = left_before(job)
    wait = Step(
        f"job:{job.id}:done",
        WaitForTasks(
            job.id,
            pool,
            tasks,
            spec.job.limit,
            closed=closed,
            kept=kept_before(job),
            absent=absent,
            failed_before=failed_before,
            stages=read_recorded(job, spec),
        ),
        Verb.WAIT,
        f"tasks of {job.id}",
        "created by its schedule" if scheduled else "submitted earlier",
        (),
        tasks,
    )
    safe = job.state == _COMPLETED and results_safe(spec, observed)
    since = _since(spec, observed)
    results = [] if safe else list(result_steps(spec, observed, job.id, (wait.id,), since=since))
    last = (results or [wait])[-1].id
    cleanup = [
        step
        for step in cleanup_steps(spec, observed, job.id, (last,), idle=False)
        if _exists(step, observed)
    ]
    found = [] if closed else [*job_open(job, scheduled=scheduled)]
    if scheduled:
        cleanup = []
        results = [replace(step, reason="available when the job has ended") for step in results]
    elif not scope_is_whole(job):
        # Other tasks of the run may have failed.
        kept = [step for step in cleanup if step.gate is Gate.END]
        found += part_of_run(job) if len(kept) < len(cleanup) else ()
        cleanup = kept
    return _plan(spec, observed, (wait, *results, *cleanup), tuple(found))


def build_download(spec: Spec, observed: Observed) -> Plan:
    """Download the results that exist now.

    The receipt of the download names the job only if it has ended, because otherwise more results
    may follow.

    Raises:
        UsageError: the spec has no results, or there is no job.
    """
    if not spec.results:
        raise UsageError(
            Diagnostic(
                "no-results",
                f"the spec {spec.name!r} has no `results`",
                fix="Add `results` with the container to download and a folder.",
            )
        )
    job = _newest(spec, observed)
    over = job.state == _COMPLETED
    since = _since(spec, observed)
    steps = tuple(
        replace(step, reason="available now")
        for step in result_steps(spec, observed, job.id, (), since=since, complete=over)
    )
    return _plan(spec, observed, steps, () if over else tuple(not_all_results(job)))


def _since(spec: Spec, observed: Observed) -> datetime:
    """When the first task whose results count was created, according to the jobs.

    The jobs of a schedule write to the same containers one after the other, so everything counts.
    """
    if spec.job.schedule is not None:
        return datetime.min.replace(tzinfo=UTC)
    whole = [job.created for job in observed.jobs if scope_is_whole(job)]
    return max(whole, default=min(job.created for job in observed.jobs))


def _ends_automatically(job: JobFacts) -> bool:
    """Whether the job ends when all its tasks are completed, or its job manager task is."""
    manager = job.properties.get("jobManagerTask")
    ends = isinstance(manager, Record) and manager.get("killJobOnCompletion") is True
    return ends or job.properties.get("onAllTasksComplete") == "terminatejob"


def _newest(spec: Spec, observed: Observed) -> JobFacts:
    if observed.jobs and observed.jobs[-1].state != "deleting":
        return observed.jobs[-1]
    raise UsageError(no_run(spec, observed.schedule))


def no_run(spec: Spec, schedule: ScheduleFacts | None) -> Diagnostic:
    """The error of every command that needs a job of the spec, if the account has none."""
    if schedule is not None:
        return Diagnostic(
            "no-job-yet",
            f"the schedule {schedule.id!r} has created no job yet",
            fix="`batchspec status` shows when the next job starts.",
        )
    return Diagnostic(
        "no-run",
        f"the account has no job of the spec {spec.name!r}",
        fix="`batchspec apply` creates one.",
    )


def _exists(step: Step, observed: Observed) -> bool:
    """Whether the resource that a step deletes exists."""
    match step.action:
        case DeletePool():
            return observed.pool is not None
        case DeleteContainers():
            return any(facts.exists for facts in observed.containers.values())
    return True


def _plan(
    spec: Spec, observed: Observed, steps: Iterable[Step], findings: tuple[Diagnostic, ...]
) -> Plan:
    steps = tuple(steps)
    return Plan(
        account=observed.account,
        name=spec.name,
        description=spec.description,
        digest=spec.digest,
        steps=steps,
        kept=(),
        findings=findings,
        fingerprint=digest(spec.digest, tuple((step.id, step.verb, step.items) for step in steps)),
    )
