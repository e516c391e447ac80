"""An embedded service without an engine in this process, called through its ASGI application."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from batchspec.local.agent import ContainerEngine, SshServers
from batchspec.local.api import Context
from batchspec.local.former_clients import FormerClients
from batchspec.local.http import App
from batchspec.local.store import Applications, Store
from batchspec.local.wire import SignedRequest, strings_to_sign
from replay.comparison import Answer

ACCOUNT = "replay"
_KEY = base64.b64encode(b"of no account" * 5).decode()


class Service:
    """Answers requests; ``store`` is available for acting as the engine."""

    def __init__(self, store: Store, data: Path) -> None:
        self.store = store
        data.mkdir(parents=True, exist_ok=True)
        applications = Applications(data / "applications")
        self.context = Context(
            store,
            ACCOUNT,
            "http://127.0.0.1",
            data,
            "replay",
            applications,
            ContainerEngine({}),
            SshServers(data, lambda *_: None),
        )
        self._app = App(
            self.context, _KEY, "", now=_now, wall=_now, former_clients=FormerClients(data)
        )

    async def send(
        self, method: str, path: str, query: Mapping[str, str], body: Any = None
    ) -> Answer:
        """Send one signed request and return the reply."""
        text = urlencode(query, quote_via=quote, safe="$,")
        content = b"" if body is None else json.dumps(body).encode()
        headers = {"ocp-date": format_datetime(_now(), usegmt=True)}
        if method not in ("GET", "HEAD"):
            headers["content-length"] = str(len(content))
        if content:
            headers["content-type"] = "application/json; odata=minimalmetadata"
        headers["authorization"] = _signature(SignedRequest(method, path, text, headers))
        started: dict[str, Any] = {}
        parts: list[bytes] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": content, "more_body": False}

        async def respond(message: Any) -> None:
            if message["type"] == "http.response.start":
                started.update(message)
            else:
                parts.append(message.get("body", b""))

        scope = {
            "type": "http",
            "method": method,
            "raw_path": path.encode(),
            "query_string": text.encode(),
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        }
        await self._app(scope, receive, respond)
        got = {name.decode().lower(): value.decode() for name, value in started["headers"]}
        raw = b"".join(parts)
        is_json = got.get("content-type", "").startswith("application/json")
        return Answer(started["status"], got, json.loads(raw) if raw and is_json else None)


@contextmanager
def serving(data: Path) -> Iterator[Service]:
    """A service with an empty account; the directories of nodes are below ``data``."""
    store = Store(":memory:")
    try:
        yield Service(store, data)
    finally:
        store.close()


def _signature(request: SignedRequest) -> str:
    text = next(strings_to_sign(request, ACCOUNT))
    mac = hmac.new(base64.b64decode(_KEY), text.encode(), hashlib.sha256).digest()
    return f"SharedKey {ACCOUNT}:{base64.b64encode(mac).decode()}"


def _now() -> datetime:
    return datetime.now(UTC)
