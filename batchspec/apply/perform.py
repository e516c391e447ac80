"""One action, carried out: the table from what a step says to who does it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from batchspec.apply.containers import delete_containers, delete_outputs, record_user, release
from batchspec.apply.earlier import end_job, terminate_tasks
from batchspec.apply.events import Emit, Outcome
from batchspec.apply.gone import explained, why_refused
from batchspec.apply.node_logs import forget_pool_output, keep_pool_output
from batchspec.apply.outputs import check_outputs
from batchspec.apply.ports import World
from batchspec.apply.schedule import perform_schedule
from batchspec.apply.settle import until_gone
from batchspec.apply.submit import close, retry, submit
from batchspec.apply.transfer import download, upload
from batchspec.apply.wait import wait_for_pool, wait_for_tasks
from batchspec.apply.work import Performed, Tools
from batchspec.diagnostics import ConflictError, ServiceError, Severity
from batchspec.plan.actions import (
    CloseJob,
    CreateContainer,
    CreateJob,
    CreatePool,
    CreateSchedule,
    DeleteContainers,
    DeleteJob,
    DeleteOutputs,
    DeletePool,
    DeleteSchedule,
    DownloadResults,
    ReleaseContainer,
    ReplaceJob,
    ReplacePool,
    ReplaceSchedule,
    ResizePool,
    RestartNodes,
    RetryTasks,
    ScalePool,
    SubmitTasks,
    TerminateTasks,
    UpdateJob,
    UpdatePool,
    UpdateSchedule,
    UploadFiles,
    UseContainer,
    WaitForPool,
    WaitForTasks,
)
from batchspec.plan.metadata import is_other_run, metadata_of
from batchspec.plan.plan import Step
from batchspec.plan.rules.run import created_meanwhile
from batchspec.spec import Record

_EXISTED = "it was there already"
_GONE = "it was gone already"


async def perform(step: Step, tools: Tools) -> Performed:
    """Carry out a step's action.

    Raises:
        ServiceError: the account refused, or could not be reached.
        SpecError: a file is not what it was when the plan was made.
    """
    try:
        match step.action:
            case (
                CreateContainer()
                | UseContainer()
                | ReleaseContainer()
                | DeleteContainers()
                | DeleteOutputs()
            ):
                return await _perform_containers(step, tools)
            case UploadFiles() | DownloadResults():
                return await _perform_data(step, tools)
            case SubmitTasks() | RetryTasks() | CloseJob() | WaitForPool() | WaitForTasks():
                return await _perform_tasks(step, tools)
            case TerminateTasks():
                return await terminate_tasks(step.action, step, tools)
            case CreateSchedule() | UpdateSchedule() | ReplaceSchedule() | DeleteSchedule():
                return await perform_schedule(step.action, tools)
            case _:
                return await _perform_request(step, tools.world, tools.emit)
    except ServiceError as error:
        raise explained(error) from None


async def _perform_tasks(step: Step, tools: Tools) -> Performed:
    match step.action:
        case SubmitTasks() | RetryTasks():
            try:
                if isinstance(step.action, SubmitTasks):
                    return await submit(step.action, step, tools)
                return await retry(step.action, step, tools)
            except ServiceError as error:
                raise await why_refused(error, step.action.job, tools.world) from None
        case CloseJob():
            return await close(step.action, tools)
        case WaitForPool():
            return await wait_for_pool(tools.monitor)
        case WaitForTasks():
            # Where the job was closed before, there is no step that closes it.
            await tools.ledger.settle(step.action.job, tools.world)
            performed = _incomplete(step.action, await wait_for_tasks(step.action, tools.monitor))
            return await check_outputs(step.action, performed, tools)
    raise AssertionError(f"no task action: {step.action!r}")


def _incomplete(action: WaitForTasks, performed: Performed) -> Performed:
    """What came of the wait, where tasks of the run are left that are not in the job."""
    if not action.left or performed.trouble is not None:
        return performed
    left = "1 task is" if action.left == 1 else f"{action.left:,} tasks are"
    return replace(performed, note=f"{left} left", trouble=Outcome.TASKS_FAILED)


async def _perform_data(step: Step, tools: Tools) -> Performed:
    match step.action:
        case UploadFiles():
            return await upload(step.action, step, tools)
        case DownloadResults():
            checked = await check_outputs(step.action, Performed(), tools)
            return replace(await download(step.action, step, tools), trouble=checked.trouble)
    raise AssertionError(f"no data action: {step.action!r}")


async def _perform_containers(step: Step, tools: Tools) -> Performed:
    storage = tools.world.storage
    match step.action:
        case CreateContainer(name, metadata, access, user):
            made = await storage.create_container(name, metadata, access)
            if not made:
                await record_user(storage, name, user)
            return Performed(note="" if made else _EXISTED, created=made)
        case UseContainer(name, user):
            await record_user(storage, name, user)
            return Performed()
        case ReleaseContainer(name, user):
            await release(storage, name, user)
            return Performed()
        case DeleteOutputs():
            return await delete_outputs(step.action, step, tools)
        case DeleteContainers():
            return await delete_containers(step.action, step, tools)
    raise AssertionError(f"no container action: {step.action!r}")


async def _perform_request(step: Step, world: World, emit: Emit) -> Performed:
    """The actions that ask the account for one thing."""
    match step.action:
        case CreatePool(_, body, sas):
            await forget_pool_output(step.action.pool, world, emit)
            made = await world.batch.create_pool(body, sas)
            return Performed(step.items, note="" if made else _EXISTED, created=made)
        case UpdatePool():
            await _update_pool(step.action, world, emit)
        case RestartNodes(pool, nodes):
            await forget_pool_output(pool, world, emit)
            await world.batch.restart_nodes(pool, nodes)
        case ResizePool(pool, dedicated, spot, timeout):
            await world.batch.resize_pool(pool, dedicated, spot, timeout)
        case ScalePool(pool, formula, interval):
            await world.batch.scale_pool(pool, formula, interval)
        case ReplacePool(pool, body, sas):
            await world.batch.delete_pool(pool)
            await until_gone(lambda: world.batch.pool(pool), f"pool {pool}", world)
            await forget_pool_output(pool, world, emit)
            await world.batch.create_pool(body, sas)
        case ReplaceJob():
            await _replace_job(step.action, world)
        case CreateJob():
            return await _create_job(step.action, world)
        case DeletePool(pool):
            await keep_pool_output(pool, world, emit)
            return await _delete_pool(step.action, world)
        case DeleteJob():
            return await _delete_job(step.action, world)
        case UpdateJob(job, patch):
            await world.batch.update_job(job, patch)
        case _:
            raise AssertionError(f"an action nobody performs: {step.action!r}")
    return Performed(step.items)


async def _create_job(action: CreateJob, world: World) -> Performed:
    """Create a job, or use an equal one of the same spec.

    Raises:
        ConflictError: it is that of another run, and the user does not agree to share it.
    """
    if action.after is not None:
        # The time at the service is known to the second.
        wait = action.after + timedelta(seconds=2) - world.batch.now()
        await world.clock.sleep(max(0.0, wait.total_seconds()))
    if await world.batch.create_job(action.body, action.sas):
        return Performed()
    there = await world.batch.job(action.job)
    wanted = {name: str(value) for name, value in metadata_of(action.body).items()}
    if there is not None and is_other_run(there.metadata, wanted):
        problem = created_meanwhile("job", action.job, there.metadata)
        if not await world.questions.accept(problem):
            raise ConflictError(replace(problem, severity=Severity.ERROR))
    return Performed(note=_EXISTED, created=False)


async def _update_pool(action: UpdatePool, world: World, emit: Emit) -> None:
    """Change a pool in place. What it was made from is written when its nodes have it, too."""
    patch = action.patch
    if action.restart:
        await world.batch.update_pool(action.pool, patch.with_(metadata=None), action.sas)
        await forget_pool_output(action.pool, world, emit)
        await world.batch.restart_nodes(action.pool)
        patch = Record(metadata=patch["metadata"])
    await world.batch.update_pool(action.pool, patch, action.sas)


async def _replace_job(action: ReplaceJob, world: World) -> None:
    """End a job, wait until none of its tasks runs any more, and make the next."""
    await end_job(action.ended, world)
    await world.batch.create_job(action.body, action.sas)


async def _delete_pool(action: DeletePool, world: World) -> Performed:
    """Delete a pool and wait until it is gone."""
    found = await world.batch.delete_pool(action.pool)
    await until_gone(lambda: world.batch.pool(action.pool), f"pool {action.pool}", world)
    return Performed(note="" if found else _GONE)


async def _delete_job(action: DeleteJob, world: World) -> Performed:
    """Delete a job with its tasks and wait until it is gone."""
    found = await world.batch.delete_job(action.job)
    await until_gone(lambda: world.batch.job(action.job), f"job {action.job}", world)
    return Performed(note="" if found else _GONE)
