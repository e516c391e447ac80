"""The target of a kill: the embedded service, complete or only its Batch part."""

from __future__ import annotations

import base64
import os
import select
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from azure.batch import BatchClient
from azure.core.credentials import AzureNamedKeyCredential

from batchspec import local

_KEY = base64.b64encode(b"for one sweep").decode()
_BARE = f"""
import asyncio, sys
from pathlib import Path
from batchspec.local.process import kill_orphans
from batchspec.local.service import ServiceConfig, serve
data = Path(sys.argv[1])
kill_orphans(data)
config = ServiceConfig(data=data, account="account", key={_KEY!r})
asyncio.run(serve(config, lambda url: print(url, flush=True)))
"""


class Target(Protocol):
    """The service to kill, with one data folder for all its starts."""

    def start(self) -> BatchClient:
        """Start it and return a client without retries."""

    def kill(self) -> None:
        """Send SIGKILL and wait until the service has ended. Child processes may live longer."""

    def stop(self) -> None:
        """End the remaining processes."""


@dataclass(slots=True)
class Daemon:
    """The complete service, as ``batchspec local start`` starts it."""

    data: Path
    pid: int = 0

    def start(self) -> BatchClient:
        endpoints = local.start(self.data)
        self.pid = endpoints.pid
        return _impatient(endpoints.batch_url, endpoints.batch_account, endpoints.batch_key)

    def kill(self) -> None:
        descriptor = os.pidfd_open(self.pid)
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        select.select([descriptor], [], [])
        os.close(descriptor)

    def stop(self) -> None:
        local.stop(self.data)


@dataclass(slots=True)
class Bare:
    """The Batch service without Azurite and without a lock, which starts faster."""

    data: Path
    process: subprocess.Popen[str] | None = None

    def start(self) -> BatchClient:
        command = [sys.executable, "-c", _BARE, str(self.data)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        return _impatient(self.process.stdout.readline().strip(), "account", _KEY)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None

    def stop(self) -> None:
        self.kill()


def _impatient(url: str, account: str, key: str) -> BatchClient:
    return BatchClient(url, AzureNamedKeyCredential(account, key), retry_total=0)
