"""Spec + Observed → Plan. Pure: equal inputs give equal plans, and nothing is changed.

The pool of a finished run costs money while it has nodes. A smaller size and an autoscale formula
therefore take effect at once. All other changes wait until tasks run again, and the plan shows
them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from batchspec.diagnostics import Diagnostic, Diagnostics, SpecError, counted
from batchspec.frozen import frozen
from batchspec.plan.actions import (
    CreateJob,
    CreatePool,
    DeletePool,
    ReplaceJob,
    ReplacePool,
    RestartNodes,
    RetryTasks,
    SubmitTasks,
    UpdatePool,
    WaitForPool,
)
from batchspec.plan.assemble import assemble
from batchspec.plan.cleanup import (
    cleanup_steps,
    late_cleanup,
    nodes_stay,
    result_steps,
    results_changed,
    results_lost,
    results_safe,
    staying,
    verified,
)
from batchspec.plan.data import (
    changed_packages,
    container_steps,
    package_steps,
    stale_steps,
    upload_steps,
)
from batchspec.plan.failures import Selection
from batchspec.plan.job import (
    earlier_steps,
    ending_steps,
    job_body,
    job_steps,
    later_changes,
    task_steps,
    why_another,
)
from batchspec.plan.metadata import SPEC, VERSION, WorkSet, version
from batchspec.plan.observed import Observed, PoolFacts
from batchspec.plan.options import NO_OPTIONS, Part, PlanOptions
from batchspec.plan.outputs import MissingOutput, missing_outputs, outputs
from batchspec.plan.plan import Gate, Plan, Step, Verb, ids
from batchspec.plan.pool import (
    drift,
    existing_size,
    pool_body,
    pool_change,
    pool_steps,
    size_steps,
    target_size,
)
from batchspec.plan.receipt import superseded_files
from batchspec.plan.rules.account import pool_drift
from batchspec.plan.rules.checks import errors
from batchspec.plan.rules.cost import estimate_of, fit_to_bound
from batchspec.plan.rules.data import missing_container, output_missing
from batchspec.plan.rules.image import runs_windows
from batchspec.plan.rules.other_runs import (
    foreign_blobs,
    other_containers,
    other_pool,
    other_run,
)
from batchspec.plan.rules.pool import former_pool
from batchspec.plan.rules.references import check_dependencies
from batchspec.plan.rules.registry import advice
from batchspec.plan.rules.rule import RuleContext
from batchspec.plan.rules.run import (
    earlier_version_kept,
    existing_pool_restart,
    nothing_replaced,
    results_gone,
    run_not_over,
    work_changed,
)
from batchspec.plan.rules.sas import sas_lifetime
from batchspec.plan.rules.schedule import schedule_exists
from batchspec.plan.rules.tasks import check_stages
from batchspec.plan.schedule import build_schedule
from batchspec.plan.task_sets import (
    ReplacedJob,
    TaskSets,
    build_task_sets,
    newest_open,
    only_manager,
)
from batchspec.spec import PoolKind, Record, Spec


def build_plan(
    spec: Spec,
    observed: Observed,
    *,
    only: Selection | None = None,
    options: PlanOptions = NO_OPTIONS,
) -> Plan:
    """The plan that brings the account up to date with the spec.

    ``only`` restricts the tasks to these failed tasks and the tasks that depend on them.

    Raises:
        SpecError: the spec cannot be applied to this account; contains every reason.
        UsageError: the plan has no step with the id in ``options``.
    """
    if spec.job.schedule is not None:
        return build_schedule(spec, observed, only=only, options=options)
    problems = Diagnostics()
    spec = fit_to_bound(spec, observed, problems)
    windows = runs_windows(spec, observed)
    pool = pool_body(spec, observed, problems)
    context = RuleContext(spec, observed, pool)
    found = tuple(errors(context))
    problems.extend(_check(spec, observed, windows=windows))
    if problems.stops:
        problems.extend(found)
    problems.raise_if_any()
    task_sets = _task_sets(
        spec, observed, pool, problems, only=only, options=options, windows=windows
    )
    run = _Run(spec, observed, pool, task_sets, windows)
    if task_sets.finished:
        # An outdated image, for example, does not prevent the download of results.
        missing = (
            missing_outputs(spec, observed, task_sets.stages, task_sets.works)
            if observed.jobs
            else []
        )
        steps, kept = run.finished_steps(missing)
        todo, later = _divided(_unused_pool_steps(spec, observed, pool, steps))
        steps, kept = [*todo, *steps], [*kept, *_later_job(spec, observed, pool), *later]
        problems.extend(_unused_pool_drift(spec, observed, pool))
        problems.extend(output_missing(missing, spec))
    else:
        problems.extend(found)
        problems.raise_if_any()
        steps, kept = run.steps(problems, only, options)
    if only is None:
        problems.extend(earlier_version_kept(task_sets))
        problems.extend(work_changed(task_sets))
    if steps:
        problems.extend(_other_runs(spec, observed, task_sets, steps))
    problems.extend(advice(context, steps, task_sets))
    in_progress = sum(stage.in_progress for stage in task_sets.stages)
    cost = estimate_of(spec, observed, pool, steps, problems, in_progress=in_progress)
    problems.raise_if_any()
    if task_sets.finished:
        problems.extend(nothing_replaced(options.replace))
    ended = task_sets.finished and observed.jobs
    stays = staying(spec, observed, observed.jobs[-1].id if ended else task_sets.job)
    plan = assemble(spec, observed, steps, kept, problems=problems, options=options, stays=stays)
    release = None if cost is None else cost.release
    return replace(plan, estimate=cost, release=release, nodes_stay=nodes_stay(spec))


def _check(spec: Spec, observed: Observed, *, windows: bool) -> Iterator[Diagnostic]:
    """The findings of a spec and its tasks that do not depend on the steps."""
    yield from spec.warnings
    yield from schedule_exists(spec, observed.schedule)
    yield from former_pool(spec, observed)
    yield from missing_container(spec, observed)
    yield from changed_packages(spec, observed.packages)
    yield from check_stages(spec, spec.stages, observed, windows=windows)
    yield from check_dependencies(spec, observed, windows=windows)


def _other_runs(
    spec: Spec, observed: Observed, task_sets: TaskSets, steps: Sequence[Step]
) -> Iterator[Diagnostic]:
    """The questions about resources of other runs; about the job alone, if it is of another one."""
    others = tuple(other_run(spec, observed, task_sets, steps))
    yield from others
    yield from foreign_blobs(spec, observed, steps)
    if not others:
        yield from other_containers(spec, observed, task_sets.works, steps)
        yield from other_pool(spec, observed, steps)


def has_retries(spec: Spec, plan: Plan) -> bool:
    """Whether a plan of ``retry`` runs a task again, or restarts nodes.

    Tasks of changed items have not failed, and a plan that leaves out all tasks has nothing to do.
    """
    retries: tuple[type, ...] = (SubmitTasks, RetryTasks, RestartNodes)
    if only_manager(spec):
        # The service creates the job manager task with the job.
        retries = (CreateJob, ReplaceJob)
    return any(isinstance(step.action, retries) for step in plan.steps)


def _task_sets(
    spec: Spec,
    observed: Observed,
    pool: Record,
    problems: Diagnostics,
    *,
    only: Selection | None,
    options: PlanOptions,
    windows: bool,
) -> TaskSets:
    """Which tasks to run; all of them if the results of a finished run are lost."""
    ends = _replaced_job(spec, observed, pool, options)
    still_open = newest_open(observed)
    if options.rerun and ends is None and still_open is not None:
        raise SpecError(*run_not_over(spec, still_open))
    task_sets = build_task_sets(
        spec, observed, windows=windows, only=only, again=options.rerun, ends=ends
    )
    if observed.jobs and task_sets.finished and results_lost(spec, observed, task_sets.works):
        problems.extend(results_gone(spec, observed))
        return build_task_sets(spec, observed, windows=windows, again=True)
    return task_sets


def _replaced_job(
    spec: Spec, observed: Observed, pool: Record, options: PlanOptions
) -> ReplacedJob | None:
    """The open job that a new job replaces, if necessary."""
    job = newest_open(observed)
    if job is None or job.metadata.get(SPEC) != spec.name:
        return None
    if Part.JOB in options.replace:
        return ReplacedJob(job, "requested by --replace job")
    reason = why_another(spec, observed, pool, job)
    if not reason and only_manager(spec) and job.metadata.get(VERSION) != version(spec, observed):
        reason = "the spec has changed since the job manager task was created"
    return ReplacedJob(job, reason) if reason else None


@frozen
class _Run:
    """The steps of a run. ``pool`` is the body of Create Pool."""

    spec: Spec
    observed: Observed
    pool: Record
    tasks: TaskSets
    windows: bool

    def steps(
        self, problems: Diagnostics, only: Selection | None, options: PlanOptions
    ) -> tuple[list[Step], list[Step]]:
        """Everything from the containers to the clean-up: steps, and kept resources."""
        spec, observed, tasks = self.spec, self.observed, self.tasks
        sas = sas_lifetime(spec, observed.now)
        this = version(spec, observed)
        containers = tuple(container_steps(spec, observed, this))
        uploads = tuple(upload_steps(spec, observed, tasks, frozenset(ids(containers))))
        packages = tuple(package_steps(spec, observed))
        pool = pool_steps(spec, observed, self.pool, problems, replace=Part.POOL in options.replace)
        if only is not None:
            unprepared = only.unprepared if tasks.open_job is not None else ()
            pool = _with_restart(self._pool_id, pool, only.nodes, unprepared)
        restarts = ids(step for step in pool if isinstance(step.action, RestartNodes))
        if spec.pool.kind is PoolKind.EXISTING:
            problems.extend(existing_pool_restart(spec.pool, pool))
        earlier = tuple(earlier_steps(observed, tasks))
        stale = tuple(stale_steps(spec, observed, tasks, ids(earlier)))
        job = tuple(
            job_steps(spec, tasks, job_body(spec, observed, tasks, self.pool, this), sas, problems)
        )
        data = (*ids(containers), *ids(uploads), *ids(packages), *ids(stale))
        submit = tuple(task_steps(spec, tasks, data, sas, windows=self.windows))
        end = self._end(submit, data, restarts)
        return _divided(
            (*containers, *uploads, *packages, *pool, *earlier, *stale, *job, *submit, *end)
        )

    def _end(
        self, submit: tuple[Step, ...], data: tuple[str, ...], restarts: tuple[str, ...]
    ) -> Iterator[Step]:
        """The steps from the submission: close the job, wait for it, download results, clean up."""
        spec, observed, tasks = self.spec, self.observed, self.tasks
        # Tasks that link stages are part of the streams and their counts.
        submitted = sum(step.items for step in submit if isinstance(step.action, SubmitTasks))
        in_job = sum(len(stage.here) for stage in tasks.stages) + submitted - tasks.fresh
        # The service creates the job manager task with the job.
        in_job += isinstance(spec.job.properties.get("jobManagerTask"), Record)
        expected = outputs(spec, observed, tasks.stages, tasks.since)
        ending = tuple(
            ending_steps(spec, tasks, ids(submit), data, restarts, tasks=in_job, expected=expected)
        )
        yield from ending
        results = self._results(tasks.job, (ending[-1].id,))
        yield from results
        last = (results or ending)[-1].id
        for step in cleanup_steps(spec, observed, tasks.job, (last,), idle=False):
            skipped = tasks.left and step.gate is Gate.SUCCESS
            note = "; skipped while tasks are left out" if skipped else ""
            yield replace(step, reason=step.reason + note)

    @property
    def _pool_id(self) -> str:
        """The id of the pool; of an auto pool the id that the service has given it."""
        if self.spec.pool.kind is PoolKind.JOB:
            return self.tasks.open_job.pool if self.tasks.open_job is not None else ""
        return self.spec.pool.id

    def _results(self, job: str, after: tuple[str, ...]) -> tuple[Step, ...]:
        since, works = self.tasks.since, self.tasks.works
        return tuple(result_steps(self.spec, self.observed, job, after, since=since, works=works))

    def finished_steps(self, missing: Sequence[MissingOutput]) -> tuple[list[Step], list[Step]]:
        """The steps if all tasks are done: download missing results, and clean up.

        ``missing`` are outputs that did not arrive in the account.
        """
        spec, observed = self.spec, self.observed
        if self.tasks.earlier is None and results_safe(spec, observed, self.tasks.works):
            job = observed.jobs[-1].id if observed.jobs else self.tasks.job
            deletions = late_cleanup(spec, observed, job)
            return list(deletions), [*self._done(job), *self._downloaded(missing)]
        if not observed.jobs:
            # No stage has or had a task, so nothing can be downloaded.
            return [], []
        job = observed.jobs[-1].id
        earlier = tuple(earlier_steps(observed, self.tasks))
        results = self._results(job, ids(earlier))
        if results and any(stage.required for stage in spec.stages):
            expected = outputs(spec, observed, self.tasks.stages, self.tasks.since)
            results = (verified(results[0], expected), *results[1:])
        last = (results or earlier)[-1].id
        cleanup = cleanup_steps(spec, observed, job, (last,), idle=False)
        return [*earlier, *results, *cleanup], list(self._done(job))

    def _done(self, job: str) -> Iterator[Step]:
        """The kept tasks of each stage."""
        if only_manager(self.spec):
            index = self.observed.tasks
            number = sum(1 for _, where, _ in index.ends() if where == job) if index else 0
            why = f"{_all(number)}succeeded in job {job}"
            yield Step("tasks:manager:kept", None, Verb.KEEP, "tasks of the job", why, items=number)
        for stage in self.tasks.stages:
            where = f"in job {job}" if stage.before in {0, stage.total} else f"in jobs up to {job}"
            other = stage.other
            earlier = f", {other:,} of an earlier version" if other else ""
            name = stage.stage.name
            yield Step(
                f"tasks:{name}:kept",
                None,
                Verb.KEEP,
                f"tasks of {name}",
                f"{_all(stage.total)}succeeded {where}{earlier}",
                items=stage.total,
            )

    def _downloaded(self, missing: Sequence[MissingOutput]) -> Iterator[Step]:
        """The kept results; ``missing`` are outputs that did not arrive in the account."""
        receipt = self.observed.receipt
        if self.spec.results and receipt is not None:
            works = WorkSet(self.tasks.works)
            other = works.others(receipt.works)
            paths = (path for work, path in receipt.paths if work and work not in works)
            note = "".join(f"; {text}" for text in superseded_files(other, paths))
            if results_changed(self.spec, receipt):
                note += "; downloaded for earlier `results`, and the container is deleted"
            containers = {self.spec.container_id(result.container) for result in self.spec.results}
            lacking = sum(each.missing for each in missing if each.first.container in containers)
            state = "up to date"
            if lacking:
                state = f"incomplete: {counted(lacking, 'output')} missing"
            items = receipt.files - other - works.others(receipt.missing_works)
            yield Step("results", None, Verb.KEEP, "results", f"{state}{note}", items=items)


def _with_restart(
    pool: str, steps: tuple[Step, ...], failed: tuple[str, ...], unprepared: tuple[str, ...]
) -> tuple[Step, ...]:
    """The steps with a restart of nodes, unless all nodes restart or are replaced.

    The start task failed on ``failed`` nodes. The preparation task of the job failed on
    ``unprepared`` nodes: the service starts no task of the job there, and runs the preparation task
    again after a restart (``BatchJobPreparationTask.rerun_on_node_reboot_after_success``: it always
    runs again unless it succeeded).
    """
    nodes = tuple(dict.fromkeys((*failed, *unprepared)))
    if not nodes:
        return steps
    actions = [step.action for step in steps]
    if any(isinstance(action, CreatePool | ReplacePool) for action in actions) or any(
        isinstance(action, UpdatePool) and action.restart for action in actions
    ):
        return steps
    counts = ((len(failed), "start task"), (len(unprepared), "preparation task"))
    causes = ", ".join(f"{task} failed on {number:,}" for number, task in counts if number)
    restart = Step(
        f"pool:{pool}:restart",
        RestartNodes(pool, nodes),
        Verb.UPDATE,
        f"pool {pool}",
        f"restart nodes: {causes}",
        tuple(step.id for step in steps if not isinstance(step.action, WaitForPool)),
        len(nodes),
    )
    return (
        restart,
        *(
            replace(step, after=(*step.after, restart.id))
            if isinstance(step.action, WaitForPool)
            else step
            for step in steps
        ),
    )


def _all(number: int) -> str:
    """The subject of a reason about this number of tasks; empty for a single task."""
    return "" if number == 1 else f"all {number:,} "


def _divided(steps: Iterable[Step]) -> tuple[list[Step], list[Step]]:
    """The steps that change something, and the steps that keep existing resources."""
    mixed = list(steps)
    return (
        [step for step in mixed if step.action is not None],
        [step for step in mixed if step.action is None],
    )


def _unused_pool_drift(spec: Spec, observed: Observed, body: Record) -> Iterator[Diagnostic]:
    """The properties of the pool that another client changed; ``body`` is that of Create Pool."""
    facts = _own_pool(spec, observed)
    if facts is not None:
        yield from pool_drift(spec.pool, drift(body, facts))


def _unused_pool_steps(
    spec: Spec, observed: Observed, body: Record, steps: Sequence[Step]
) -> Iterator[Step]:
    """The steps that reduce the pool, and a step that shows its nodes and later changes.

    ``steps`` are the other steps of the plan. A pool that they delete does not change, unless the
    user is asked first and may keep it.
    """
    facts = _own_pool(spec, observed)
    deletions = (step for step in steps if isinstance(step.action, DeletePool))
    if facts is None or any(step.gate is not Gate.ASK for step in deletions):
        return
    change = pool_change(body, facts)
    later = [] if change is None else [change.reason]
    sizes = tuple(size_steps(spec.pool, facts, body, ()))
    if body.get("enableAutoScale") is True or _is_smaller(body, facts):
        yield from sizes
    elif facts.scales or target_size(body) != existing_size(facts):
        later += [sizes[-1].reason]
    reasons = [f"has {counted(facts.nodes, 'node')} without work"] if facts.nodes else []
    reasons += [f"changes when tasks run again: {'; '.join(later)}"] if later else []
    if reasons:
        pool_id = spec.pool.id
        reason = "; ".join(reasons)
        yield Step(f"pool:{pool_id}:later", None, Verb.KEEP, f"pool {pool_id}", reason)


def _later_job(spec: Spec, observed: Observed, body: Record) -> Iterator[Step]:
    """A step that shows changes that only the next job gets; ``body`` is that of Create Pool."""
    if spec.job.schedule is None and (changes := later_changes(spec, observed, body)):
        job, reason = observed.jobs[-1].id, f"has ended; changes when tasks run again: {changes}"
        yield Step(f"job:{job}:later", None, Verb.KEEP, f"job {job}", reason)


def _is_smaller(body: Record, facts: PoolFacts) -> bool:
    """Whether the spec requests fewer nodes than the target of the pool, and no more nodes of any
    kind."""
    wanted, there = target_size(body), existing_size(facts)
    return wanted != there and all(one <= other for one, other in zip(wanted, there, strict=True))


def _own_pool(spec: Spec, observed: Observed) -> PoolFacts | None:
    """The pool, if this spec created it and it is not being deleted."""
    facts = observed.pool
    if spec.pool.kind is not PoolKind.OWN or facts is None or facts.state == "deleting":
        return None
    return facts if facts.metadata.get(SPEC) == spec.name else None
