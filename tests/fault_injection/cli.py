"""The command line in a subprocess that starts fast: a fork server has imported its modules."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import pkgutil
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import batchspec.cli.commands
import batchspec.cloud.connect
from batchspec.cli.main import main
from tests.e2e.conftest import Done

for _module in pkgutil.iter_modules(batchspec.cli.commands.__path__):
    importlib.import_module(f"batchspec.cli.commands.{_module.name}")

CONTEXT = multiprocessing.get_context("forkserver")
"""The source of processes; other modules add what they import to its preload."""

CONTEXT.set_forkserver_preload([__name__, "tests.fault_injection.client"])


def run(
    words: Sequence[str | Path], *, folder: Path, environ: Mapping[str, str], timeout: float = 90
) -> Done:
    """Run ``batchspec WORDS`` in a folder, without a terminal, until it ends."""
    with tempfile.TemporaryDirectory() as name:
        out, err = Path(name) / "out", Path(name) / "err"
        process = CONTEXT.Process(
            target=run_child, args=([str(word) for word in words], folder, dict(environ), out, err)
        )
        process.start()
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            process.join()
        assert process.exitcode is not None
        return Done(process.exitcode, out.read_text("utf-8"), err.read_text("utf-8"))


def run_child(
    words: list[str], folder: Path, environ: dict[str, str], out: Path, err: Path
) -> None:
    """The body of the child process; :func:`main` ends it."""
    # A shell that runs the tests in the background ignores SIGINT, which processes inherit.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environ)
    tempfile.tempdir = None
    write_to(out, 1)
    write_to(err, 2)
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
