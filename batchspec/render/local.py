"""The status and the start of the embedded service, as text and as JSON.

The values are passed in: this package does not import the embedded service.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

from batchspec.frozen import frozen
from batchspec.render.output import Style, flat, json_text

_PHASES: Mapping[str, str] = {
    "waiting": "waiting for another command that is starting the embedded service",
    "installing-azurite": "installing Azurite, the storage emulator (once)",
    "starting": "starting the embedded service and Azurite",
}

_STATES: Mapping[str, tuple[str, str]] = {
    "running": ("create", "running"),
    "busy": ("change", "starting or stopping"),
    "stopped": ("change", "stopped; starts automatically when a command needs it"),
    "stale": ("delete", "killed; `batchspec local start` restarts it with its data"),
}
"""The states of the service with their colour and text."""


def phase_text(phase: str) -> str:
    """The phase of a start; a phase without a text is shown by its name."""
    return f"{_PHASES.get(phase, flat(phase).replace('-', ' '))} ..."


@frozen
class LocalSimulation:
    """The simulated time, the fault injection and the authentication of the service.

    ``time`` is its clock, ``allocation`` the time to start a node by that clock. ``entra_only``:
    the accounts refuse their keys.
    """

    speed: float
    allocation: str
    chaos: str
    seed: int
    time: datetime | None = None
    ahead: bool = False
    entra_only: bool = False


@frozen
class LocalHttps:
    """The https addresses of the service and the certificate of the authority to trust."""

    batch_url: str
    blob_url: str
    authority: Path

    def rows(self) -> Mapping[str, str]:
        """The rows of a text."""
        return {
            "https": f"{self.batch_url} (batch), {self.blob_url} (storage)",
            "trust": str(self.authority),
        }


@frozen
class LocalStatus:
    """The status of the service; facts of a running service are ``None`` while it is stopped.

    ``former_clients`` are clients with an api-version that Azure Batch will retire: name, version.
    ``blob_host_url`` is the address of the storage with the account in the host name. Tasks run as
    separate users with ids from ``first_user_id``, or as root for the ``root_reason``.
    """

    state: str
    data: Path
    log: Path
    batch_url: str | None = None
    blob_url: str | None = None
    started: datetime | None = None
    pid: int | None = None
    version: str | None = None
    simulation: LocalSimulation | None = None
    former_clients: tuple[tuple[str, str], ...] = ()
    blob_host_url: str | None = None
    https: LocalHttps | None = None
    first_user_id: int | None = None
    root_reason: str = ""
    failure: tuple[str, str] = ("", "")
    """The sentence and the fix of the error that ended the service."""


def local_status_text(status: LocalStatus, *, color: bool = False) -> str:
    """The status of the service as text."""
    return "\n".join(_lines(status, Style(color)))


def _lines(status: LocalStatus, style: Style) -> Iterator[str]:
    style_name, text = _STATES.get(status.state, ("change", flat(status.state)))
    yield f"state    {style(style_name, text)}"
    reason, fix = status.failure
    rows = {
        "reason": reason,
        "fix": fix,
        "batch": status.batch_url,
        "storage": status.blob_url,
        "by name": status.blob_host_url,
        **(status.https.rows() if status.https else {}),
        "since": status.started and _second(status.started),
        "process": status.pid and str(status.pid),
        "version": status.version,
        **_simulation_rows(status.simulation),
        "users": _users(status),
        "data": str(status.data),
        "log": str(status.log),
    }
    for name, value in rows.items():
        if value:
            yield f"{name:<8} {flat(value)}"
    for name, version in status.former_clients:
        yield f"client   {flat(name)} uses api-version {flat(version)}, which Azure will retire"


def _users(status: LocalStatus) -> str:
    if status.first_user_id is not None:
        return f"separate users for tasks, with ids from {status.first_user_id}"
    return f"tasks run as root: {status.root_reason}" if status.root_reason else ""


def local_status_json(status: LocalStatus) -> str:
    """The status of the service as indented JSON; what is unknown is null."""
    simulation = status.simulation
    return json_text(
        {
            "state": status.state,
            "batch_url": status.batch_url,
            "blob_url": status.blob_url,
            "blob_host_url": status.blob_host_url,
            "https": status.https
            and {
                "batch_url": status.https.batch_url,
                "blob_url": status.https.blob_url,
                "authority": str(status.https.authority),
            },
            "started": status.started and status.started.astimezone(UTC).isoformat(),
            "pid": status.pid,
            "version": status.version,
            "data": str(status.data),
            "log": str(status.log),
            "speed": simulation and simulation.speed,
            "allocation": simulation and simulation.allocation,
            "chaos": simulation and (simulation.chaos or None),
            "seed": simulation and simulation.seed,
            "auth": simulation and ("entra" if simulation.entra_only else "keys"),
            "time": simulation and simulation.time and simulation.time.astimezone(UTC).isoformat(),
            "first_user_id": status.first_user_id,
            "tasks_run_as_root": status.root_reason or None,
            "failure": status.failure[0] or None,
            "former_clients": [
                {"name": name, "api_version": version} for name, version in status.former_clients
            ],
        },
        indent=2,
    )


def _simulation_rows(simulation: LocalSimulation | None) -> Mapping[str, str]:
    """The settings that differ from a service without simulation."""
    rows: dict[str, str] = {}
    if simulation is None:
        return rows
    nodes = f"a node takes {simulation.allocation} to start"
    if simulation.speed != 1 or simulation.ahead:
        shown = [] if simulation.time is None else [_second(simulation.time)]
        speed = "real speed" if simulation.speed == 1 else f"{simulation.speed:g} times as fast"
        rows["time"] = ", ".join([*shown, speed])
        if simulation.allocation != "0":
            rows["time"] += f"; {nodes}"
    elif simulation.allocation != "0":
        rows["time"] = f"real; {nodes}"
    if simulation.chaos:
        rows["chaos"] = f"{simulation.chaos} (seed {simulation.seed})"
    if simulation.entra_only:
        rows["auth"] = "Microsoft Entra ID only: the accounts refuse their keys"
    return rows


def _second(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def simulation_notice(simulation: LocalSimulation) -> str:
    """A line about the options of the service; empty without options."""
    rows = dict(_simulation_rows(simulation))
    notices = [f"accepts {rows.pop('auth')}"] if simulation.entra_only else []
    if rows:
        shown = "; ".join(f"{name}: {value}" for name, value in rows.items())
        notices.insert(0, f"simulates time or faults ({flat(shown)})")
    return f"the embedded service {', and '.join(notices)}" if notices else ""


def started_text(
    *,
    batch_url: str,
    blob_url: str,
    data: Path,
    simulation: LocalSimulation | None = None,
    https: LocalHttps | None = None,
) -> str:
    """The message after a start: addresses and data folder."""
    rows = {
        "batch": batch_url,
        "storage": blob_url,
        **(https.rows() if https else {}),
        **_simulation_rows(simulation),
        "data": str(data),
    }
    lines = [f"{name:<8} {flat(value)}" for name, value in rows.items()]
    more = (
        "`batchspec local env` prints settings for other clients; `batchspec local stop` stops it."
    )
    return "\n".join(["The embedded service is running.", *lines, more])


def stopped_text(*, was_running: bool) -> str:
    """The message after a stop."""
    if was_running:
        return "The embedded service has stopped. Its pools, jobs and blobs are kept."
    return "The embedded service was not running."


def reset_question(data: Path) -> str:
    """Asks whether to delete the data of the service; the default is no."""
    where = flat(str(data))
    return f"Delete every pool, job, task and blob of the embedded service in {where}? [y/N] "


def reset_text(data: Path) -> str:
    """The message after a reset."""
    return f"The embedded service has stopped, and the data in {flat(str(data))} is deleted."
