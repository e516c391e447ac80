"""Exactly once, proved: what the service said it took is held against what the job has.

Each task that was submitted is written down, by eight bytes of its id's digest; before the job is
closed the ids in it are read back and ticked off. A million tasks are 8 MB of notes and a thousand
requests.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import groupby

from batchspec.apply.ports import World
from batchspec.diagnostics import Diagnostic, ServiceError

_LOOKS = 3
"""How often it is looked, should a list lag behind."""


@dataclass(slots=True)
class Ledger:
    """The tasks that a run has submitted, by job."""

    _written: dict[str, array[int]] = field(default_factory=dict)

    def write(self, job: str, ids: Iterable[str]) -> None:
        """These are in the job, as the service says."""
        self._written.setdefault(job, array("Q")).extend(map(_digest, ids))

    async def settle(self, job: str, world: World) -> int:
        """See that all are there that were written since the last time; how many they are.

        Raises:
            ServiceError: some are not.
        """
        notes = self._written.pop(job, array("Q"))
        # No set: what is asked for twice is next to itself, and an array is a tenth of a set.
        wanted = array("Q", (digest for digest, _ in groupby(sorted(notes))))
        if not wanted:
            return 0
        missing = 0
        for look in range(_LOOKS):
            if look:
                await world.clock.sleep(world.pace)
                world.halt.check()
            missing = await _missing(job, wanted, world)
            if not missing:
                return len(wanted)
        raise _lost(job, missing, len(wanted))


async def _missing(job: str, wanted: array[int], world: World) -> int:
    """How many of these digests no task of the job has."""
    found = bytearray(len(wanted))
    async for name in world.batch.task_ids(job):
        digest = _digest(name)
        at = bisect_left(wanted, digest)
        if at < len(wanted) and wanted[at] == digest:
            found[at] = 1
    return found.count(0)


def _digest(name: str) -> int:
    # The service takes ids that differ only in case for the same.
    return int.from_bytes(blake2b(name.lower().encode(), digest_size=8).digest())


def _lost(job: str, missing: int, written: int) -> ServiceError:
    problem = Diagnostic(
        "tasks-missing",
        f"{missing} of {written} tasks are not in the job {job!r}, though the service took them",
        fix="Apply again: they are added.",
    )
    return ServiceError(problem, code="tasks-missing")
