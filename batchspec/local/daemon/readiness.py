"""How a daemon reports readiness to the process that started it: one line of JSON over a pipe.

``{"ready": true}`` or ``{"error": {..}}``; a closed pipe without either means that it ended.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import time
from typing import Any

from batchspec.local.error import LocalError


class ReadinessReporter:
    """The daemon's end of the pipe; only the first report is sent. ``None``: no report."""

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor
        if descriptor is not None:
            os.set_inheritable(descriptor, False)

    def ready(self) -> None:
        """Report that the service accepts requests."""
        self._report({"ready": True})

    def failed(self, error: LocalError) -> None:
        """Report why it does not start; without effect after :meth:`ready`."""
        self._report({"error": error.to_json()})

    def _report(self, message: dict[str, Any]) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is None:
            return
        # The service keeps running if the process that started it has ended.
        with contextlib.suppress(BrokenPipeError):
            os.write(descriptor, json.dumps(message).encode() + b"\n")
        os.close(descriptor)


def await_readiness(descriptor: int, seconds: float) -> bool:
    """Wait for the report; true if the daemon is ready, false if it ended without a report.

    Raises:
        LocalError: the error that the daemon reported.
        TimeoutError: there was no report for ``seconds``.
    """
    until = time.monotonic() + seconds
    received = b""
    while True:
        ready, _, _ = select.select([descriptor], [], [], max(0.0, until - time.monotonic()))
        if not ready:
            raise TimeoutError
        data = os.read(descriptor, 65_536)
        received += data
        if data and not received.endswith(b"\n"):
            continue
        if not received:
            return False
        message = json.loads(received)
        if "error" in message:
            raise LocalError.from_json(message["error"])
        return True
