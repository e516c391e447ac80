"""The arguments of the commands of the embedded service; ``app.py`` has their order."""

from __future__ import annotations

from typing import Annotated

import typer

from batchspec.cli.options import Format, TextOrJson, Yes


def start(
    port: Annotated[
        int,
        typer.Option(
            "--port",
            metavar="PORT",
            help="Where it listens. 0: the last port, or any.",
            min=0,
            max=65535,
        ),
    ] = 0,
    speed: Annotated[
        float | None,
        typer.Option(
            "--speed",
            metavar="NUMBER",
            envvar="BATCHSPEC_LOCAL_SPEED",
            help="Its time passes so many times as fast, 1 to 3600. [default: 1]",
            show_default=False,
        ),
    ] = None,
    allocation: Annotated[
        str | None,
        typer.Option(
            "--allocation",
            metavar="TIME",
            envvar="BATCHSPEC_LOCAL_ALLOCATION",
            help="How much of its time a node takes to come up: 0, 20s, 4m. "
            "[default: 0; with --speed 226s, as on Azure]",
            show_default=False,
        ),
    ] = None,
    chaos: Annotated[
        str | None,
        typer.Option(
            "--chaos",
            metavar="CHAOS",
            envvar="BATCHSPEC_LOCAL_CHAOS",
            help="What goes wrong: a profile (bad-day, flaky, spot ...), a list "
            "(error=5%,preempt=50%:20s,quota=4), or a file with one. [default: nothing]",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            "--seed",
            metavar="NUMBER",
            envvar="BATCHSPEC_LOCAL_SEED",
            help="The same seed goes wrong in the same way. [default: 0]",
            show_default=False,
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print its state as JSON.")] = False,
) -> int:
    """Start it if it does not run, and return when it is ready."""
    from batchspec.cli.commands.local import start as run
    from batchspec.local.simulation import SimulationOptions

    return run(
        port,
        SimulationOptions(speed, allocation, chaos, seed),
        Format.JSON if json else Format.TEXT,
    )


def stop() -> int:
    """End it: the service, the processes of its tasks, and the blob store. Nothing is lost."""
    from batchspec.cli.commands.local import stop as run

    return run()


def status(form: TextOrJson = Format.TEXT) -> int:
    """Say whether it runs, where it listens, and where its data are."""
    from batchspec.cli.commands.local import show as run

    return run(form)


def reset(yes: Yes = False) -> int:
    """End it and delete its pools, jobs, tasks and blobs."""
    from batchspec.cli.commands.local import reset as run

    return run(yes=yes)


def env(
    form: Annotated[
        str, typer.Option("--format", metavar="FORMAT", help="sh, powershell, dotenv or json.")
    ] = "sh",
) -> int:
    """Print what other Batch and Storage clients need to use it. This holds its keys."""
    from batchspec.cli.commands.local import env as run

    return run(form)
