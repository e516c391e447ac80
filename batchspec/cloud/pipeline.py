"""The parts of the SDK pipelines that batchspec replaces: attempts, URLs, transport, request log.

The retry policy is in :mod:`batchspec.cloud.retry_policy`.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import aiohttp
from azure.core.pipeline import PipelineRequest
from azure.core.pipeline.policies import SansIOHTTPPolicy
from azure.core.pipeline.transport import AioHttpTransport, AsyncHttpTransport
from yarl import URL

from batchspec.cloud.account import is_loopback
from batchspec.cloud.rate_limiter import Limits

LOGGER = logging.getLogger("batchspec.requests")
"""A line for each attempt of a request, without secrets, for ``--debug``."""
# The level of other loggers does not turn these lines on, only `--debug` does.
LOGGER.setLevel(logging.INFO)


@dataclass(slots=True)
class Attempts:
    """The attempts of one SDK call.

    ``unconfirmed``: an attempt may have been carried out although its answer was lost, so that a
    later "exists" or "not found" can be its result. ``failures`` is the number of failed attempts.
    """

    unconfirmed: bool = False
    failures: int = 0


_ATTEMPTS: ContextVar[Attempts | None] = ContextVar("batchspec_attempts", default=None)


def current_attempts() -> Attempts:
    """The attempts of the present SDK call; new ones outside :func:`track_attempts`."""
    return _ATTEMPTS.get() or Attempts()


@contextlib.contextmanager
def track_attempts() -> Iterator[Attempts]:
    """Record the attempts of the SDK call in the ``with`` block.

    It is not a keyword of the call, because ``begin_`` methods of the SDK pass unknown keywords to
    their pollers and fail after the request was sent.
    """
    attempts = Attempts()
    token = _ATTEMPTS.set(attempts)
    try:
        yield attempts
    finally:
        _ATTEMPTS.reset(token)


class NormalizeUrlPolicy(SansIOHTTPPolicy[Any, Any]):
    """Writes the URL of a request as aiohttp sends it, before the request is signed.

    The SDK encodes the job ``nightly:job-1`` of a job schedule as ``nightly%3Ajob-1`` and signs
    that; aiohttp sends ``nightly:job-1``, and the signature would be invalid.
    """

    def on_request(self, request: PipelineRequest[Any]) -> None:
        request.http_request.url = str(URL(request.http_request.url))


def transport(url: str, limits: Limits, verify: bool | str) -> AsyncHttpTransport[Any, Any]:
    """A connection pool for one service, without a proxy on the loopback interface.

    Call it in a running event loop. ``verify`` is the path of a file of CA certificates, or whether
    certificates are verified.
    """
    session = aiohttp.ClientSession(
        trust_env=not is_loopback(url),
        cookie_jar=aiohttp.DummyCookieJar(),
        # The SDKs decompress answers.
        auto_decompress=False,
    )
    # aiohttp repeats a GET, PUT or DELETE on a closed connection with the old date and without
    # notice: the "not found" of a repeated DELETE would not count as its own result. There is no
    # argument to turn that off.
    session._retry_connection = False
    result: AsyncHttpTransport[Any, Any] = AioHttpTransport(
        session=session,
        connection_timeout=limits.connect,
        read_timeout=limits.read,
        connection_verify=verify,
    )
    return result


_PUBLIC_PARAMETERS = frozenset(
    {"comp", "restype", "blockid", "prefix", "$filter", "$select", "$expand"}
)
"""The query parameters that name an operation. The others are not logged: some are signatures."""


def public_url(url: str) -> str:
    """A URL without its scheme and without the query parameters that may be secret."""
    parts = urlsplit(url)
    shown = [f"{key}={value}" for key, value in parse_qsl(parts.query) if key in _PUBLIC_PARAMETERS]
    return f"{parts.netloc}{parts.path}" + (f"?{'&'.join(shown)}" if shown else "")
