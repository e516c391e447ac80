"""One action, carried out: the table from what a step says to who does it."""

from __future__ import annotations

from batchspec.apply.gone import explained
from batchspec.apply.ports import World
from batchspec.apply.remove import delete_containers, delete_job, delete_pool, until_gone
from batchspec.apply.submit import retry, submit
from batchspec.apply.transfer import download, upload
from batchspec.apply.watch import wait_for_pool, wait_for_tasks
from batchspec.apply.work import Performed, Tools
from batchspec.plan.actions import (
    CloseJob,
    CreateContainer,
    CreateJob,
    CreatePool,
    DeleteContainers,
    DeleteJob,
    DeletePool,
    DownloadResults,
    ReplacePool,
    ResizePool,
    RetryTasks,
    SubmitTasks,
    UpdateJob,
    UpdatePool,
    UploadFiles,
    WaitForPool,
    WaitForTasks,
)
from batchspec.plan.plan import Step
from batchspec.problems import ServiceError
from batchspec.spec.values import Record

_EXISTED = "it was there already"
_ENDED = frozenset({"JobCompleted", "JobBeingTerminated"})


async def perform(step: Step, tools: Tools) -> Performed:
    """Carry out a step's action.

    Raises:
        ServiceError: the account refused, or could not be reached.
        SpecError: a file is not what it was when the plan was made.
    """
    try:
        match step.action:
            case CreateContainer() | UploadFiles() | DownloadResults() | DeleteContainers():
                return await _perform_data(step, tools)
            case SubmitTasks() | RetryTasks() | WaitForPool() | WaitForTasks():
                return await _perform_tasks(step, tools)
            case _:
                return await _perform_request(step, tools.world)
    except ServiceError as error:
        raise explained(error) from None


async def _perform_tasks(step: Step, tools: Tools) -> Performed:
    match step.action:
        case SubmitTasks():
            return await submit(step.action, step, tools)
        case RetryTasks():
            return await retry(step.action, step, tools)
        case WaitForPool():
            return await wait_for_pool(step.action, tools.world, tools.emit)
        case WaitForTasks():
            return await wait_for_tasks(step.action, tools.world, tools.emit)
    raise AssertionError(f"no task action: {step.action!r}")


async def _perform_data(step: Step, tools: Tools) -> Performed:
    match step.action:
        case CreateContainer(name, metadata, access):
            made = await tools.world.storage.create_container(name, metadata, access)
            return Performed(note="" if made else _EXISTED)
        case UploadFiles():
            return await upload(step.action, step, tools)
        case DownloadResults():
            return await download(step.action, step, tools)
        case DeleteContainers():
            return await delete_containers(step.action, step, tools)
    raise AssertionError(f"no data action: {step.action!r}")


async def _perform_request(step: Step, world: World) -> Performed:
    """The actions that ask the account for one thing."""
    match step.action:
        case CreatePool(_, body, sas):
            made = await world.batch.create_pool(body, sas)
            return Performed(step.items, note="" if made else _EXISTED)
        case UpdatePool(pool, patch, sas):
            await world.batch.update_pool(pool, patch, sas)
        case ResizePool(pool, dedicated, spot):
            await world.batch.resize_pool(pool, dedicated, spot)
        case ReplacePool(pool, body, sas):
            await world.batch.delete_pool(pool)
            await until_gone(lambda: world.batch.pool(pool), world)
            await world.batch.create_pool(body, sas)
        case CreateJob(_, body, sas):
            made = await world.batch.create_job(body, sas)
            return Performed(note="" if made else _EXISTED)
        case DeletePool():
            return await delete_pool(step.action, world)
        case DeleteJob():
            return await delete_job(step.action, world)
        case UpdateJob(job, patch):
            await world.batch.update_job(job, patch)
        case CloseJob(job):
            return await _close(job, world)
        case _:
            raise AssertionError(f"an action nobody performs: {step.action!r}")
    return Performed(step.items)


async def _close(job: str, world: World) -> Performed:
    """Say that no more tasks come; a job that another run has closed may have ended by that."""
    try:
        await world.batch.update_job(job, Record(onAllTasksComplete="terminatejob"))
    except ServiceError as error:
        if error.code not in _ENDED:
            raise
        return Performed(note="it has ended already")
    return Performed()
