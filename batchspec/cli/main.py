"""The entry point: the commands in the order of the help, and the exit code of every outcome."""

from __future__ import annotations

import gc
import os
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Annotated

import typer
from typer.exceptions import Abort

from batchspec.cli.command_line import CommandLine, OutputClosedError, show_help
from batchspec.cli.commands.apply import apply
from batchspec.cli.commands.attach import attach
from batchspec.cli.commands.config import config
from batchspec.cli.commands.cost import cost
from batchspec.cli.commands.destroy import destroy
from batchspec.cli.commands.doctor import doctor
from batchspec.cli.commands.download import download
from batchspec.cli.commands.explain import explain
from batchspec.cli.commands.failures import failures
from batchspec.cli.commands.import_spec import import_
from batchspec.cli.commands.init import init
from batchspec.cli.commands.list import list_
from batchspec.cli.commands.local import local_commands
from batchspec.cli.commands.logs import logs
from batchspec.cli.commands.ls import cat, ls
from batchspec.cli.commands.package import package_commands
from batchspec.cli.commands.plan import plan
from batchspec.cli.commands.report import report
from batchspec.cli.commands.retry import retry
from batchspec.cli.commands.schema import schema
from batchspec.cli.commands.status import status
from batchspec.cli.commands.stop import stop
from batchspec.cli.commands.validate import validate
from batchspec.cli.completion import is_completing
from batchspec.cli.console import clear_activity, discard, out, prepare_streams
from batchspec.cli.resume_command import select
from batchspec.diagnostics import BatchspecError, Diagnostic, UsageError, redact
from batchspec.exit_codes import Exit
from batchspec.version import __version__

app = CommandLine(
    name="batchspec",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(*, verbose: bool) -> None:
    if verbose:
        from batchspec.cli.versions import versions_text

        out(versions_text())
    else:
        out(f"batchspec {__version__}")
    raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
    verbose: Annotated[
        bool,
        typer.Option(
            "--verbose",
            "-v",
            help="With --version: also the versions of Python, dependencies, Azurite, Node.js, and "
            "the api-versions of the embedded service.",
        ),
    ] = False,
    debug: Annotated[
        bool,
        typer.Option(
            "--debug",
            help="Log every request, without secrets, to .batchspec/NAME/requests.log next to the "
            "spec. BATCHSPEC_LOG=debug has the same effect.",
        ),
    ] = False,
) -> None:
    """Run a complete Azure Batch job from one YAML file, on Azure or on this machine."""
    if version:
        _show_version(verbose=verbose)
    if verbose:
        raise UsageError(
            Diagnostic(
                "command-line",
                "`-v` before a command is for `batchspec --version -v`",
                fix="Write it after the command: `batchspec plan SPEC -v`",
            )
        )
    if debug:
        os.environ["BATCHSPEC_LOG"] = "debug"
    show_help(context)


app.command()(init)
app.command()(validate)
app.command()(config)
app.command()(plan)
app.command()(apply)
app.command()(attach)
app.command()(status)
app.command()(cost)
app.command()(logs)
app.command()(failures)
app.command()(retry)
app.command()(download)
app.command()(stop)
app.command()(destroy)
app.command()(explain)
app.command()(report)
app.command("import")(import_)
app.command()(ls)
app.command()(cat)
app.command("list")(list_)
app.command()(doctor)
app.command()(schema)
app.add_typer(package_commands, name="package", help="Manage application packages of the account.")
app.add_typer(local_commands, name="local", help="Manage the embedded Batch service.")


_RUNS = {"apply", "attach", "retry", "download", "destroy"}
"""Commands that are incomplete when their output is closed; the others only print."""


_COLLECT_AFTER = 20_000
"""How many new objects start a search for garbage; by default 700.

With the default, searches among tasks that are still needed take an eighth of the processor time of
a submission. Its memory grows by 1 MB.
"""


def main() -> None:
    """Run the command of ``sys.argv`` and exit."""
    gc.set_threshold(_COLLECT_AFTER, *gc.get_threshold()[1:])
    prepare_streams()
    code = int(run())
    # At exit, the interpreter collects garbage among all objects several times. With the objects of
    # the SDKs, this takes a fifth of the processor time of `plan`. Frozen objects are skipped.
    gc.freeze()
    sys.exit(code)


def run() -> int:
    """Run the command of ``sys.argv``; the exit code."""
    if is_completing(os.environ):
        return _complete()
    select(None)
    try:
        try:
            code = app(standalone_mode=False)
        finally:
            clear_activity()
    except BatchspecError as error:
        from batchspec.cli.console import show_diagnostics

        show_diagnostics(error.problems)
        return error.exit
    except (KeyboardInterrupt, Abort):
        return Exit.INTERRUPTED
    except OutputClosedError as error:
        # Without this, Python reports the closed pipe again when it flushes at exit.
        discard(sys.stdout)
        return Exit.INTERRUPTED if error.command in _RUNS else Exit.DONE
    except Exception as error:  # noqa: BLE001 - the outermost boundary: this is a bug
        return _report_unexpected(error)
    return code if isinstance(code, int) else Exit.DONE


def _has_current_folder() -> bool:
    try:
        Path.cwd()
    except OSError:
        return False
    return True


def _report_unexpected(error: Exception) -> int:
    if isinstance(error, OSError) and not _has_current_folder():
        return _report_missing_folder()
    return _report_bug(error)


def _report_missing_folder() -> int:
    from batchspec.cli.console import show_diagnostics

    diagnostic = Diagnostic(
        "no-current-folder",
        "the current folder does not exist or cannot be read",
        detail="It was deleted or replaced after this shell entered it.",
        fix="Change to an existing folder: cd FOLDER",
    )
    show_diagnostics([diagnostic])
    return Exit.USAGE


def _complete() -> int:
    """Print completions for a shell without errors, because the line is incomplete."""
    # Otherwise typer formats every description with rich, whose import takes a third of the time.
    with Path(os.devnull).open("w") as nowhere, redirect_stderr(nowhere), _without("rich"):
        try:
            app(standalone_mode=False)
        except SystemExit as end:
            # fish reads from the exit code whether there are completions.
            return end.code if isinstance(end.code, int) else Exit.DONE
        except Exception:  # noqa: BLE001 - the outermost boundary
            return Exit.BUG
    return Exit.DONE


@contextmanager
def _without(module: str) -> Iterator[None]:
    """Hide a module from ``importlib.util.find_spec``, unless it is already imported."""
    if module in sys.modules:
        yield
        return
    sys.modules[module] = None  # type: ignore[assignment]  # the way to prevent an import
    try:
        yield
    finally:
        del sys.modules[module]


def _report_bug(error: Exception) -> int:
    """Print the path of the redacted traceback."""
    from batchspec.cli.console import show_diagnostics

    text = f"batchspec {__version__}\n" + redact("".join(traceback.format_exception(error)))
    try:
        handle, path = tempfile.mkstemp(prefix="batchspec-", suffix=".log")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as unwritable:
        why = unwritable.strerror or str(unwritable)
        detail = f"The traceback cannot be saved ({why}):\n{text}"
        report = "this traceback"
    else:
        detail, report = f"The traceback is in {path}; it contains no secrets.", "that file"
    diagnostic = Diagnostic(
        "bug",
        f"internal error in batchspec: {type(error).__name__}",
        detail=detail,
        fix=f"Run the command again. If it fails again, report it with {report}.",
    )
    show_diagnostics([diagnostic])
    return Exit.BUG
