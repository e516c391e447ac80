"""Coroutines in another thread, and the time of a run."""

from __future__ import annotations

import asyncio
import time
from datetime import datetime, timedelta, tzinfo
from typing import Any

import pytest

from batchspec.api import SystemClock
from batchspec.api.runs import Background


async def test_a_thread_without_an_event_loop_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> asyncio.AbstractEventLoop:
        raise OSError("too many open files")

    monkeypatch.setattr(asyncio, "new_event_loop", refuse)
    monkeypatch.setattr(asyncio.events, "new_event_loop", refuse)
    background = Background(lambda: asyncio.sleep(0))
    with pytest.raises(OSError, match="too many open files"):
        await background.result()
    await background.end()


@pytest.mark.parametrize("change", [timedelta(hours=-1), timedelta(days=1)])
def test_the_time_of_a_run_continues_if_the_clock_of_the_machine_is_set(
    change: timedelta, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = [timedelta()]

    class Changed(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Any:
            return datetime.now(tz) + changes[0]

    monkeypatch.setattr("batchspec.api.execution.datetime", Changed)
    clock = SystemClock()
    first = clock.now()
    changes[0] = change
    time.sleep(0.01)
    assert timedelta() < clock.now() - first < timedelta(minutes=1)
