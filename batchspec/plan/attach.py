"""The plans for a job that exists: wait for its end, or download its results now.

Nothing is submitted. The files of the spec may be on another machine; if they are on this one, the
run is compared with the spec. The results of two versions are never downloaded together: either
those of the tasks of the spec or, with the user's consent, those of the run in the account.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime

from batchspec.diagnostics import Diagnostic, UsageError
from batchspec.frozen import frozen
from batchspec.plan.actions import DeleteContainers, DeletePool, WaitForTasks
from batchspec.plan.cleanup import (
    cleanup_steps,
    nodes_stay,
    result_steps,
    results_safe,
    staying,
    verified,
)
from batchspec.plan.identity import digest
from batchspec.plan.metadata import VERSION, kept_before, left_before, scope_is_whole, version
from batchspec.plan.observed import JobFacts, Observed, ScheduleFacts, Stream
from batchspec.plan.outputs import Outputs, missing_outputs, outputs
from batchspec.plan.plan import Gate, NodeRelease, Plan, Step, Verb
from batchspec.plan.rules.data import output_missing
from batchspec.plan.rules.image import runs_windows
from batchspec.plan.rules.run import (
    job_open,
    not_all_results,
    not_submitted,
    other_version,
    outputs_lost,
    part_of_run,
    version_unknown,
)
from batchspec.plan.stage_tasks import read_recorded
from batchspec.plan.task_sets import TaskSets, build_task_sets
from batchspec.spec import PoolKind, Spec

_COMPLETED = "completed"


def build_attach(spec: Spec, observed: Observed, tasks: int, *, files: bool = True) -> Plan:
    """Wait for the newest job, download its results, clean up; ``tasks`` is the current number of
    its tasks.

    ``files``: the files of the spec were read. After a job of a schedule nothing is cleaned up,
    because the next job uses the same resources.

    Raises:
        UsageError: there is no job.
    """
    job = _newest(spec, observed)
    closed = job.state == _COMPLETED or _ends_automatically(job)
    pool = "" if spec.pool.kind is PoolKind.JOB else spec.pool.id
    scheduled = spec.job.schedule is not None
    run = run_version(spec, observed, job, files=files)
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
            left=absent,
            absent=absent,
            failed_before=failed_before,
            outputs=run.outputs,
            stages=read_recorded(job, spec),
        ),
        Verb.WAIT,
        f"tasks of {job.id}",
        "created by its schedule" if scheduled else "submitted earlier",
        (),
        tasks,
    )
    safe = job.state == _COMPLETED and results_safe(spec, observed, run.works)
    results = [] if safe else list(_results(spec, observed, job, run, (wait.id,)))
    last = (results or [wait])[-1].id
    cleanup = [
        step
        for step in cleanup_steps(spec, observed, job.id, (last,), idle=False)
        if _exists(step, observed)
    ]
    found = [*run.findings, *(() if closed else job_open(job, scheduled=scheduled))]
    if scheduled:
        cleanup = []
        results = [replace(step, reason="available when the job has ended") for step in results]
    elif not scope_is_whole(job):
        # Other tasks of the run may have failed.
        kept = [step for step in cleanup if step.gate is Gate.END]
        found += part_of_run(job) if len(kept) < len(cleanup) else ()
        cleanup = kept
    stays = () if scheduled else staying(spec, observed, job.id)
    stays = tuple(step for step in stays if _exists(step, observed))
    plan = _plan(spec, observed, (wait, *results, *cleanup), tuple(found))
    release, remain = _release(spec, observed), nodes_stay(spec) and not scheduled
    return replace(plan, stays=stays, release=release, nodes_stay=remain)


def _release(spec: Spec, observed: Observed) -> NodeRelease | None:
    """The delay of the release of the nodes; only for a spec with ``cost``."""
    if spec.cost is None:
        return None
    from batchspec.plan.cost import node_release  # noqa: PLC0415 - start time

    return node_release(spec, observed)


def build_download(spec: Spec, observed: Observed, *, files: bool = True) -> Plan:
    """Download the results that exist now.

    ``files``: the files of the spec were read. The receipt of the download names the job only if it
    has ended and all its tasks were submitted, because otherwise more results may follow. If all
    tasks have succeeded, outputs that are missing are reported.

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
    run = run_version(spec, observed, job, files=files)
    first, *more = (
        replace(step, reason="available now")
        for step in _results(spec, observed, job, run, (), complete=over and run.complete)
    )
    there = all(observed.containers[result.container].exists for result in spec.results)
    if over and run.succeeded and there:
        first = verified(first, run.outputs)
    found = (*run.findings, *(() if over else not_all_results(job)))
    return _plan(spec, observed, (first, *more), found)


def _results(
    spec: Spec,
    observed: Observed,
    job: JobFacts,
    run: RunVersion,
    after: tuple[str, ...],
    *,
    complete: bool = True,
) -> Iterator[Step]:
    return result_steps(
        spec, observed, job.id, after, since=run.since, works=run.works, complete=complete
    )


def _ends_automatically(job: JobFacts) -> bool:
    """Whether the job ends when all its tasks are completed, or its job manager task is."""
    ends = job.properties.record("jobManagerTask").get("killJobOnCompletion") is True
    return ends or job.properties.get("onAllTasksComplete") == "terminatejob"


def _newest(spec: Spec, observed: Observed) -> JobFacts:
    if observed.jobs and observed.jobs[-1].state != "deleting":
        return observed.jobs[-1]
    raise UsageError(no_run(spec, observed.schedule))


def no_run(spec: Spec, schedule: ScheduleFacts | None) -> Diagnostic:
    """The error of commands that need a job of the spec, if the account has none."""
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


@frozen
class RunVersion:
    """The tasks whose results are downloaded.

    ``works`` are the digests of the work of these tasks, ``None`` if they are not known. ``since``
    is the time at which the first of them was created. ``outputs`` are their declared outputs,
    ``None`` if the files of the spec are not known or the run is of another version. ``succeeded``:
    all of them have succeeded. ``complete``: all of them have run. ``findings`` report a
    run that is not that of the spec.
    """

    works: Stream[str] | None
    since: datetime
    outputs: Outputs | None = None
    succeeded: bool = False
    complete: bool = True
    findings: tuple[Diagnostic, ...] = ()


def run_version(spec: Spec, observed: Observed, job: JobFacts, *, files: bool) -> RunVersion:
    """Compare the run with the newest job ``job`` with the spec.

    ``files``: the files of the spec were read; without them, tasks cannot be compared.
    """
    if spec.job.schedule is not None:
        # The jobs of a schedule write to the same containers, so all blobs count.
        return RunVersion(None, datetime.min.replace(tzinfo=UTC))
    since = _since(observed)
    submitted = observed.tasks.works() if observed.tasks is not None else None
    if not files:
        return RunVersion(submitted, since, findings=tuple(version_unknown(spec, observed, job)))
    windows = runs_windows(spec, observed)
    sets = build_task_sets(spec, observed, windows=windows)
    new = _not_submitted(sets)
    if new and job.metadata.get(VERSION) != version(spec, observed):
        if _is_other(sets, new):
            found = tuple(other_version(spec, observed, job))
            return RunVersion(submitted, since, findings=found)
        found = tuple(not_submitted(spec, new))
        return RunVersion(sets.works, sets.since or since, complete=False, findings=found)
    expected = outputs(spec, observed, sets.stages, sets.since)
    return RunVersion(
        sets.works,
        sets.since or since,
        expected,
        _has_succeeded(sets),
        # The next run must not treat the receipt as complete.
        complete=not sets.lost,
        findings=tuple(outputs_lost(spec, sets.lost)),
    )


def find_missing_outputs(spec: Spec, observed: Observed) -> tuple[Diagnostic, ...]:
    """The findings on outputs of a run that has succeeded; none if its tasks have changed.

    Raises:
        SpecError: no task can be created for an item.
    """
    windows = runs_windows(spec, observed)
    sets = build_task_sets(spec, observed, windows=windows)
    if not _has_succeeded(sets):
        return ()
    if sets.lost:
        return tuple(outputs_lost(spec, sets.lost))
    return tuple(output_missing(missing_outputs(spec, observed, sets.stages, sets.works), spec))


def _since(observed: Observed) -> datetime:
    """The creation time of the first task whose results count, according to the jobs."""
    whole = [job.created for job in observed.jobs if scope_is_whole(job)]
    return max(whole, default=min(job.created for job in observed.jobs))


def _not_submitted(sets: TaskSets) -> int:
    """How many tasks of the spec were never submitted with their current work."""
    return sum(
        len(stage.submit) - stage.again - stage.dependent - stage.lost for stage in sets.stages
    )


def _is_other(sets: TaskSets, new: int) -> bool:
    """Whether tasks have changed, or no task of the spec was submitted."""
    changed = any(stage.changed for stage in sets.stages)
    return changed or new == sum(stage.total for stage in sets.stages)


def _has_succeeded(sets: TaskSets) -> bool:
    """Whether all tasks have succeeded, including tasks whose outputs no longer exist."""
    return all(stage.done + stage.lost == stage.total for stage in sets.stages)
