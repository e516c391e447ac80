"""A Batch service of one's own, reached over a socket, every exchange judged.

The service has no engine: pools stay resizing and tasks active, so that a test sees what the API
alone does, and plays the engine through ``service.store``.
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
from tests.local.description import judge_of
from tests.local.signing import authorization

ACCOUNT = "testaccount"
KEY = base64.b64encode(b"a key for tests" * 4).decode()
VERSION = "2025-06-01"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back over the wire. ``headers`` by lower-case name."""

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
    wrong: list[str] = field(default_factory=list)
    _store: Store | None = None
    _client: BatchClient | None = None

    @property
    def store(self) -> Store:
        """The service's own state, for a test that plays the engine."""
        if self._store is None:
            self._store = Store(self.data / "batch.db")
        return self._store

    @property
    def client(self) -> BatchClient:
        """The SDK's client, unmodified but for the judge that looks on."""
        if self._client is None:
            self._client = BatchClient(
                self.url,
                AzureNamedKeyCredential(self.account, self.key),
                retry_total=0,
                polling_interval=0.01,
                per_retry_policies=[_Judge(self.wrong)],
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
        judged: bool = True,
    ) -> Answer:
        """One signed request as written here, for what the SDK would not send."""
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
        judge = judge_of(version or "")
        if judged and judge is not None:
            url = f"{self.url}{path}?{full}"
            self.wrong += judge.judge(method, url, content, answer.status, got, answer.body)
        return answer

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
        if self._store is not None:
            self._store.close()


class _Judge(SansIOHTTPPolicy[Any, Any]):
    """Has the description judge each exchange of the client."""

    def __init__(self, wrong: list[str]) -> None:
        self._wrong = wrong

    def on_response(self, request: Any, response: Any) -> None:
        judge, sent, got = judge_of(VERSION), request.http_request, response.http_response
        if judge is None or sent.headers.get("Accept") == "application/octet-stream":
            return
        content = sent.content
        self._wrong += judge.judge(
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
    """A service on ``data`` while the context lasts, in a thread of its own."""
    ready = threading.Event()
    loop = asyncio.new_event_loop()
    urls: list[str] = []
    failures: list[BaseException] = []

    def announce(url: str) -> None:
        urls.append(url)
        ready.set()

    settings = ServiceConfig(data=data, account=ACCOUNT, key=KEY, **config)
    task = loop.create_task(serve(settings, announce, make_engine=make_engine))

    def run() -> None:
        try:
            loop.run_until_complete(task)
        except asyncio.CancelledError:
            pass
        except BaseException as error:  # noqa: BLE001  told to the test's thread
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
        assert service.wrong == []
    finally:
        service.close()
        loop.call_soon_threadsafe(task.cancel)
        thread.join(30)
        loop.close()
        assert not thread.is_alive()
