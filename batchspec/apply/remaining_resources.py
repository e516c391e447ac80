"""The objects that a run leaves in the account: those that its plan deletes and the run did not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from batchspec.apply.ports import World
from batchspec.diagnostics import BatchspecError, ServiceError
from batchspec.plan import Step, containers_subject
from batchspec.plan.actions import (
    Action,
    CreateContainer,
    CreateJob,
    CreatePool,
    DeleteContainers,
    DeleteJob,
    DeletePool,
    DeleteSchedule,
    ReplaceJob,
    ReplacePool,
)

_UNDECIDED = frozenset({408, 409, 429})
"""The statuses of refusals after which the object may exist, created by an earlier request."""

Delete: TypeAlias = DeletePool | DeleteJob | DeleteSchedule | DeleteContainers


@dataclass(slots=True)
class RemainingResources:
    """Records what the steps of a run create: ``created`` by this run, ``absent`` not created.

    An object is identified by the action that deletes it, a container by one of its own.
    """

    world: World
    created: set[Delete] = field(default_factory=set)
    absent: set[Delete] = field(default_factory=set)

    def skipped(self, action: Action | None) -> None:
        """A step did not run; a pool that it would have replaced still exists."""
        if not isinstance(action, ReplacePool):
            self.absent.update(_deletions(action))

    def done(self, action: Action | None) -> None:
        """A step has created something that did not exist before."""
        self.created.update(_deletions(action))

    async def failed(self, action: Action | None, error: BatchspecError) -> None:
        """A step failed; if the response is ambiguous, check whether the object exists."""
        status = error.status if isinstance(error, ServiceError) else None
        for deletion in _deletions(action):
            if status is None:
                continue  # There was no response, and another request may take as long.
            refused = status not in _UNDECIDED and (400 <= status < 500 or status == 501)
            refused = refused and not isinstance(action, ReplacePool)
            if refused or not await self.exists(deletion):
                self.absent.add(deletion)

    async def exists(self, deletion: Action | None) -> bool:
        """Whether the object that an action deletes exists; true if that cannot be read."""
        try:
            match deletion:
                case DeletePool(pool=pool):
                    return await self.world.account.pools.get(pool) is not None
                case DeleteJob(job=job):
                    return await self.world.account.jobs.get(job) is not None
                case DeleteContainers(containers=names):
                    found = [
                        await self.world.account.containers.get_metadata(name) for name in names
                    ]
                    return any(metadata is not None for metadata in found)
        except ServiceError:
            pass
        return True

    def subjects(self, steps: Iterable[Step], *, conflict: bool) -> Iterator[str]:
        """The objects that these steps, which did not run, would have deleted.

        In a ``conflict``, another run uses the same pool and job; then only objects that this run
        created are named.
        """
        for step in steps:
            if not isinstance(step.action, Delete):
                continue
            parts = list(_parts(step.action))
            found = [
                part
                for part in parts
                if part not in self.absent and (not conflict or part in self.created)
            ]
            names = [
                name
                for part in found
                if isinstance(part, DeleteContainers)
                for name in part.containers
            ]
            if found == parts:
                yield step.subject
            elif names:
                yield containers_subject(names)


def _deletions(action: Action | None) -> Iterator[Delete]:
    """The deletions of what an action creates."""
    match action:
        case CreatePool(pool=pool) | ReplacePool(pool=pool):
            yield DeletePool(pool)
        case CreateJob(job=job) | ReplaceJob(job=job):
            yield DeleteJob(job)
        case CreateContainer(container=container):
            yield DeleteContainers((container,))


def _parts(deletion: Delete) -> Iterator[Delete]:
    """A deletion of several containers as one of each."""
    if isinstance(deletion, DeleteContainers):
        yield from (DeleteContainers((name,)) for name in deletion.containers)
    else:
        yield deletion
