"""The HTTP side of the Batch service: ASGI application, fault injection, and server on uvicorn.

In: a `Context` of the API and a loopback socket. Out: replies to authenticated requests. The
operations are in the package ``api``. Requests below ``/subscriptions`` belong to the control
plane, with another credential, another form of errors, and other operations.

A request passes these steps: signature, route, api-version, body, operation. No part of a request
is used before its signature is verified, and its secrets are never logged. An injected fault fails
a request, delays it, or drops its reply; each fault is logged. Faults of nodes belong to the
engine.

A web framework would replace little of this module: signatures cover the raw path and query, static
path segments ignore case, and unsupported operations answer 501 by name. Measured with Starlette
1.x: 15 to 46 % more time per small request in the application, 5 to 25 % more in the whole service,
and 60 to 110 ms more start time (docs/adr/0011-asgi-application.md).
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import math
import socket
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, unquote_to_bytes

import uvicorn

from batchspec.local.api import Context, Handler, Match, Route, check_operation, find_route
from batchspec.local.control_plane import (
    ArmError,
    check_api_version,
    check_scope,
    check_token,
    error_reply,
    find_control_plane_route,
    is_bearer,
    is_control_plane,
    reply_headers,
    resource_type,
    write_json,
)
from batchspec.local.fault_injection import REQUEST_FAULTS, FaultKind, FaultRule, RandomSource
from batchspec.local.former_clients import FormerClients
from batchspec.local.store import is_corrupt, is_refused_by_disk
from batchspec.local.wire import (
    JSON_TYPES,
    Fault,
    Reply,
    Request,
    SignatureError,
    SignedRequest,
    check_options,
    check_signature,
    check_version,
    fault_reply,
    is_retiring,
    not_implemented,
    wants_metadata,
    write_body,
    write_http_date,
)

MAX_BODY = 1024 * 1024
"""Maximum size of a request body in bytes: the documented limit of a task collection."""

KEY_REFUSED = "The specified type of authentication SharedKey is not allowed for this account."
"""``AuthenticationErrorDetail`` of an account that refuses its key (Azure/BatchExplorer#239)."""

_LOG = logging.getLogger("batchspec.local.http")
_FAULT_LOG = logging.getLogger("batchspec.local.chaos")

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class App:
    """The ASGI application of a service.

    ``now`` is the service's clock, which sets the times of resources. ``wall`` is the real time,
    for the dates of signatures. ``key`` is the account's key in base64. ``token`` is the accepted
    bearer token; if it is empty, no token is accepted. ``former_clients`` records clients that use
    api-versions that Azure Batch will retire.
    """

    context: Context
    key: str = field(repr=False)
    token: str = field(repr=False)
    now: Callable[[], datetime]
    wall: Callable[[], datetime]
    former_clients: FormerClients

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one HTTP request.

        Raises:
            NotImplementedError: the scope is not ``http``.
        """
        if scope["type"] != "http":
            raise NotImplementedError(scope["type"])
        request_id = str(uuid.uuid4())
        headers = _headers(scope)
        answer = self._answer_control_plane if _is_control_plane(scope) else self._answer
        try:
            reply, content = await answer(scope, headers, receive, request_id)
        except (Fault, ArmError) as error:
            reply, content = self._error(scope, headers, error, request_id)
        except Exception as failure:  # noqa: BLE001  a bug fails this request, not the service
            _LOG.exception("request %s failed", request_id)
            fault = Fault("InternalError")
            if is_refused_by_disk(failure):
                reason = f"The service cannot write to the disk of its data folder: {failure}"
                fault = Fault("InternalError", ("Reason", reason))
                self.context.store.report_refusal()
            reply, content = self._error(scope, headers, fault, request_id)
        await self._send(scope, headers, (reply, content), request_id, send)

    async def reply_fault(
        self,
        scope: Message,
        receive: Receive,
        send: Send,
        fault: Fault,
        extra: Mapping[str, str],
    ) -> None:
        """Answer a request with ``fault`` and the headers ``extra`` without carrying it out."""
        request_id = str(uuid.uuid4())
        headers = _headers(scope)
        try:
            # Read the body first: a client that is still sending would see a broken connection.
            await _read_body(headers, receive)
        except Fault as earlier:
            fault, extra = earlier, {}
        reply, content = self._error(scope, headers, fault, request_id)
        reply = replace(reply, headers={**reply.headers, **extra})
        await self._send(scope, headers, (reply, content), request_id, send)

    def _error(
        self, scope: Message, headers: Mapping[str, str], error: Fault | ArmError, request_id: str
    ) -> tuple[Reply, bytes]:
        if isinstance(error, ArmError) or _is_control_plane(scope):
            reply = error_reply(error, request_id, self.now())
            return reply, write_json(reply)
        reply = fault_reply(error, request_id, self.now())
        return reply, self._content(headers, reply)

    async def _answer(
        self, scope: Message, headers: Mapping[str, str], receive: Receive, request_id: str
    ) -> tuple[Reply, bytes]:
        method, path, query = scope["method"], _ascii(scope["raw_path"]), scope["query_string"]
        text = _ascii(query)
        signed = SignedRequest(method, path, text, headers)
        try:
            self._authenticate(signed)
        except SignatureError as error:
            raise Fault(
                "AuthenticationFailed", ("AuthenticationErrorDetail", error.detail)
            ) from None
        match = find_route(method, path)
        options = dict(reversed(parse_qsl(text, keep_blank_values=True)))
        version = check_version(options)
        if is_retiring(version):
            self.former_clients.note(headers, version)
        check_operation(match.route, version)
        check_options(options)
        body = await _read_body(headers, receive)
        request = self._request(match, scope, headers, options, body=body, request_id=request_id)
        return await self._handle(match.route, request, lambda reply: self._content(headers, reply))

    def _authenticate(self, request: SignedRequest) -> None:
        """Check the signature or the token of a request.

        Raises:
            SignatureError: neither is valid, or the account refuses its key.
        """
        header = request.headers.get("authorization", "")
        if is_bearer(header, self.token):
            return
        if self.context.entra_only and header.lower().startswith("sharedkey "):
            raise SignatureError(KEY_REFUSED)
        check_signature(request, self.context.account, self.key, self.wall())

    async def _answer_control_plane(
        self, scope: Message, headers: Mapping[str, str], receive: Receive, request_id: str
    ) -> tuple[Reply, bytes]:
        check_token(headers, self.token)
        method, path = scope["method"], _ascii(scope["raw_path"])
        match = find_control_plane_route(method, path)
        options = dict(reversed(parse_qsl(_ascii(scope["query_string"]), keep_blank_values=True)))
        check_api_version(options, resource_type(match.route))
        check_scope(_parameters(match), self.context.account)
        body = await _read_body(headers, receive)
        request = self._request(match, scope, headers, options, body=body, request_id=request_id)
        return await self._handle(match.route, request, write_json)

    def _request(
        self,
        match: Match,
        scope: Message,
        headers: Mapping[str, str],
        options: Mapping[str, str],
        *,
        body: bytes,
        request_id: str,
    ) -> Request:
        return Request(
            method=scope["method"],
            path=_ascii(scope["raw_path"]),
            parameters=_parameters(match),
            query=options,
            headers=headers,
            body=body,
            base_url=self.context.base_url,
            id=request_id,
            now=self.now(),
        )

    async def _handle(
        self, route: Route, request: Request, write: Callable[[Reply], bytes]
    ) -> tuple[Reply, bytes]:
        """The reply and its content. Writing the content can be the first step to find a damaged
        value.
        """
        handler = route.handler
        if handler is None:
            raise not_implemented(f"The operation {route.operation} ({route.note})")
        try:
            return await self._call(handler, request, write)
        except (Fault, ArmError, OSError):
            raise
        except Exception as error:
            # A damaged record fails every request that reads it. Once it is set aside, the reply is
            # the same as for a deleted object.
            if is_corrupt(error) or not self.context.store.set_aside_damaged(request.now):
                raise
            _LOG.exception("request %s read a damaged record", request.id)
            return await self._call(handler, request, write)

    async def _call(
        self, handler: Handler, request: Request, write: Callable[[Reply], bytes]
    ) -> tuple[Reply, bytes]:
        answer = handler(self.context, request)
        reply = answer if isinstance(answer, Reply) else await asyncio.to_thread(answer)
        return reply, write(reply)

    def _content(self, headers: Mapping[str, str], reply: Reply) -> bytes:
        if reply.body is None:
            return b""
        metadata = wants_metadata(headers.get("accept", ""))
        return write_body(reply, self.context.base_url, metadata=metadata)

    def _reply_headers(
        self, headers: Mapping[str, str], reply: Reply, request_id: str, *, head: bool
    ) -> dict[str, str]:
        out = {"request-id": request_id, "DataServiceVersion": "3.0"}
        if headers.get("return-client-request-id", "").lower() == "true":
            out["client-request-id"] = headers.get("client-request-id", "")
        if reply.body is not None and not head:
            out["Content-Type"] = JSON_TYPES[wants_metadata(headers.get("accept", ""))]
        return {**out, **reply.headers}

    async def _send(
        self,
        scope: Message,
        headers: Mapping[str, str],
        answer: tuple[Reply, bytes],
        request_id: str,
        send: Send,
    ) -> None:
        reply, content = answer
        method = scope["method"]
        if _is_control_plane(scope):
            out = reply_headers(reply, request_id)
        else:
            out = self._reply_headers(headers, reply, request_id, head=method == "HEAD")
        out["Date"] = write_http_date(self.now())
        if method == "HEAD":
            content = b""
        if reply.status != 304:
            out.setdefault("Content-Length", str(len(content)))
        out["X-Content-Type-Options"] = "nosniff"
        await send(
            {
                "type": "http.response.start",
                "status": reply.status,
                "headers": [(name.encode("latin-1"), _clean(value)) for name, value in out.items()],
            }
        )
        if reply.chunks is not None and method != "HEAD":
            while (chunk := await asyncio.to_thread(_next, reply.chunks)) is not None:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": content})


def _is_control_plane(scope: Message) -> bool:
    return is_control_plane(scope["raw_path"].decode("latin-1"))


def _headers(scope: Message) -> dict[str, str]:
    """The headers by lower-case name; repeated headers are joined by commas."""
    joined: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        joined[name] = f"{joined[name]},{value}" if name in joined else value
    return joined


def _ascii(raw: bytes) -> str:
    try:
        return raw.decode("ascii")
    except UnicodeDecodeError:
        raise Fault("InvalidUri") from None


def _parameters(match: Match) -> dict[str, str]:
    """The decoded variable segments of the path. File names may contain any byte; ids are text."""
    decoded = {}
    for name, text in match.parameters.items():
        errors = "surrogateescape" if name == "filePath" else "strict"
        try:
            decoded[name] = unquote_to_bytes(text).decode("utf-8", errors)
        except UnicodeDecodeError:
            raise Fault("InvalidUri") from None
    return decoded


async def _read_body(headers: Mapping[str, str], receive: Receive) -> bytes:
    """The body; reading stops at :data:`MAX_BODY` bytes.

    Raises:
        Fault: ``RequestBodyTooLarge``, or the connection closed early.
    """
    announced = headers.get("content-length", "0")
    if announced.isdecimal() and int(announced) > MAX_BODY:
        raise Fault("RequestBodyTooLarge", ("MaxLimit", str(MAX_BODY)))
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Fault("InvalidRequestBody", ("Reason", "The request ended too early."))
        body += message.get("body", b"")
        if len(body) > MAX_BODY:
            raise Fault("RequestBodyTooLarge", ("MaxLimit", str(MAX_BODY)))
        if not message.get("more_body", False):
            return bytes(body)


def _next(chunks: Iterator[bytes]) -> bytes | None:
    return next(chunks, None)


def _clean(value: str) -> bytes:
    """A header value without line breaks."""
    return value.replace("\r", " ").replace("\n", " ").encode("latin-1", "replace")


class NotLoopbackError(Exception):
    """The address is not a loopback address, so the network could reach the service."""


def listen(port: int = 0, host: str = "127.0.0.1") -> socket.socket:
    """A socket that listens on ``host`` (a loopback address); port 0 selects a free port.

    Raises:
        NotLoopbackError: ``host`` is not a loopback address.
        OSError: the port is in use.
    """
    if not ipaddress.ip_address(host).is_loopback:
        raise NotLoopbackError(host)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol given, asyncio recognises accepted sockets as TCP and sets TCP_NODELAY.
    # Without TCP_NODELAY each reply takes 40 ms longer.
    found = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((host, port))
        found.listen(1024)
        found.setblocking(False)
    except OSError:
        found.close()
        raise
    return found


def url_of(listening: socket.socket, scheme: str = "http") -> str:
    """The URL of a socket, without a trailing slash."""
    host, port = listening.getsockname()[:2]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """A certificate and its private key: files in PEM format."""

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class HttpsSocket:
    """A listening socket for https, and the files of its certificate."""

    listening: socket.socket
    tls: TlsFiles

    @property
    def url(self) -> str:
        """The URL of the socket, without a trailing slash."""
        return url_of(self.listening, "https")


_DRAIN = 2
"""Seconds in which requests in progress can complete when the service stops."""


class _Server(uvicorn.Server):
    """Sets an event when it accepts requests; installs no signal handlers."""

    def __init__(self, answers: asyncio.Event, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._answers = answers

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._answers.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.asynccontextmanager
async def serving(
    app: App,
    listening: socket.socket,
    random: RandomSource | None = None,
    *,
    tls: TlsFiles | None = None,
) -> AsyncIterator[asyncio.Task[None]]:
    """Serve ``app`` within the context, over https with ``tls``; the task ends only on a failure.

    ``random`` selects the requests into which faults are injected. On exit, requests in progress
    are completed and new requests are not accepted.
    """

    def close_connection(scope: Message) -> None:
        for connection in server.server_state.connections:
            if getattr(connection, "client", None) == scope["client"]:
                connection.transport.abort()

    started = asyncio.Event()
    server = _Server(
        started,
        uvicorn.Config(
            FaultInjectionMiddleware(app, random, close_connection) if random else app,
            lifespan="off",
            ws="none",
            access_log=False,
            log_config=None,
            server_header=False,
            date_header=False,  # `App` sets it from the service's clock
            timeout_keep_alive=75,
            timeout_graceful_shutdown=_DRAIN,
            ssl_certfile=tls.certificate if tls else None,
            ssl_keyfile=tls.key if tls else None,
        ),
    )
    task = asyncio.create_task(server.serve([listening]), name="batch-http")
    started_task = asyncio.create_task(started.wait())
    try:
        await asyncio.wait({task, started_task}, return_when=asyncio.FIRST_COMPLETED)
        yield task
    finally:
        started_task.cancel()
        server.should_exit = True
        await task


_FAULTS = {
    FaultKind.THROTTLE: "TooManyRequests",
    FaultKind.THROTTLE_SILENT: "TooManyRequests",
    FaultKind.BUSY: "ServerBusy",
    FaultKind.ERROR: "InternalError",
}

CloseConnection = Callable[[Message], None]
"""Closes the connection of a request without a reply."""


class FaultInjectionMiddleware:
    """The ASGI application ``app`` with injected faults.

    The fault of a request depends on its operation and on the number of earlier requests for that
    operation. The same seed always gives the same faults.
    """

    def __init__(self, app: App, random: RandomSource, close: CloseConnection) -> None:
        self._app = app
        self._random = random
        self._close = close

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request, or inject its fault."""
        operation = _operation(scope)
        rule = None if operation is None else self._next_fault(operation)
        if rule is None:
            await self._app(scope, receive, send)
            return
        _FAULT_LOG.warning("%s: %s", rule.text, operation)
        if rule.kind is FaultKind.LOST:
            await self._drop_reply(scope, receive)
        elif rule.kind is FaultKind.SLOW:
            await self._app(scope, receive, _delayed(send, rule.duration))
        else:
            headers = {}
            if rule.kind is FaultKind.THROTTLE:
                headers["Retry-After"] = str(math.ceil(rule.duration.total_seconds()))
            await self._app.reply_fault(scope, receive, send, Fault(_FAULTS[rule.kind]), headers)

    def _next_fault(self, operation: str) -> FaultRule | None:
        """The fault of the next request for ``operation``, if any."""
        number = self._random.next(operation)
        for kind in REQUEST_FAULTS:
            rule = self._random.faults.rule(kind, operation)
            if rule is not None and self._random.applies(rule, operation, number):
                return rule
        return None

    async def _drop_reply(self, scope: Message, receive: Receive) -> None:
        """Carry out the request, then close the connection without a reply."""

        async def drop(message: Message) -> None:
            pass

        await self._app(scope, receive, drop)
        self._close(scope)
        while (await receive())["type"] != "http.disconnect":
            pass


def _operation(scope: Message) -> str | None:
    if scope["type"] != "http":
        return None
    try:
        path = quote(scope["raw_path"], safe="/%")
        find = find_control_plane_route if is_control_plane(path) else find_route
        return find(scope["method"], path).route.operation
    except (Fault, ArmError):
        return None


def _delayed(send: Send, delay: timedelta) -> Send:
    async def wait(message: Message) -> None:
        if message["type"] == "http.response.start":
            await asyncio.sleep(delay.total_seconds())
        await send(message)

    return wait
