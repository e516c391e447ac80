"""A cheap request to each service of an account: does it answer, and what is its time?

For ``batchspec doctor``: an error is a part of the result and is not raised.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

from azure.core.exceptions import AzureError

from batchspec.cloud.client import AccountClient
from batchspec.cloud.errors import translate
from batchspec.diagnostics import Diagnostic, ServiceError


@dataclass(frozen=True, slots=True)
class Probe:
    """The answer of a service.

    ``seconds`` is the duration; ``ahead`` is how far the clock of the service is ahead of the local
    one, in whole seconds (``None`` without a ``Date``); ``problem`` is the error, if any.
    """

    seconds: float
    ahead: timedelta | None = None
    problem: Diagnostic | None = None


async def probe_batch(account: AccountClient, now: Callable[[], datetime]) -> Probe:
    """Read one supported image from the Batch service."""

    async def send(hook: Callable[[Any], None]) -> None:
        images = account.connection.client.list_supported_images(
            max_results=1, raw_response_hook=hook
        )
        async for _ in images.by_page():
            return

    return await _probe(send, account.connection.timing.monotonic, now)


async def probe_storage(account: AccountClient, now: Callable[[], datetime]) -> Probe:
    """Read one container from the Storage service."""

    async def send(hook: Callable[[Any], None]) -> None:
        async for _ in account.service.list_containers(
            results_per_page=1, raw_response_hook=hook
        ).by_page():
            return

    return await _probe(send, account.connection.timing.monotonic, now)


async def _probe(
    send: Callable[[Callable[[Any], None]], Awaitable[None]],
    monotonic: Callable[[], float],
    now: Callable[[], datetime],
) -> Probe:
    ahead: timedelta | None = None

    def read_date(response: Any) -> None:
        nonlocal ahead
        date = response.http_response.headers.get("date")
        if date:
            ahead = parsedate_to_datetime(date) - now()

    began, problem = monotonic(), None
    try:
        await send(read_date)
    except AzureError as error:
        problem = translate(error, "").problems[0]
    except ServiceError as error:
        problem = error.problems[0]
    return Probe(monotonic() - began, ahead, problem)
