"""Spec + Observed → Plan. Pure: the same input gives the same plan, and nothing is touched."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from batchspec.diagnostics import Diagnostic, Diagnostics, SpecError
from batchspec.plan.actions import DownloadResults, RestartNodes, SubmitTasks
from batchspec.plan.assemble import assemble
from batchspec.plan.cleanup import cleanup_steps, result_steps, results_lost, results_safe
from batchspec.plan.data import container_steps, missing_containers, stale_steps, upload_steps
from batchspec.plan.job import earlier_steps, ending_steps, job_steps, task_steps
from batchspec.plan.job_body import job_body, why_another
from batchspec.plan.metadata import SPEC
from batchspec.plan.observed import JobFacts, Observed, ScheduleFacts
from batchspec.plan.options import NO_OPTIONS, Part, PlanOptions
from batchspec.plan.outputs import Outputs, outputs
from batchspec.plan.plan import Gate, Plan, Step, Verb
from batchspec.plan.pool import PoolPlan, pool_drift, pool_steps, with_restart
from batchspec.plan.pool_body import pool_body, runs_windows
from batchspec.plan.rules.catalogue import finding
from batchspec.plan.rules.check import in_the_way, worth_knowing
from batchspec.plan.rules.context import RuleContext
from batchspec.plan.rules.run import other_run
from batchspec.plan.rules.tasks import check_tasks
from batchspec.plan.sas_lifetime import sas_lifetime
from batchspec.plan.schedule import build_schedule
from batchspec.plan.stage_tasks import Selection
from batchspec.plan.task_sets import ReplacedJob, TaskSets, build_task_sets, newest_open
from batchspec.spec import PoolKind, Record, Spec


def build(
    spec: Spec,
    observed: Observed,
    *,
    only: Selection | None = None,
    options: PlanOptions = NO_OPTIONS,
) -> Plan:
    """The plan that brings the account from what it is to what the spec says.

    ``only`` leaves out all work but those failed tasks. ``options`` extend the spec.

    Raises:
        SpecError: the spec cannot be carried out on this account; every reason is carried.
        UsageError: there is no step of the name that is wished for.
    """
    if spec.job.schedule is not None:
        return build_schedule(spec, observed, only=only, options=options)
    problems = Diagnostics()
    problems.extend(spec.warnings)
    windows = runs_windows(spec, observed)
    if observed.schedule is not None and observed.schedule.state != "deleting":
        problems.add(_schedule_there(spec, observed.schedule))
    body = pool_body(spec, observed, problems)
    scene = RuleContext(spec, observed, body)
    obstacles = tuple(in_the_way(scene))
    problems.extend(missing_containers(spec, observed))
    for stage in spec.stages:
        problems.extend(check_tasks(spec, stage, observed, windows=windows))
    if problems.stops:
        problems.extend(obstacles)
    problems.raise_if_any()
    ends = _ending(spec, observed, body, options)
    if options.rerun and ends is None and (still_open := newest_open(observed)) is not None:
        raise SpecError(_still_open(spec, still_open))
    work = build_task_sets(
        spec, observed, windows=windows, only=only, again=options.rerun, ends=ends
    )
    lost = bool(observed.jobs) and work.finished and results_lost(spec, observed)
    if lost:
        problems.add(_results_lost(spec, observed))
        work = build_task_sets(spec, observed, windows=windows, again=True)
    if not work.finished:
        # What is done can be fetched whatever has become of its image.
        problems.extend(obstacles)
        problems.raise_if_any()
    if only is None:
        problems.extend(_on_versions(work))
    if work.finished:
        steps, kept = _without_tasks(spec, observed, work, windows=windows)
        problems.extend(pool_drift(spec, observed, body))
    else:
        steps, kept = _run(
            spec, observed, work, body, problems, only=only, options=options, windows=windows
        )
    problems.extend(other_run(spec, observed, work) if steps else ())
    problems.extend(worth_knowing(scene, steps, work))
    problems.raise_if_any()
    if options.replace and work.finished:
        problems.add(_nothing_replaced(options))
    return assemble(spec, observed, steps, kept, problems=problems, options=options)


def _ending(
    spec: Spec, observed: Observed, pool: Record, options: PlanOptions
) -> ReplacedJob | None:
    """The open job that makes way for another, if one has to."""
    job = newest_open(observed)
    if job is None or job.metadata.get(SPEC) != spec.name:
        return None
    if Part.JOB in options.replace:
        return ReplacedJob(job, "as asked for (--replace job)")
    reason = why_another(spec, observed, pool, job)
    return ReplacedJob(job, reason) if reason else None


def _run(
    spec: Spec,
    observed: Observed,
    work: TaskSets,
    body: Record,
    problems: Diagnostics,
    *,
    only: Selection | None,
    options: PlanOptions,
    windows: bool,
) -> tuple[list[Step], list[Step]]:
    """Everything from the containers to the clean-up."""
    sas = sas_lifetime(spec, observed.now)
    containers = list(container_steps(spec, observed))
    made = tuple(step.id for step, kept in containers if not kept)
    uploads = list(upload_steps(spec, observed, work, frozenset(made)))
    pool = pool_steps(spec, observed, body, problems, anew=Part.POOL in options.replace)
    if only is not None:
        unprepared = only.unprepared if work.open_job is not None else ()
        pool = with_restart(_pool_id(spec, work), pool, only.nodes, unprepared)
    restarts = tuple(step.id for step in pool.steps if isinstance(step.action, RestartNodes))
    if restarts and spec.pool.kind is PoolKind.EXISTING:
        problems.add(_restarts_existing(spec, pool))
    earlier = [(step, False) for step in earlier_steps(observed, work)]
    job = list(job_steps(spec, work, job_body(spec, observed, work, body), sas, problems))
    uploading = tuple(step.id for step, kept in uploads if not kept)
    ended = tuple(step.id for step, _ in earlier)
    stale = [(step, False) for step in stale_steps(spec, observed, work, ended)]
    data = (*made, *uploading, *(step.id for step, _ in stale))
    tasks = list(task_steps(spec, work, data, sas, windows=windows))
    submitted = tuple(step.id for step, kept in tasks if not kept)
    # What joins tasks to submit is in their streams and counts, too.
    joins = (
        sum(step.items for step, _ in tasks if isinstance(step.action, SubmitTasks)) - work.fresh
    )
    in_job = sum(len(stage.here) for stage in work.stages) + joins
    promised = outputs(spec, observed, work.since, windows=windows)
    ending = list(
        ending_steps(spec, work, submitted, data, restarts, tasks=in_job, promised=promised)
    )
    results = list(
        result_steps(spec, observed, work.job, (ending[-1].id,), since=work.since, works=work.works)
    )
    last = (results or ending)[-1].id
    cleanup = cleanup_steps(spec, observed, work.job, (last,), idle=False)
    if work.left:
        cleanup = map(_when_complete, cleanup)
    mixed = [*containers, *uploads, *((step, False) for step in pool.steps)]
    mixed += [*((step, True) for step in pool.kept), *earlier, *stale, *job, *tasks]
    mixed += [(step, False) for step in (*ending, *results, *cleanup)]
    return [step for step, kept in mixed if not kept], [step for step, kept in mixed if kept]


def _pool_id(spec: Spec, work: TaskSets) -> str:
    """The id of the pool; of an auto pool that which the service gave it."""
    if spec.pool.kind is PoolKind.JOB:
        return work.open_job.pool if work.open_job is not None else ""
    return spec.pool.id


def _when_complete(step: Step) -> Step:
    """A step of the clean-up of a run of which tasks are left out."""
    if step.gate is not Gate.SUCCESS:
        return step
    return replace(step, reason=f"{step.reason}, not while tasks are left")


def _without_tasks(
    spec: Spec, observed: Observed, work: TaskSets, *, windows: bool
) -> tuple[list[Step], list[Step]]:
    """All tasks are done."""
    if work.earlier is None and results_safe(spec, observed):
        return _finished(spec, observed, work)
    if not observed.jobs:
        # No stage has a task, and none ever had: there is nothing to fetch, either.
        return [], []
    return _fetch_only(spec, observed, work, windows=windows)


def _fetch_only(
    spec: Spec, observed: Observed, work: TaskSets, *, windows: bool
) -> tuple[list[Step], list[Step]]:
    """All tasks are done; the results are in the account and not here."""
    job = observed.jobs[-1].id
    earlier = list(earlier_steps(observed, work))
    before = tuple(step.id for step in earlier)
    results = list(result_steps(spec, observed, job, before, since=work.since, works=work.works))
    if results and any(stage.required for stage in spec.stages):
        results[0] = _checked(results[0], outputs(spec, observed, work.since, windows=windows))
    last = (results or earlier)[-1].id
    cleanup = list(cleanup_steps(spec, observed, job, (last,), idle=False))
    return [*earlier, *results, *cleanup], list(_done(work, job))


def _checked(step: Step, promised: Outputs) -> Step:
    """A download that first looks whether the tasks wrote what they must."""
    assert isinstance(step.action, DownloadResults)
    return replace(step, action=replace(step.action, outputs=promised))


def _finished(spec: Spec, observed: Observed, work: TaskSets) -> tuple[list[Step], list[Step]]:
    """All tasks are done and the results are here; what clean-up was kept from doing is left."""
    job = observed.jobs[-1].id if observed.jobs else work.job
    kept = list(_done(work, job))
    if spec.results and observed.receipt is not None:
        number = observed.receipt.files
        what = "1 file is here, as it" if number == 1 else f"{number} files are here, as they"
        reason = f"{what} arrived"
        kept.append(Step("results", None, Verb.KEEP, "results", reason, (), number))
    return list(cleanup_steps(spec, observed, job, (), idle=True)), kept


def _done(work: TaskSets, job: str) -> Iterable[Step]:
    for stage in work.stages:
        which = "it" if stage.total == 1 else f"all {stage.total}"
        where = f"in job {job}" if stage.before in {0, stage.total} else f"in jobs up to {job}"
        other = f", {stage.other} with an earlier version of the program" if stage.other else ""
        reason = f"{which} succeeded {where}{other}"
        name = stage.stage.name
        yield Step(
            f"tasks:{name}:kept", None, Verb.KEEP, f"tasks of {name}", reason, (), stage.total
        )


def _on_versions(work: TaskSets) -> Iterator[Diagnostic]:
    """What the user should know of tasks that an earlier version of the program ran."""
    if work.other:
        tasks = "1 task" if work.other == 1 else f"{work.other:,} tasks"
        yield finding(
            "earlier-version-kept",
            f"{tasks} ran with an earlier version of the program (kept by retry)",
        )
    succeeded, failed = work.superseded
    if succeeded and failed:
        yield finding(
            "work-changed",
            f"changed tasks run again: {succeeded:,} succeeded and {failed:,} failed before",
        )


def _restarts_existing(spec: Spec, pool: PoolPlan) -> Diagnostic:
    nodes = sum(s.items for s in pool.steps if isinstance(s.action, RestartNodes))
    return finding(
        "existing-pool-restart",
        f"{nodes:,} node{' is' if nodes == 1 else 's are'} restarted in the pool {spec.pool.id!r},"
        " which this spec did not create",
        where=spec.pool.where,
    )


def _results_lost(spec: Spec, observed: Observed) -> Diagnostic:
    gone = [r for r in spec.results if not observed.containers[r.container].exists]
    return finding(
        "results-gone",
        "the results of the finished run are neither here nor in the account: it runs again",
        detail="Removed: " + ", ".join(f"container {spec.container_id(r.container)}" for r in gone),
        where=gone[0].where,
    )


def _still_open(spec: Spec, job: JobFacts) -> Diagnostic:
    return finding(
        "run-not-over",
        f"the job {job.id!r} of this run has not ended: nothing can be run again beside it",
        where=spec.job.where,
    )


def _schedule_there(spec: Spec, schedule: ScheduleFacts) -> Diagnostic:
    ours = schedule.metadata.get(SPEC) == spec.name
    return finding(
        "schedule-there",
        f"a job schedule {schedule.id!r} is there, and a job cannot have its id",
        where=spec.job.where,
        fix="`batchspec destroy` deletes it with all else of this spec." if ours else "",
    )


def _nothing_replaced(options: PlanOptions) -> Diagnostic:
    parts = " and ".join(f"the {part}" for part in sorted(options.replace))
    return finding("nothing-replaced", f"there is no work to do, so {parts} will not be replaced")
