"""What a daemon tells the process that started it, over a pipe: one line of JSON each.

``{"ready": true}`` or ``{"error": {..}}``; the end of the pipe without either means that it died.
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
    """The daemon's end of the pipe. It speaks once; without a pipe nobody waits for the news."""

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor
        if descriptor is not None:
            os.set_inheritable(descriptor, False)

    def ready(self) -> None:
        """Say that clients can come."""
        self._tell({"ready": True})

    def failed(self, error: LocalError) -> None:
        """Say why they cannot; too late for that once they could."""
        self._tell({"error": error.to_json()})

    def _tell(self, message: dict[str, Any]) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is None:
            return
        # Whoever started us may be gone by now, and the service is there all the same.
        with contextlib.suppress(BrokenPipeError):
            os.write(descriptor, json.dumps(message).encode() + b"\n")
        os.close(descriptor)


def await_readiness(descriptor: int, seconds: float) -> bool:
    """Wait for a daemon's news; true when it is ready, false when it ended without a word.

    Raises:
        LocalError: what the daemon said.
        TimeoutError: it said nothing for ``seconds``.
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
