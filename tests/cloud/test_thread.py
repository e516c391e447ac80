"""Work in a thread, also when it is cancelled or fails."""

from __future__ import annotations

import asyncio
import gc
import threading
from hashlib import md5
from pathlib import Path
from typing import Any

import pytest

from batchspec.cloud.transfer import SMALL, PartWriter, in_thread


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


async def test_parts_are_written_and_hashed_in_order(tmp_path: Path) -> None:
    parts = [[bytes([index]) * SMALL, b"end"] for index in range(8)]
    with (tmp_path / "part").open("wb", buffering=0) as target:
        async with PartWriter(target) as writer:
            for part in parts:
                await writer.write(part, sum(map(len, part)))
            await writer.write([b"small"], 5)
    whole = b"".join(b"".join(part) for part in parts) + b"small"
    assert (tmp_path / "part").read_bytes() == whole
    assert writer.md5.digest() == md5(whole, usedforsecurity=False).digest()


FULL = Path("/dev/full")
"""A file to which nothing can be written."""
needs_full = pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")


@needs_full
@pytest.mark.parametrize("size", [1, SMALL + 1])
async def test_a_last_part_that_cannot_be_written_is_an_error(size: int) -> None:
    with FULL.open("wb", buffering=0) as target, pytest.raises(OSError, match="No space left"):
        async with PartWriter(target) as writer:
            await writer.write([bytes(size)], size)


@needs_full
async def test_the_first_error_is_raised() -> None:
    with FULL.open("wb", buffering=0) as target, pytest.raises(KeyError):
        async with PartWriter(target) as writer:
            await writer.write([bytes(SMALL + 1)], SMALL + 1)
            raise KeyError
