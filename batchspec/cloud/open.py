"""The door: an account is opened, used, and closed.

This module can be imported without Azure; opening an account imports it (``connect.py``).
"""

from __future__ import annotations

import asyncio
import random as chance
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from batchspec.apply.events import Waiting
from batchspec.cloud.account import AnyAccount
from batchspec.cloud.cloud import Cloud
from batchspec.cloud.limiter import Limits, Timing

if TYPE_CHECKING:
    from azure.core.credentials_async import AsyncTokenCredential


def _utc_now() -> datetime:
    return datetime.now(UTC)


def _nothing(_: Waiting) -> None:
    return None


@asynccontextmanager
async def open_account(
    account: AnyAccount,
    *,
    limits: Limits | None = None,
    now: Callable[[], datetime] = _utc_now,
    monotonic: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    random: Callable[[], float] = chance.random,
    notice: Callable[[Waiting], None] = _nothing,
    credential: Callable[[], AsyncTokenCredential] | None = None,
    ca_file: Path | None = None,
) -> AsyncIterator[Cloud]:
    """Open an account.

    ``notice`` is called when a service makes requests wait, and when it answers again.
    ``credential`` makes what signs in where there is no key (``DefaultAzureCredential``);
    ``ca_file`` holds certificates to trust besides.
    Nothing is sent before the first call of what is yielded.
    """
    from batchspec.cloud.connect import connect  # noqa: PLC0415 - imports Azure

    async with connect(
        account,
        limits=limits or Limits(),
        timing=Timing(monotonic, sleep, random),
        now=now,
        notice=notice,
        credential=credential,
        ca_file=ca_file,
    ) as cloud:
        yield cloud
