"""The REST requests that a step will send, for ``plan -v``; ``<sas>`` and ``***`` replace secrets.

A request that is repeated for each file or task is shown once with the number of the others; one
that polls is shown once. Nothing here sends anything.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any
from urllib.parse import quote

from batchspec.frozen import frozen
from batchspec.plan import actions
from batchspec.plan.actions import Action
from batchspec.property_rules import arm_pool
from batchspec.render import units
from batchspec.render.output import clean, json_text
from batchspec.spec import Record, thaw


@frozen
class Request:
    """One request: ``body`` is JSON or ``None``; ``more`` is how many of its kind follow."""

    method: str
    path: str
    body: object = None
    more: int = 0
    noun: str = ""


def requests(action: Action) -> Iterator[Request]:
    """The requests of an action, in their order; only the first item of a stream is read."""
    yield from _REQUESTS[type(action)](action)


def request_lines(action: Action) -> Iterator[str]:
    """The requests as text: method and path, then the body as indented JSON."""
    for request in requests(action):
        yield f"{request.method} {clean(request.path)}"
        if request.body is not None:
            yield from json_text(request.body, indent=2).splitlines()
        if request.more:
            yield f"... and {units.counted(request.more, f'more {request.noun}')}"


def _json(body: Record) -> object:
    """A body as plain JSON, with deferred texts in the form that may be printed."""
    thawed: object = json.loads(json.dumps(thaw(body, lambda text: text.shown)))
    return thawed


def _get(path: str) -> Request:
    return Request("GET", path)


def _put(path: str) -> Request:
    return Request("PUT", path)


def _post(path: str, body: Record | None = None) -> Request:
    return Request("POST", path, None if body is None else _json(body))


def _patch(path: str, body: Record) -> Request:
    return Request("PATCH", path, _json(body))


def _delete(path: str) -> Request:
    return Request("DELETE", path)


def _container_metadata(
    action: actions.UseContainer | actions.ReleaseContainer,
) -> Iterator[Request]:
    yield _put(f"/{action.container}?restype=container&comp=metadata")


def _upload(action: actions.UploadFiles) -> Iterator[Request]:
    for file in islice(action.files, 1):
        path = f"/{action.container}/{quote(file.blob, safe='/')}"
        yield Request("PUT", path, more=len(action.files) - 1, noun="file")


_ACCOUNT = (
    "/subscriptions/SUBSCRIPTION/resourceGroups/GROUP/providers/Microsoft.Batch/batchAccounts"
    "/ACCOUNT"
)


def _arm(method: str, pool: str, body: Record) -> Request:
    """A request for a pool to Azure Resource Manager."""
    thawed = _json(body)
    assert isinstance(thawed, dict)
    return Request(method, f"{_ACCOUNT}/pools/{pool}", arm_pool(thawed, _ACCOUNT))


def _create_pool(action: actions.CreatePool | actions.ReplacePool) -> Request:
    if action.control_plane:
        return _arm("PUT", action.pool, action.body)
    return _post("/pools", action.body)


def _delete_pool(pool: str, *, control_plane: bool) -> Request:
    return _delete(f"{_ACCOUNT if control_plane else ''}/pools/{pool}")


def _replace_pool(action: actions.ReplacePool) -> Iterator[Request]:
    yield _delete_pool(action.pool, control_plane=action.deletes_by_control_plane)
    yield _create_pool(action)


def _upload_package(action: actions.UploadPackage) -> Iterator[Request]:
    version = f"{_ACCOUNT}/applications/{action.package}/versions/{action.version}"
    yield _put(version)
    yield _post(f"{version}/activate", Record(format="zip"))


def _update_pool(action: actions.UpdatePool) -> Iterator[Request]:
    if action.control_plane:
        yield _arm("PATCH", action.pool, action.patch)
    else:
        yield _patch(f"/pools/{action.pool}", action.patch)
    if action.restart:
        body = Record(nodeRebootOption="requeue")
        yield _post(f"/pools/{action.pool}/nodes/NODE/reboot", body)


def _resize_pool(action: actions.ResizePool) -> Iterator[Request]:
    body = Record(targetDedicatedNodes=action.dedicated, targetLowPriorityNodes=action.spot).with_(
        resizeTimeout=action.timeout
    )
    if action.control_plane:
        yield _arm("PATCH", action.pool, body)
        return
    yield _post(f"/pools/{action.pool}/resize", body)


def _scale_pool(action: actions.ScalePool) -> Iterator[Request]:
    if action.formula is None:
        end = "disableAutoScale" if action.control_plane else "disableautoscale"
        yield _post(f"{_ACCOUNT if action.control_plane else ''}/pools/{action.pool}/{end}")
        return
    body = Record(autoScaleFormula=action.formula).with_(
        autoScaleEvaluationInterval=action.interval
    )
    if action.control_plane:
        yield _arm("PATCH", action.pool, body)
        return
    yield _post(f"/pools/{action.pool}/enableautoscale", body)


def _terminate(action: actions.TerminateTasks) -> Iterator[Request]:
    target = "" if action.whole else "/tasks/TASK"
    yield _post(f"/jobs/{action.job}{target}/terminate")


def _submit(action: actions.SubmitTasks) -> Iterator[Request]:
    for task in islice(action.tasks, 1):
        body = {"value": [_json(task.body)]}
        path = f"/jobs/{action.job}/addtaskcollection"
        yield Request("POST", path, body, len(action.tasks) - 1, "task")


def _retry(action: actions.RetryTasks) -> Iterator[Request]:
    for task in islice(action.tasks, 1):
        path = f"/jobs/{action.job}/tasks/{task.id}/reactivate"
        yield Request("POST", path, more=len(action.tasks) - 1, noun="task")


_REQUESTS: Mapping[type[Action], Callable[[Any], Iterable[Request]]] = {
    actions.CreateContainer: lambda a: [_put(f"/{a.container}?restype=container")],
    actions.UseContainer: _container_metadata,
    actions.ReleaseContainer: _container_metadata,
    actions.UploadFiles: _upload,
    actions.UploadPackage: _upload_package,
    actions.CreatePool: lambda a: [_create_pool(a)],
    actions.UpdatePool: _update_pool,
    actions.ResizePool: _resize_pool,
    actions.ScalePool: _scale_pool,
    actions.ReplacePool: _replace_pool,
    actions.RestartNodes: lambda a: [_post(f"/pools/{a.pool}/nodes/{n}/reboot") for n in a.nodes],
    actions.WaitForPool: lambda a: [_get(f"/pools/{a.pool}")],
    actions.CreateJob: lambda a: [_post("/jobs", a.body)],
    actions.ReplaceJob: lambda a: [_post(f"/jobs/{a.ended}/terminate"), _post("/jobs", a.body)],
    actions.TerminateTasks: _terminate,
    actions.UpdateJob: lambda a: [_patch(f"/jobs/{a.job}", a.patch)],
    actions.CloseJob: lambda a: [
        _patch(f"/jobs/{a.job}", Record(onAllTasksComplete="terminatejob"))
    ],
    actions.CreateSchedule: lambda a: [_post("/jobschedules", a.body)],
    actions.UpdateSchedule: lambda a: [_patch(f"/jobschedules/{a.schedule}", a.patch)],
    actions.ReplaceSchedule: lambda a: [
        _delete(f"/jobschedules/{a.schedule}"),
        _post("/jobschedules", a.body),
    ],
    actions.SubmitTasks: _submit,
    actions.RetryTasks: _retry,
    actions.WaitForTasks: lambda a: [_get(f"/jobs/{a.job}/taskcounts")],
    actions.DownloadResults: lambda a: [_get(f"/{a.container}?restype=container&comp=list")],
    actions.DeletePool: lambda a: [_delete_pool(a.pool, control_plane=a.control_plane)],
    actions.DeleteJob: lambda a: [_delete(f"/jobs/{a.job}")],
    actions.DeleteSchedule: lambda a: [_delete(f"/jobschedules/{a.schedule}")],
    actions.DeleteContainers: lambda a: [
        _delete(f"/{container}?restype=container") for container in a.containers
    ],
    actions.DeleteOutputs: lambda a: [_delete(f"/{a.container}/BLOB")],
}
"""The requests of each action; a test checks that every action has a row."""
