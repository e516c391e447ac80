"""Supervision of Azurite: keeps it running at one address while the daemon runs."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from typing import NoReturn

from batchspec.local.azurite import AzuriteServer, LaunchOptions
from batchspec.local.error import LocalError, last_lines
from batchspec.local.lock import Lock
from batchspec.local.process import Process

RESTARTS = 3
"""Number of restarts within :data:`WINDOW` seconds before the daemon gives up."""
WINDOW = 60.0

_log = logging.getLogger(__name__)


class AzuriteSupervisor:
    """Azurite, restarted on its port when it ends.

    ``lock`` is the lock of the blob folder. Each Azurite inherits it, so that no other process uses
    the folder before the last Azurite has ended, even if this process is killed. Create it and call
    :meth:`keep` in the main thread: the kernel ends Azurite with the thread that started it.
    """

    def __init__(
        self, launch: LaunchOptions, lock: Lock, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._launch = launch
        self._lock = lock
        self._monotonic = monotonic
        self._ends: deque[float] = deque(maxlen=RESTARTS)
        self._server = self._spawn(launch.port)
        self.port = launch.port

    @property
    def pid(self) -> int:
        """The pid of the current process."""
        return self._server.process.pid

    async def ready(self) -> int:
        """Wait until Azurite answers, and return its port.

        If the port of the last run is in use, another one is used.

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
        """Restart Azurite whenever it ends.

        Raises:
            LocalError: it ends repeatedly (``azurite-keeps-ending``).
        """
        while True:
            code = await asyncio.to_thread(self._server.process.wait)
            now = self._monotonic()
            _log.error("Azurite ended unexpectedly (exit code %d); see %s", code, self._launch.log)
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
                _log.warning("Azurite could not be restarted: %s", error.code)
            else:
                _log.warning("Azurite was restarted on port %d", self.port)

    async def stop(self) -> None:
        """Stop it gracefully: all acknowledged writes are on disk afterwards."""
        if not await asyncio.to_thread(self._server.stop):
            _log.error("Azurite did not stop and was killed; up to 5 s of writes may be lost")

    def _spawn(self, port: int) -> AzuriteServer:
        server = AzuriteServer.spawn(self._launch, port=port)
        self._lock.note(str(Process.of(server.process.pid) or ""))
        return server
