"""One running Azurite: started, known to be ready, stopped without loss.

What lives here: its command line, its readiness and its end. What may not: finding or installing
it, and starting it again when it dies (``daemon.keeper``).
"""

from __future__ import annotations

import ctypes
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from batchspec.local.azurite.install import Installation
from batchspec.local.azurite.nodejs import NodeJs
from batchspec.local.error import LocalError, last_lines

STOP_SECONDS = 10.0
"""How long an Azurite that was told to end may take; a request in flight costs up to 6 s."""
START_SECONDS = 60.0
"""How long it may take to be ready: half a second when the machine is idle."""

_READY = re.compile(
    rb"successfully listens on http://127\.0\.0\.1:(\d+)\n.*^SIGTERM is handled$",
    re.DOTALL | re.MULTILINE,
)
_TELL = Path(__file__).with_name("tell.js")
_POLL = 0.01


@dataclass(frozen=True, slots=True)
class LaunchOptions:
    """What to start.

    ``location`` is the folder of the blobs; ``None`` keeps them in memory. ``port`` 0 takes a free
    one. ``key`` (base64) is the account's only way in: the published development account does not
    exist on this server. ``log`` gets all output. ``inherit`` are descriptors that stay open in it.
    """

    node: NodeJs
    installed: Installation
    account: str
    key: str = field(repr=False)
    log: Path
    location: Path | None = None
    port: int = 0
    inherit: tuple[int, ...] = ()

    def command(self, port: int) -> list[str]:
        """The command line; it holds no key."""
        where = ["--location", os.fspath(self.location)] if self.location else None
        return [
            os.fspath(self.node.executable),
            "--require",
            os.fspath(_TELL),
            os.fspath(self.installed.entry),
            "--blobHost",
            "127.0.0.1",
            "--blobPort",
            str(port),
            *(where or ["--inMemoryPersistence"]),
            "--silent",
            "--disableTelemetry",
            # Each release of the SDK sends a newer version than the newest that Azurite knows, and
            # would be refused (Azure/Azurite #2466, #2564, #2651).
            "--skipApiVersionCheck",
            "--disableProductStyleUrl",
        ]

    def environment(self) -> dict[str, str]:
        """All that it sees of the environment: nothing of ours can change what it does."""
        kept = {name: os.environ[name] for name in ("HOME", "LANG", "TMPDIR") if name in os.environ}
        return kept | {"AZURITE_ACCOUNTS": f"{self.account}:{self.key}"}


class AzuriteServer:
    """An Azurite that was started and belongs to this process: it ends when this process does."""

    def __init__(
        self, launch: LaunchOptions, process: subprocess.Popen[bytes], offset: int
    ) -> None:
        self.launch = launch
        self.process = process
        self._offset = offset

    @classmethod
    def spawn(cls, launch: LaunchOptions, *, port: int) -> Self:
        """Start it; it is not ready before :meth:`wait_ready` has returned.

        To be called from a thread that lives as long as the server shall: on Linux the kernel
        ends the server when the thread that started it ends.
        """
        descriptor = os.open(launch.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "wb") as output:
            offset = output.seek(0, os.SEEK_END)
            process = subprocess.Popen(
                launch.command(port),
                env=launch.environment(),
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=launch.inherit,
                # Ctrl-C in a terminal must not end the store before its users are done with it.
                start_new_session=True,
                preexec_fn=_die_with_parent(),  # noqa: PLW1509  one system call, prepared before
            )
        return cls(launch, process, offset)

    def wait_ready(self, seconds: float = START_SECONDS) -> int:
        """Wait until it answers, and return its port.

        The line in its log comes first; but only when it handles SIGTERM, a moment later, can it
        be stopped without losing what it was given.

        Raises:
            LocalError: it ended before it was ready (``azurite-port-taken``, ``azurite-damaged``,
                ``azurite-exited``) or was not ready in time (``azurite-not-ready``).
        """
        until = time.monotonic() + seconds
        while True:
            # Whether it has exited is looked at first: what it wrote before is then complete.
            ended = self.process.poll() is not None
            port = self._ready_port()
            if ended:
                raise self._exited()
            if port and _answers(port):
                return port
            if time.monotonic() > until:
                self.stop(0)
                raise LocalError(
                    "azurite-not-ready",
                    f"Azurite was not ready after {seconds:.0f} seconds.",
                    log=self.launch.log,
                    lines=last_lines(self.launch.log),
                )
            time.sleep(_POLL)

    def stop(self, seconds: float = STOP_SECONDS) -> bool:
        """Tell it to end and wait; kill it after ``seconds``, which can lose 5 s of writes.

        Returns whether it ended by itself, with everything on the disk.
        """
        self.process.terminate()
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return False
        return True

    def _output(self) -> bytes:
        with self.launch.log.open("rb") as log:
            log.seek(self._offset)
            return log.read(65_536)

    def _ready_port(self) -> int | None:
        found = _READY.search(self._output())
        return int(found[1]) if found else None

    def _exited(self) -> LocalError:
        # The exit code says nothing: an option that it does not know ends it with 0.
        output = self._output().decode(errors="replace")
        log, lines = self.launch.log, output.splitlines()[-12:]
        if "EADDRINUSE" in output:
            return LocalError(
                "azurite-port-taken",
                "Azurite cannot be started: another program listens on its port.",
                hint="Port 0 takes a free one",
                log=log,
                lines=lines,
            )
        if "MODULE_NOT_FOUND" in output or "ERR_REQUIRE_ESM" in output:
            return LocalError(
                "azurite-damaged",
                "The installed Azurite is not complete, or does not fit this Node.js.",
                hint=f"Delete {self.launch.installed.folder}; the next start installs it again",
                log=log,
                lines=lines,
            )
        return LocalError(
            "azurite-exited",
            f"Azurite ended before it was ready (exit code {self.process.returncode}).",
            log=log,
            lines=lines,
        )


def _answers(port: int) -> bool:
    """Whether an HTTP server on ``port`` gives a reply, whatever it is."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
            return connection.recv(5) == b"HTTP/"
    except OSError:
        return False


def _die_with_parent() -> Callable[[], None] | None:
    """What the child does before it becomes Azurite, so that it cannot outlive us.

    Python has no name for prctl(2). All is looked up here, before the fork; the child only calls.
    """
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    parent = os.getpid()
    set_death_signal = 1

    def prepare() -> None:
        prctl(set_death_signal, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:  # it died in between, and no signal will come
            os._exit(1)

    return prepare
