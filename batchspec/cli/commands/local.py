"""``batchspec local``: the embedded Batch service and its blob store."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from batchspec.cli.command_line import CommandLine, show_help
from batchspec.cli.console import (
    agreed,
    out,
    out_document,
    show_phase,
    simulation_of,
    use_color,
    writing_output,
)
from batchspec.cli.options import Format, TextOrJson, Yes
from batchspec.diagnostics import Diagnostic, UsageError
from batchspec.exit_codes import Exit

if TYPE_CHECKING:
    from batchspec.local import Endpoints
    from batchspec.render.local import LocalHttps

local_commands = CommandLine()
local_commands.callback()(show_help)


@local_commands.command()
def start(
    port: Annotated[
        int,
        typer.Option(
            "--port",
            metavar="PORT",
            help="The port to listen on, up to 65535; 0 is the previous port if it is free, "
            "otherwise any free port. [default: 0]",
            show_default=False,
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
            help="The speed of the service's clock, from 1 (real time) to 3600. [default: 1]",
            show_default=False,
        ),
    ] = None,
    allocation: Annotated[
        str | None,
        typer.Option(
            "--allocation",
            metavar="TIME",
            envvar="BATCHSPEC_LOCAL_ALLOCATION",
            help="The time that a node takes to start, on the service's clock: 0, 20s, 4m. "
            "[default: 0; with --speed: 226s, as on Azure]",
            show_default=False,
        ),
    ] = None,
    chaos: Annotated[
        str | None,
        typer.Option(
            "--chaos",
            metavar="CHAOS",
            envvar="BATCHSPEC_LOCAL_CHAOS",
            help="Fault injection: a profile (bad-day, flaky, spot ...), a list of faults "
            "(error=5%,preempt=50%:20s,quota=4), or a file with a list. [default: no faults]",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            "--seed",
            metavar="NUMBER",
            envvar="BATCHSPEC_LOCAL_SEED",
            help="The seed of the injected faults; the same seed repeats them. [default: 0]",
            show_default=False,
        ),
    ] = None,
    auth: Annotated[
        str | None,
        typer.Option(
            "--auth",
            metavar="KIND",
            envvar="BATCHSPEC_LOCAL_AUTH",
            help="How clients sign in: keys (with an account key or the service's token) or "
            "entra (only with the token). [default: keys]",
            show_default=False,
        ),
    ] = None,
    https: Annotated[
        bool,
        typer.Option(
            "--https",
            envvar="BATCHSPEC_LOCAL_HTTPS",
            help="Also listen on https ports, for clients that require https. "
            "`local env` prints their addresses and the certificate. [default: http only]",
            show_default=False,
        ),
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the status as JSON.")] = False,
) -> int:
    """Start the service if it is not running, and return when it is ready."""
    from batchspec.api import start_service
    from batchspec.local.settings import SimulationOptions
    from batchspec.render.local import started_text

    options = SimulationOptions(speed, allocation, chaos, seed, auth)
    endpoints = start_service(show_phase, port=port, options=options, https=https)
    if json:
        return status(Format.JSON)
    out(
        started_text(
            batch_url=endpoints.batch_url,
            blob_url=endpoints.blob_url,
            https=_https_of(endpoints),
            data=endpoints.data,
            simulation=simulation_of(endpoints.simulation),
        )
    )
    return Exit.DONE


@local_commands.command()
def stop() -> int:
    """Stop the service, the processes of its tasks, and the blob store. Keeps the data."""
    from batchspec import local
    from batchspec.api import service_errors
    from batchspec.render.local import stopped_text

    with service_errors():
        was_running = local.stop()
    out(stopped_text(was_running=was_running))
    return Exit.DONE


@local_commands.command()
def status(output_format: TextOrJson = Format.TEXT) -> int:
    """Show whether the service is running, its addresses, and its data folder."""
    from dataclasses import replace
    from datetime import UTC, datetime

    from batchspec import local
    from batchspec.api import service_errors
    from batchspec.render.local import LocalStatus, local_status_json, local_status_text

    with service_errors():
        found = local.status()
    endpoints = found.endpoints
    simulation = None
    if found.simulation is not None:
        time = found.time(datetime.now(UTC))
        simulation = replace(simulation_of(found.simulation), time=time, ahead=bool(found.ahead))
    shown = LocalStatus(
        state=found.state.value,
        data=found.data,
        log=found.log,
        batch_url=endpoints.batch_url if endpoints else None,
        blob_url=endpoints.blob_url if endpoints else None,
        blob_host_url=endpoints.blob_host_url if endpoints else None,
        started=found.started,
        pid=found.pid,
        version=found.version,
        simulation=simulation,
        former_clients=tuple((one.name, one.version) for one in found.former_clients),
        https=_https_of(endpoints) if endpoints else None,
        first_user_id=found.separation.ids.first if found.separation.ids else None,
        root_reason=found.separation.reason,
        failure=(found.failure.summary, found.failure.fix) if found.failure else ("", ""),
    )
    if output_format is Format.JSON:
        out_document(local_status_json(shown))
    else:
        out(local_status_text(shown, color=use_color()))
    return Exit.DONE


@local_commands.command()
def reset(yes: Yes = False) -> int:
    """Stop the service and delete its pools, jobs, tasks and blobs."""
    from batchspec import local
    from batchspec.api import service_errors
    from batchspec.render.local import reset_question, reset_text

    with service_errors():
        data = local.status().data
    if not agreed(reset_question(data), yes=yes):
        return Exit.DONE
    with service_errors():
        local.reset()
    out(reset_text(data))
    return Exit.DONE


@local_commands.command()
def env(
    output_format: Annotated[
        str,
        typer.Option(
            "--format", metavar="FORMAT", help="The syntax: sh, powershell, dotenv or json."
        ),
    ] = "sh",
) -> int:
    """Print the environment variables that other Batch and Storage clients read.

    The variables contain the keys of both accounts, and a SAS that is valid for 30 days.
    """
    from typing import get_args

    from batchspec import local
    from batchspec.api import start_service

    formats: tuple[local.Format, ...] = get_args(local.Format)
    selected = next((name for name in formats if name == output_format), None)
    if selected is None:
        fix = f"Use one of: {', '.join(formats)}"
        raise UsageError(Diagnostic("bad-format", f"there is no format {output_format!r}", fix=fix))
    # Not through `out`, which would redact the keys.
    text = local.env(start_service(show_phase), selected)
    with writing_output():
        sys.stdout.write(text)
    return Exit.DONE


def _https_of(endpoints: Endpoints) -> LocalHttps | None:
    """The https addresses of the service, for display."""
    from batchspec.render.local import LocalHttps

    if (https := endpoints.https) is None:
        return None
    return LocalHttps(https.batch_url, https.blob_url, https.trust.authority)
