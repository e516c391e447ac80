"""Has each embedded service that a test starts write down what it is asked and what it answers.

Python imports this in every process whose ``PYTHONPATH`` has this folder; it waits for the door of
the service to be imported, and costs nothing where that never happens. See ``exchanges.py``.
"""

from __future__ import annotations

import os
import sys
from typing import Any

APP = "batchspec.local.http.app"
FOLDER = os.environ.get("EXCHANGES_OF_TESTS", "")


class _Finder:
    """Finds the door as Python would, and has it tapped once it is there."""

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
            _tap(module.App)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def _tap(door: Any) -> None:
    import json  # noqa: PLC0415
    import time  # noqa: PLC0415

    answer = door.__call__
    loaded = time.time_ns()  # a later process may have the same number
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC

    async def call(self: Any, scope: Any, receive: Any, send: Any) -> None:
        asked, told = bytearray(), bytearray()
        start: dict[str, Any] = {}

        async def hear() -> Any:
            message = await receive()
            asked.extend(message.get("body", b""))
            return message

        async def say(message: Any) -> None:
            if message["type"] == "http.response.start":
                start.update(message)
            elif _is_json(start):
                told.extend(message.get("body", b""))
            if message["type"] == "http.response.body" and not message.get("more_body"):
                write()  # before the client knows, so that no test can be the faster
            await send(message)

        def write() -> None:
            exchange = _exchange(scope, start, bytes(asked), bytes(told))
            # By process, as more than one may serve; whole lines, as any may be killed.
            try:
                file = os.open(f"{FOLDER}/{os.getpid()}-{loaded}.jsonl", flags, 0o600)
            except FileNotFoundError:  # the tests are over
                return
            try:
                os.write(file, json.dumps(exchange).encode() + b"\n")
            finally:
                os.close(file)

        await answer(self, scope, hear, say)

    door.__call__ = call


def _exchange(scope: Any, start: dict[str, Any], asked: bytes, told: bytes) -> dict[str, Any]:
    import base64  # noqa: PLC0415

    return {
        "method": scope["method"],
        "path": scope["raw_path"].decode("latin-1"),
        "query": scope["query_string"].decode("latin-1"),
        "status": start["status"],
        "headers": {n.decode().lower(): v.decode("latin-1") for n, v in start["headers"]},
        "asked": base64.b64encode(asked).decode(),
        "told": base64.b64encode(told).decode(),
    }


def _is_json(start: dict[str, Any]) -> bool:
    types = [value for name, value in start["headers"] if name.lower() == b"content-type"]
    return any(value.startswith(b"application/json") for value in types)


if FOLDER:
    sys.meta_path.insert(0, _Finder())  # type: ignore[arg-type]
