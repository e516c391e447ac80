"""The parts of the SDK pipelines that batchspec replaces: retries, URLs, transport, request log.

One retry policy replaces those of both SDKs. All requests to a service share its rate limiter, and
delays do not add up. A POST with the response 429 without Retry-After is repeated, too (not by
azure-core). Every request may be repeated: after an ambiguous response, its caller reads the object
back.
"""

from __future__ import annotations

import contextlib
import logging
import platform
import sys
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import parse_qsl, urlsplit

import aiohttp
from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    ServiceRequestError,
    ServiceRequestTimeoutError,
)
from azure.core.pipeline import PipelineRequest, PipelineResponse
from azure.core.pipeline.policies import AsyncHTTPPolicy, SansIOHTTPPolicy
from azure.core.pipeline.transport import AioHttpTransport, AsyncHttpTransport
from yarl import URL

from batchspec.cloud.account import is_loopback
from batchspec.cloud.errors import no_credential, unreachable
from batchspec.cloud.timing import Limits, RateLimiter, ServiceTime, Timing, until
from batchspec.diagnostics import Diagnostic, ServiceError
from batchspec.version import __version__

if TYPE_CHECKING:
    from batchspec.apply.events import Waiting

LOGGER = logging.getLogger("batchspec.requests")
"""A line for each attempt of a request, without secrets, for ``--debug``."""
# Only `--debug` turns these lines on, not the level of other loggers. It may have set the level
# before this import.
if LOGGER.level == logging.NOTSET:
    LOGGER.setLevel(logging.INFO)


@dataclass(slots=True)
class Attempts:
    """The attempts of one SDK call.

    ``unconfirmed``: the service may have carried out an attempt whose response was lost, so that a
    later "exists" or "not found" can be its result. ``failures`` is the number of failed attempts.
    """

    unconfirmed: bool = False
    failures: int = 0


_ATTEMPTS: ContextVar[Attempts | None] = ContextVar("batchspec_attempts", default=None)


def _current_attempts() -> Attempts:
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


USER_AGENT = f"batchspec/{__version__} Python/{platform.python_version()} ({sys.platform})"
"""The User-Agent of the clients. The SDK's default runs ``uname -p`` in each process."""

_BLOCK = 256 * 1024
"""In bytes. Streamed responses are read in pieces of up to this size."""


def transport(url: str, limits: Limits, verify: bool | str) -> AsyncHttpTransport[Any, Any]:
    """A connection pool for one service, without a proxy on the loopback interface.

    Call it in a running event loop. ``verify`` is the path of a file of CA certificates, or whether
    certificates are verified.
    """
    session = aiohttp.ClientSession(
        trust_env=not is_loopback(url),
        cookie_jar=aiohttp.DummyCookieJar(),
        # The SDKs decompress responses.
        auto_decompress=False,
        read_bufsize=_BLOCK,
    )
    # aiohttp repeats a GET, PUT or DELETE on a closed connection with the old date and without
    # notice: the policy would not know that the "not found" of a repeated DELETE may be a result of
    # the first. No argument turns that off.
    session._retry_connection = False
    result: AsyncHttpTransport[Any, Any] = AioHttpTransport(
        session=session,
        connection_timeout=limits.connect,
        read_timeout=limits.read,
        connection_verify=verify,
        connection_data_block_size=_BLOCK,
    )
    return result


_PUBLIC_PARAMETERS = frozenset(
    {"comp", "restype", "blockid", "prefix", "$filter", "$select", "$expand"}
)
"""The query parameters that name an operation. The others are not logged: some are signatures."""


def _public_url(url: str) -> str:
    """A URL without its scheme and without the query parameters that may be secret."""
    parts = urlsplit(url)
    shown = [f"{key}={value}" for key, value in parse_qsl(parts.query) if key in _PUBLIC_PARAMETERS]
    return f"{parts.netloc}{parts.path}" + (f"?{'&'.join(shown)}" if shown else "")


Notice: TypeAlias = "Callable[[Waiting], None]"
"""Is called when a service makes requests wait, and when it answers again."""

# Options of the Storage SDK for its own retry policy. The secondary region is never read: it may be
# outdated.
_STORAGE_OPTIONS = ("hosts", "location_mode", "retry_to_secondary", "retry_hook")

_BUSY = frozenset({429, 503})
_SERVER_ERRORS = frozenset({408, 500, 502, 504})
_SUMMARIES = {
    "service-busy": "{host} is busy",
    "service-failing": "{host} answers with errors",
    "service-silent": "{host} does not answer",
    "sign-in-failing": "the sign-in for {host} fails",
}
_REPORT_AFTER = 3.0
_RESTART = 5.0
_REPORT_INTERVAL = 30.0


class RetryPolicy(AsyncHTTPPolicy[Any, Any]):
    """Sends a request until it is answered, within :class:`~.timing.Limits`.

    Raises ServiceError ``unreachable`` without a response. A response that is still 429, 503 or 5xx
    at the end of the limit is returned to the SDK, which raises an error.

    A failed sign-in is final before the service has answered. Later, it is repeated: tokens expire
    after an hour or more, and the Azure CLI or the network can fail when a token is renewed.
    """

    def __init__(
        self,
        limiter: RateLimiter,
        limits: Limits,
        timing: Timing,
        time: ServiceTime,
        notice: Notice,
        *,
        stopped: Callable[[], Diagnostic | None],
        cloud: str = "",
        no_token: Callable[[ClientAuthenticationError, str], ServiceError] = no_credential,
    ) -> None:
        super().__init__()
        self._no_token, self._cloud = no_token, cloud
        self._stopped = stopped
        self._limiter = limiter
        self._service_time = time
        self._limits = limits
        self._timing = timing
        self._notice = notice
        self._reported_at = float("-inf")
        self._reported: Waiting | None = None

    async def send(self, request: PipelineRequest[Any]) -> PipelineResponse[Any, Any]:
        attempts = _current_attempts()
        for option in _STORAGE_OPTIONS:
            request.context.options.pop(option, None)
        first_sent: float | None = None
        created = self._timing.monotonic()
        while True:
            sent = await self._limiter.acquire(created + self._limits.busy)
            first_sent = sent if first_sent is None else first_sent
            try:
                response = await self.next.send(request)
            except ClientAuthenticationError as error:
                self._log(request, sent, attempts, error=error)
                delay = self._delay_without_token(request, error, first_sent, attempts)
            except AzureError as error:
                self._log(request, sent, attempts, error=error)
                delay = self._delay_without_response(request, error, first_sent, attempts)
            else:
                self._log(request, sent, attempts, response=response)
                self._service_time.answered(response.http_response.headers.get("Date"), sent)
                # The Storage SDK expects its retry policy to set this.
                response.http_response.location_mode = "primary"
                retry = self._delay_after_response(
                    request,
                    response,
                    attempts,
                    sent=sent,
                    first_sent=first_sent,
                    created=created,
                )
                if retry is None:
                    return response
                delay = retry
                await _discard(response)
            await self._timing.sleep(delay)
            # Sign the request again: the service refuses a date older than 15 minutes, and the
            # Batch SDK does not replace an existing date.
            request.http_request.headers.pop("ocp-date", None)

    def _log(
        self,
        request: PipelineRequest[Any],
        sent: float,
        attempts: Attempts,
        *,
        response: PipelineResponse[Any, Any] | None = None,
        error: AzureError | None = None,
    ) -> None:
        """Log method, URL, status or error, duration, earlier failures and request id."""
        if not LOGGER.isEnabledFor(logging.DEBUG):
            return
        received = response.http_response if response is not None else None
        headers = received.headers if received is not None else {}
        request_id = headers.get("request-id") or headers.get("x-ms-request-id")
        LOGGER.debug(
            "%s %s -> %s %.3fs%s%s",
            request.http_request.method,
            _public_url(request.http_request.url),
            received.status_code if received is not None else type(error).__name__,
            self._timing.monotonic() - sent,
            f" attempt {attempts.failures + 1}" if attempts.failures else "",
            f" request-id {request_id}" if request_id else "",
        )

    def _delay_without_response(
        self,
        request: PipelineRequest[Any],
        error: AzureError,
        first_sent: float,
        attempts: Attempts,
    ) -> float:
        """The delay before the next attempt.

        Raises:
            ServiceError: the limit is reached, or a retry cannot help (``unreachable``), or the
                service has stopped.
        """
        attempts.failures += 1
        attempts.unconfirmed = attempts.unconfirmed or not _is_unsent(error)
        limits, waited = self._limits, self._timing.monotonic() - first_sent
        delay = self._limiter.backoff(attempts.failures)
        limit = limits.busy if self._limiter.reached else limits.first_contact
        if waited + delay > limit or _is_permanent(error):
            raise unreachable(request.http_request.url, error, waited) from None
        # Wait for a service that is restarted immediately.
        if waited > _RESTART and (problem := self._stopped()) is not None:
            raise ServiceError(problem, code=problem.code) from None
        self._report("service-silent", request, delay, waited)
        return delay

    def _delay_without_token(
        self,
        request: PipelineRequest[Any],
        error: ClientAuthenticationError,
        first_sent: float,
        attempts: Attempts,
    ) -> float:
        """The delay before the next sign-in.

        Raises:
            ServiceError: the limit is reached, or the service has not answered before.
        """
        attempts.failures += 1
        waited = self._timing.monotonic() - first_sent
        delay = self._limiter.backoff(attempts.failures)
        if not self._limiter.reached or waited + delay > self._limits.busy:
            raise self._no_token(error, self._cloud) from None
        self._report("sign-in-failing", request, delay, waited)
        return delay

    def _delay_after_response(
        self,
        request: PipelineRequest[Any],
        response: PipelineResponse[Any, Any],
        attempts: Attempts,
        *,
        sent: float,
        first_sent: float,
        created: float,
    ) -> float | None:
        """The delay before the next attempt; ``None`` if the response is final."""
        status = response.http_response.status_code
        if status not in _BUSY:
            self._limiter.answered(sent)
            if status not in _SERVER_ERRORS:
                self._resolve(sent)
                return None
        attempts.failures += 1
        # After 429, the request was not carried out; after other errors, it may have been.
        attempts.unconfirmed = attempts.unconfirmed or status != 429
        limits, now = self._limits, self._timing.monotonic()
        if status in _BUSY:
            pause = self._limiter.throttled(sent, _retry_after(response.http_response.headers))
            # The limiter waits for the end of the pause; its wait before the first attempt counts.
            delay, waited, limit, code = 0.0, now - created, limits.busy, "service-busy"
        else:
            pause = delay = self._limiter.backoff(attempts.failures)
            waited, limit, code = now - first_sent, limits.server_errors, "service-failing"
        if waited + pause > limit:
            return None
        self._report(code, request, pause, waited)
        return delay

    def _report(
        self, code: str, request: PipelineRequest[Any], delay: float, waited: float
    ) -> None:
        """Report that requests wait, if they wait for long, and at most twice a minute."""
        now = self._timing.monotonic()
        if delay + waited < _REPORT_AFTER or now - self._reported_at < _REPORT_INTERVAL:
            return
        self._reported_at = now
        if self._reported is not None and self._reported.code == code:
            return
        # Most commands report no wait.
        from batchspec.apply.events import Waiting  # noqa: PLC0415
        from batchspec.apply.monitor import CAUSES  # noqa: PLC0415

        if self._reported is not None:
            self._notice(_end(self._reported))
        host = urlsplit(request.http_request.url).netloc
        summary = f"{_SUMMARIES[code].format(host=host)}; the request is repeated"
        action = CAUSES[code].action
        self._reported = Waiting(code, f"service {host}", summary, self._service_time.now(), action)
        self._notice(self._reported)

    def _resolve(self, sent: float) -> None:
        """Report that the service answers again, if the request was sent after the report."""
        if self._reported is not None and sent > self._reported_at:
            self._notice(_end(self._reported))
            self._reported = None


def _end(wait: Waiting) -> Waiting:
    """The end of a wait."""
    return type(wait)(wait.code, wait.subject, resolved=True)


def _is_unsent(error: AzureError) -> bool:
    """Whether a request certainly did not reach the service.

    The transport of the SDK raises ServiceRequestError ("not sent") for every aiohttp error, also
    if the connection was reset after the request was carried out; so the cause decides.
    """
    if isinstance(error, ServiceRequestTimeoutError):
        return True
    cause = getattr(error, "inner_exception", None)
    return isinstance(error, ServiceRequestError) and isinstance(
        cause, aiohttp.ClientConnectorError
    )


def _is_permanent(error: AzureError) -> bool:
    """Whether a retry cannot help: the certificate is not trusted, or the URL is invalid."""
    cause = getattr(error, "inner_exception", None)
    return isinstance(
        cause, aiohttp.ClientConnectorCertificateError | aiohttp.ClientSSLError | aiohttp.InvalidURL
    )


def _retry_after(headers: Any) -> float | None:
    """The delay that a response requests, in seconds; the header contains seconds or a date."""
    for name, unit in (("retry-after-ms", 1000.0), ("x-ms-retry-after-ms", 1000.0)):
        with contextlib.suppress(TypeError, ValueError):
            return max(0.0, float(headers.get(name)) / unit)
    text = headers.get("retry-after")
    if not text:
        return None
    with contextlib.suppress(ValueError):
        return max(0.0, float(text))
    delay = until(text, headers.get("Date"))
    return None if delay is None else max(0.0, delay.total_seconds())


async def _discard(response: PipelineResponse[Any, Any]) -> None:
    """Return the connection of a streamed response to the pool."""
    close = getattr(response.http_response, "close", None)
    if close is not None:
        await close()
