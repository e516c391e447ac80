"""The task program as a module and as a command, and a blob service that can be told to fail."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

TOPN = Path(__file__).parents[2] / "task_app" / "topn.py"
SECRET = "c2VjcmV0LXNpZ25hdHVyZQ"


@pytest.fixture(scope="session")
def topn() -> ModuleType:
    """The program as a module, loaded from its file: it belongs to no package."""
    name = "topn_under_test"
    spec = importlib.util.spec_from_file_location(name, TOPN)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def command(*arguments: object, cwd: Path, **kwargs: Any) -> subprocess.CompletedProcess[str]:
    """Run the program as a node does."""
    line = [sys.executable, str(TOPN), *map(str, arguments)]
    return subprocess.run(
        line, cwd=cwd, text=True, encoding="utf-8", capture_output=True, check=False, **kwargs
    )


@dataclass
class Put:
    """A request as it arrived."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class BlobServer:
    """Answers each PUT with the next of ``answers``; after the last of them with 201."""

    url: str = ""
    answers: list[tuple[int, dict[str, str]] | None] = field(default_factory=list)
    puts: list[Put] = field(default_factory=list)


@pytest.fixture
def blobs() -> Iterator[BlobServer]:
    """A server on the loopback. The answer ``None`` is a connection cut without an answer."""
    server = BlobServer()

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            server.puts.append(Put(self.path, dict(self.headers.items()), body))
            answer = server.answers.pop(0) if server.answers else (201, {})
            if answer is None:
                self.close_connection = True
                return
            status, headers = answer
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing on the tests' screen."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        port = http.server_address[1]
        server.url = f"http://127.0.0.1:{port}/account/output?sp=cw&sig={SECRET}%2B%3D"
        thread = threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        http.shutdown()
        thread.join()
