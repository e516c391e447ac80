"""A bad day at the door: requests that are refused, answered late, or whose answer is lost.

What lives here: what happens to a request under chaos, before and behind the door. What may not:
what happens to nodes (``engine.fates``). Every reply that is made or lost here is told in the log.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable
from datetime import timedelta
from urllib.parse import quote

from batchspec.local.api import find_route
from batchspec.local.fault_injection import (
    REQUEST_FAULTS,
    FaultInjection,
    FaultKind,
    FaultRule,
    RandomSource,
)
from batchspec.local.http.app import App, Message, Receive, Send
from batchspec.local.wire import Fault

_LOG = logging.getLogger("batchspec.local.chaos")

_FAULTS = {
    FaultKind.THROTTLE: "TooManyRequests",
    FaultKind.THROTTLE_SILENT: "TooManyRequests",
    FaultKind.BUSY: "ServerBusy",
    FaultKind.ERROR: "InternalError",
}

CloseConnection = Callable[[Message], None]
"""Closes the connection of a request, without a reply."""


class FaultInjectionMiddleware:
    """The ASGI application ``door``, on a bad day.

    What happens to a request is decided by its operation and by how many of that came before it,
    so that it is the same again with the same seed.
    """

    def __init__(self, door: App, chaos: FaultInjection, hang_up: CloseConnection) -> None:
        self._door = door
        self._chaos = chaos
        self._random = RandomSource(chaos)
        self._hang_up = hang_up

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request as the door does, or worse."""
        operation = _operation(scope)
        rule = None if operation is None else self._draw(operation)
        if rule is None:
            await self._door(scope, receive, send)
            return
        _LOG.warning("%s: %s", rule.text, operation)
        if rule.kind is FaultKind.LOST:
            await self._lose(scope, receive)
        elif rule.kind is FaultKind.SLOW:
            await self._door(scope, receive, _late(send, rule.duration))
        else:
            headers = {}
            if rule.kind is FaultKind.THROTTLE:
                headers["Retry-After"] = str(math.ceil(rule.duration.total_seconds()))
            await self._door.refuse(scope, receive, send, Fault(_FAULTS[rule.kind]), headers)

    def _draw(self, operation: str) -> FaultRule | None:
        """What happens to the next request for ``operation``."""
        number = self._random.next(operation)
        for kind in REQUEST_FAULTS:
            rule = self._chaos.rule(kind, operation)
            if rule is not None and self._random.applies(rule, operation, number):
                return rule
        return None

    async def _lose(self, scope: Message, receive: Receive) -> None:
        """Carry the request out, and let nobody know."""

        async def drop(message: Message) -> None:
            pass

        await self._door(scope, receive, drop)
        self._hang_up(scope)
        while (await receive())["type"] != "http.disconnect":
            pass


def _operation(scope: Message) -> str | None:
    if scope["type"] != "http":
        return None
    try:
        path = quote(scope["raw_path"], safe="/%")
        return find_route(scope["method"], path).route.operation
    except Fault:
        return None


def _late(send: Send, delay: timedelta) -> Send:
    async def wait(message: Message) -> None:
        if message["type"] == "http.response.start":
            await asyncio.sleep(delay.total_seconds())
        await send(message)

    return wait
