"""After the tasks have succeeded: reports the declared outputs that are not in storage."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from hashlib import blake2b

from batchspec.apply.context import StepContext, StepResult
from batchspec.apply.events import Noticed, Outcome
from batchspec.apply.ports import World
from batchspec.diagnostics import Diagnostic, Severity
from batchspec.plan import Outputs, Promise
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
    """An output that is missing: for how many of its tasks, and the first names."""

    first: Promise
    tasks: int = 0
    missing: int = 0
    names: list[str] = field(default_factory=list)


async def _missing(outputs: Outputs, job: str, world: World) -> list[_MissingOutput]:
    """The outputs that are missing.

    Eight bytes are stored for each, so that a million fit in memory. Each container is listed once,
    below the longest common prefix of its blobs.
    """
    expected, prefixes, representatives = _index(outputs)
    if not expected:
        return []
    since = await _since(outputs, job, world)
    for container, prefix in prefixes.items():
        patterns = [one for one in representatives.values() if one.container == container]
        async for blob in world.account.blobs.list(container, prefix):
            if blob.modified is None or blob.modified >= since:
                expected.difference_update(_fulfilled(container, blob.name, patterns))
    found: dict[tuple[str, int], _MissingOutput] = {}
    for promise in outputs:
        output = found.setdefault((promise.stage, promise.index), _MissingOutput(promise))
        output.tasks += 1
        if _key(promise, promise.blob) in expected:
            output.missing += 1
            if promise.shown not in output.names and len(output.names) < _SHOWN:
                output.names.append(promise.shown)
    return [output for output in found.values() if output.missing]


def _index(
    outputs: Outputs,
) -> tuple[set[int], dict[str, str], dict[tuple[str, int], Promise]]:
    """The outputs by digest, the common prefix by container, and one output for each pattern."""
    expected: set[int] = set()
    prefixes: dict[str, str] = {}
    patterns: dict[tuple[str, int], Promise] = {}
    for promise in outputs:
        expected.add(_key(promise, promise.blob))
        known = prefixes.get(promise.container, promise.blob)
        prefixes[promise.container] = os.path.commonprefix((known, promise.blob))  # noqa: RUF071  (of names, not of folders)
        if promise.wild:
            patterns.setdefault((promise.stage, promise.index), promise)
    return expected, prefixes, patterns


def _fulfilled(container: str, name: str, patterns: list[Promise]) -> Iterator[int]:
    """The digests of the outputs that a blob fulfils."""
    yield _digest(container, name)
    for pattern in patterns:
        at = 0
        while True:
            if pattern.matches(name[at:]):
                yield _key(pattern, name[:at])
            at = name.find("/", at) + 1
            if not at:
                break


def _key(promise: Promise, blob: str) -> int:
    if promise.wild:
        return _digest(promise.container, blob, promise.stage, str(promise.index))
    return _digest(promise.container, blob)


def _digest(*parts: str) -> int:
    text = "\0".join(parts).encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(text, digest_size=8).digest())


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
    more = "" if output.missing <= len(output.names) else ", ..."
    return Diagnostic(
        "output-missing",
        f"output {promise.pattern!r} of stage {promise.stage}: {what} for {tasks}",
        detail=f"Missing in container {promise.container}: {names}{more}",
        fix="Outputs are uploaded from the task's working directory. `batchspec logs` shows what a"
        " task wrote; after a correction, `batchspec apply --rerun` runs the tasks again.",
        severity=Severity.ERROR if promise.required else Severity.WARNING,
    )
