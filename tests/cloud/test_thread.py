"""Work in a thread, also when it is cancelled."""

from __future__ import annotations

import asyncio
import gc
import threading
from typing import Any

import pytest

from batchspec.cloud.transfer import SMALL, in_thread


async def test_a_failure_after_cancellation_is_not_printed() -> None:
    unhandled: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unhandled.append(context))
    begun, go = threading.Event(), threading.Event()

    def full() -> None:
        begun.set()
        go.wait(60)
        raise OSError(28, "No space left on device")

    task = asyncio.create_task(in_thread(SMALL + 1, full))
    await asyncio.to_thread(begun.wait, 60)
    task.cancel()
    await asyncio.sleep(0)
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    del task
    gc.collect()
    await asyncio.sleep(0)
    assert unhandled == []
