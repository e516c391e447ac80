"""The route table: every operation of the protocol, its handler and its level of support.

``docs/compatibility.md`` is generated from this table. An operation without a handler answers 501
with the name of the operation.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from batchspec.catalog.images import IMAGES
from batchspec.local.api import (
    account,
    autoscale,
    files,
    job_schedules,
    jobs,
    nodes,
    pools,
    tasks,
)
from batchspec.local.api.resources import Context
from batchspec.local.api.settings import WITHOUT_EFFECT
from batchspec.local.wire import OPERATIONS, Fault, Reply, Request, in_versions

DiskOperation = Callable[[], Reply]
Handler = Callable[[Context, Request], Reply | DiskOperation]
Support = Literal["full", "partial", "not supported"]


@dataclass(frozen=True, slots=True)
class Route:
    """One operation: its name in the Python SDK, method, path and handler.

    ``note`` describes the missing part of a partial operation, or why an operation is not
    supported.
    """

    operation: str
    method: str
    path: str
    handler: Handler | None = None
    support: Support = "full"
    note: str = ""


_POOL, _NODE = "/pools/{poolId}", "/pools/{poolId}/nodes/{nodeId}"
_JOB, _TASK = "/jobs/{jobId}", "/jobs/{jobId}/tasks/{taskId}"
_SCHEDULE = "/jobschedules/{jobScheduleId}"
_CERTIFICATE = "/certificates()"
_STATS = "`$expand=stats`: I/O operations are read and write calls, cached files included"
_POOL_STATS = "`$expand=stats`: `resourceStats` describe this machine while the pool has nodes"
_METRICS = (
    "samples of processors, memory, disks and networks describe this machine, for all nodes; "
    "`$WallClockSeconds` has no samples"
)
_USERS = "`isAdmin` has an effect if the service runs as root; see `docs/local.md`"
_IMAGES = f"{len(IMAGES)} common images; a pool can name other images of the same publishers"
_LOGS = "one file, `agent-debug.log`, for any time range: the runs and states of the node"
_EXTENSIONS = "extensions of the pool show as failed: nodes are not virtual machines"


def _settings(kind: str) -> str:
    return f"{len(WITHOUT_EFFECT[kind])} {kind} properties have no effect; see below"


def _not_supported(operation: str, method: str, path: str, note: str) -> Route:
    return Route(operation, method, path, None, "not supported", note)


ROUTES: tuple[Route, ...] = (
    Route("list_applications", "GET", "/applications", account.list_applications,
          note="the packages in the account's folder; see `docs/local.md`"),
    Route("get_application", "GET", "/applications/{applicationId}",
          account.get_application),
    Route("list_pool_usage_metrics", "GET", "/poolusagemetrics", account.list_pool_usage_metrics,
          note="retired, as in Azure Batch: `PoolUsageMetricAPIRetired`"),
    Route("create_pool", "POST", "/pools", pools.create_pool, "partial",
          _settings("pool")),
    Route("list_pools", "GET", "/pools", pools.list_pools, "partial", _POOL_STATS),
    Route("delete_pool", "DELETE", _POOL, pools.delete_pool),
    Route("pool_exists", "HEAD", _POOL, pools.pool_exists),
    Route("get_pool", "GET", _POOL, pools.get_pool, "partial", _POOL_STATS),
    Route("update_pool", "PATCH", _POOL, pools.update_pool, "partial",
          _settings("pool")),
    Route("disable_pool_auto_scale", "POST", _POOL + "/disableautoscale",
          autoscale.disable_pool_auto_scale),
    Route("enable_pool_auto_scale", "POST", _POOL + "/enableautoscale",
          autoscale.enable_pool_auto_scale, "partial", _METRICS),
    Route("evaluate_pool_auto_scale", "POST", _POOL + "/evaluateautoscale",
          autoscale.evaluate_pool_auto_scale, "partial", _METRICS),
    Route("resize_pool", "POST", _POOL + "/resize", pools.resize_pool),
    Route("stop_pool_resize", "POST", _POOL + "/stopresize", pools.stop_pool_resize),
    Route("replace_pool_properties", "POST", _POOL + "/updateproperties",
          pools.replace_pool_properties),
    Route("remove_nodes", "POST", _POOL + "/removenodes", nodes.remove_nodes),
    Route("list_supported_images", "GET", "/supportedimages", account.list_supported_images,
          "partial", _IMAGES),
    Route("list_pool_node_counts", "GET", "/nodecounts", nodes.list_pool_node_counts),
    Route("delete_job", "DELETE", _JOB, jobs.delete_job),
    Route("get_job", "GET", _JOB, jobs.get_job, "partial", _STATS),
    Route("update_job", "PATCH", _JOB, jobs.update_job),
    Route("replace_job", "PUT", _JOB, jobs.replace_job),
    Route("disable_job", "POST", _JOB + "/disable", jobs.disable_job),
    Route("enable_job", "POST", _JOB + "/enable", jobs.enable_job),
    Route("terminate_job", "POST", _JOB + "/terminate", jobs.terminate_job),
    Route("create_job", "POST", "/jobs", jobs.create_job, "partial", _settings("job")),
    Route("list_jobs", "GET", "/jobs", jobs.list_jobs, "partial", _STATS),
    Route("list_jobs_from_schedule", "GET", _SCHEDULE + "/jobs",
          jobs.list_jobs_from_schedule, "partial", _STATS),
    Route("list_job_preparation_and_release_task_status", "GET",
          _JOB + "/jobpreparationandreleasetaskstatus",
          jobs.list_job_preparation_and_release_task_status),
    Route("get_job_task_counts", "GET", _JOB + "/taskcounts", jobs.get_job_task_counts),
    Route("job_schedule_exists", "HEAD", _SCHEDULE,
          job_schedules.job_schedule_exists),
    Route("delete_job_schedule", "DELETE", _SCHEDULE,
          job_schedules.delete_job_schedule),
    Route("get_job_schedule", "GET", _SCHEDULE,
          job_schedules.get_job_schedule, "partial", _STATS),
    Route("update_job_schedule", "PATCH", _SCHEDULE,
          job_schedules.update_job_schedule),
    Route("replace_job_schedule", "PUT", _SCHEDULE,
          job_schedules.replace_job_schedule),
    Route("disable_job_schedule", "POST", _SCHEDULE + "/disable",
          job_schedules.disable_job_schedule),
    Route("enable_job_schedule", "POST", _SCHEDULE + "/enable",
          job_schedules.enable_job_schedule),
    Route("terminate_job_schedule", "POST", _SCHEDULE + "/terminate",
          job_schedules.terminate_job_schedule),
    Route("create_job_schedule", "POST", "/jobschedules",
          job_schedules.create_job_schedule),
    Route("list_job_schedules", "GET", "/jobschedules",
          job_schedules.list_job_schedules, "partial", _STATS),
    Route("create_task", "POST", _JOB + "/tasks", tasks.create_task, "partial",
          _settings("task")),
    Route("list_tasks", "GET", _JOB + "/tasks", tasks.list_tasks, "partial", _STATS),
    Route("create_task_collection", "POST", _JOB + "/addtaskcollection",
          tasks.create_task_collection, "partial", _settings("task")),
    Route("delete_task", "DELETE", _TASK, tasks.delete_task),
    Route("get_task", "GET", _TASK, tasks.get_task, "partial", _STATS),
    Route("replace_task", "PUT", _TASK, tasks.replace_task),
    Route("list_subtasks", "GET", _TASK + "/subtasksinfo", tasks.list_subtasks),
    Route("terminate_task", "POST", _TASK + "/terminate", tasks.terminate_task),
    Route("reactivate_task", "POST", _TASK + "/reactivate", tasks.reactivate_task),
    Route("delete_task_file", "DELETE", _TASK + "/files/{filePath}",
          files.of_task(files.delete_file)),
    Route("download_task_file", "GET", _TASK + "/files/{filePath}",
          files.of_task(files.download_file)),
    Route("get_task_file_properties", "HEAD", _TASK + "/files/{filePath}",
          files.of_task(files.get_properties)),
    Route("list_task_files", "GET", _TASK + "/files", files.of_task(files.list_files)),
    Route("create_node_user", "POST", _NODE + "/users", nodes.create_node_user,
          "partial", _USERS),
    Route("delete_node_user", "DELETE", _NODE + "/users/{userName}",
          nodes.delete_node_user, "partial", _USERS),
    Route("replace_node_user", "PUT", _NODE + "/users/{userName}",
          nodes.replace_node_user, "partial", _USERS),
    Route("get_node", "GET", _NODE, nodes.get_node),
    Route("reboot_node", "POST", _NODE + "/reboot", nodes.reboot_node),
    Route("start_node", "POST", _NODE + "/start", nodes.start_node),
    Route("reimage_node", "POST", _NODE + "/reimage", nodes.reimage_node),
    Route("deallocate_node", "POST", _NODE + "/deallocate", nodes.deallocate_node),
    Route("disable_node_scheduling", "POST", _NODE + "/disablescheduling",
          nodes.disable_node_scheduling),
    Route("enable_node_scheduling", "POST", _NODE + "/enablescheduling",
          nodes.enable_node_scheduling),
    Route("get_node_remote_login_settings", "GET", _NODE + "/remoteloginsettings",
          nodes.get_node_remote_login_settings,
          note="409 `OperationNotValidOnNode` without the extra `local`"),
    Route("upload_node_logs", "POST", _NODE + "/uploadbatchservicelogs",
          nodes.upload_node_logs, "partial", _LOGS),
    Route("list_nodes", "GET", _POOL + "/nodes", nodes.list_nodes),
    Route("get_node_extension", "GET", _NODE + "/extensions/{extensionName}",
          nodes.get_node_extension, "partial", _EXTENSIONS),
    Route("list_node_extensions", "GET", _NODE + "/extensions",
          nodes.list_node_extensions, "partial", _EXTENSIONS),
    Route("delete_node_file", "DELETE", _NODE + "/files/{filePath}",
          files.of_node(files.delete_file)),
    Route("download_node_file", "GET", _NODE + "/files/{filePath}",
          files.of_node(files.download_file)),
    Route("get_node_file_properties", "HEAD", _NODE + "/files/{filePath}",
          files.of_node(files.get_properties)),
    Route("list_node_files", "GET", _NODE + "/files", files.of_node(files.list_files)),
)  # fmt: skip
"""The operations of the newest api-version."""

_CERTIFICATES = "certificates are not installed on nodes"

FORMER_ROUTES: tuple[Route, ...] = (
    Route("list_node_agent_skus", "GET", "/nodeagentskus", account.list_node_agent_skus),
    Route("list_certificates", "GET", "/certificates", account.list_certificates),
    Route("create_certificate", "POST", "/certificates", account.create_certificate,
          "partial", _CERTIFICATES),
    Route("get_certificate", "GET", _CERTIFICATE, account.get_certificate),
    Route("delete_certificate", "DELETE", _CERTIFICATE, account.delete_certificate),
    Route("cancel_certificate_deletion", "POST", _CERTIFICATE + "/canceldelete",
          account.cancel_certificate_deletion),
    _not_supported("get_all_job_lifetime_statistics", "GET", "/lifetimejobstats",
                   "lifetime statistics are retired"),
    _not_supported("get_all_pool_lifetime_statistics", "GET", "/lifetimepoolstats",
                   "lifetime statistics are retired"),
    _not_supported("upgrade_pool_os", "POST", _POOL + "/upgradeos",
                   "it upgraded Cloud Services pools, which are retired"),
    _not_supported("get_remote_desktop_file", "GET", _NODE + "/rdp", "there are no Windows nodes"),
)  # fmt: skip
"""The operations that only older api-versions have; see ``wire.OPERATIONS``."""


@dataclass(frozen=True, slots=True)
class Match:
    """The route of a request, and the percent-encoded variable segments of its path by name."""

    route: Route
    parameters: Mapping[str, str]


class RouteTable:
    """Finds the routes of requests by method and path; paths are case-insensitive."""

    def __init__(self, routes: Iterable[Route]) -> None:
        templates: dict[tuple[str, ...], dict[str, Route]] = {}
        for route in routes:
            template = tuple(
                part if part.startswith("{") else part.lower()
                for part in route.path.strip("/").split("/")
            )
            templates.setdefault(template, {})[route.method] = route
        self._by_length: dict[int, list[tuple[tuple[str, ...], dict[str, Route]]]] = {}
        for template, verbs in templates.items():
            self._by_length.setdefault(len(template), []).append((template, verbs))

    def find(self, method: str, segments: Sequence[str]) -> Match | None:
        """The route of a path; ``None`` if the path exists only with other methods.

        Raises:
            LookupError: no route has the path.
        """
        known = False
        for template, verbs in self._by_length.get(len(segments), ()):
            parameters = _fit(template, segments)
            if parameters is not None:
                if method in verbs:
                    return Match(verbs[method], parameters)
                known = True
        if not known:
            raise LookupError("/".join(segments))
        return None


_TABLE = RouteTable((*ROUTES, *FORMER_ROUTES))


def find_route(method: str, path: str) -> Match:
    """The route of ``method`` and ``path`` (as sent, percent-encoded).

    Raises:
        Fault: ``InvalidUri``, or ``UnsupportedHttpVerb`` if the path exists with another method.
    """
    # Certificates are the only resources with a key in parentheses.
    path = re.sub(r"^/certificates\([^/]*\)", _CERTIFICATE, path, count=1, flags=re.IGNORECASE)
    segments = path.strip("/").split("/")
    files_at = _files_at(segments)
    if files_at is not None:
        # The rest is the path of one file; its slashes may be encoded or not.
        segments = [*segments[:files_at], "/".join(segments[files_at:])]
    try:
        match = _TABLE.find(method, segments)
    except LookupError:
        raise Fault("InvalidUri") from None
    if match is None:
        raise Fault("UnsupportedHttpVerb")
    return match


def check_operation(route: Route, version: str) -> None:
    """Check that ``version`` has the operation of ``route``.

    Raises:
        Fault: ``InvalidUri``.
    """
    since, until = OPERATIONS.get(route.operation, ("", ""))
    if not in_versions(version, since, until):
        raise Fault("InvalidUri")


_FILES = {("pools", "nodes"): 5, ("jobs", "tasks"): 5}


def _files_at(segments: list[str]) -> int | None:
    if len(segments) > 5 and segments[4] == "files":
        return _FILES.get((segments[0], segments[2]))
    return None


def _fit(template: Sequence[str], segments: Sequence[str]) -> Mapping[str, str] | None:
    parameters = {}
    for expected, given in zip(template, segments, strict=True):
        if expected.startswith("{"):
            if not given:
                return None
            parameters[expected[1:-1]] = given
        elif expected != given.lower():
            return None
    return parameters
