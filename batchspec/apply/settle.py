"""Waiting for what the service finishes by itself, each with a bound: deletions, the end of a job.

The bounds are generous: nodes of a large pool take minutes to go, and the release task of a job may
run for 15 minutes on each node (the service's own limit).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta

from batchspec.apply.pace import Pace
from batchspec.apply.ports import World
from batchspec.diagnostics import Diagnostic, ServiceError
from batchspec.plan.observed import JobFacts

DELETION = timedelta(hours=1)
"""How long the deletion of a pool, a job or a schedule is waited for."""

ENDING = timedelta(minutes=30)
"""How long the end of a job that was terminated is waited for."""


async def until_gone(look: Callable[[], Awaitable[object | None]], what: str, world: World) -> None:
    """Look until ``what`` (``pool topn``) does not exist any more.

    Raises:
        ServiceError: it still exists after :data:`DELETION`.
    """
    began, pace = world.clock.monotonic(), Pace(world.pace)
    while await look() is not None:
        _check(began, DELETION, world, _deleting(what))
        await world.clock.sleep(pace.next(None))


async def until_over(job: str, world: World) -> JobFacts | None:
    """Look until a job has ended and none of its tasks runs; ``None`` if it was deleted.

    Raises:
        ServiceError: it has not ended after :data:`ENDING`.
    """
    began, pace = world.clock.monotonic(), Pace(world.pace)
    while (facts := await world.batch.job(job)) is not None and facts.state != "completed":
        _check(began, ENDING, world, _ending(job, facts.state))
        await world.clock.sleep(pace.next(facts.state))
    return facts


def _check(began: float, bound: timedelta, world: World, problem: Diagnostic) -> None:
    if world.clock.monotonic() - began > bound.total_seconds():
        raise ServiceError(problem, code=problem.code)


def _deleting(what: str) -> Diagnostic:
    kind, _, name = what.partition(" ")
    return Diagnostic(
        "deletion-unfinished",
        f"the {kind} {name!r} still exists an hour after its deletion was requested",
        fix="The service goes on with the deletion. Run `batchspec list` to look again.",
    )


def _ending(job: str, state: str) -> Diagnostic:
    return Diagnostic(
        "job-not-ended",
        f"the job {job!r} is still {state} half an hour after its end was requested",
        fix="A task or a release task may not stop. Look again: `batchspec status`; "
        "`batchspec destroy` deletes the job.",
    )
