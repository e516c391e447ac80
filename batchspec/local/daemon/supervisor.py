"""Keeps one Azurite running at one address for as long as the daemon lives."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from typing import NoReturn

from batchspec.local.azurite.server import AzuriteServer, LaunchOptions
from batchspec.local.error import LocalError, last_lines
from batchspec.local.lock import Lock
from batchspec.local.process import Process

RESTARTS = 3
"""So often within :data:`WINDOW` seconds it is started again; then the daemon gives up."""
WINDOW = 60.0

_log = logging.getLogger(__name__)


class AzuriteSupervisor:
    """An Azurite that is started again on its port when it dies.

    ``hold`` is the lock of the blob folder; each Azurite inherits it, so that nobody works on the
    folder before the last one is gone, even if this process is killed. :meth:`begin` and
    :meth:`keep` belong to the main thread: the kernel ends Azurite with the thread that started it.
    """

    def __init__(
        self, launch: LaunchOptions, hold: Lock, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._launch = launch
        self._hold = hold
        self._monotonic = monotonic
        self._ends: deque[float] = deque(maxlen=RESTARTS)
        self._server = self._spawn(launch.port)
        self.port = launch.port

    @property
    def pid(self) -> int:
        """The process that serves now."""
        return self._server.process.pid

    async def ready(self) -> int:
        """The port, once Azurite answers there.

        The port of the last run is only a wish: if somebody took it, another one will do.

        Raises:
            LocalError: it did not become ready.
        """
        try:
            self.port = await asyncio.to_thread(self._server.wait_ready)
        except LocalError as error:
            if error.code != "azurite-port-taken" or not self._launch.port:
                raise
            self._server = self._spawn(0)
            self.port = await asyncio.to_thread(self._server.wait_ready)
        return self.port

    async def keep(self) -> NoReturn:
        """Watch it, and start it again when it dies.

        Raises:
            LocalError: it dies again and again (``azurite-keeps-ending``).
        """
        while True:
            code = await asyncio.to_thread(self._server.process.wait)
            now = self._monotonic()
            _log.error("Azurite ended by itself (exit code %d); see %s", code, self._launch.log)
            if len(self._ends) == RESTARTS and now - self._ends[0] < WINDOW:
                raise LocalError(
                    "azurite-keeps-ending",
                    f"Azurite ended {RESTARTS + 1} times within {WINDOW:.0f} seconds.",
                    log=self._launch.log,
                    lines=last_lines(self._launch.log),
                )
            self._ends.append(now)
            self._server = self._spawn(self.port)
            try:
                await asyncio.to_thread(self._server.wait_ready)
            except LocalError as error:
                _log.warning("Azurite did not come back: %s", error.code)
            else:
                _log.warning("Azurite was started again on port %d", self.port)

    async def stop(self) -> None:
        """End it cleanly; everything that it acknowledged is on the disk then."""
        if not await asyncio.to_thread(self._server.stop):
            _log.error("Azurite did not end and was killed; the last 5 s of writes can be lost")

    def _spawn(self, port: int) -> AzuriteServer:
        server = AzuriteServer.spawn(self._launch, port=port)
        self._hold.note(str(Process.of(server.process.pid) or ""))
        return server
