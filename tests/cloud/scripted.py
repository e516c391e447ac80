"""A server that sends the responses of a test and records the requests.

It implements only HTTP, not Batch or Storage, and can close the connection before, during or after
a response.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as received."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Reply:
    """A response; ``cut`` closes the connection after this number of bytes.

    ``after`` delays it until an event.
    """

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: int | None = None
    after: asyncio.Event | None = None

    @property
    def bytes(self) -> bytes:
        if isinstance(self.body, bytes):
            return self.body
        return b"" if self.body is None else json.dumps(self.body).encode()


RESET = Reply(cut=0)
"""The request arrives, and the connection is closed without an answer."""

Answer = Reply | Callable[[Asked], Reply]


def refusal(status: int, code: str, message: str = "", **values: str) -> Reply:
    """An error as the Batch service writes it."""
    return Reply(
        status,
        {
            "odata.metadata": "x",
            "code": code,
            "message": {
                "lang": "en-US",
                "value": f"{message or code}\nRequestId:abc\nTime:2026-11-22T00:00:00.0000000Z",
            },
            "values": [{"key": key, "value": value} for key, value in values.items()],
        },
        {"request-id": "abc", "Content-Type": "application/json;odata=minimalmetadata"},
    )


def storage_refusal(status: int, code: str) -> Reply:
    """An error as the Storage service writes it."""
    text = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{code}</Message></Error>"
    return Reply(
        status,
        text.encode(),
        {"x-ms-error-code": code, "x-ms-request-id": "abc", "Content-Type": "application/xml"},
    )


class Scripted:
    """Responses by method and path; each is used once, the last one repeatedly."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self._answers: list[tuple[str, re.Pattern[str], list[Answer]]] = []
        self.url = ""

    def on(self, method: str, path: str, *answers: Answer) -> None:
        """Set the responses to requests with this method and a path that matches ``path``."""
        self._answers.insert(0, (method, re.compile(path), list(answers)))

    def requests(self, method: str = "", path: str = ".*") -> list[Asked]:
        """The received requests, in order."""
        return [
            asked
            for asked in self.asked
            if method in ("", asked.method) and re.fullmatch(path, asked.path)
        ]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        asked = Asked(
            request.method,
            request.raw_path.split("?", 1)[0],
            dict(request.query),
            dict(request.headers),
            await request.read(),
        )
        self.asked.append(asked)
        reply = self._next(asked)
        if reply.after is not None:
            await reply.after.wait()
        headers = {"Content-Type": "application/json", **reply.headers}
        assert request.transport is not None
        if reply.cut == 0:
            request.transport.abort()
            return web.Response(status=500)
        if reply.cut is not None:
            response = web.StreamResponse(status=reply.status, headers=headers)
            response.content_length = len(reply.bytes)
            await response.prepare(request)
            await response.write(reply.bytes[: reply.cut])
            # The peer receives what was written, and then the end of the connection.
            request.transport.close()
            return response
        if request.method == "HEAD":
            return web.Response(status=reply.status, headers=headers)
        return web.Response(status=reply.status, body=reply.bytes, headers=headers)

    def _next(self, asked: Asked) -> Reply:
        for method, path, answers in self._answers:
            if method == asked.method and path.fullmatch(asked.path):
                answer = answers.pop(0) if len(answers) > 1 else answers[0]
                return answer(asked) if callable(answer) else answer
        return refusal(501, "NotInTheScript", f"{asked.method} {asked.path}")
