"""Prepares the operations on a run: makes the plan of each operation, and changes nothing."""

from __future__ import annotations

import shlex
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from batchspec.api.options import RunOptions, Target, variable_text
from batchspec.api.session import Files, Notices, Session, open_session
from batchspec.diagnostics import (
    BatchspecError,
    Diagnostic,
    Secret,
    SpecError,
    StalePlanError,
    UsageError,
)
from batchspec.plan import (
    NO_OPTIONS,
    NO_SUCH_STEP,
    Plan,
    PlanOptions,
    SavedPlan,
    Selection,
    build_destroy,
    build_plan,
    check_fresh,
    detached,
    has_retries,
    newest_open,
    saved_plan,
)
from batchspec.plan.failures import (
    PREPARATION_TASK,
    START_TASK,
    START_TASK_UNFINISHED,
    UNUSABLE,
)
from batchspec.plan.observed import NODE_UNUSABLE, START_TASK_FAILED
from batchspec.spec import PREFIX, PoolKind, Record, Spec, environment_variable, thaw

if TYPE_CHECKING:
    from batchspec.observe import Failure


@dataclass(frozen=True, slots=True)
class Prepared:
    """A plan with its session, which must stay open while the steps of the plan are read.

    ``needed``: the plan must be carried out.
    """

    plan: Plan
    session: Session
    options: PlanOptions = NO_OPTIONS
    needed: bool = True

    def saved(self) -> SavedPlan:
        """The plan as a value that can be stored, and carried out later if nothing has changed."""
        given = self.session.options
        return saved_plan(
            self.plan,
            self.session.spec,
            {**_from_environment(self.session.spec, given), **given.variables},
            given.variable_files,
            self.options,
            max_cost=given.max_cost,
        )


@asynccontextmanager
async def prepare_plan(
    options: RunOptions, plan_options: PlanOptions, notices: Notices
) -> AsyncIterator[Prepared]:
    """The plan of ``apply``, without the values of secrets.

    Raises:
        SpecError: the spec, its files or the plan have errors.
        UsageError: an option cannot be applied, or the environment does not name the account.
        ServiceError: a service refused a request or could not be reached.
    """
    async with open_session(options, notices, estimate=True) as session:
        plan = build_plan(session.spec, session.observed, options=plan_options)
        yield Prepared(plan, session, plan_options)


@asynccontextmanager
async def prepare_apply(
    options: RunOptions,
    plan_options: PlanOptions,
    notices: Notices,
    *,
    saved: SavedPlan | None = None,
    saved_file: Path = Path("FILE"),
    detach: bool = False,
) -> AsyncIterator[Prepared]:
    """The plan of ``apply``. With ``saved``, it must equal the saved plan of ``saved_file``.

    With ``saved``, the options are those of :func:`saved_options`. With ``detach``, the plan ends
    when every task is submitted.

    Raises:
        StalePlanError: the account, the spec or a file has changed since the plan was saved.
        SpecError, UsageError, ServiceError: as :func:`prepare_plan`.
    """
    plan = None
    try:
        async with open_session(options, notices, needs_secrets=True, estimate=True) as session:
            plan = build_plan(session.spec, session.observed, options=plan_options)
            if saved is not None:
                check_fresh(saved, plan, saved_file)
            if detach:
                plan = detached(plan, session.spec)
            yield Prepared(plan, session, plan_options)
    except (SpecError, UsageError) as error:
        if saved is None or plan is not None or not _is_stale(error, saved):
            raise
        raise StalePlanError(
            Diagnostic(
                "plan-stale",
                f"the plan is stale: {options.path.name} has changed and cannot be planned now",
                fix="Fix the errors that follow, and save the plan again: "
                f"`batchspec plan --out {shlex.quote(str(saved_file))}`",
            ),
            *error.problems,
        ) from None


def _is_stale(error: BatchspecError, saved: SavedPlan) -> bool:
    """Whether the cause is a changed spec or file, and not a wrong option."""
    if isinstance(error, UsageError):
        return any(problem.code == NO_SUCH_STEP for problem in error.problems)
    unset = {f"the secret parameter `{name}` has no value" for name in saved.secrets}
    return any(
        problem.code not in {"bad-variable", "bad-value-source"} and problem.summary not in unset
        for problem in error.problems
    )


def _from_environment(spec: Spec, options: RunOptions) -> dict[str, str]:
    """The values of parameters that the environment can set, as text; without secrets.

    A saved plan contains them, so that it is the same in another environment.
    """
    return {
        name: variable_text(thaw(value, lambda text: text.shown))
        for name, value in spec.parameters.items()
        if not isinstance(value, Secret)
        and environment_variable(name, spec.parameters, options.environ)
    }


def saved_options(
    saved: SavedPlan, given: RunOptions, plan_options: PlanOptions = NO_OPTIONS
) -> RunOptions:
    """The options of a saved plan; ``given`` may add only its secrets, which are not saved.

    Environment variables ``BATCHSPEC_VAR_NAME`` are used only for secrets.

    Raises:
        UsageError: another option is given.
    """
    extra = [f"--var {name}" for name in given.variables if name not in saved.secrets]
    if given.target is not None and given.target.value != saved.target:
        extra.append("--target")
    if plan_options.rerun:
        extra.append("--rerun")
    if plan_options.replace:
        extra.append("--replace")
    if plan_options.step:
        extra.append("--target-step")
    if given.max_cost:
        extra.append("--max-cost")
    if extra:
        raise UsageError(
            Diagnostic(
                "plan-is-fixed",
                f"a saved plan does not accept {extra[0]}",
                fix="Save a new plan with this option: "
                f"`batchspec plan {shlex.quote(str(saved.spec))} --out FILE {extra[0]}`",
            )
        )
    secrets = {PREFIX + name for secret in saved.secrets for name in (secret, secret.upper())}
    return replace(
        given,
        path=saved.spec,
        variables={**saved.variables, **given.variables},
        variable_files=(*saved.variable_files, *given.variable_files),
        target=Target(saved.target),
        environ={
            name: value
            for name, value in given.environ.items()
            if not name.startswith(PREFIX) or name in secrets
        },
        max_cost=saved.max_cost,
    )


@asynccontextmanager
async def prepare_destroy(
    options: RunOptions, notices: Notices, *, force: bool = False
) -> AsyncIterator[Prepared]:
    """The plan that deletes what a spec created.

    With ``force``, it also deletes results that have not been downloaded, and a pool that runs
    tasks of other specs.

    Raises:
        SpecError, UsageError, ServiceError: as :func:`prepare_plan`.
    """
    opening = open_session(options, notices, files=Files.UNUSED, pool_user=not force)
    async with opening as session:
        yield Prepared(build_destroy(session.spec, session.observed, force=force), session)


@asynccontextmanager
async def prepare_retry(
    options: RunOptions, notices: Notices, *, causes: Sequence[str] = (), tasks: Sequence[str] = ()
) -> AsyncIterator[Prepared]:
    """The plan that runs failed tasks again; not ``needed`` if no task has failed.

    ``causes`` and ``tasks`` select some of them; a task is named by a unique part of its id.

    Raises:
        UsageError: the spec has no run, or no failed task has such a cause or id.
        SpecError, ServiceError: as :func:`prepare_plan`.
    """
    from batchspec.observe import counted_jobs
    from batchspec.plan import no_run

    async with open_session(options, notices, needs_secrets=True, estimate=True) as session:
        if session.spec.job.schedule is None and not counted_jobs(session.observed.jobs):
            # The states of tasks are deleted with their job, by clean-up or `destroy`.
            raise UsageError(no_run(session.spec, None))
        found: Sequence[Failure] = ()
        if START_TASK_UNFINISHED in (cause.lower() for cause in causes):
            # No task has this cause; only the nodes show it.
            found = await _failures(session)
            if all(failure.cause != START_TASK_UNFINISHED for failure in found):
                raise UsageError(_no_such_failure(causes, found))
        only = await _selection(session, causes, tasks)
        plan = build_plan(session.spec, session.observed, only=only)
        needed = has_retries(session.spec, plan)
        if not needed and (causes or tasks):
            raise UsageError(_no_such_failure(causes, found or await _failures(session)))
        yield Prepared(plan, session, needed=needed)


async def _failures(session: Session) -> Sequence[Failure]:
    """The failures of the run by cause."""
    from batchspec.observe import counted_jobs, failures_of, pool_of

    jobs = counted_jobs(session.observed.jobs)
    return await failures_of(session.spec, jobs, pool_of(session.spec, jobs), session.cloud)


def _no_such_failure(causes: Sequence[str], found: Sequence[Failure]) -> Diagnostic:
    """The error if no failure has one of these causes; it lists the causes that exist."""
    from batchspec.render import no_such_failure

    return no_such_failure(causes, found, look="batchspec failures", apply="batchspec apply")


async def _selection(session: Session, causes: Sequence[str], names: Sequence[str]) -> Selection:
    """The requested causes, tasks and nodes; a task can be named by a unique part of its id.

    Raises:
        UsageError: there is no such task, or it did not fail.
    """
    from batchspec.observe import counted_jobs, find_task, tasks_alike
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

    With ``causes``, only nodes with one of these causes.
    """
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

    If the job has ended, its work runs in a new job, which prepares the nodes again.
    """
    job, tasks = newest_open(session.observed), session.observed.tasks
    if job is None or tasks is None or not tasks.states(job.id).get("active"):
        return ()
    task = job.properties.get("jobPreparationTask")
    if not isinstance(task, Record) or task.get("waitForSuccess") is False:
        return ()
    preparations = session.cloud.jobs.list_preparation_tasks(job.id)
    return tuple([result.node async for result in preparations if result.failed])
