"""The command line as data: every command with its arguments; what it does is loaded when it runs.

Only names and help texts live here, so that ``--help`` costs no more than reading them.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from batchspec import __version__
from batchspec.cli import app_local, app_look, app_run
from batchspec.cli.help import CommandLine, show_help
from batchspec.cli.loop import complete
from batchspec.cli.options import (
    AnyFormat,
    Format,
    OnlyStep,
    Progress,
    ProgressKind,
    Replace,
    Rerun,
    Shape,
    SpecFile,
    SpecOrPlan,
    TargetOption,
    TextOrJson,
    VariableFiles,
    Variables,
    Verbose,
    Wanted,
    Yes,
)
from batchspec.plan.options import PlanOptions

app = CommandLine(
    name="batchspec",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
local = CommandLine()
app.add_typer(local, name="local", help="The embedded Batch service and its blob store.")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"batchspec {__version__}")
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    version: Annotated[  # noqa: ARG001  (its callback acts on it)
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
            "spec. BATCHSPEC_LOG=debug does the same.",
        ),
    ] = False,
) -> None:
    """Run a whole Azure Batch job from one YAML file: plan it, apply it, or run it right here."""
    if debug:
        os.environ["BATCHSPEC_LOG"] = "debug"
    show_help(context)


app.command()(app_run.init)


@app.command()
def validate(
    specs: Annotated[list[Path], typer.Argument(metavar="SPEC...", help="Specs, YAML files.")],
    variables: Variables = None,
    variable_files: VariableFiles = None,
    form: TextOrJson = Format.TEXT,
) -> int:
    """Check specs offline: every problem, with its place and how to mend it."""
    from batchspec.cli.commands.validate import validate as run

    return run([Wanted.of(spec, variables, variable_files) for spec in specs], form)


@app.command()
def config(
    spec: SpecFile,
    variables: Variables = None,
    variable_files: VariableFiles = None,
    shape: Annotated[Shape, typer.Option("--format", help="How it is written.")] = Shape.YAML,
) -> int:
    """Print the spec with parameters set and short forms expanded."""
    from batchspec.cli.commands.config import config as run

    return run(Wanted.of(spec, variables, variable_files), shape)


@app.command()
def plan(
    spec: SpecFile,
    target: TargetOption = None,
    variables: Variables = None,
    variable_files: VariableFiles = None,
    form: AnyFormat = Format.TEXT,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="Exit with 6 if there are changes, 0 if none.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="Save the plan, for `batchspec apply FILE`."),
    ] = None,
    rerun: Rerun = False,
    replace: Replace = None,
    step: OnlyStep = "",
    verbose: Verbose = False,
) -> int:
    """Show the ordered plan, with a reason for each step. Reads the account, changes nothing."""
    from batchspec.cli.commands.plan import plan as run

    wanted = Wanted.of(spec, variables, variable_files, target)
    plan_options = PlanOptions(rerun=rerun, replace=frozenset(replace or ()), step=step)
    return complete(
        run(wanted, form, out, exit_code=exit_code, verbose=verbose, plan_options=plan_options)
    )


@app.command()
def apply(
    spec: SpecOrPlan,
    target: TargetOption = None,
    variables: Variables = None,
    variable_files: VariableFiles = None,
    yes: Yes = False,
    detach: Annotated[
        bool,
        typer.Option("--detach", help="Return when all is submitted; the job ends by itself."),
    ] = False,
    rerun: Rerun = False,
    replace: Replace = None,
    step: OnlyStep = "",
    progress: Progress = ProgressKind.AUTO,
    verbose: Verbose = False,
) -> int:
    """Plan, ask, carry it out, wait, fetch the results, and clean up."""
    from batchspec.cli.commands.apply import apply as run

    wanted = Wanted.of(spec, variables, variable_files, target)
    plan_options = PlanOptions(rerun=rerun, replace=frozenset(replace or ()), step=step)
    return complete(
        run(wanted, progress, yes=yes, verbose=verbose, detach=detach, plan_options=plan_options)
    )


app.command()(app_run.attach)


@app.command()
def status(
    spec: SpecFile,
    target: TargetOption = None,
    variables: Variables = None,
    variable_files: VariableFiles = None,
    form: TextOrJson = Format.TEXT,
) -> int:
    """Look once: pool, nodes, job, task counts, time left."""
    from batchspec.cli.commands.status import status as run

    return complete(run(Wanted.of(spec, variables, variable_files, target), form))


app.command()(app_look.logs)
app.command()(app_look.failures)
app.command()(app_run.retry)
app.command()(app_run.download)


app.command()(app_run.stop)


@app.command()
def destroy(
    spec: SpecFile,
    target: TargetOption = None,
    variables: Variables = None,
    variable_files: VariableFiles = None,
    yes: Yes = False,
    force: Annotated[
        bool, typer.Option("--force", help="Delete even results that are not on this disk yet.")
    ] = False,
    progress: Progress = ProgressKind.AUTO,
) -> int:
    """Delete what the spec made in the account, and only that."""
    from batchspec.cli.commands.destroy import destroy as run

    wanted = Wanted.of(spec, variables, variable_files, target)
    return complete(run(wanted, progress, yes=yes, force=force))


app.command()(app_look.report)
app.command("list")(app_look.list_)
app.command()(app_look.doctor)


@app.command()
def schema() -> int:
    """Print the JSON Schema of the spec language, for editors."""
    from batchspec.cli.commands.schema import schema as run

    return run()


local.callback()(show_help)
local.command()(app_local.start)
local.command()(app_local.stop)
local.command()(app_local.status)
local.command()(app_local.reset)
local.command()(app_local.env)
