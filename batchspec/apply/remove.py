"""Deletions: asked for, then waited for until the thing is really gone."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from batchspec.apply.ports import World
from batchspec.apply.watch import Pace
from batchspec.apply.work import Performed, Tools, progress
from batchspec.plan.actions import DeleteContainers, DeleteJob, DeletePool
from batchspec.plan.plan import Step


async def delete_pool(action: DeletePool, world: World) -> Performed:
    """Delete a pool."""
    there = await world.batch.delete_pool(action.pool)
    await until_gone(lambda: world.batch.pool(action.pool), world)
    return Performed(note="" if there else "it was gone already")


async def delete_job(action: DeleteJob, world: World) -> Performed:
    """Delete a job and its tasks."""
    there = await world.batch.delete_job(action.job)
    await until_gone(lambda: world.batch.job(action.job), world)
    return Performed(note="" if there else "it was gone already")


async def delete_containers(action: DeleteContainers, step: Step, tools: Tools) -> Performed:
    """Delete containers, each with all that is in it."""
    so_far = progress(step, tools, items=len(action.containers))
    for name in action.containers:
        await tools.world.storage.delete_container(name)
        so_far.finish()
    return Performed(so_far.done)


async def until_gone(look: Callable[[], Awaitable[object | None]], world: World) -> None:
    """Look until there is nothing to see."""
    pace = Pace(world.pace)
    while await look() is not None:
        await world.clock.sleep(pace.next(None))
