"""The part of the SDKs' pipelines that is ours: one policy in the place of their retry policies.

It sends through the shared :class:`~batchspec.cloud.limiter.Limiter`, so that nothing waits twice
and a POST answered 429 without Retry-After is sent again too (azure-core gives that one up). What
every retry here rests on: all requests may be repeated, since their callers settle by reading back.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeAlias
from urllib.parse import urlsplit

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

from batchspec.apply.events import Waiting
from batchspec.apply.monitor import CAUSES
from batchspec.cloud.account import is_loopback
from batchspec.cloud.errors import no_credential, unreachable
from batchspec.cloud.limiter import Limiter, Limits, Timing
from batchspec.cloud.request_log import log_attempt
from batchspec.cloud.service_time import ServiceTime, until

Notice: TypeAlias = Callable[[Waiting], None]
"""Where it is reported that a service makes requests wait, and that it answers again."""

# By these the Storage SDK tells its own retry policy where to send. We never read from a secondary
# region: it may lag behind.
_STORAGE_OPTIONS = ("hosts", "location_mode", "retry_to_secondary", "retry_hook")

_BUSY = frozenset({429, 503})
_FAULTY = frozenset({408, 500, 502, 504})
_WORDS = {
    "service-busy": "is busy",
    "service-failing": "answers with errors",
    "service-silent": "does not answer",
}
_WORTH_SAYING = 3.0
_SAID_ENOUGH = 30.0


@dataclass(slots=True)
class Attempts:
    """What became of one call: ``lost`` says that a request may have been carried out although no
    good answer came, so that a later "exists" or "not found" may be of our own making."""

    lost: bool = False
    failures: int = 0


_WATCHED: ContextVar[Attempts | None] = ContextVar("batchspec_attempts", default=None)


@contextlib.contextmanager
def watched() -> Iterator[Attempts]:
    """Learn what became of the one SDK call that is made inside.

    Not a keyword of the call: the SDK's ``begin_*`` hand unknown keywords on to their pollers, and
    fail after the request was sent.
    """
    attempts = Attempts()
    token = _WATCHED.set(attempts)
    try:
        yield attempts
    finally:
        _WATCHED.reset(token)


class Patience(AsyncHTTPPolicy[Any, Any]):
    """Sends a request until it is answered, within the limits.

    Raises ServiceError ``unreachable`` when there is no answer; an answer that is still 429, 503 or
    5xx when patience ends goes back to the SDK, which makes an error of it.
    """

    def __init__(
        self, limiter: Limiter, limits: Limits, timing: Timing, clock: ServiceTime, notice: Notice
    ) -> None:
        super().__init__()
        self._limiter = limiter
        self._clock = clock
        self._limits = limits
        self._timing = timing
        self._notice = notice
        self._said = float("-inf")
        self._open: Waiting | None = None

    async def send(self, request: PipelineRequest[Any]) -> PipelineResponse[Any, Any]:
        attempts = _WATCHED.get() or Attempts()
        for option in _STORAGE_OPTIONS:
            request.context.options.pop(option, None)
        since: float | None = None
        while True:
            sent = await self._limiter.enter()
            since = sent if since is None else since
            try:
                response = await self.next.send(request)
            except ClientAuthenticationError as error:
                raise no_credential(error) from None
            except AzureError as error:
                self._log(request, sent, attempts, error=error)
                wait = self._no_answer(request, error, since, attempts)
            else:
                self._log(request, sent, attempts, response=response)
                self._clock.answered(response.http_response.headers.get("Date"), sent)
                # What the Storage SDK expects its own retry policy to say.
                response.http_response.location_mode = "primary"
                verdict = self._verdict(request, response, sent, since, attempts)
                if verdict is None:
                    return response
                wait = verdict
                await _discard(response)
            await self._timing.sleep(wait)
            # Signed anew: the service refuses a request that is dated more than 15 minutes back,
            # and the Batch policy leaves a date alone that is there.
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
        reply = response.http_response if response is not None else None
        log_attempt(
            request,
            self._timing.monotonic() - sent,
            attempts.failures,
            status=reply.status_code if reply is not None else None,
            request_id=reply.headers.get("request-id") or reply.headers.get("x-ms-request-id")
            if reply is not None
            else None,
            error=error,
        )

    def _no_answer(
        self, request: PipelineRequest[Any], error: AzureError, since: float, attempts: Attempts
    ) -> float:
        attempts.failures += 1
        attempts.lost = attempts.lost or not _never_sent(error)
        limits, waited = self._limits, self._timing.monotonic() - since
        wait = self._limiter.delay(attempts.failures)
        bound = limits.patience if self._limiter.reached else limits.first_contact
        if waited + wait > bound or _hopeless(error):
            raise unreachable(request.http_request.url, error, waited) from None
        self._report("service-silent", request, wait, waited)
        return wait

    def _verdict(
        self,
        request: PipelineRequest[Any],
        response: PipelineResponse[Any, Any],
        sent: float,
        since: float,
        attempts: Attempts,
    ) -> float | None:
        """``None`` if the answer is final; else how long to wait before the next attempt."""
        status = response.http_response.status_code
        if status not in _BUSY:
            self._limiter.answered(sent)
            if status not in _FAULTY:
                self._answers_again(sent)
                return None
        attempts.failures += 1
        # A 429 was turned away at the door; anything else may have been carried out.
        attempts.lost = attempts.lost or status != 429
        limits, waited = self._limits, self._timing.monotonic() - since
        if status in _BUSY:
            pause = self._limiter.throttled(sent, _retry_after(response.http_response.headers))
            # The pause itself is waited for in `enter`, together with everybody.
            wait, bound, code = 0.0, limits.patience, "service-busy"
        else:
            pause = wait = self._limiter.delay(attempts.failures)
            bound, code = limits.faults, "service-failing"
        if waited + pause > bound:
            return None
        self._report(code, request, pause, waited)
        return wait

    def _report(self, code: str, request: PipelineRequest[Any], wait: float, waited: float) -> None:
        """Report that requests wait: when it is for longer, and not more than twice a minute."""
        now = self._timing.monotonic()
        if wait + waited < _WORTH_SAYING or now - self._said < _SAID_ENOUGH:
            return
        self._said = now
        if self._open is not None and self._open.code == code:
            return
        if self._open is not None:
            self._notice(Waiting(self._open.code, self._open.subject, resolved=True))
        host = urlsplit(request.http_request.url).netloc
        summary = f"{host} {_WORDS[code]}; the request is repeated"
        action = CAUSES[code].action
        self._open = Waiting(code, f"service {host}", summary, self._clock.now(), action)
        self._notice(self._open)

    def _answers_again(self, sent: float) -> None:
        """Report that a request was answered that went out after it was said that requests wait."""
        if self._open is not None and sent > self._said:
            self._notice(Waiting(self._open.code, self._open.subject, resolved=True))
            self._open = None


class AsSent(SansIOHTTPPolicy[Any, Any]):
    """Writes the address of a request as aiohttp will send it, before it is signed.

    The SDK writes the job ``nightly:job-1`` of a schedule as ``nightly%3Ajob-1`` and signs that;
    aiohttp then takes back every escape that is none to it, and the signature is of another path.
    """

    def on_request(self, request: PipelineRequest[Any]) -> None:
        request.http_request.url = str(URL(request.http_request.url))


def _never_sent(error: AzureError) -> bool:
    """Whether a request certainly did not reach the service.

    The SDK's transport calls every aiohttp error a ServiceRequestError ("not sent"), a connection
    that was reset after the request was carried out included; so the cause is looked at.
    """
    if isinstance(error, ServiceRequestTimeoutError):
        return True
    cause = getattr(error, "inner_exception", None)
    return isinstance(error, ServiceRequestError) and isinstance(
        cause, aiohttp.ClientConnectorError
    )


def _hopeless(error: AzureError) -> bool:
    """Whether trying again cannot help: a certificate that is not trusted, a malformed address."""
    cause = getattr(error, "inner_exception", None)
    return isinstance(
        cause, aiohttp.ClientConnectorCertificateError | aiohttp.ClientSSLError | aiohttp.InvalidURL
    )


def _retry_after(headers: Any) -> float | None:
    """The wait that an answer asks for, in seconds; the header counts seconds, or is a date."""
    for name, unit in (("retry-after-ms", 1000.0), ("x-ms-retry-after-ms", 1000.0)):
        with contextlib.suppress(TypeError, ValueError):
            return max(0.0, float(headers.get(name)) / unit)
    text = headers.get("retry-after")
    if not text:
        return None
    with contextlib.suppress(ValueError):
        return max(0.0, float(text))
    wait = until(text, headers.get("Date"))
    return None if wait is None else max(0.0, wait.total_seconds())


async def _discard(response: PipelineResponse[Any, Any]) -> None:
    """Give the connection of a streamed answer back."""
    close = getattr(response.http_response, "close", None)
    if close is not None:
        await close()


def transport(url: str, limits: Limits, verify: bool | str) -> AsyncHttpTransport[Any, Any]:
    """A connection pool for one service. To be called where a loop runs.

    The loopback interface is never reached by a proxy.
    """
    session = aiohttp.ClientSession(
        trust_env=not is_loopback(url),
        cookie_jar=aiohttp.DummyCookieJar(),
        # The SDKs unpack by themselves, what they want unpacked.
        auto_decompress=False,
    )
    # aiohttp repeats a GET, PUT or DELETE whose connection was closed, with the old date, and says
    # nothing: a "not found" after that would be read as "was never there". There is no argument
    # for this.
    session._retry_connection = False
    made: AsyncHttpTransport[Any, Any] = AioHttpTransport(
        session=session,
        connection_timeout=limits.connect,
        read_timeout=limits.read,
        connection_verify=verify,
    )
    return made
