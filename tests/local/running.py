"""A Batch service for one test, reached over a socket, with every exchange checked.

Without an engine, pools stay resizing and tasks active, so that a test sees only the effects of the
API and acts as the engine through ``service.store``.
"""

from __future__ import annotations

import asyncio
import base64
import http.client
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from azure.batch import BatchClient
from azure.core.credentials import AzureNamedKeyCredential
from azure.core.pipeline.policies import SansIOHTTPPolicy

from batchspec.local.service import EngineFactory, ServiceConfig, serve
from batchspec.local.store import Store
from tests.local.openapi import openapi_description
from tests.local.signing import authorization

ACCOUNT = "testaccount"
KEY = base64.b64encode(b"a key for tests" * 4).decode()
TOKEN = "a-token-for-tests"
VERSION = "2025-06-01"


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply; ``headers`` by lower-case name."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The code of the fault."""
        code: str = self.json["code"]
        return code

    @property
    def values(self) -> dict[str, str]:
        """The key/value pairs of the fault."""
        return {item["key"]: item["value"] for item in self.json.get("values", ())}


@dataclass(slots=True)
class Service:
    """A running service, its client and its store."""

    url: str
    data: Path
    account: str = ACCOUNT
    key: str = field(default=KEY, repr=False)
    token: str = field(default=TOKEN, repr=False)
    violations: list[str] = field(default_factory=list)
    _store: Store | None = None
    _client: BatchClient | None = None

    @property
    def store(self) -> Store:
        """The state of the service, for a test that acts as the engine."""
        if self._store is None:
            self._store = Store(self.data / "batch.db")
        return self._store

    @property
    def client(self) -> BatchClient:
        """The client of the SDK, with a policy that checks every exchange."""
        if self._client is None:
            self._client = BatchClient(
                self.url,
                AzureNamedKeyCredential(self.account, self.key),
                retry_total=0,
                polling_interval=0.01,
                per_retry_policies=[_OpenApiPolicy(self.violations)],
            )
        return self._client

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: str = "",
        headers: Mapping[str, str] | None = None,
        key: str | None = None,
        version: str | None = VERSION,
        checked: bool = True,
    ) -> Answer:
        """Send one signed request, for requests that the SDK cannot send."""
        full = "&".join(
            part for part in (f"api-version={version}" if version else "", query) if part
        )
        content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        sent = {
            "ocp-date": format_datetime(datetime.now(UTC), usegmt=True),
            **({"content-type": "application/json; odata=minimalmetadata"} if content else {}),
            **({} if method in ("GET", "HEAD") else {"content-length": str(len(content or b""))}),
            **(headers or {}),
        }
        sent["authorization"] = authorization(
            method, path, full, sent, self.account, self.key if key is None else key
        )
        parts = urlsplit(self.url)
        connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=10)
        try:
            connection.request(method, f"{path}?{full}", content, sent)
            reply = connection.getresponse()
            got = {name.lower(): value for name, value in reply.getheaders()}
            answer = Answer(reply.status, got, reply.read())
        finally:
            connection.close()
        description = openapi_description(version or "")
        if checked and description is not None:
            url = f"{self.url}{path}?{full}"
            self.violations += description.violations(
                method, url, content, answer.status, got, answer.body
            )
        return answer

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
        if self._store is not None:
            self._store.close()


class _OpenApiPolicy(SansIOHTTPPolicy[Any, Any]):
    """Checks each exchange of the client against the OpenAPI description."""

    def __init__(self, violations: list[str]) -> None:
        self._violations = violations

    def on_response(self, request: Any, response: Any) -> None:
        sent, got = request.http_request, response.http_response
        description = openapi_description(VERSION)
        if description is None or sent.headers.get("Accept") == "application/octet-stream":
            return
        content = sent.content
        self._violations += description.violations(
            sent.method,
            sent.url,
            content.encode() if isinstance(content, str) else content,
            got.status_code,
            {name.lower(): value for name, value in got.headers.items()},
            got.read(),
        )


@contextmanager
def running(
    data: Path, make_engine: EngineFactory | None = None, **config: Any
) -> Iterator[Service]:
    """Run a service on ``data`` in a separate thread within the context."""
    ready = threading.Event()
    loop = asyncio.new_event_loop()
    urls: list[str] = []
    failures: list[BaseException] = []

    def announce(url: str) -> None:
        urls.append(url)
        ready.set()

    settings = ServiceConfig(data=data, account=ACCOUNT, key=KEY, **{"token": TOKEN, **config})
    task = loop.create_task(serve(settings, announce, make_engine=make_engine))

    def run() -> None:
        try:
            loop.run_until_complete(task)
        except asyncio.CancelledError:
            pass
        except BaseException as error:  # noqa: BLE001  raised in the thread of the test
            failures.append(error)
        finally:
            ready.set()

    thread = threading.Thread(target=run, name="batch-service")
    thread.start()
    assert ready.wait(30)
    service = Service(urls[0] if urls else "", data)
    try:
        if failures:
            raise failures[0]
        yield service
        assert service.violations == []
    finally:
        service.close()
        loop.call_soon_threadsafe(task.cancel)
        thread.join(30)
        loop.close()
        assert not thread.is_alive()
