"""``batchspec`` in a subprocess that starts fast: a fork server has imported its modules."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import pkgutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import IO, Any, Protocol

import batchspec.cli.commands
import batchspec.cloud.connect
from batchspec.cli.main import main

for _module in pkgutil.iter_modules(batchspec.cli.commands.__path__):
    importlib.import_module(f"batchspec.cli.commands.{_module.name}")

CONTEXT = multiprocessing.get_context("forkserver")
"""The source of processes."""

CONTEXT.set_forkserver_preload([__name__, "tests.fault_injection.client"])


class RunningCommand(Protocol):
    """A started command with its output in one pipe: a part of ``subprocess.Popen[str]``."""

    stdout: IO[str] | None

    @property
    def pid(self) -> int: ...

    @property
    def returncode(self) -> int | None: ...

    def wait(self, timeout: float | None = None) -> int: ...

    def communicate(self, *, timeout: float | None = None) -> tuple[str, Any]: ...

    def poll(self) -> int | None: ...

    def kill(self) -> None: ...


class ForkedCommand:
    """A :class:`RunningCommand` in a process of the fork server, in a separate process group."""

    def __init__(
        self, words: Sequence[str | Path], *, folder: Path, environ: Mapping[str, str]
    ) -> None:
        reader, writer = os.pipe()
        self.stdout: IO[str] | None = os.fdopen(reader, encoding="utf-8")
        arguments = ([str(word) for word in words], folder, dict(environ))
        # A daemon: a test that fails does not leave it behind.
        self._process = CONTEXT.Process(
            target=_run_in_group, args=(*arguments, _Descriptor(writer)), daemon=True
        )
        try:
            self._process.start()
        finally:
            os.close(writer)

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end and return its exit code; that of a signal is negative."""
        self._process.join(timeout)
        code = self._process.exitcode
        if code is None:
            raise subprocess.TimeoutExpired("batchspec", timeout or 0)
        return code

    def communicate(self, *, timeout: float | None = None) -> tuple[str, None]:
        """Read the rest of its output and wait for its end."""
        assert self.stdout is not None
        text = self.stdout.read()
        self.stdout.close()
        self.wait(timeout)
        return text, None

    def poll(self) -> int | None:
        return self._process.exitcode

    def kill(self) -> None:
        self._process.kill()


class _Descriptor:
    """A file descriptor, duplicated for the child process when it is pickled."""

    def __init__(self, number: int) -> None:
        self._number = number

    def __reduce__(self) -> tuple[Any, ...]:
        return _detached, (DupFd(self._number),)


def _detached(duplicate: Any) -> int:
    number: int = duplicate.detach()
    return number


def _run_in_group(words: list[str], folder: Path, environ: dict[str, str], output: int) -> None:
    os.setsid()
    with Path(os.devnull).open(encoding="utf-8") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115  for this process
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", closefd=False, buffering=1)  # noqa: SIM115
    _run(words, folder, environ)


def run_child(
    words: list[str], folder: Path, environ: dict[str, str], out: Path, err: Path
) -> None:
    """The body of a child process with its output in files; :func:`main` ends it."""
    write_to(out, 1)
    write_to(err, 2)
    _run(words, folder, environ)


def _run(words: list[str], folder: Path, environ: dict[str, str]) -> None:
    # A shell that runs the tests in the background ignores SIGINT, which processes inherit.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environ)
    tempfile.tempdir = None
    sys.argv = ["batchspec", *words]
    main()


def write_to(path: Path, number: int) -> None:
    """Redirect a standard stream of this process, 1 or 2, to the end of a file."""
    with path.open("ab", buffering=0) as file:
        os.dup2(file.fileno(), number)
    stream = os.fdopen(number, "w", encoding="utf-8", buffering=1, closefd=False)
    if number == 1:
        sys.stdout = stream
    else:
        sys.stderr = stream
