"""Sends the summary of an ended run to the command and the webhook of its spec.

A failure is a warning and does not change the outcome of the run. No message contains the URL or a
header.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import socket
import ssl
import subprocess
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from batchspec.apply.events import Outcome
from batchspec.cloud import is_loopback
from batchspec.diagnostics import Diagnostic, counted, redact
from batchspec.render import (
    Report,
    command_not_notified,
    notification_text,
    summary_line,
    webhook_not_notified,
)
from batchspec.spec import Notify, NotifyWhen, Webhook
from batchspec.version import __version__

_SUCCESS = frozenset({Outcome.DONE, Outcome.SCHEDULED})
_FAILURE = frozenset({Outcome.TASKS_FAILED, Outcome.TIME_LIMIT, Outcome.FAILED})
_ENDS: Mapping[NotifyWhen, frozenset[Outcome]] = {
    NotifyWhen.ALWAYS: _SUCCESS | _FAILURE,
    NotifyWhen.ON_SUCCESS: _SUCCESS,
    NotifyWhen.ON_FAILURE: _FAILURE,
}
"""The outcomes with a notification. An interrupted or detached run continues later."""

_ATTEMPTS = 3
_FIRST_PAUSE = 1.0
"""Seconds before the first repetition, without ``Retry-After``; the next pause is twice as long."""
_BUSY = frozenset({408, 429, 500, 502, 503, 504})
_SUMMARY, _OUTPUT = "summary.json", "output.txt"
_LINES = 5
"""How many lines of the output of a failed command are shown."""
_TAIL = 4096
"""How many characters these lines have at most."""


@dataclass(frozen=True, slots=True)
class Notifier:
    """Sends the notifications of a spec in ``folder``; ``sleep`` waits for seconds.

    The command gets the environment variables ``environ`` and three more:
    ``BATCHSPEC_SUMMARY`` (the path of a file with the JSON), ``BATCHSPEC_OUTCOME`` and
    ``BATCHSPEC_TEXT`` (a line).
    """

    notify: Notify
    folder: Path
    environ: Mapping[str, str]
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep

    def wanted(self, outcome: Outcome) -> bool:
        """Whether this outcome of a run needs a notification."""
        return outcome in _ENDS[self.notify.when]

    async def send(self, report: Report) -> list[Diagnostic]:
        """Send the summary to each receiver; returns a warning for each failure.

        This takes no longer than the timeout. Cancellation kills the command.
        """
        text, seconds = notification_text(report), self.notify.timeout.total_seconds()
        async with asyncio.TaskGroup() as group:
            sent: list[asyncio.Task[Diagnostic | None]] = []
            if self.notify.command is not None:
                command = self._run_command(self.notify.command.reveal(), report, text, seconds)
                sent.append(group.create_task(command))
            if self.notify.webhook is not None:
                sent.append(group.create_task(self._post(self.notify.webhook, text, seconds)))
        return [warning for task in sent if (warning := task.result()) is not None]

    async def _run_command(
        self, command: str, report: Report, text: str, seconds: float
    ) -> Diagnostic | None:
        with tempfile.TemporaryDirectory(prefix="batchspec-", ignore_cleanup_errors=True) as files:
            environ = {
                **self.environ,
                "BATCHSPEC_SUMMARY": f"{files}{os.sep}{_SUMMARY}",
                "BATCHSPEC_OUTCOME": report.outcome.value if report.outcome else "",
                "BATCHSPEC_TEXT": summary_line(report),
            }
            try:
                process = _start(command, self.folder, environ, Path(files), text)
            except OSError as error:
                # The file is the program, or the folder in which the program starts.
                why = f"cannot be started: {error.filename}: {error.strerror}"
                return command_not_notified(redact(why), "")
            try:
                code = await asyncio.to_thread(process.wait, seconds)
            except subprocess.TimeoutExpired:
                why = f"has not ended after {seconds:g} s and was killed"
            else:
                if code == 0:
                    return None
                why = f"ended with exit code {code}"
            finally:
                _kill(process)
            return command_not_notified(why, _last_lines(Path(files, _OUTPUT)))

    async def _post(self, webhook: Webhook, text: str, seconds: float) -> Diagnostic | None:
        try:
            async with asyncio.timeout(seconds) as limit:
                why = await self._post_until_accepted(webhook, text, limit.when() or 0.0)
        except TimeoutError:
            why = f"no response within {seconds:g} s"
        receiver = redact(webhook.server) or "the webhook of `notify`"
        return webhook_not_notified(receiver, why) if why else None

    async def _post_until_accepted(self, webhook: Webhook, text: str, deadline: float) -> str:
        """Why the summary was not accepted; empty if it was."""
        import aiohttp

        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "User-Agent": f"batchspec/{__version__}",
            **{name: value.reveal() for name, value in webhook.headers.items()},
        }
        # Use the proxy of the environment, except for this machine.
        trust_env = not is_loopback(webhook.url.reveal())
        async with aiohttp.ClientSession(trust_env=trust_env) as session:
            for attempt in range(1, _ATTEMPTS + 1):
                wait = _FIRST_PAUSE * attempt
                try:
                    async with session.post(
                        webhook.url.reveal(),
                        data=text.encode(),
                        headers=headers,
                        # A redirect would send the headers to another receiver.
                        allow_redirects=False,
                    ) as response:
                        if 200 <= response.status < 300:
                            return ""
                        why = f"HTTP status {response.status}"
                        if response.status not in _BUSY:
                            return why
                        after = response.headers.get("Retry-After", "")
                        wait = float(after) if after.isdecimal() else wait
                except aiohttp.ClientConnectorCertificateError:
                    return "its certificate is not valid"
                except (aiohttp.ClientError, ValueError) as error:
                    # The texts of these errors contain the URL.
                    why = _reason(error)
                if attempt == _ATTEMPTS or asyncio.get_running_loop().time() + wait > deadline:
                    break
                await self.sleep(wait)
        return f"{why} ({counted(attempt, 'attempt')})"


def _start(
    command: str, folder: Path, environ: Mapping[str, str], files: Path, text: str
) -> subprocess.Popen[bytes]:
    """Start a command with the summary as its standard input.

    Input and output are files, not pipes: if the command leaves a process running, no reader waits
    for its end.

    Raises:
        OSError: the command cannot be started.
    """
    summary = files / _SUMMARY
    summary.write_text(text, encoding="utf-8")
    with summary.open("rb") as given, (files / _OUTPUT).open("wb") as output:
        return subprocess.Popen(
            command if os.name == "nt" else shlex.split(command),
            cwd=folder,
            env=environ,
            stdin=given,
            stdout=output,
            stderr=subprocess.STDOUT,
            # Ctrl-C must not reach the command: it stops the run, which kills the command.
            start_new_session=True,
        )


def _reason(error: Exception) -> str:
    """Why the webhook did not respond, without the URL and its host."""
    cause = getattr(error, "os_error", error)
    if isinstance(cause, socket.gaierror):
        text = "its name is not known"
    elif isinstance(cause, ssl.SSLError):
        text = "the server does not speak TLS, or its certificate is not trusted"
    elif isinstance(cause, OSError) and cause.errno:
        text = os.strerror(cause.errno)
    else:
        text = type(error).__name__
    return f"it cannot be reached ({text})"


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a running command, with the processes that it has started."""
    if process.poll() is not None:
        return
    if os.name == "nt":
        process.kill()
    else:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _last_lines(output: Path) -> str:
    with output.open("rb") as file:
        file.seek(max(output.stat().st_size - 2 * _TAIL, 0))
        text = file.read(2 * _TAIL).decode("utf-8", "replace").rstrip()
    # More is read than shown, because `redact` does not find a secret whose start is cut off.
    dropped = max(len(text) - _TAIL, 0)
    return "\n".join(redact(text)[dropped:].splitlines()[-_LINES:])
