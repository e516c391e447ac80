"""Verifies that every task that the service accepted is in the job.

Of each submitted task, an 8-byte digest of its id is kept; before the job is closed, its task ids
are listed and compared. A million tasks take 8 MB and a thousand requests.
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

_ATTEMPTS = 3
"""How often the tasks are listed, in case the list lags behind."""


@dataclass(slots=True)
class SubmittedIds:
    """The ids of the tasks that a run has submitted, by job."""

    _digests: dict[str, array[int]] = field(default_factory=dict)

    def add(self, job: str, ids: Iterable[str]) -> None:
        """Add the ids of tasks that the service has accepted."""
        self._digests.setdefault(job, array("Q")).extend(map(_digest, ids))

    async def verify(self, job: str, world: World) -> int:
        """Check that the job contains all tasks added since the last check; their number.

        Raises:
            ServiceError: some are missing.
        """
        digests = self._digests.pop(job, array("Q"))
        # Sorted, because an array takes a tenth of the memory of a set; equal ids are adjacent.
        expected = array("Q", (digest for digest, _ in groupby(sorted(digests))))
        if not expected:
            return 0
        missing = 0
        for attempt in range(_ATTEMPTS):
            if attempt:
                await world.clock.sleep(world.pace)
                world.cancellation.check()
            missing = await _count_missing(job, expected, world)
            if not missing:
                return len(expected)
        raise _missing(job, missing, len(expected))


async def _count_missing(job: str, expected: array[int], world: World) -> int:
    """How many of these digests are of no task of the job."""
    found = bytearray(len(expected))
    async for name in world.account.tasks.list_ids(job):
        digest = _digest(name)
        at = bisect_left(expected, digest)
        if at < len(expected) and expected[at] == digest:
            found[at] = 1
    return found.count(0)


def _digest(name: str) -> int:
    # Task ids are case-insensitive.
    return int.from_bytes(blake2b(name.lower().encode(), digest_size=8).digest())


def _missing(job: str, missing: int, submitted: int) -> ServiceError:
    problem = Diagnostic(
        "tasks-missing",
        f"{missing:,} of {submitted:,} tasks are not in the job {job!r}, although the service"
        " accepted them",
        fix="Apply again to add them.",
    )
    return ServiceError(problem, code="tasks-missing")
