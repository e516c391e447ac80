"""Bounded polling: the interval between two polls, and waits for deletions and the end of a job.

The limits are generous: the nodes of a large pool take minutes to be deleted, and the release task
of a job may run for 15 minutes on each node (the service's own limit).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from datetime import timedelta

from batchspec.apply.ports import World
from batchspec.diagnostics import Diagnostic, ServiceError
from batchspec.plan.observed import JobFacts

DELETION_LIMIT = timedelta(hours=1)
"""How long to wait for the deletion of a pool, a job or a schedule."""

TERMINATION_LIMIT = timedelta(minutes=30)
"""How long to wait for the end of a job or of tasks that were terminated."""

POLL_INTERVAL = {"local": 0.1, "azure": 2.0}
"""The shortest time between two polls in seconds, by target.

The embedded service answers in milliseconds.
"""

_LONGEST_INTERVAL = 15.0
_LONGEST_FACTOR = 20.0
"""With the interval of the local target, 0.1 s, polls are at most 2 s apart."""


@dataclass(slots=True)
class PollInterval:
    """The time between two polls in seconds: ``shortest`` after a change, then longer.

    At most 15 s, and at most 20 times ``shortest``.
    """

    shortest: float
    _seconds: float = field(default=0.0, init=False)
    _last: Hashable = field(default=None, init=False)

    def next(self, state: Hashable) -> float:
        """The seconds to wait after a poll that returned ``state``."""
        longer = self._seconds * 1.5 if state == self._last else 0.0
        longest = max(min(_LONGEST_INTERVAL, _LONGEST_FACTOR * self.shortest), self.shortest)
        self._seconds = min(max(longer, self.shortest), longest)
        self._last = state
        return self._seconds


async def wait_until_deleted(
    get: Callable[[], Awaitable[object | None]], subject: str, world: World
) -> None:
    """Poll until ``get`` returns ``None``; ``subject`` is, for example, ``pool topn``.

    Raises:
        ServiceError: the object still exists after :data:`DELETION_LIMIT`.
    """
    began, interval = world.clock.monotonic(), PollInterval(world.shortest_poll_interval)
    while await get() is not None:
        _check(began, DELETION_LIMIT, world, _not_deleted(subject))
        await world.clock.sleep(interval.next(None))


async def wait_until_ended(job: str, world: World) -> JobFacts | None:
    """Poll until a job has ended and none of its tasks runs; ``None`` if it was deleted.

    Raises:
        ServiceError: the job has not ended after :data:`TERMINATION_LIMIT`.
    """
    began, interval = world.clock.monotonic(), PollInterval(world.shortest_poll_interval)
    while (facts := await world.account.jobs.get(job)) is not None and facts.state != "completed":
        _check(began, TERMINATION_LIMIT, world, _not_ended(job, facts.state))
        await world.clock.sleep(interval.next(facts.state))
    return facts


def _check(began: float, limit: timedelta, world: World, problem: Diagnostic) -> None:
    if world.clock.monotonic() - began > limit.total_seconds():
        raise ServiceError(problem, code=problem.code)


def _not_deleted(subject: str) -> Diagnostic:
    kind, _, name = subject.partition(" ")
    return Diagnostic(
        "deletion-unfinished",
        f"the {kind} {name!r} still exists an hour after its deletion was requested",
        fix="The service continues the deletion. Check with `batchspec list`.",
    )


def _not_ended(job: str, state: str) -> Diagnostic:
    return Diagnostic(
        "job-not-ended",
        f"the job {job!r} is still {state} half an hour after its end was requested",
        fix="A task or a release task may not stop. Check with `batchspec status`; "
        "`batchspec destroy` deletes the job.",
    )
