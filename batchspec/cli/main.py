"""argv in, exit code out: the composition root, and the one place that catches broadly."""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
from pathlib import Path

from batchspec import __version__
from batchspec.diagnostics import BatchspecError, Diagnostic, Exit, redact

_DOING = {"apply", "attach", "retry", "download", "destroy"}
"""Commands that have not done what they were given for when nobody reads what they write."""


def main() -> None:
    """The entry point: every way to end has its exit code."""
    sys.exit(int(_run()))


def _run() -> int:
    from typer.exceptions import Abort, TyperException

    from batchspec.cli.app import app
    from batchspec.cli.help import UnreadError

    try:
        code = app(standalone_mode=False)
    except BatchspecError as error:
        return _told(error)
    except TyperException as error:
        from batchspec.cli.misused import misused

        return _told(misused(error))
    except (KeyboardInterrupt, Abort):
        return Exit.INTERRUPTED
    except UnreadError as error:
        # Whoever read our output has enough of it; a second error at exit helps nobody.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.INTERRUPTED if error.command in _DOING else Exit.DONE
    except Exception as error:  # noqa: BLE001 - the boundary: what gets here is a bug
        return _bug(error)
    return code if isinstance(code, int) else Exit.DONE


def _told(error: BatchspecError) -> int:
    from batchspec.cli.screen import show_problems

    show_problems(error.problems)
    return error.exit


def _bug(error: Exception) -> int:
    """An apology, and a log that a report can carry: no secret is in it."""
    from batchspec.cli.screen import show_problems

    text = redact("".join(traceback.format_exception(error)))
    handle, name = tempfile.mkstemp(prefix="batchspec-", suffix=".log")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(f"batchspec {__version__}\n{text}")
    problem = Diagnostic(
        "bug",
        f"batchspec itself failed: {type(error).__name__}",
        detail=f"We are sorry. What happened is in {Path(name)}.",
        fix="The same command can be given again. Please report it, with that file.",
    )
    show_problems([problem])
    return Exit.BUG
