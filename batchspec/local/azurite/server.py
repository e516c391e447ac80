"""A running Azurite: its command line, readiness, and a stop without loss of data."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Self

from batchspec.local.azurite.installation import Installation, NodeJs
from batchspec.local.process import die_with_parent
from batchspec.local.sas import delegation_seed
from batchspec.local.startup import LocalError, last_lines

STOP_SECONDS = 10.0
"""Timeout of a graceful stop in seconds; a request in progress takes up to 6 s."""
START_SECONDS = 60.0
"""Timeout of a start in seconds; a start takes half a second on an idle machine."""

_READY = re.compile(
    rb"successfully listens on http://127\.0\.0\.1:(\d+)\n.*^SIGTERM is handled$",
    re.DOTALL | re.MULTILINE,
)
_HTTPS_READY = re.compile(rb"^https is served on port (\d+)$", re.MULTILINE)
_SIGTERM_REPORT = Path(__file__).with_name("report_sigterm_handler.js")
_HTTPS_LISTENER = Path(__file__).with_name("https_listener.js")
_AUTHENTICATION = Path(__file__).with_name("authentication.js")
_BLOB_WRITES = Path(__file__).with_name("blob_writes.js")
_REQUEST_CACHES = Path(__file__).with_name("request_caches.js")
_POLL = 0.01


@dataclass(frozen=True, slots=True)
class HttpsListener:
    """An https port in addition to the http port; ``port`` is its preferred number, 0 any free one.

    ``certificate``, its ``key`` and the certificate of the ``authority`` that issued it are files
    in PEM format.
    """

    certificate: Path
    key: Path
    authority: Path
    port: int = 0


@dataclass(frozen=True, slots=True)
class LaunchOptions:
    """Options of a start.

    ``location`` is the folder of the blobs; ``None`` keeps them in memory. ``port`` 0 is any free
    port. ``account`` with ``key`` (base64) is the only account: the well-known development account
    does not exist. ``log`` receives all output. ``inherit`` are descriptors that Azurite inherits.
    ``https`` is a second port; without it Azurite serves http only. ``token`` is the accepted
    bearer token; if it is empty, no token is accepted. With ``entra_only``, Azurite refuses
    signatures made with the key.
    """

    node: NodeJs
    installed: Installation
    account: str
    key: str = field(repr=False)
    log: Path
    location: Path | None = None
    port: int = 0
    inherit: tuple[int, ...] = ()
    https: HttpsListener | None = None
    token: str = field(repr=False, default="")
    entra_only: bool = False

    def command(self, port: int) -> list[str]:
        """The command line; it contains neither the key nor the token."""
        where = ["--location", os.fspath(self.location)] if self.location else None
        return [
            os.fspath(self.node.executable),
            "--require",
            os.fspath(_SIGTERM_REPORT),
            "--require",
            os.fspath(_AUTHENTICATION),
            "--require",
            os.fspath(_BLOB_WRITES),
            "--require",
            os.fspath(_REQUEST_CACHES),
            *(["--require", os.fspath(_HTTPS_LISTENER)] if self.https else []),
            os.fspath(self.installed.entry),
            "--blobHost",
            "127.0.0.1",
            "--blobPort",
            str(port),
            *(where or ["--inMemoryPersistence"]),
            "--silent",
            "--disableTelemetry",
            # Without this option, Azurite rejects the api-versions of current SDKs (Azure/Azurite
            # #2466, #2564, #2651).
            "--skipApiVersionCheck",
        ]

    def environment(self) -> dict[str, str]:
        """The complete environment. Other variables of this process do not reach Azurite."""
        kept = {name: os.environ[name] for name in ("HOME", "LANG", "TMPDIR") if name in os.environ}
        if self.https:
            listener = asdict(self.https)
            kept["BATCHSPEC_HTTPS"] = json.dumps(listener, default=os.fspath)
            # Azurite fetches the source of a copy, which can be an https URL of the same Azurite.
            kept["NODE_EXTRA_CA_CERTS"] = os.fspath(self.https.authority)
        authentication = {
            "account": self.account,
            "key": self.key,
            "seed": delegation_seed(self.key),
            "token": self.token,
            "entraOnly": self.entra_only,
        }
        return kept | {
            "AZURITE_ACCOUNTS": f"{self.account}:{self.key}",
            "BATCHSPEC_AUTHENTICATION": json.dumps(authentication),
        }


class AzuriteServer:
    """An Azurite process that this process has started; it ends with this process."""

    def __init__(
        self, launch: LaunchOptions, process: subprocess.Popen[bytes], offset: int
    ) -> None:
        self.launch = launch
        self.process = process
        self._offset = offset

    @classmethod
    def spawn(cls, launch: LaunchOptions, *, port: int) -> Self:
        """Start Azurite, which is ready when :meth:`wait_ready` returns.

        On Linux the kernel ends Azurite when the calling thread ends.
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
                # Ctrl-C in a terminal must not end Azurite before its clients.
                start_new_session=True,
                preexec_fn=die_with_parent(),  # noqa: PLW1509  one prepared system call
            )
        return cls(launch, process, offset)

    def wait_ready(self, seconds: float = START_SECONDS) -> int:
        """Wait until Azurite is ready, and return its port.

        Azurite is ready when it handles SIGTERM, shortly after it has logged its address. From then
        on it can be stopped without loss of data.

        Raises:
            LocalError: Azurite ended before it was ready (``azurite-port-taken``,
                ``azurite-damaged``, ``azurite-exited``) or was not ready in time
                (``azurite-not-ready``).
        """
        until = time.monotonic() + seconds
        while True:
            # Check for the exit before reading the output: after an exit the output is complete.
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
        """Stop Azurite gracefully; kill it after ``seconds``, which can lose 5 s of writes.

        Returns whether it stopped gracefully, with all data on disk.
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
        output = self._output()
        found = _READY.search(output)
        if found is None or (self.launch.https and not _HTTPS_READY.search(output)):
            return None
        return int(found[1])

    @property
    def https_port(self) -> int | None:
        """The https port of a ready Azurite; ``None`` for http only."""
        found = _HTTPS_READY.search(self._output())
        return int(found[1]) if found else None

    def _exited(self) -> LocalError:
        # The exit code is not useful: with an unknown option Azurite exits with 0.
        output = self._output().decode(errors="replace")
        log, lines = self.launch.log, output.splitlines()[-12:]
        if "EADDRINUSE" in output:
            return LocalError(
                "azurite-port-taken",
                "Azurite cannot be started: another program listens on its port.",
                fix="Use port 0 for any free port.",
                log=log,
                lines=lines,
            )
        if "MODULE_NOT_FOUND" in output or "ERR_REQUIRE_ESM" in output:
            return LocalError(
                "azurite-damaged",
                "The installed Azurite is incomplete or does not work with this Node.js.",
                fix="Delete it; the next start installs it again: "
                f"rm -r {self.launch.installed.folder}",
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
    """Whether an HTTP server on ``port`` sends any reply."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
            return connection.recv(5) == b"HTTP/"
    except OSError:
        return False
