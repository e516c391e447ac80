"""``--debug``: the log of requests goes to a file beside the spec."""

from __future__ import annotations

import logging
import os
import time
from logging.handlers import RotatingFileHandler
from pathlib import Path

from batchspec.diagnostics import redact

_LARGEST = 10 << 20
"""Bytes of the file; what was written before is kept once, as ``requests.log.1``."""


def log_requests(folder: Path) -> None:
    """Log every request of this process to ``requests.log`` in a folder, readable by its owner."""
    logger = logging.getLogger("batchspec.requests")
    if logger.handlers:
        return
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "requests.log"
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
    handler = RotatingFileHandler(path, maxBytes=_LARGEST, backupCount=1, encoding="utf-8")
    form = _Redacted("%(asctime)s.%(msecs)03dZ %(message)s", "%Y-%m-%dT%H:%M:%S")
    form.converter = time.gmtime
    handler.setFormatter(form)
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False


class _Redacted(logging.Formatter):
    """Lines in UTC, without any key, signature or secret parameter."""

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))
