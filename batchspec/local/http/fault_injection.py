"""Fault injection middleware: requests that fail, are delayed, or whose reply is lost.

Every injected fault is logged. Faults of nodes are in ``engine.node_faults``.
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
"""Closes the connection of a request without a reply."""


class FaultInjectionMiddleware:
    """The ASGI application ``app`` with injected faults.

    The fault of a request depends on its operation and on the number of earlier requests for that
    operation, so that a seed always gives the same faults.
    """

    def __init__(self, app: App, faults: FaultInjection, close: CloseConnection) -> None:
        self._app = app
        self._faults = faults
        self._random = RandomSource(faults)
        self._close = close

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request, possibly with a fault."""
        operation = _operation(scope)
        rule = None if operation is None else self._next_fault(operation)
        if rule is None:
            await self._app(scope, receive, send)
            return
        _LOG.warning("%s: %s", rule.text, operation)
        if rule.kind is FaultKind.LOST:
            await self._drop_reply(scope, receive)
        elif rule.kind is FaultKind.SLOW:
            await self._app(scope, receive, _delayed(send, rule.duration))
        else:
            headers = {}
            if rule.kind is FaultKind.THROTTLE:
                headers["Retry-After"] = str(math.ceil(rule.duration.total_seconds()))
            await self._app.reply_fault(scope, receive, send, Fault(_FAULTS[rule.kind]), headers)

    def _next_fault(self, operation: str) -> FaultRule | None:
        """The fault of the next request for ``operation``, if any."""
        number = self._random.next(operation)
        for kind in REQUEST_FAULTS:
            rule = self._faults.rule(kind, operation)
            if rule is not None and self._random.applies(rule, operation, number):
                return rule
        return None

    async def _drop_reply(self, scope: Message, receive: Receive) -> None:
        """Carry out the request, then close the connection without a reply."""

        async def drop(message: Message) -> None:
            pass

        await self._app(scope, receive, drop)
        self._close(scope)
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


def _delayed(send: Send, delay: timedelta) -> Send:
    async def wait(message: Message) -> None:
        if message["type"] == "http.response.start":
            await asyncio.sleep(delay.total_seconds())
        await send(message)

    return wait
