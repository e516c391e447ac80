"""Containers: recorded users, and deletion of those that no other spec uses."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping

from batchspec.apply.crowd import each
from batchspec.apply.ports import Storage
from batchspec.apply.work import Performed, Tools, progress
from batchspec.plan.actions import DeleteContainers, DeleteOutputs
from batchspec.plan.metadata import others, with_user, without_user
from batchspec.plan.observed import Blob
from batchspec.plan.plan import Step
from batchspec.plan.stamps import WorkSet, is_stale

_WORKERS = 16
"""Requests at a time."""
_TRIES = 5
"""How often metadata are written until they can be read back; other clients may write, too."""


async def record_user(storage: Storage, container: str, user: str) -> None:
    """Record that a spec uses a container."""
    await _change(storage, container, lambda found: with_user(found, user))


async def release(storage: Storage, container: str, user: str) -> None:
    """Remove a spec from the recorded users of a container."""
    await _change(storage, container, lambda found: without_user(found, user))


async def delete_containers(action: DeleteContainers, step: Step, tools: Tools) -> Performed:
    """Delete containers with their blobs; one that another spec uses by now is released instead."""
    so_far, kept = progress(step, tools, items=len(action.containers)), []
    storage = tools.world.storage
    for name in action.containers:
        found = await storage.container(name)
        if found is not None and others(found, action.user):
            await release(storage, name, action.user)
            kept.append(name)
        else:
            await storage.delete_container(name)
        so_far.finish()
    note = f"kept, since other specs use them: {', '.join(kept)}" if kept else ""
    return Performed(so_far.done, note=note)


async def delete_outputs(action: DeleteOutputs, step: Step, tools: Tools) -> Performed:
    """Delete the blobs of a container that tasks of an earlier version wrote."""
    works, so_far = WorkSet(action.works), progress(step, tools, items=step.items)
    storage = tools.world.storage

    async def one(blob: Blob) -> None:
        await storage.delete_blob(action.container, blob.name)
        so_far.finish()

    async def found() -> AsyncIterator[Blob]:
        async for blob in storage.blobs(action.container):
            if is_stale(blob, works):
                yield blob

    await each(found(), one, workers=_WORKERS, halt=tools.world.halt)
    return Performed(so_far.done)


async def _change(
    storage: Storage,
    container: str,
    changed: Callable[[Mapping[str, str]], Mapping[str, str] | None],
) -> None:
    """Change metadata until they need no change.

    The service replaces all metadata at once, without a condition on what they were: a change that
    another client makes at the same time may be lost, and is made again.
    """
    for _ in range(_TRIES):
        found = await storage.container(container)
        wanted = changed(found) if found is not None else None
        if wanted is None:
            return
        await storage.set_metadata(container, wanted)
