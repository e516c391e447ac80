"""A sweep: many rounds, several at a time, each with another fault."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable

from tests.fault_injection.proxy import Fault, Kind
from tests.fault_injection.reference import WHOLE, Size
from tests.fault_injection.rounds import Bench, Scenario, Verdict, play

_TRIES = 2
"""The number of requests depends on the speed of a run, which may not reach a number."""


def points(requests: int, kinds: Iterable[Kind]) -> list[Fault]:
    """Every request with every kind of fault."""
    return [Fault(kind, number) for number in range(1, requests + 1) for kind in kinds]


async def sweep(
    bench: Bench,
    scenario: Scenario,
    faults: list[Fault],
    side_by_side: int,
    size: Size = WHOLE,
) -> AsyncIterator[Verdict]:
    """A verdict for each fault, in the order of completion."""
    waiting = list(enumerate(faults, 1))[::-1]
    done: asyncio.Queue[Verdict | None] = asyncio.Queue()

    async def worker() -> None:
        while waiting:
            number, fault = waiting.pop()
            for attempt in range(1, _TRIES + 1):
                name = f"{scenario}-{number}-{attempt}"
                verdict = await play(bench, name, fault, scenario, size)
                if verdict.hit or verdict.wrong:
                    break
            await done.put(verdict)
        await done.put(None)

    async with asyncio.TaskGroup() as group:
        for _ in range(side_by_side):
            group.create_task(worker())
        left = side_by_side
        while left:
            verdict = await done.get()
            if verdict is None:
                left -= 1
            else:
                yield verdict
