"""The plans that go on with what runs already: watch it to its end, or fetch its results now.

Nothing is submitted here, and the files of the spec are not looked at: they may lie on another
machine, or be gone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime

from batchspec.diagnostics import Diagnostic, UsageError
from batchspec.plan.actions import DeleteContainers, DeletePool, WaitForTasks
from batchspec.plan.cleanup import cleanup_steps, result_steps, results_safe
from batchspec.plan.digest import digest
from batchspec.plan.metadata import kept_before, scope_is_whole
from batchspec.plan.observed import JobFacts, Observed, ScheduleFacts
from batchspec.plan.plan import Gate, Plan, Step, Verb
from batchspec.plan.rules.catalogue import finding
from batchspec.plan.stage_counts import read_recorded
from batchspec.spec import PoolKind, Record, Spec

_OVER = "completed"


def build_attach(spec: Spec, observed: Observed, tasks: int) -> Plan:
    """Wait for the newest job, fetch its results, clean up; ``tasks`` is how many it has now.

    After a job of a schedule nothing is cleaned up: the next one needs what there is.

    Raises:
        UsageError: there is no job.
    """
    job = _newest(spec, observed)
    closed = job.state == _OVER or _ends_by_itself(job)
    pool = "" if spec.pool.kind is PoolKind.JOB else spec.pool.id
    scheduled = spec.job.schedule is not None
    wait = Step(
        f"job:{job.id}:done",
        WaitForTasks(
            job.id,
            pool,
            tasks,
            spec.job.limit,
            closed=closed,
            kept=kept_before(job),
            stages=read_recorded(job, spec),
        ),
        Verb.WAIT,
        f"tasks of {job.id}",
        "its schedule made it" if scheduled else "another terminal started it, or this one before",
        (),
        tasks,
    )
    safe = job.state == _OVER and results_safe(spec, observed)
    since = _since(spec, observed)
    results = [] if safe else list(result_steps(spec, observed, job.id, (wait.id,), since=since))
    last = (results or [wait])[-1].id
    cleanup = [
        step
        for step in cleanup_steps(spec, observed, job.id, (last,), idle=False)
        if _is_there(step, observed)
    ]
    found = [] if closed else [_still_open(job, scheduled=scheduled)]
    if scheduled:
        cleanup = []
        results = [replace(step, reason="they are there when it has ended") for step in results]
    elif not scope_is_whole(job):
        # That all is well in it does not say that all is well.
        kept = [step for step in cleanup if step.gate is Gate.END]
        found += [_a_part(job)] if len(kept) < len(cleanup) else []
        cleanup = kept
    return _plan(spec, observed, (wait, *results, *cleanup), tuple(found))


def build_download(spec: Spec, observed: Observed) -> Plan:
    """Fetch the results that are there now.

    Of a job that still runs they are not all: that they are here is then not written down as if
    they were.

    Raises:
        UsageError: the spec names no results, or there is no job.
    """
    if not spec.results:
        raise UsageError(
            Diagnostic(
                "no-results",
                f"{spec.name} names no results",
                fix="`results` says which container is fetched, and where to.",
            )
        )
    job = _newest(spec, observed)
    over = job.state == _OVER
    since = _since(spec, observed)
    steps = tuple(
        replace(step, reason="they are there now")
        for step in result_steps(spec, observed, job.id, (), since=since, complete=over)
    )
    return _plan(spec, observed, steps, () if over else (_not_all(job),))


def _since(spec: Spec, observed: Observed) -> datetime:
    """When the first task was created whose results count, as far as the jobs say.

    A schedule's jobs write to the same containers, one after the other: all that is there counts.
    """
    if spec.job.schedule is not None:
        return datetime.min.replace(tzinfo=UTC)
    whole = [job.created for job in observed.jobs if scope_is_whole(job)]
    return max(whole, default=min(job.created for job in observed.jobs))


def _ends_by_itself(job: JobFacts) -> bool:
    """Whether the job ends when all its tasks are completed, or its job manager task is."""
    manager = job.properties.get("jobManagerTask")
    ends = isinstance(manager, Record) and manager.get("killJobOnCompletion") is True
    return ends or job.properties.get("onAllTasksComplete") == "terminatejob"


def _newest(spec: Spec, observed: Observed) -> JobFacts:
    if observed.jobs and observed.jobs[-1].state != "deleting":
        return observed.jobs[-1]
    if observed.schedule is not None:
        raise UsageError(_no_job_yet(observed.schedule))
    raise UsageError(
        Diagnostic(
            "no-run",
            f"there is no job of {spec.name} in the account",
            fix="`batchspec apply` starts one.",
        )
    )


def _no_job_yet(schedule: ScheduleFacts) -> Diagnostic:
    return Diagnostic(
        "no-job-yet",
        f"there is no job of the schedule {schedule.id!r} in the account",
        fix="`batchspec status` says when the next one comes.",
    )


def _is_there(step: Step, observed: Observed) -> bool:
    """Whether what a step deletes is in the account: nothing is made any more."""
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


def _still_open(job: JobFacts, *, scheduled: bool) -> Diagnostic:
    goes_on = "If no other terminal is filling it, `batchspec apply` goes on from where it stopped."
    return finding(
        "job-open",
        f"more tasks may come into the job {job.id!r}: it is waited for until it is closed",
        fix="Its own program ends it, or its time limit does." if scheduled else goes_on,
    )


def _a_part(job: JobFacts) -> Diagnostic:
    return finding(
        "part-of-run",
        f"the job {job.id!r} holds a part of the run: it is not enough to clean up after",
        fix="`batchspec apply` looks at all of it, and cleans up.",
    )


def _not_all(job: JobFacts) -> Diagnostic:
    return finding(
        "not-all-results",
        f"the job {job.id!r} is not over: more results may come",
        fix="`batchspec attach` waits for it and fetches them all.",
    )
