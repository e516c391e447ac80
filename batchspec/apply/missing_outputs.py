"""After the tasks have succeeded: reports the declared outputs that are not in storage."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from batchspec.apply.context import StepContext, StepResult
from batchspec.apply.events import Noticed, Outcome
from batchspec.apply.ports import World
from batchspec.diagnostics import Diagnostic, Severity
from batchspec.plan import OutputIndex, Outputs, Promise
from batchspec.plan.actions import DownloadResults, WaitForTasks

_SHOWN = 3
"""How many names of missing blobs are shown for each output."""


async def check_outputs(
    action: WaitForTasks | DownloadResults, result: StepResult, context: StepContext
) -> StepResult:
    """Report the outputs that are missing; if a required one is missing, the run has failed."""
    if result.outcome is not None or action.outputs is None:
        return result
    missing = await _missing(action.outputs, action.job, context.world)
    for output in missing:
        context.emit(Noticed(_problem(output)))
    if not any(output.first.required for output in missing):
        return result
    context.incomplete.add(action.job)
    return replace(result, outcome=Outcome.TASKS_FAILED)


@dataclass(slots=True)
class _MissingOutput:
    """An output that is missing: the first one, for how many of its tasks, and the first names."""

    first: Promise
    tasks: int = 0
    missing: int = 0
    names: list[str] = field(default_factory=list)


async def _missing(outputs: Outputs, job: str, world: World) -> list[_MissingOutput]:
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
    found: dict[tuple[str, int], _MissingOutput] = {}
    for promise in outputs:
        output = found.setdefault((promise.stage, promise.index), _MissingOutput(promise))
        output.tasks += 1
        if promise.key in index.keys:
            output.first = output.first if output.missing else promise
            output.missing += 1
            if promise.shown not in output.names and len(output.names) < _SHOWN:
                output.names.append(promise.shown)
    return [output for output in found.values() if output.missing]


async def _since(outputs: Outputs, job: str, world: World) -> datetime:
    """When the first task was created, on the clock of the storage account."""
    since = outputs.since
    if since is None:
        facts = await world.account.jobs.get(job)
        since = facts.created if facts is not None else datetime.min.replace(tzinfo=UTC)
    return world.in_storage_time(since)


def _problem(output: _MissingOutput) -> Diagnostic:
    promise = output.first
    what = "no file matched" if promise.wild else "not uploaded"
    tasks = f"{output.missing:,} of {output.tasks:,} task{'s' if output.tasks > 1 else ''}"
    names = ", ".join(output.names)
    # Tasks without a required output are not done; the others need an option to run again.
    again = "" if promise.required else " --rerun"
    more = "" if output.missing <= len(output.names) else ", ..."
    return Diagnostic(
        "output-missing",
        f"output {promise.pattern!r} of stage {promise.stage}: {what} for {tasks}",
        detail=f"Missing in container {promise.container}: {names}{more}",
        fix="Outputs are uploaded from the task's working directory. `batchspec logs` shows what a"
        f" task wrote; after a correction, `batchspec apply{again}` runs the tasks again.",
        severity=Severity.ERROR if promise.required else Severity.WARNING,
    )
