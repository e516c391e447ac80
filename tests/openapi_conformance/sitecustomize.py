"""Makes each embedded service that a test starts record its requests and replies.

Python imports this module in every process whose ``PYTHONPATH`` contains this folder. It waits for
the import of the service's application and has no effect without it. See ``exchanges.py``.
"""

from __future__ import annotations

import os
import sys
from typing import Any

APP = "batchspec.local.http"
FOLDER = os.environ.get("EXCHANGES_OF_TESTS", "")


class _Finder:
    """Finds the module of the application as Python does, and wraps the application on import."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name != APP:
            return None
        from importlib.util import find_spec  # noqa: PLC0415  few processes need it

        sys.meta_path.remove(self)
        spec = find_spec(name)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def exec_module(module: Any) -> None:
            execute(module)
            _record(module.App)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def _record(app: Any) -> None:
    import json  # noqa: PLC0415
    import time  # noqa: PLC0415

    answer = app.__call__
    loaded = time.time_ns()  # a later process may have the same pid
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC

    async def call(self: Any, scope: Any, receive: Any, send: Any) -> None:
        body, reply = bytearray(), bytearray()
        start: dict[str, Any] = {}

        async def recorded_receive() -> Any:
            message = await receive()
            body.extend(message.get("body", b""))
            return message

        async def recorded_send(message: Any) -> None:
            if message["type"] == "http.response.start":
                start.update(message)
            elif _is_json(start):
                reply.extend(message.get("body", b""))
            if message["type"] == "http.response.body" and not message.get("more_body"):
                write()  # before the client gets the reply, so that the test sees the record
            await send(message)

        def write() -> None:
            exchange = _exchange(scope, start, bytes(body), bytes(reply))
            # One file per process; complete lines, since a process may be killed.
            try:
                file = os.open(f"{FOLDER}/{os.getpid()}-{loaded}.jsonl", flags, 0o600)
            except FileNotFoundError:  # the tests have ended
                return
            try:
                os.write(file, json.dumps(exchange).encode() + b"\n")
            finally:
                os.close(file)

        await answer(self, scope, recorded_receive, recorded_send)

    app.__call__ = call


def _exchange(scope: Any, start: dict[str, Any], body: bytes, reply: bytes) -> dict[str, Any]:
    import base64  # noqa: PLC0415

    return {
        "method": scope["method"],
        "path": scope["raw_path"].decode("latin-1"),
        "query": scope["query_string"].decode("latin-1"),
        "status": start["status"],
        "headers": {n.decode().lower(): v.decode("latin-1") for n, v in start["headers"]},
        "body": base64.b64encode(body).decode(),
        "reply": base64.b64encode(reply).decode(),
    }


def _is_json(start: dict[str, Any]) -> bool:
    types = [value for name, value in start["headers"] if name.lower() == b"content-type"]
    return any(value.startswith(b"application/json") for value in types)


if FOLDER:
    sys.meta_path.insert(0, _Finder())  # type: ignore[arg-type]
