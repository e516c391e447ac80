"""After the tasks have succeeded: whether the outputs that they promise are in storage."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from hashlib import blake2b

from batchspec.apply.events import Noticed, Outcome
from batchspec.apply.ports import World
from batchspec.apply.work import Performed, Tools
from batchspec.diagnostics import Diagnostic, Severity
from batchspec.plan.actions import DownloadResults, WaitForTasks
from batchspec.plan.outputs import Outputs, Promise

_SHOWN = 3
"""How many names of missing blobs are shown of one output."""


async def check_outputs(
    action: WaitForTasks | DownloadResults, performed: Performed, tools: Tools
) -> Performed:
    """Report the outputs that did not arrive; without a required one the run has failed."""
    if performed.trouble is not None or action.outputs is None:
        return performed
    missing = await _missing(action.outputs, action.job, tools.world)
    for each in missing:
        tools.emit(Noticed(_problem(each)))
    if not any(each.first.required for each in missing):
        return performed
    tools.incomplete.add(action.job)
    return replace(performed, trouble=Outcome.TASKS_FAILED)


@dataclass(slots=True)
class _Missing:
    """An output that did not arrive: of how many of its tasks, and the first names."""

    first: Promise
    tasks: int = 0
    missing: int = 0
    names: list[str] = field(default_factory=list)


async def _missing(outputs: Outputs, job: str, world: World) -> list[_Missing]:
    """The outputs that did not arrive.

    Of each promise eight bytes are kept, so that a million of them fit in memory; each container is
    listed once, below the longest prefix that all its blobs share.
    """
    wanted, prefixes, kinds = _index(outputs)
    if not wanted:
        return []
    since = await _since(outputs, job, world)
    for container, prefix in prefixes.items():
        patterns = [kind for kind in kinds.values() if kind.container == container]
        async for blob in world.storage.blobs(container, prefix):
            if blob.modified is None or blob.modified >= since:
                wanted.difference_update(_fulfilled(container, blob.name, patterns))
    found: dict[tuple[str, int], _Missing] = {}
    for promise in outputs:
        output = found.setdefault((promise.stage, promise.index), _Missing(promise))
        output.tasks += 1
        if _key(promise, promise.blob) in wanted:
            output.missing += 1
            if promise.shown not in output.names and len(output.names) < _SHOWN:
                output.names.append(promise.shown)
    return [output for output in found.values() if output.missing]


def _index(
    outputs: Outputs,
) -> tuple[set[int], dict[str, str], dict[tuple[str, int], Promise]]:
    """The promises by digest, the common prefix by container, and one promise of each pattern."""
    wanted: set[int] = set()
    prefixes: dict[str, str] = {}
    patterns: dict[tuple[str, int], Promise] = {}
    for promise in outputs:
        wanted.add(_key(promise, promise.blob))
        known = prefixes.get(promise.container, promise.blob)
        prefixes[promise.container] = os.path.commonprefix((known, promise.blob))  # noqa: RUF071  (of names, not of folders)
        if promise.wild:
            patterns.setdefault((promise.stage, promise.index), promise)
    return wanted, prefixes, patterns


def _fulfilled(container: str, name: str, patterns: list[Promise]) -> Iterator[int]:
    """The digests of the promises that a blob fulfils."""
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
        found = await world.batch.job(job)
        since = found.created if found is not None else datetime.min.replace(tzinfo=UTC)
    return world.in_storage_time(since)


def _problem(found: _Missing) -> Diagnostic:
    promise = found.first
    what = "no file matched" if promise.wild else "did not arrive"
    tasks = f"{found.missing:,} of {found.tasks:,} task{'s' if found.tasks > 1 else ''}"
    names = ", ".join(found.names)
    more = "" if found.missing <= len(found.names) else ", ..."
    return Diagnostic(
        "output-missing",
        f"output {promise.pattern!r} of stage {promise.stage}: {what} for {tasks}",
        detail=f"Missing in container {promise.container}: {names}{more}",
        fix="Outputs are uploaded from the task's working directory. `batchspec logs` shows what a"
        " task wrote; after a correction, `batchspec apply --rerun` runs the tasks again.",
        severity=Severity.ERROR if promise.required else Severity.WARNING,
    )
