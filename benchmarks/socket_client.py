"""The Batch service in a subprocess, and a client with little overhead."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote, urlsplit

from batchspec.local.wire import SignedRequest, strings_to_sign

KEY = base64.b64encode(b"of a benchmark").decode()
PROGRAM = f"""
import asyncio, sys
from pathlib import Path
from batchspec.local.service import ServiceConfig, serve
from batchspec.local.task_users import separate
data = Path(sys.argv[1])
users = None
if "users" in sys.argv[2:]:
    data.mkdir()
    found = separate(data, [data.parent, data])
    if found.ids is None:
        sys.exit(found.reason or "only root can start processes of other users")
    users = found.ids
config = ServiceConfig(data=data, account="bench", key={KEY!r}, users=users)
asyncio.run(serve(config, lambda url: print(url, flush=True)))
"""
VERSION = "api-version=2025-06-01"


class Service:
    """The Batch service in a subprocess, and one connection to it."""

    def __init__(self, data: Path, *options: str) -> None:
        """``options`` may contain ``users``: tasks run as separate users, which needs root."""
        command = [sys.executable, "-c", PROGRAM, str(data), *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        parts = urlsplit(self.process.stdout.readline().strip())
        self.connection = http.client.HTTPConnection(str(parts.hostname), parts.port)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()
        self.process.terminate()
        self.process.communicate()

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """The decoded reply; an error reply ends the run."""
        path, _, query = path.partition("?")
        query = "&".join(filter(None, (VERSION, quote(query, safe="=&,()'/$"))))
        content = b"" if body is None else json.dumps(body).encode()
        headers = {
            "ocp-date": format_datetime(datetime.now(UTC), usegmt=True),
            "content-type": "application/json",
            "content-length": str(len(content)),
        }
        text = next(strings_to_sign(SignedRequest(method, path, query, headers), "bench"))
        mac = hmac.new(base64.b64decode(KEY), text.encode(), hashlib.sha256).digest()
        headers["authorization"] = f"SharedKey bench:{base64.b64encode(mac).decode()}"
        self.connection.request(method, f"{path}?{query}", content, headers)
        answer = self.connection.getresponse()
        reply = answer.read()
        if answer.status >= 300:
            raise SystemExit(f"{method} {path}: {answer.status} {reply.decode()}")
        return json.loads(reply) if reply else None

    def memory(self) -> float:
        """The resident memory of the service, in MiB."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    def processor(self) -> float:
        """Processor seconds of the service and its child processes (Linux only)."""
        return sum(map(_used, _tree(self.process.pid))) / os.sysconf("SC_CLK_TCK")


def _tree(pid: int) -> Iterator[int]:
    """A process and its descendants."""
    yield pid
    for thread in Path(f"/proc/{pid}/task").iterdir():
        for child in (thread / "children").read_text().split():
            yield from _tree(int(child))


def _used(pid: int) -> int:
    """The ticks of a process and of the child processes it has waited for."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15]))


def pool(pool_id: str, nodes: int) -> dict[str, Any]:
    """A pool in its REST form."""
    image = {"publisher": "canonical", "offer": "ubuntu-24_04-lts", "sku": "server"}
    return {
        "id": pool_id,
        "vmSize": "standard_d2s_v3",
        "virtualMachineConfiguration": {
            "imageReference": image,
            "nodeAgentSKUId": "batch.node.ubuntu 24.04",
        },
        "targetDedicatedNodes": nodes,
    }
