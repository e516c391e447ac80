"""The log of requests, ``requests.log`` in ``.batchspec/NAME/`` next to a spec."""

from __future__ import annotations

import logging
import os
import time
from logging.handlers import RotatingFileHandler
from pathlib import Path

from batchspec.apply.private_files import private_folder
from batchspec.diagnostics import redact

_LOG_BYTES = 10 << 20
"""Size of the request log; the previous one is kept as ``requests.log.1``."""


def log_requests(folder: Path) -> None:
    """Log the requests of this process to ``requests.log`` in a folder, readable by its owner."""
    logger = logging.getLogger("batchspec.requests")
    if logger.handlers:
        return
    private_folder(folder)
    path = folder / "requests.log"
    # Not truncated: the log of earlier commands continues.
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
    handler = RotatingFileHandler(path, maxBytes=_LOG_BYTES, backupCount=1, encoding="utf-8")
    formatter = _RedactingFormatter("%(asctime)s.%(msecs)03dZ %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False


class _RedactingFormatter(logging.Formatter):
    """Removes keys, signatures and secret parameters from each line."""

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))
