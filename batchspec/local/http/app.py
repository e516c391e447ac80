"""The door: an ASGI application that lets signed requests through to the API, and no others.

What lives here: reading a request off the wire, in this order: its signature, its route, its
version, its body; then the operation; then writing the reply. What may not: what an operation
does. Nothing of a request is looked at before its signature is found right, and none of its secrets
is ever logged.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl, unquote_to_bytes

from batchspec.local.api import Context, Match, find_route
from batchspec.local.wire import (
    JSON_TYPE,
    Fault,
    Reply,
    Request,
    SignatureError,
    SignedRequest,
    check_signature,
    check_version,
    fault_reply,
    not_implemented,
    write_body,
    write_http_date,
)

MAX_BODY = 1024 * 1024
"""The largest request body, in bytes; the service's own limit for a collection of tasks."""

_LOG = logging.getLogger("batchspec.local.http")

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class App:
    """The ASGI application over a service.

    ``now`` is the service's clock, which resources are stamped with; ``wall`` the true one, which
    the dates of signatures are compared with. ``key`` is the account's, in base64.
    """

    context: Context
    key: str
    now: Callable[[], datetime]
    wall: Callable[[], datetime]

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request; anything else that ASGI may ask is none of this door."""
        if scope["type"] != "http":
            raise NotImplementedError(scope["type"])
        request_id = str(uuid.uuid4())
        headers = _headers(scope)
        try:
            reply = await self._answer(scope, headers, receive, request_id)
        except Fault as fault:
            reply = fault_reply(fault, request_id, self.now())
        except Exception:  # noqa: BLE001  the boundary: a bug is an answer to this request alone
            _LOG.exception("request %s failed", request_id)
            reply = fault_reply(Fault("InternalError"), request_id, self.now())
        await self._send(scope["method"], headers, reply, request_id, send)

    async def refuse(
        self,
        scope: Message,
        receive: Receive,
        send: Send,
        fault: Fault,
        extra: Mapping[str, str],
    ) -> None:
        """Answer a request with ``fault`` and these headers, whatever it asks for."""
        request_id = str(uuid.uuid4())
        headers = _headers(scope)
        try:
            # What is sent is taken, or a client that is still sending sees a broken connection.
            await _read_body(headers, receive)
        except Fault as earlier:
            fault, extra = earlier, {}
        reply = fault_reply(fault, request_id, self.now())
        reply = replace(reply, headers={**reply.headers, **extra})
        await self._send(scope["method"], headers, reply, request_id, send)

    async def _answer(
        self, scope: Message, headers: Mapping[str, str], receive: Receive, request_id: str
    ) -> Reply:
        method, path, query = scope["method"], _ascii(scope["raw_path"]), scope["query_string"]
        text = _ascii(query)
        signed = SignedRequest(method, path, text, headers)
        try:
            check_signature(signed, self.context.account, self.key, self.wall())
        except SignatureError as error:
            raise Fault(
                "AuthenticationFailed", ("AuthenticationErrorDetail", error.detail)
            ) from None
        match = find_route(method, path)
        options = dict(reversed(parse_qsl(text, keep_blank_values=True)))
        check_version(options)
        body = await _read_body(headers, receive)
        if match.route.handler is None:
            raise not_implemented(f"The operation {match.route.operation} ({match.route.note})")
        request = Request(
            method=method,
            path=path,
            parameters=_parameters(match),
            query=options,
            headers=headers,
            body=body,
            base_url=self.context.base_url,
            id=request_id,
            now=self.now(),
        )
        answer = match.route.handler(self.context, request)
        return answer if isinstance(answer, Reply) else await asyncio.to_thread(answer)

    async def _send(
        self,
        method: str,
        headers: Mapping[str, str],
        reply: Reply,
        request_id: str,
        send: Send,
    ) -> None:
        out = {"request-id": request_id, "DataServiceVersion": "3.0"}
        out["Date"] = write_http_date(self.now())
        if headers.get("return-client-request-id", "").lower() == "true":
            out["client-request-id"] = headers.get("client-request-id", "")
        content = b""
        if reply.body is not None and method != "HEAD":
            content = write_body(reply, self.context.base_url)
            out["Content-Type"] = JSON_TYPE
        out |= reply.headers
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


def _headers(scope: Message) -> dict[str, str]:
    """The headers by lower-case name; one that came several times is joined by commas."""
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
    """The decoded parts of the path. A file's name may be any bytes; an id is text."""
    decoded = {}
    for name, text in match.parameters.items():
        errors = "surrogateescape" if name == "filePath" else "strict"
        try:
            decoded[name] = unquote_to_bytes(text).decode("utf-8", errors)
        except UnicodeDecodeError:
            raise Fault("InvalidUri") from None
    return decoded


async def _read_body(headers: Mapping[str, str], receive: Receive) -> bytes:
    """The body, at most :data:`MAX_BODY` of it; a larger one is not read to its end.

    Raises:
        Fault: ``RequestBodyTooLarge``.
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
    """A header's value, without what could end it early."""
    return value.replace("\r", " ").replace("\n", " ").encode("latin-1", "replace")
