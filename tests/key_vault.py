"""A key vault on the loopback interface: the answers of a test to GET requests of secrets."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True, slots=True)
class Answer:
    """The status, JSON body and headers of an answer."""

    status: int
    body: Any
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class FakeVault:
    """``answers`` by the path of a secret; ``requests`` are the paths and headers received."""

    url: str
    answers: dict[str, Answer] = field(default_factory=dict)
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def add(self, name: str, value: str) -> str:
        """Add a secret; its URL."""
        self.answers[f"/secrets/{name}"] = Answer(200, {"value": value, "attributes": {}})
        return f"{self.url}/secrets/{name}"

    def refuse(
        self, name: str, status: int, code: str, inner: str = "", message: str = "", **headers: str
    ) -> str:
        """Answer requests for a secret with an error, as Key Vault does; its URL."""
        error: dict[str, Any] = {"code": code, "message": message}
        if inner:
            error["innererror"] = {"code": inner}
        self.answers[f"/secrets/{name}"] = Answer(status, {"error": error}, headers)
        return f"{self.url}/secrets/{name}"


@contextmanager
def fake_vault() -> Iterator[FakeVault]:
    """A vault that runs in a thread."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            vault.requests.append((self.path, dict(self.headers)))
            missing = Answer(404, {"error": {"code": "SecretNotFound", "message": "not found"}})
            answer = vault.answers.get(self.path.partition("?")[0], missing)
            body = json.dumps(answer.body).encode()
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Type", "application/json; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    vault = FakeVault(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield vault
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
