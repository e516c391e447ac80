"""One cheap question to each service of an account: does it answer, to us, and what time is it.

For finding out what is wrong: nothing is raised here, what is wrong is a part of the answer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

from azure.core.exceptions import AzureError

from batchspec.cloud.batch import BatchService
from batchspec.cloud.errors import translate
from batchspec.cloud.storage import BlobStorage
from batchspec.diagnostics import Diagnostic, ServiceError


@dataclass(frozen=True, slots=True)
class Probe:
    """``ahead`` is how far its clock is ahead of ours (to the second), ``None`` if it said no time.

    ``problem`` is why it refused or did not answer.
    """

    seconds: float
    ahead: timedelta | None = None
    problem: Diagnostic | None = None


async def probe_batch(batch: BatchService, now: Callable[[], datetime]) -> Probe:
    """Ask the Batch service for one image."""

    async def ask(hear: Callable[[Any], None]) -> None:
        images = batch.client.list_supported_images(max_results=1, raw_response_hook=hear)
        async for _ in images.by_page():
            return

    return await _probe(ask, batch.timing.monotonic, now)


async def probe_storage(
    storage: BlobStorage, monotonic: Callable[[], float], now: Callable[[], datetime]
) -> Probe:
    """Ask the Storage service for one container."""

    async def ask(hear: Callable[[Any], None]) -> None:
        async for _ in storage.service.list_containers(
            results_per_page=1, raw_response_hook=hear
        ).by_page():
            return

    return await _probe(ask, monotonic, now)


async def _probe(
    ask: Callable[[Callable[[Any], None]], Awaitable[None]],
    monotonic: Callable[[], float],
    now: Callable[[], datetime],
) -> Probe:
    ahead: timedelta | None = None

    def hear(response: Any) -> None:
        nonlocal ahead
        told = response.http_response.headers.get("date")
        if told:
            ahead = parsedate_to_datetime(told) - now()

    began, problem = monotonic(), None
    try:
        await ask(hear)
    except AzureError as error:
        problem = translate(error, "").problems[0]
    except ServiceError as error:
        problem = error.problems[0]
    return Probe(monotonic() - began, ahead, problem)
