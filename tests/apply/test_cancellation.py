"""Cancellation at any moment: started requests are finished, nothing is deleted, a run resumes."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from batchspec.apply import Cancellation, RunCancelled, run
from batchspec.apply.concurrency import for_each
from batchspec.apply.events import Event, Outcome, RunEnded, StepDone, StepSkipped, StepStarted
from batchspec.exit_codes import Exit
from tests.apply.fake import FakeAccount, FakeClock
from tests.apply.test_executor import tutorial


class Stopping(FakeAccount):
    """An account that cancels the run during its n-th request."""

    cancellation: Cancellation
    left: int

    async def call(self, name: str, what: str = "") -> None:
        self.left -= 1
        if self.left == 0:
            self.cancellation.request()
        await super().call(name, what)


class StoppingClock(FakeClock):
    """A clock whose waits the cancellation ends."""

    def __init__(self, cancellation: Cancellation) -> None:
        super().__init__()
        self.cancellation = cancellation

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds)
        self.cancellation.check()


async def stopped_at(number: int, folder: Path) -> tuple[list[Event], Exit, Stopping]:
    cancellation = Cancellation()
    account = Stopping(clock=StoppingClock(cancellation))
    account.cancellation, account.left = cancellation, number
    runtime = replace(account.runtime(), cancellation=cancellation)
    events: list[Event] = []
    code = await run(tutorial(folder), runtime, events.append, folder / "receipt.jsonl")
    return events, code, account


async def test_cancellation_at_any_request_can_be_resumed(
    tmp_path: Path,
) -> None:
    points = 0
    for number in range(1, 200):
        folder = tmp_path / str(number)
        folder.mkdir()
        events, code, account = await stopped_at(number, folder)
        last = events[-1]
        assert isinstance(last, RunEnded)
        if not account.cancellation.requested:
            assert last.outcome is Outcome.DONE
            break
        points += 1
        begun = {event.step for event in events if isinstance(event, StepStarted)}
        over = [e.step for e in events if isinstance(e, StepDone | StepSkipped)]
        assert sorted(over) == sorted(step.id for step in tutorial(folder).steps)
        assert begun <= set(over)
        if last.outcome is Outcome.DONE:
            assert code is Exit.DONE
            continue
        assert (last.outcome, code) == (Outcome.INTERRUPTED, Exit.INTERRUPTED)
        deleting = [call.startswith("delete") for call in account.calls]
        assert any(deleting[:number]) or not any(deleting), "what was begun may be finished"
        again: list[Event] = []
        runtime = replace(account.runtime(), cancellation=Cancellation(), clock=FakeClock())
        account.left, account.answers = 0, [True]
        assert (
            await run(tutorial(folder), runtime, again.append, folder / "receipt.jsonl")
            is Exit.DONE
        )
        assert len(account.task_ids.get("j", [])) in {0, 250}
    assert points > 15


async def test_started_items_are_finished() -> None:
    cancellation, begun, finished = Cancellation(), [], []

    async def work(item: int) -> None:
        begun.append(item)
        if item == 5:
            cancellation.request()
        await asyncio.sleep(0.01)
        finished.append(item)

    with pytest.raises(RunCancelled):
        await for_each(range(100), work, workers=3, cancellation=cancellation)
    assert 5 <= len(begun) < 10
    assert sorted(finished) == begun


async def test_a_cancelled_item_does_not_cancel_the_others() -> None:
    cancellation, begun, finished = Cancellation(), asyncio.Semaphore(0), []
    stopped = asyncio.Event()

    async def work(item: int) -> None:
        if item == 0:
            await begun.acquire()
            await begun.acquire()
            cancellation.request()
            stopped.set()
            raise RunCancelled
        begun.release()
        await stopped.wait()
        await asyncio.sleep(0)
        finished.append(item)

    with pytest.raises(RunCancelled):
        await for_each(range(3), work, workers=3, cancellation=cancellation)
    assert finished == [1, 2]


async def test_cancellation_after_the_last_item_has_no_effect() -> None:
    cancellation = Cancellation()

    async def work(item: int) -> None:
        await asyncio.sleep(0)
        if item == 2:
            cancellation.request()

    await for_each(range(3), work, workers=5, cancellation=cancellation)


async def test_cancellation_ends_a_wait() -> None:
    cancellation = Cancellation()
    waiting = asyncio.create_task(cancellation.race(asyncio.Event().wait()))
    await asyncio.sleep(0)
    cancellation.request()
    with pytest.raises(RunCancelled):
        await waiting


async def test_a_result_before_the_cancellation_is_returned() -> None:
    async def answer() -> int:
        return 7

    assert await Cancellation().race(answer()) == 7
