"""Coroutines in another thread."""

from __future__ import annotations

import asyncio

import pytest

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
