"""Words for the embedded service: what its start is busy with, and how it is with it.

Plain values come in: this room and that service do not know each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from batchspec.render.output import flat, json_text
from batchspec.render.style import Style

_PHASES: Mapping[str, str] = {
    "waiting": "waiting for another command that starts the local service",
    "installing-azurite": "installing Azurite, the storage emulator (once)",
    "starting": "starting the local Batch service and Azurite",
}

_STATES: Mapping[str, tuple[str, str]] = {
    "running": ("create", "running"),
    "busy": ("change", "starting or stopping"),
    "stopped": ("change", "stopped; the first command that needs it starts it"),
    "stale": ("delete", "gone: it was killed; `batchspec local start` takes up where it was"),
}
"""The states of the service: their colour and their words."""


def phase_text(phase: str) -> str:
    """What a start is busy with; a phase that has no words of its own is shown as it is."""
    return f"{_PHASES.get(phase, flat(phase).replace('-', ' '))} ..."


@dataclass(frozen=True, slots=True)
class LocalSimulation:
    """How time passes in the service and what goes wrong there.

    ``time`` is what its clock shows, ``allocation`` how long a node takes to come up by that clock.
    """

    speed: float
    allocation: str
    chaos: str
    seed: int
    time: datetime | None = None
    ahead: bool = False


@dataclass(frozen=True, slots=True)
class LocalStatus:
    """How it is with the service: what is known only while it runs is ``None`` otherwise."""

    state: str
    data: Path
    log: Path
    batch_url: str | None = None
    blob_url: str | None = None
    started: datetime | None = None
    pid: int | None = None
    version: str | None = None
    day: LocalSimulation | None = None


def local_status_text(status: LocalStatus, *, color: bool = False) -> str:
    """How it is with the service, in a few lines."""
    return "\n".join(_lines(status, Style(color)))


def _lines(status: LocalStatus, style: Style) -> Iterator[str]:
    style_name, words = _STATES.get(status.state, ("change", flat(status.state)))
    yield f"state    {style(style_name, words)}"
    rows = {
        "batch": status.batch_url,
        "storage": status.blob_url,
        "since": status.started and f"{status.started.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC",
        "process": status.pid and str(status.pid),
        "version": status.version,
        **_day_rows(status.day),
        "data": str(status.data),
        "log": str(status.log),
    }
    for name, value in rows.items():
        if value:
            yield f"{name:<8} {flat(value)}"


def local_status_json(status: LocalStatus) -> str:
    """How it is with the service, as indented JSON; what is not known is null."""
    return json_text(
        {
            "state": status.state,
            "batch_url": status.batch_url,
            "blob_url": status.blob_url,
            "started": status.started and status.started.astimezone(UTC).isoformat(),
            "pid": status.pid,
            "version": status.version,
            "data": str(status.data),
            "log": str(status.log),
            "speed": status.day and status.day.speed,
            "allocation": status.day and status.day.allocation,
            "chaos": status.day and (status.day.chaos or None),
            "seed": status.day and status.day.seed,
            "time": status.day and status.day.time and status.day.time.astimezone(UTC).isoformat(),
        },
        indent=2,
    )


def _day_rows(day: LocalSimulation | None) -> Mapping[str, str]:
    """What is not as on any other day."""
    rows = {}
    if day is not None and (day.speed != 1 or day.ahead):
        shown = "" if day.time is None else f"{day.time.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC, "
        rows["time"] = f"{shown}{_pace(day)}"
    elif day is not None and day.allocation != "0":
        rows["time"] = f"real; a node takes {day.allocation} to come up"
    if day is not None and day.chaos:
        rows["chaos"] = f"{day.chaos} (seed {day.seed})"
    return rows


def _pace(day: LocalSimulation) -> str:
    words = "as fast as the wall's" if day.speed == 1 else f"{day.speed:g} times as fast"
    return words + (f"; a node takes {day.allocation} to come up" if day.allocation != "0" else "")


def simulation_notice(day: LocalSimulation) -> str:
    """A line for whoever uses a service that is not as on any other day; else empty."""
    rows = "; ".join(f"{name}: {value}" for name, value in _day_rows(day).items())
    return f"the local service rehearses ({flat(rows)})" if rows else ""


def started_text(
    *, batch_url: str, blob_url: str, data: Path, day: LocalSimulation | None = None
) -> str:
    """That the service runs, and where."""
    rows = {"batch": batch_url, "storage": blob_url, **_day_rows(day), "data": str(data)}
    lines = [f"{name:<8} {flat(value)}" for name, value in rows.items()]
    more = "`batchspec local env` prints what other clients need; `batchspec local stop` ends it."
    return "\n".join(["The local service runs.", *lines, more])


def stopped_text(*, was_running: bool) -> str:
    """That the service has ended, or had not been running."""
    if was_running:
        return "The local service has ended. Its pools, jobs and blobs are kept."
    return "The local service was not running."


def reset_question(data: Path) -> str:
    """Whether to delete all that the service holds; no is the default."""
    where = flat(str(data))
    return f"Delete every pool, job, task and blob of the local service in {where}? [y/N] "


def reset_unasked(data: Path) -> str:
    """Why it is not reset where nobody can answer."""
    return (
        f"this deletes every pool, job, task and blob of the local service in {flat(str(data))}; "
        "it asks first, and there is no terminal to ask on"
    )


def reset_text(data: Path) -> str:
    """That all that the service held is gone."""
    return f"The local service has ended, and {flat(str(data))} is as new."
