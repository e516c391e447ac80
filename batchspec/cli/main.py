"""The entry point: runs a command and turns every way it can end into an exit code."""

from __future__ import annotations

import os
import sys
import tempfile
import traceback

from batchspec import __version__
from batchspec.diagnostics import BatchspecError, Diagnostic, Exit, redact

_RUNS = {"apply", "attach", "retry", "download", "destroy"}
"""Commands that are incomplete when their output is closed; the others only print."""


def main() -> None:
    """Run the command of ``sys.argv`` and exit."""
    sys.exit(int(_run()))


def _run() -> int:
    from typer.exceptions import Abort

    from batchspec.cli.app import app
    from batchspec.cli.command_line import OutputClosedError

    try:
        code = app(standalone_mode=False)
    except BatchspecError as error:
        from batchspec.cli.console import show_diagnostics

        show_diagnostics(error.problems)
        return error.exit
    except (KeyboardInterrupt, Abort):
        return Exit.INTERRUPTED
    except OutputClosedError as error:
        # Without this, Python reports the closed pipe once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.INTERRUPTED if error.command in _RUNS else Exit.DONE
    except Exception as error:  # noqa: BLE001 - the outermost boundary: this is a bug
        return _report_bug(error)
    return code if isinstance(code, int) else Exit.DONE


def _report_bug(error: Exception) -> int:
    """Print where the redacted traceback is."""
    from batchspec.cli.console import show_diagnostics

    text = redact("".join(traceback.format_exception(error)))
    handle, path = tempfile.mkstemp(prefix="batchspec-", suffix=".log")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(f"batchspec {__version__}\n{text}")
    diagnostic = Diagnostic(
        "bug",
        f"internal error in batchspec: {type(error).__name__}",
        detail=f"The traceback is in {path}; it contains no secrets.",
        fix="Run the command again. If it fails again, report it with that file.",
    )
    show_diagnostics([diagnostic])
    return Exit.BUG
