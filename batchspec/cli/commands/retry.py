"""``batchspec retry``: run just the failed tasks again, or some of them."""

from __future__ import annotations

from collections.abc import Sequence

from batchspec.cli.again import command_for
from batchspec.cli.asking import ask_and_run
from batchspec.cli.options import ProgressKind, Wanted
from batchspec.cli.screen import out
from batchspec.cli.session import Session, session
from batchspec.diagnostics import Exit, UsageError
from batchspec.observe.account import counted
from batchspec.observe.failures import tasks_alike
from batchspec.observe.output import find_task
from batchspec.plan.actions import RestartNodes, RetryTasks, SubmitTasks
from batchspec.plan.build import build
from batchspec.plan.failure_cause import PREPARATION_TASK, START_TASK
from batchspec.plan.plan import Plan
from batchspec.plan.stage_tasks import Selection
from batchspec.plan.task_sets import newest_open
from batchspec.render.failures import no_job_to_retry, no_such_failure, not_failed, nothing_failed
from batchspec.spec import PoolKind, Record


async def retry(
    wanted: Wanted,
    progress: ProgressKind,
    *,
    causes: Sequence[str],
    tasks: Sequence[str],
    yes: bool,
    verbose: bool,
) -> int:
    """Run failed tasks again; the exit code."""
    async with session(wanted) as found:
        if found.spec.job.schedule is None and not counted(found.observed.jobs):
            # The state of tasks goes with their job: clean-up or `destroy` may have deleted it.
            apply = command_for(wanted, found.spec, "apply")
            raise UsageError(no_job_to_retry(found.spec.name, apply=apply))
        only = await _selection(found, causes, tasks)
        made = build(found.spec, found.observed, only=only)
        if not _submits(made):
            look = command_for(wanted, found.spec, "failures")
            if causes or tasks:
                apply = command_for(wanted, found.spec, "apply")
                raise UsageError(no_such_failure(causes, look=look, apply=apply))
            out(nothing_failed(found.spec.name, look=look))
            return Exit.DONE
        return await ask_and_run(made, found, progress, yes=yes, verbose=verbose)


async def _selection(found: Session, causes: Sequence[str], tasks: Sequence[str]) -> Selection:
    """What was asked for; a task may be named by a part of its id.

    Raises:
        UsageError: there is no such task, or it did not fail.
    """
    jobs = counted(found.observed.jobs)
    ids: set[str] = set()
    for name in tasks:
        where = await find_task(jobs, found.cloud.reader, name)
        facts = where.seen.facts if where is not None else None
        if facts is None or facts.succeeded is not False:
            raise UsageError(not_failed(facts.id if facts else name, facts))
        ids.add(facts.id.lower())
    chosen = frozenset(cause.lower() for cause in causes)
    every = not (chosen or ids)
    return Selection(
        chosen,
        frozenset(ids),
        {job.id: job for job in jobs},
        await tasks_alike(found.spec, jobs, found.cloud.reader, causes),
        await _failed_nodes(found) if every or START_TASK in chosen else (),
        await _unprepared_nodes(found) if every or PREPARATION_TASK in chosen else (),
    )


async def _failed_nodes(found: Session) -> tuple[str, ...]:
    """The nodes of the pool that take no tasks: their start task has failed, or worse."""
    pool, job = found.observed.pool, newest_open(found.observed)
    if found.spec.pool.kind is not PoolKind.JOB:
        name = pool.id if pool is not None and pool.state != "deleting" else ""
    else:
        name = job.pool if job is not None else ""
    if not name:
        return ()
    return tuple([node.id async for node in found.cloud.batch.unwell_nodes(name)])


async def _unprepared_nodes(found: Session) -> tuple[str, ...]:
    """The nodes on which the preparation task of the open job failed, while tasks of it wait.

    A job that has ended is continued in another one, which prepares its nodes again.
    """
    job, tasks = newest_open(found.observed), found.observed.tasks
    if job is None or tasks is None or not tasks.states(job.id).get("active"):
        return ()
    task = job.properties.get("jobPreparationTask")
    if not isinstance(task, Record) or task.get("waitForSuccess") is False:
        return ()
    return tuple([one.node async for one in found.cloud.batch.preparations(job.id) if one.failed])


def _submits(plan: Plan) -> bool:
    return any(
        isinstance(step.action, SubmitTasks | RetryTasks | RestartNodes) for step in plan.steps
    )
