"""Text for steps, shared by plan, progress and summary: names, quantities, conditions."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import assert_never

from batchspec.plan import actions
from batchspec.plan.actions import Action
from batchspec.plan.changes import duration_seconds
from batchspec.plan.observed import Account
from batchspec.plan.plan import Gate, Step, Verb
from batchspec.render import units
from batchspec.render.output import flat
from batchspec.spec import Record

PHRASES: Mapping[Verb, str] = {
    Verb.CREATE: "create {}",
    Verb.UPDATE: "update {}",
    Verb.REPLACE: "replace {}",
    Verb.DELETE: "delete {}",
    Verb.UPLOAD: "upload {}",
    Verb.SUBMIT: "submit {}",
    Verb.WAIT: "wait for {}",
    Verb.DOWNLOAD: "download {}",
    Verb.KEEP: "keep {}",
    Verb.RESIZE: "resize {}",
    Verb.TERMINATE: "terminate {}",
}
"""The verb of a step with its object."""


def phrase(verb: str, subject: str) -> str:
    """The name of a step: ``wait for pool topn``."""
    return PHRASES[Verb(verb)].format(flat(subject))


def action_name(action: Action | type[Action]) -> str:
    """The snake_case name of an action's class, as the JSON plan has it: ``create_container``."""
    return snake((action if isinstance(action, type) else type(action)).__name__)


def snake(name: str) -> str:
    """A class name in snake_case."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def account_line(account: Account) -> str:
    """The target with its Batch and Storage account, on one line."""
    return flat(f"{account.target}: Batch {account.batch}, Storage {account.storage}")


def quantity(step: Step, here: Path | None = None) -> str:
    """The quantity of a step, unless the subject contains it: ``3 files, 12 KiB``.

    ``here`` is the folder that paths are relative to.
    """
    return ", ".join(_parts(step, here))


def _parts(step: Step, here: Path | None) -> Iterator[str]:
    match step.action:
        case actions.UploadFiles(size=size):
            yield _counted(step.items, "file", step.subject)
            yield units.size(size)
        case actions.SubmitTasks() | actions.RetryTasks() | actions.TerminateTasks():
            yield _counted(step.items, "task", step.subject)
        case actions.WaitForTasks(tasks=tasks, limit=limit):
            yield _counted(tasks, "task", step.subject)
            yield f"limit {units.limit(limit.total_seconds())}"
        case (
            actions.CreatePool()
            | actions.ReplacePool()
            | actions.RestartNodes()
            | actions.DeleteOutputs()
        ):
            noun = "blob" if isinstance(step.action, actions.DeleteOutputs) else "node"
            if step.items:
                yield units.counted(step.items, noun)
        case actions.WaitForPool(nodes=nodes):
            if nodes:
                yield _counted(nodes, "node", step.subject)
        case actions.ResizePool(dedicated=dedicated, spot=spot):
            yield f"{dedicated:,} dedicated, {spot:,} spot"
        case actions.CreateSchedule(body=body) | actions.ReplaceSchedule(body=body):
            yield recurrence_text(body)
        case actions.DownloadResults(to=to):
            yield f"to {_path(to, here)}"
        case (
            actions.CreateContainer()
            | actions.UseContainer()
            | actions.ReleaseContainer()
            | actions.UpdatePool()
            | actions.ScalePool()
            | actions.CreateJob()
            | actions.ReplaceJob()
            | actions.UpdateJob()
            | actions.UpdateSchedule()
            | actions.CloseJob()
            | actions.DeletePool()
            | actions.DeleteJob()
            | actions.DeleteSchedule()
            | actions.DeleteContainers()
            | None
        ):
            pass
        case _:
            assert_never(step.action)


def recurrence_text(body: Record) -> str:
    """How often a job schedule creates a job: ``every 1d``, ``once``."""
    times = body.get("schedule")
    every = times.get("recurrenceInterval") if isinstance(times, Record) else None
    seconds = duration_seconds(every) if isinstance(every, str) else None
    return "once" if seconds is None else f"every {units.limit(seconds)}"


def _counted(count: int, noun: str, subject: str) -> str:
    """A count with its noun, unless the subject contains it: ``tasks of count (3)``."""
    return f"{count:,}" if f"{noun}s" in subject.split() else units.counted(count, noun)


def _path(path: Path, here: Path | None) -> str:
    """A folder, relative if possible."""
    if here is not None and path.is_relative_to(here):
        path = path.relative_to(here)
    return flat(f"{path}/")


def page_written(place: str) -> str:
    """The message after a report page was written."""
    return f"Report: {flat(place)}"


def gate_text(gate: Gate) -> str:
    """The condition of a step, other than that its predecessors are done."""
    match gate:
        case Gate.FLOW:
            return ""
        case Gate.SUCCESS:
            return "if the run succeeds"
        case Gate.END:
            return "at the end, also after failures"
        case Gate.ASK:
            return "asks first"
