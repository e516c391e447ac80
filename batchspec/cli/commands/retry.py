"""``batchspec retry``: run failed tasks again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from batchspec.cli.console import out
from batchspec.cli.options import (
    Progress,
    ProgressKind,
    RunOptions,
    SpecFile,
    TargetOption,
    VariableFiles,
    Variables,
    Verbose,
    Yes,
)
from batchspec.diagnostics import Diagnostic, UsageError
from batchspec.exit_codes import Exit

if TYPE_CHECKING:
    from batchspec.cli.session import Session
    from batchspec.observe import Failure
    from batchspec.plan import Selection


async def retry(
    spec: SpecFile,
    causes: Annotated[
        list[str] | None,
        typer.Option(
            "--cause",
            metavar="CAUSE",
            help="Only failures with this cause, as `failures` names it. Can be repeated.",
        ),
    ] = None,
    tasks: Annotated[
        list[str] | None,
        typer.Option(
            "--task",
            metavar="TASK",
            help="Only this task: its id, or a unique part of it. Can be repeated.",
        ),
    ] = None,
    target: TargetOption = None,
    variables: Variables = None,
    variable_files: VariableFiles = None,
    yes: Yes = False,
    progress: Progress = ProgressKind.AUTO,
    verbose: Verbose = False,
) -> int:
    """Run only the failed tasks again; then wait, download and clean up as `apply` does."""
    from batchspec.cli.execute import confirm_and_execute
    from batchspec.cli.resume_command import resume_command, retry_again
    from batchspec.cli.session import open_session
    from batchspec.observe import counted_jobs
    from batchspec.plan import build_plan, has_retries, no_run
    from batchspec.plan.failures import START_TASK_UNFINISHED
    from batchspec.render import nothing_failed

    options = RunOptions.of(spec, variables, variable_files, target)
    async with open_session(options, needs_secrets=True) as session:
        if session.spec.job.schedule is None and not counted_jobs(session.observed.jobs):
            # The states of tasks are deleted with their job, by clean-up or `destroy`.
            raise UsageError(no_run(session.spec, None))
        found: Sequence[Failure] = ()
        if START_TASK_UNFINISHED in (cause.lower() for cause in causes or ()):
            # Whether tasks did not run for this cause, only the nodes show.
            found = await _failures(session)
            if all(failure.cause != START_TASK_UNFINISHED for failure in found):
                raise UsageError(_no_such_failure(session, causes or (), found))
        only = await _selection(session, causes or (), tasks or ())
        plan = build_plan(session.spec, session.observed, only=only)
        if not has_retries(session.spec, plan):
            if causes or tasks:
                found = found or await _failures(session)
                raise UsageError(_no_such_failure(session, causes or (), found))
            look = resume_command(options, session.spec, "failures")
            out(nothing_failed(session.spec.name, look=look))
            return Exit.DONE
        again = retry_again(plan, causes or (), tasks or ())
        return await confirm_and_execute(plan, session, progress, again, yes=yes, verbose=verbose)


async def _failures(session: Session) -> Sequence[Failure]:
    """The failures of the run by cause."""
    from batchspec.observe import counted_jobs, failures_of, pool_of

    jobs = counted_jobs(session.observed.jobs)
    return await failures_of(session.spec, jobs, pool_of(session.spec, jobs), session.cloud)


def _no_such_failure(
    session: Session, causes: Sequence[str], found: Sequence[Failure]
) -> Diagnostic:
    """The error: no failure has one of these causes; with the causes that exist."""
    from batchspec.cli.resume_command import resume_command
    from batchspec.render import no_such_failure

    look, apply = (
        resume_command(session.options, session.spec, command) for command in ("failures", "apply")
    )
    return no_such_failure(causes, found, look=look, apply=apply)


async def _selection(session: Session, causes: Sequence[str], names: Sequence[str]) -> Selection:
    """The requested causes, tasks and nodes; a task can be named by a unique part of its id.

    Raises:
        UsageError: there is no such task, or it did not fail.
    """
    from batchspec.observe import counted_jobs, find_task, tasks_alike
    from batchspec.plan import Selection
    from batchspec.plan.failures import PREPARATION_TASK
    from batchspec.render import not_failed

    jobs = counted_jobs(session.observed.jobs)
    ids: set[str] = set()
    for name in names:
        match = await find_task(jobs, session.cloud, name)
        facts = match.seen.facts if match is not None else None
        if facts is None or facts.succeeded is not False:
            raise UsageError(not_failed(facts.id if facts else name, facts))
        ids.add(facts.id.lower())
    selected = frozenset(cause.lower() for cause in causes)
    everything = not (selected or ids)
    return Selection(
        selected,
        frozenset(ids),
        {job.id: job for job in jobs},
        await tasks_alike(session.spec, jobs, session.cloud, causes),
        await _failed_nodes(session, None if everything else selected),
        await _unprepared_nodes(session) if everything or PREPARATION_TASK in selected else (),
    )


async def _failed_nodes(session: Session, causes: frozenset[str] | None) -> tuple[str, ...]:
    """The nodes of the pool that cannot run tasks: their start task failed, or they are unusable.

    With ``causes`` only those with one of them.
    """
    from batchspec.plan import newest_open
    from batchspec.plan.failures import START_TASK, UNUSABLE
    from batchspec.plan.observed import NODE_UNUSABLE, START_TASK_FAILED
    from batchspec.spec import PoolKind

    pool, job = session.observed.pool, newest_open(session.observed)
    if session.spec.pool.kind is not PoolKind.JOB:
        pool_id = pool.id if pool is not None and pool.state != "deleting" else ""
    else:
        pool_id = job.pool if job is not None else ""
    by_cause = {START_TASK: START_TASK_FAILED, UNUSABLE: NODE_UNUSABLE}
    states = {state for cause, state in by_cause.items() if causes is None or cause in causes}
    if not pool_id or not states:
        return ()
    unhealthy = session.cloud.nodes.list_unhealthy(pool_id)
    return tuple([node.id async for node in unhealthy if node.state.lower() in states])


async def _unprepared_nodes(session: Session) -> tuple[str, ...]:
    """The nodes on which the job preparation task failed while tasks of the open job wait.

    The work of a job that has ended runs in a new job, which prepares its nodes again.
    """
    from batchspec.plan import newest_open
    from batchspec.spec import Record

    job, tasks = newest_open(session.observed), session.observed.tasks
    if job is None or tasks is None or not tasks.states(job.id).get("active"):
        return ()
    task = job.properties.get("jobPreparationTask")
    if not isinstance(task, Record) or task.get("waitForSuccess") is False:
        return ()
    preparations = session.cloud.jobs.list_preparation_tasks(job.id)
    return tuple([result.node async for result in preparations if result.failed])
