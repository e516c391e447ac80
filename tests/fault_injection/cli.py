"""A command in a subprocess that starts fast, until it ends."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.command_process import CONTEXT, run_child
from tests.e2e.conftest import Done


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
