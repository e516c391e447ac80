"""A log line for each attempt of a request, without a secret, for ``--debug``.

The line has the method, the address without its query but for what names the operation, the status
or the error, the service's request id, the duration and the number of failed attempts before.
"""

from __future__ import annotations

import logging
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from azure.core.pipeline import PipelineRequest

LOGGER = logging.getLogger("batchspec.requests")
# Only `--debug` asks for these lines, whatever level others choose for all loggers.
LOGGER.setLevel(logging.INFO)

_SHOWN = frozenset({"comp", "restype", "blockid", "prefix", "$filter", "$select", "$expand"})
"""Query parameters that say what a request does. All others are left out: some sign."""


def log_attempt(
    request: PipelineRequest[Any],
    seconds: float,
    failures: int,
    *,
    status: int | None = None,
    request_id: str | None = None,
    error: Exception | None = None,
) -> None:
    """Log one attempt; ``failures`` is how many attempts of the same request failed before."""
    if not LOGGER.isEnabledFor(logging.DEBUG):
        return
    LOGGER.debug(
        "%s %s -> %s %.3fs%s%s",
        request.http_request.method,
        _address(request.http_request.url),
        status if status is not None else type(error).__name__,
        seconds,
        f" attempt {failures + 1}" if failures else "",
        f" request-id {request_id}" if request_id else "",
    )


def _address(url: str) -> str:
    parts = urlsplit(url)
    shown = [f"{key}={value}" for key, value in parse_qsl(parts.query) if key in _SHOWN]
    return f"{parts.netloc}{parts.path}" + (f"?{'&'.join(shown)}" if shown else "")
