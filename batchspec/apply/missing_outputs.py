"""After the tasks have succeeded: reports the declared outputs that are not in storage."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from batchspec.apply.context import StepContext, StepResult
from batchspec.apply.events import Noticed, Outcome
from batchspec.apply.ports import World
from batchspec.diagnostics import Severity
from batchspec.plan import (
    MissingOutput,
    OutputIndex,
    Outputs,
    collect_missing,
    output_missing,
)
from batchspec.plan.actions import DownloadResults, WaitForTasks


async def check_outputs(
    action: WaitForTasks | DownloadResults, result: StepResult, context: StepContext
) -> StepResult:
    """Report the outputs that are missing; if a required one is missing, the run has failed."""
    if result.outcome is not None or action.outputs is None:
        return result
    missing = await _missing(action.outputs, action.job, context.world)
    for output in missing:
        for problem in output_missing([output]):
            required = output.first.required
            context.emit(
                Noticed(replace(problem, severity=Severity.ERROR) if required else problem)
            )
    if not any(output.first.required for output in missing):
        return result
    context.incomplete.add(action.job)
    return replace(result, outcome=Outcome.TASKS_FAILED)


async def _missing(outputs: Outputs, job: str, world: World) -> list[MissingOutput]:
    """The outputs that are missing; each container is listed once."""
    index = OutputIndex()
    for promise in outputs:
        index.add(promise)
    if not index.keys:
        return []
    since = await _since(outputs, job, world)
    for container, prefix in index.prefixes.items():
        async for blob in world.account.blobs.list(container, prefix):
            if blob.modified is None or blob.modified >= since:
                index.keys.difference_update(index.fulfilled(container, blob.name))
    return collect_missing(outputs, index.keys)


async def _since(outputs: Outputs, job: str, world: World) -> datetime:
    """When the first task was created, on the clock of the storage account."""
    since = outputs.since
    if since is None:
        facts = await world.account.jobs.get(job)
        since = facts.created if facts is not None else datetime.min.replace(tzinfo=UTC)
    return world.in_storage_time(since)
