"""The log of requests, ``requests.log`` in ``.batchspec/NAME/`` next to a spec."""

from __future__ import annotations

import logging
import os
import sys
import time
from dataclasses import replace
from logging.handlers import RotatingFileHandler
from pathlib import Path

from batchspec.apply.private_files import private_folder
from batchspec.cli.console import show_diagnostics
from batchspec.diagnostics import Diagnostic, DiskError, Severity, redact

_LOG_BYTES = 10 << 20
"""Size of the request log; the previous one is kept as ``requests.log.1``."""


def log_requests(folder: Path) -> None:
    """Log the requests of this process to ``requests.log`` in a folder, readable by its owner.

    Raises:
        DiskError: the file cannot be written.
    """
    logger = logging.getLogger("batchspec.requests")
    if logger.handlers:
        return
    path = folder / "requests.log"
    try:
        private_folder(folder)
        # Not truncated: the log of earlier commands continues.
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
        handler = _Handler(path, maxBytes=_LOG_BYTES, backupCount=1, encoding="utf-8")
    except OSError as error:
        raise DiskError(_unwritable(path, error.strerror or str(error))) from error
    formatter = _RedactingFormatter("%(asctime)s.%(msecs)03dZ %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False


def _unwritable(path: Path, why: str) -> Diagnostic:
    return Diagnostic(
        "unwritable-file",
        f"the log of requests cannot be written: {path}: {why}",
        fix="Free disk space or make its folder writable, or run the command without `--debug` and"
        " without BATCHSPEC_LOG.",
    )


class _Handler(RotatingFileHandler):
    """Warns once if a line cannot be written, and drops the later lines."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name of logging
        """Report the error that is being handled."""
        logging.getLogger(record.name).removeHandler(self)
        error = sys.exception()
        why = getattr(error, "strerror", None) or str(error)
        problem = _unwritable(Path(self.baseFilename), why)
        show_diagnostics([replace(problem, severity=Severity.WARNING)])


class _RedactingFormatter(logging.Formatter):
    """Removes keys, signatures and secret parameters from each line."""

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))
