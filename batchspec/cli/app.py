"""The command line: its commands in the order of the help, and the options before a command."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from batchspec import __version__
from batchspec.cli.command_line import CommandLine, show_help
from batchspec.cli.commands.apply import apply
from batchspec.cli.commands.attach import attach
from batchspec.cli.commands.config import config
from batchspec.cli.commands.destroy import destroy
from batchspec.cli.commands.doctor import doctor
from batchspec.cli.commands.download import download
from batchspec.cli.commands.failures import failures
from batchspec.cli.commands.init import init
from batchspec.cli.commands.list import list_
from batchspec.cli.commands.local import local_commands
from batchspec.cli.commands.logs import logs
from batchspec.cli.commands.plan import plan
from batchspec.cli.commands.report import report
from batchspec.cli.commands.retry import retry
from batchspec.cli.commands.schema import schema
from batchspec.cli.commands.status import status
from batchspec.cli.commands.stop import stop
from batchspec.cli.commands.validate import validate

app = CommandLine(
    name="batchspec",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(requested: bool) -> None:
    if requested:
        typer.echo(f"batchspec {__version__}")
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    version: Annotated[  # noqa: ARG001  (its callback uses it)
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
    debug: Annotated[
        bool,
        typer.Option(
            "--debug",
            help="Log every request, without secrets, to .batchspec/NAME/requests.log beside the "
            "spec. BATCHSPEC_LOG=debug has the same effect.",
        ),
    ] = False,
) -> None:
    """Run a complete Azure Batch job from one YAML file, on Azure or on this machine."""
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
app.command()(logs)
app.command()(failures)
app.command()(retry)
app.command()(download)
app.command()(stop)
app.command()(destroy)
app.command()(report)
app.command("list")(list_)
app.command()(doctor)
app.command()(schema)
app.add_typer(local_commands, name="local", help="The embedded Batch service and its blob store.")
