"""Asked to stop at any moment: what was begun is finished, nothing is deleted, and it goes on."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from batchspec.apply.crowd import each
from batchspec.apply.events import Event, Outcome, RunEnded, StepDone, StepSkipped, StepStarted
from batchspec.apply.halt import Halt, Halted
from batchspec.apply.run import run
from batchspec.diagnostics import Exit
from tests.apply.fake import FakeAccount, FakeClock
from tests.apply.test_run import tutorial


class Stopping(FakeAccount):
    """An account during whose n-th request the run is asked to stop."""

    halt: Halt
    left: int

    async def _call(self, name: str, what: str = "") -> None:
        self.left -= 1
        if self.left == 0:
            self.halt.ask()
        await super()._call(name, what)


class StoppingClock(FakeClock):
    """A clock that lets go of who waits."""

    def __init__(self, halt: Halt) -> None:
        super().__init__()
        self.halt = halt

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds)
        self.halt.check()


async def stopped_at(number: int, folder: Path) -> tuple[list[Event], Exit, Stopping]:
    halt = Halt()
    account = Stopping(clock=StoppingClock(halt))
    account.halt, account.left = halt, number
    world = replace(account.world(), halt=halt)
    events: list[Event] = []
    code = await run(tutorial(folder), world, events.append, folder / "receipt.jsonl")
    return events, code, account


async def test_at_every_request_it_stops_in_order_and_goes_on(tmp_path: Path) -> None:
    points = 0
    for number in range(1, 200):
        folder = tmp_path / str(number)
        folder.mkdir()
        events, code, account = await stopped_at(number, folder)
        last = events[-1]
        assert isinstance(last, RunEnded)
        if not account.halt.asked:
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
        world = replace(account.world(), halt=Halt(), clock=FakeClock())
        account.left, account.answers = 0, [True]
        assert (
            await run(tutorial(folder), world, again.append, folder / "receipt.jsonl") is Exit.DONE
        )
        assert len(account.tasks.get("j", [])) in {0, 250}
    assert points > 15


async def test_items_that_were_begun_are_finished() -> None:
    halt, begun, finished = Halt(), [], []

    async def work(item: int) -> None:
        begun.append(item)
        if item == 5:
            halt.ask()
        await asyncio.sleep(0.01)
        finished.append(item)

    with pytest.raises(Halted):
        await each(range(100), work, workers=3, halt=halt)
    assert 5 <= len(begun) < 10
    assert sorted(finished) == begun


async def test_an_item_that_stops_in_the_middle_leaves_the_others_to_finish() -> None:
    halt, begun, finished = Halt(), asyncio.Semaphore(0), []
    stopped = asyncio.Event()

    async def work(item: int) -> None:
        if item == 0:
            await begun.acquire()
            await begun.acquire()
            halt.ask()
            stopped.set()
            raise Halted
        begun.release()
        await stopped.wait()
        await asyncio.sleep(0)
        finished.append(item)

    with pytest.raises(Halted):
        await each(range(3), work, workers=3, halt=halt)
    assert finished == [1, 2]


async def test_a_stream_that_was_at_its_end_is_done() -> None:
    halt = Halt()

    async def work(item: int) -> None:
        await asyncio.sleep(0)
        if item == 2:
            halt.ask()

    await each(range(3), work, workers=5, halt=halt)


async def test_whoever_waits_is_let_go() -> None:
    halt = Halt()
    waiting = asyncio.create_task(halt.race(asyncio.Event().wait()))
    await asyncio.sleep(0)
    halt.ask()
    with pytest.raises(Halted):
        await waiting


async def test_what_comes_in_time_is_taken() -> None:
    async def answer() -> int:
        return 7

    assert await Halt().race(answer()) == 7
