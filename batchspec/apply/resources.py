"""Creates, changes and deletes pools, jobs, job schedules and containers.

Each function carries out one action of a plan and can be called again after an interruption.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

from batchspec.account import Account, PoolChanges, find_pool_user
from batchspec.apply.concurrency import for_each
from batchspec.apply.context import StepContext, StepResult
from batchspec.apply.events import ScheduleSeen, Waiting
from batchspec.apply.monitor import nodes_seen
from batchspec.apply.ports import Runtime
from batchspec.apply.record import forget_pool_output, keep_pool_output
from batchspec.apply.tasks import end_job
from batchspec.apply.wait import wait_until_deleted
from batchspec.diagnostics import ConflictError, Diagnostic, ServiceError, Severity, counted
from batchspec.plan import created_meanwhile, pool_in_use, replaced_pool_in_use
from batchspec.plan.actions import (
    CreateContainer,
    CreateJob,
    CreatePool,
    CreateSchedule,
    DeleteContainers,
    DeleteJob,
    DeleteOutputs,
    DeletePool,
    DeleteSchedule,
    ReleaseContainer,
    ReplaceJob,
    ReplacePool,
    ReplaceSchedule,
    ResizePool,
    RestartNodes,
    ScalePool,
    UpdateJob,
    UpdatePool,
    UpdateSchedule,
    UseContainer,
)
from batchspec.plan.metadata import (
    SPEC,
    WorkSet,
    applied_to,
    is_other_run,
    is_stale,
    metadata_of,
    others,
    with_user,
    without_user,
)
from batchspec.plan.observed import Blob, PoolFacts
from batchspec.spec import Record

_EXISTED = "already existed"
_ABSENT = "did not exist"
_WORKERS = 16
"""How many blobs are deleted at a time."""
_TRIES = 5
"""The largest number of attempts to write the metadata of a container."""


# --- pools ----------------------------------------------------------------------------------------


def _pools(runtime: Runtime, control_plane: bool) -> PoolChanges:
    return runtime.account.control_plane.pools if control_plane else runtime.account.pools


async def create_pool(action: CreatePool, context: StepContext) -> StepResult:
    """Create a pool, or use an equal one of the same spec."""
    runtime = context.runtime
    await forget_pool_output(action.pool, runtime, context.emit)
    created = await _pools(runtime, action.control_plane).create(action.body, action.sas)
    return StepResult(context.step.items, note="" if created else _EXISTED, created=created)


async def update_pool(action: UpdatePool, context: StepContext) -> StepResult:
    """Change a pool in place.

    The metadata that record the change are written last, after the restart of its nodes.
    """
    pools, patch = _pools(context.runtime, action.control_plane), action.patch
    if action.restart:
        await pools.update(action.pool, patch.with_(metadata=None), action.sas)
        await forget_pool_output(action.pool, context.runtime, context.emit)
        await _restart(action.pool, None, context)
        patch = Record(metadata=patch["metadata"])
    await pools.update(action.pool, patch, action.sas)
    return StepResult(context.step.items)


async def resize_pool(action: ResizePool, context: StepContext) -> StepResult:
    """Request a number of nodes."""
    pool, dedicated, spot, timeout = action.pool, action.dedicated, action.spot, action.timeout
    await _pools(context.runtime, action.control_plane).resize(pool, dedicated, spot, timeout)
    return StepResult(context.step.items)


async def scale_pool(action: ScalePool, context: StepContext) -> StepResult:
    """Set, change or remove the autoscale formula of a pool."""
    pools = _pools(context.runtime, action.control_plane)
    if action.formula is None:
        await pools.disable_autoscale(action.pool)
    else:
        await pools.enable_autoscale(action.pool, action.formula, action.interval)
    return StepResult(context.step.items)


async def restart_nodes(action: RestartNodes, context: StepContext) -> StepResult:
    """Restart nodes of a pool."""
    runtime = context.runtime
    await forget_pool_output(action.pool, runtime, context.emit)
    await _restart(action.pool, action.nodes, context)
    return StepResult(context.step.items)


async def _restart(pool: str, nodes: Sequence[str] | None, context: StepContext) -> None:
    """Restart all nodes of a pool, or the given ones; report a start task that delays the restart.

    The service refuses to restart a node that is starting, so a start task that does not end would
    block the restart until the limit of the wait.
    """
    runtime, subject = context.runtime, f"pool {pool}"
    busy = (await runtime.account.pools.get_node_counts(pool)).get("waitingforstarttask", 0)
    if busy:
        count = counted(busy, "node runs", "nodes run")
        context.emit(
            Waiting(
                "start-task-running",
                subject,
                f"{count} the previous start task and will be restarted when it ends",
                runtime.account.now(),
                "If it does not end, stop this command and run `batchspec apply --replace pool`.",
            )
        )
    await runtime.cancellation.race(runtime.account.nodes.reboot(pool, nodes))
    if busy:
        context.emit(Waiting("start-task-running", subject, resolved=True))


async def replace_pool(action: ReplacePool, context: StepContext) -> StepResult:
    """Delete a pool and create it with other properties.

    Raises:
        ConflictError: tasks of another spec run on the pool, and the user does not agree.
    """
    runtime = context.runtime
    spec = metadata_of(action.body).get(SPEC)
    user = await find_pool_user(runtime.account, action.pool, str(spec))
    if user is not None:
        await _accept(next(replaced_pool_in_use(action.pool, user)), runtime)
    await _pools(runtime, action.deletes_by_control_plane).delete(action.pool)
    await _until_pool_deleted(action.pool, runtime)
    await forget_pool_output(action.pool, runtime, context.emit)
    await _pools(runtime, action.control_plane).create(action.body, action.sas)
    return StepResult(context.step.items)


async def in_use(pool: str, spec: str, runtime: Runtime) -> Diagnostic | None:
    """Why a pool may not be deleted: a job of another spec has tasks there; ``None`` if none.

    If the jobs cannot be read, the pool is not deleted either.
    """
    try:
        job = await find_pool_user(runtime.account, pool, spec)
    except ServiceError as error:
        return replace(error.problems[0], severity=Severity.WARNING)
    return next(pool_in_use(pool, job)) if job is not None else None


async def delete_pool(action: DeletePool, context: StepContext) -> StepResult:
    """Delete a pool and wait until it is deleted."""
    account = context.runtime.account
    await keep_pool_output(action.pool, context.runtime, context.emit)
    existed = await _pools(context.runtime, action.control_plane).delete(action.pool)
    pool = await _until_pool_deleted(action.pool, context.runtime)
    if pool is not None and pool.nodes:
        now = account.now()
        last = replace(pool, target_dedicated=0, target_spot=0)
        context.emit(nodes_seen(last, {}, now))
        context.emit(nodes_seen(replace(last, dedicated=0, spot=0), {}, now))
    return StepResult(note="" if existed else _ABSENT)


async def _until_pool_deleted(pool: str, runtime: Runtime) -> PoolFacts | None:
    """Wait until a pool is deleted; the pool as first read, ``None`` if it did not exist."""
    first: PoolFacts | None = None

    async def get() -> PoolFacts | None:
        nonlocal first
        found = await runtime.account.pools.get(pool)
        first = first or found
        return found

    await wait_until_deleted(get, f"pool {pool}", runtime)
    return first


# --- jobs -----------------------------------------------------------------------------------------


async def create_job(action: CreateJob, context: StepContext) -> StepResult:
    """Create a job, or use an equal one of the same spec.

    Raises:
        ConflictError: the job belongs to another run, and the user does not agree to share it.
    """
    runtime = context.runtime
    if action.after is not None:
        # The service gives its time in whole seconds.
        wait = action.after + timedelta(seconds=2) - runtime.account.now()
        await runtime.clock.sleep(max(0.0, wait.total_seconds()))
    if await runtime.account.jobs.create(action.body, action.sas):
        return StepResult()
    existing = await runtime.account.jobs.get(action.job)
    requested = {name: str(value) for name, value in metadata_of(action.body).items()}
    if existing is not None and is_other_run(existing.metadata, requested):
        await _accept(created_meanwhile("job", action.job, existing.metadata), runtime)
    return StepResult(note=_EXISTED, created=False)


async def _accept(problem: Diagnostic, runtime: Runtime) -> None:
    """Ask the user whether to continue.

    Raises:
        ConflictError: the user does not agree.
    """
    if not await runtime.questions.accept(problem):
        raise ConflictError(replace(problem, severity=Severity.ERROR))


async def update_job(action: UpdateJob, context: StepContext) -> StepResult:
    """Change properties of a job."""
    await context.runtime.account.jobs.update(action.job, action.patch)
    return StepResult(context.step.items)


async def replace_job(action: ReplaceJob, context: StepContext) -> StepResult:
    """Terminate a job, wait until none of its tasks runs, and create the next one."""
    await end_job(action.ended, context.runtime)
    await context.runtime.account.jobs.create(action.body, action.sas)
    return StepResult(context.step.items)


async def delete_job(action: DeleteJob, context: StepContext) -> StepResult:
    """Delete a job with its tasks and wait until it is deleted."""
    account, job = context.runtime.account, action.job
    existed = await account.jobs.delete(job)
    await wait_until_deleted(lambda: account.jobs.get(job), f"job {job}", context.runtime)
    return StepResult(note="" if existed else _ABSENT)


# --- job schedules --------------------------------------------------------------------------------


async def create_schedule(action: CreateSchedule, context: StepContext) -> StepResult:
    """Create a job schedule, or use an equal one of the same spec."""
    created = await context.runtime.account.job_schedules.create(action.body, action.sas)
    await _report_schedule(action.schedule, context)
    return StepResult(note="" if created else _EXISTED)


async def update_schedule(action: UpdateSchedule, context: StepContext) -> StepResult:
    """Change properties of a job schedule."""
    await context.runtime.account.job_schedules.update(action.schedule, action.patch, action.sas)
    await _report_schedule(action.schedule, context)
    return StepResult()


async def replace_schedule(action: ReplaceSchedule, context: StepContext) -> StepResult:
    """Delete a job schedule with its jobs and create it with other properties."""
    await _delete_schedule(action.schedule, context.runtime)
    await context.runtime.account.job_schedules.create(action.body, action.sas)
    await _report_schedule(action.schedule, context)
    return StepResult()


async def delete_schedule(action: DeleteSchedule, context: StepContext) -> StepResult:
    """Delete a job schedule with its jobs and wait until it is deleted."""
    existed = await _delete_schedule(action.schedule, context.runtime)
    return StepResult(note="" if existed else _ABSENT)


async def _delete_schedule(name: str, runtime: Runtime) -> bool:
    """Whether the schedule existed."""
    existed = await runtime.account.job_schedules.delete(name)
    await wait_until_deleted(
        lambda: runtime.account.job_schedules.get(name), f"schedule {name}", runtime
    )
    return existed


async def _report_schedule(name: str, context: StepContext) -> None:
    """Report the state of a schedule and when its next job is due."""
    schedule = await context.runtime.account.job_schedules.get(name)
    if schedule is not None:
        context.emit(ScheduleSeen(name, schedule.state, schedule.next_run, schedule.recent_job))


# --- containers -----------------------------------------------------------------------------------


async def create_container(action: CreateContainer, context: StepContext) -> StepResult:
    """Create a container, or record the spec as a user of an existing one.

    Raises:
        ConflictError: another run of the same name created it after the plan was made, and the user
            does not agree to share it: the inputs of the two would be mixed.
    """
    account = context.runtime.account
    created = await account.containers.create(
        action.container, action.metadata, action.public_access
    )
    if not created:
        existing = await account.containers.get_metadata(action.container) or {}
        applied = applied_to(existing, action.user)
        if is_other_run(applied, action.applied):
            # The same problem for all containers of the run: one question.
            problem = created_meanwhile("containers of", action.user, applied)
            await _accept(problem, context.runtime)
        await _record_user(account, action)
    return StepResult(note="" if created else _EXISTED, created=created)


async def use_container(action: UseContainer, context: StepContext) -> StepResult:
    """Record the spec as a user of a container."""
    await _record_user(context.runtime.account, action)
    return StepResult()


async def release_container(action: ReleaseContainer, context: StepContext) -> StepResult:
    """Remove the spec from the recorded users of a container."""
    await _remove_user(context.runtime.account, action.container, action.user)
    return StepResult()


async def delete_containers(action: DeleteContainers, context: StepContext) -> StepResult:
    """Delete containers with their blobs; release those that another spec uses."""
    progress, kept = context.progress(items=len(action.containers)), []
    account = context.runtime.account
    for name in action.containers:
        metadata = await account.containers.get_metadata(name)
        if metadata is not None and others(metadata, action.user):
            await _remove_user(account, name, action.user)
            kept.append(name)
        else:
            await account.containers.delete(name)
        progress.finish()
    note = f"kept, since other specs use them: {', '.join(kept)}" if kept else ""
    return StepResult(progress.done, note=note)


async def delete_outputs(action: DeleteOutputs, context: StepContext) -> StepResult:
    """Delete the blobs of a container that tasks of an earlier version wrote."""
    works, progress = WorkSet(action.works), context.progress(items=context.step.items)
    account = context.runtime.account

    async def delete(blob: Blob) -> None:
        await account.blobs.delete(action.container, blob.name)
        progress.finish()

    async def stale() -> AsyncIterator[Blob]:
        async for blob in account.blobs.list(action.container):
            if is_stale(blob, works):
                yield blob

    await for_each(stale(), delete, workers=_WORKERS, cancellation=context.runtime.cancellation)
    return StepResult(progress.done)


async def _record_user(account: Account, action: CreateContainer | UseContainer) -> None:
    user, applied = action.user, action.applied
    await _change_metadata(
        account, action.container, lambda metadata: with_user(metadata, user, applied)
    )


async def _remove_user(account: Account, container: str, user: str) -> None:
    await _change_metadata(account, container, lambda metadata: without_user(metadata, user))


async def _change_metadata(
    account: Account,
    container: str,
    changed: Callable[[Mapping[str, str]], Mapping[str, str] | None],
) -> None:
    """Write the metadata that ``changed`` returns, until it returns ``None``: no change is left.

    Set Container Metadata replaces all metadata, and its only condition is If-Modified-Since.
    Another client may overwrite the change at the same time; then the change is written again.
    """
    for _ in range(_TRIES):
        current = await account.containers.get_metadata(container)
        metadata = changed(current) if current is not None else None
        if metadata is None:
            return
        await account.containers.set_metadata(container, metadata)
