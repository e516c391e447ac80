"""Job schedules: made, changed, deleted; and a word on when the next job comes."""

from __future__ import annotations

from batchspec.apply.events import ScheduleSeen
from batchspec.apply.ports import World
from batchspec.apply.settle import until_gone
from batchspec.apply.work import Performed, Tools
from batchspec.plan.actions import CreateSchedule, DeleteSchedule, ReplaceSchedule, UpdateSchedule


async def perform_schedule(
    action: CreateSchedule | UpdateSchedule | ReplaceSchedule | DeleteSchedule, tools: Tools
) -> Performed:
    """Carry out what a step does to a schedule, and tell how it is with it then."""
    batch, name, note = tools.world.batch, action.schedule, ""
    match action:
        case CreateSchedule(_, body, sas):
            note = "" if await batch.create_schedule(body, sas) else "it was there already"
        case UpdateSchedule(_, patch, sas):
            await batch.update_schedule(name, patch, sas)
        case ReplaceSchedule(_, body, sas):
            await _delete(name, tools.world)
            await batch.create_schedule(body, sas)
        case DeleteSchedule():
            there = await _delete(name, tools.world)
            return Performed(note="" if there else "it was gone already")
    if (seen := await batch.schedule(name)) is not None:
        tools.emit(ScheduleSeen(name, seen.state, seen.next_run, seen.recent_job))
    return Performed(note=note)


async def _delete(name: str, world: World) -> bool:
    """Delete a schedule with its jobs and wait until it is gone; whether there was one."""
    there = await world.batch.delete_schedule(name)
    await until_gone(lambda: world.batch.schedule(name), f"schedule {name}", world)
    return there
