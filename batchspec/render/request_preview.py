"""What a step will send, as REST requests: for ``plan -v``, with ``<sas>`` and ``***`` in place.

Blob requests stand for many of their kind: the first is shown and how many more there are. What is
asked again and again while waiting is shown once. Nothing here sends anything.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import assert_never
from urllib.parse import quote

from batchspec.plan import actions
from batchspec.plan.actions import Action
from batchspec.render.output import clean, json_text
from batchspec.spec import Record, thaw

_REBOOT = "nodeRebootOption"


@dataclass(frozen=True, slots=True)
class Request:
    """One request: ``body`` is JSON or ``None``; ``more`` says how many of its kind follow."""

    method: str
    path: str
    body: object = None
    more: int = 0
    noun: str = ""


def requests(action: Action) -> Iterator[Request]:  # noqa: PLR0912, PLR0915  (one case an action)
    """The requests of an action, in their order; only the first of a stream is gone for."""
    match action:
        case actions.CreateContainer(container):
            yield Request("PUT", f"/{container}?restype=container")
        case actions.UseContainer(container) | actions.ReleaseContainer(container):
            yield Request("PUT", f"/{container}?restype=container&comp=metadata")
        case actions.UploadFiles(container, files):
            for file in files:
                more = len(files) - 1
                yield Request("PUT", f"/{container}/{_segment(file.blob)}", None, more, "file")
                break
        case actions.CreatePool(_, body):
            yield Request("POST", "/pools", _shown(body))
        case actions.UpdatePool(pool, patch, restart=restart):
            yield Request("PATCH", f"/pools/{pool}", _shown(patch))
            if restart:
                yield Request("POST", f"/pools/{pool}/nodes/NODE/reboot", {_REBOOT: "requeue"})
        case actions.ResizePool(pool, dedicated, spot, timeout):
            body = Record(targetDedicatedNodes=dedicated, targetLowPriorityNodes=spot)
            body = body.with_(resizeTimeout=timeout)
            yield Request("POST", f"/pools/{pool}/resize", _shown(body))
        case actions.ScalePool(pool, None):
            yield Request("POST", f"/pools/{pool}/disableautoscale")
        case actions.ScalePool(pool, formula, interval):
            body = Record(autoScaleFormula=formula).with_(autoScaleEvaluationInterval=interval)
            yield Request("POST", f"/pools/{pool}/enableautoscale", _shown(body))
        case actions.ReplacePool(pool, body):
            yield Request("DELETE", f"/pools/{pool}")
            yield Request("POST", "/pools", _shown(body))
        case actions.WaitForPool(pool):
            yield Request("GET", f"/pools/{pool}")
        case actions.CreateJob(_, body):
            yield Request("POST", "/jobs", _shown(body))
        case actions.ReplaceJob(ended, _, body):
            yield Request("POST", f"/jobs/{ended}/terminate")
            yield Request("POST", "/jobs", _shown(body))
        case actions.RestartNodes(pool, nodes):
            for node in nodes:
                yield Request("POST", f"/pools/{pool}/nodes/{node}/reboot")
        case actions.TerminateTasks(job, whole):
            path = f"/jobs/{job}/terminate" if whole else f"/jobs/{job}/tasks/TASK/terminate"
            yield Request("POST", path)
        case actions.UpdateJob(job, patch):
            yield Request("PATCH", f"/jobs/{job}", _shown(patch))
        case actions.CreateSchedule(_, body):
            yield Request("POST", "/jobschedules", _shown(body))
        case actions.UpdateSchedule(schedule, patch):
            yield Request("PATCH", f"/jobschedules/{schedule}", _shown(patch))
        case actions.ReplaceSchedule(schedule, body):
            yield Request("DELETE", f"/jobschedules/{schedule}")
            yield Request("POST", "/jobschedules", _shown(body))
        case actions.DeleteSchedule(schedule):
            yield Request("DELETE", f"/jobschedules/{schedule}")
        case actions.SubmitTasks(job, _, tasks):
            for task in tasks:
                value = {"value": [_shown(task.body)]}
                more = len(tasks) - 1
                yield Request("POST", f"/jobs/{job}/addtaskcollection", value, more, "task")
                break
        case actions.RetryTasks(job, _, tasks):
            for task in tasks:
                path = f"/jobs/{job}/tasks/{task.id}/reactivate"
                yield Request("POST", path, None, len(tasks) - 1, "task")
                break
        case actions.CloseJob(job):
            body = Record(onAllTasksComplete="terminatejob")
            yield Request("PATCH", f"/jobs/{job}", _shown(body))
        case actions.WaitForTasks(job):
            yield Request("GET", f"/jobs/{job}/taskcounts")
        case actions.DownloadResults(container):
            yield Request("GET", f"/{container}?restype=container&comp=list")
        case actions.DeletePool(pool):
            yield Request("DELETE", f"/pools/{pool}")
        case actions.DeleteJob(job):
            yield Request("DELETE", f"/jobs/{job}")
        case actions.DeleteOutputs(container):
            yield Request("DELETE", f"/{container}/BLOB")
        case actions.DeleteContainers(containers):
            for container in containers:
                yield Request("DELETE", f"/{container}?restype=container")
        case _:
            assert_never(action)


def request_lines(action: Action) -> Iterator[str]:
    """The requests as text: method and path, then the body as indented JSON."""
    for request in requests(action):
        yield f"{request.method} {clean(request.path)}"
        if request.body is not None:
            yield from json_text(request.body, indent=2).splitlines()
        if request.more:
            plural = "" if request.more == 1 else "s"
            yield f"... and {request.more:,} more {request.noun}{plural}"


def _shown(body: Record) -> object:
    """A body as it may be printed; JSON through and through."""
    thawed: object = json.loads(json.dumps(thaw(body, lambda text: text.shown)))
    return thawed


def _segment(blob: str) -> str:
    return quote(blob, safe="/")
