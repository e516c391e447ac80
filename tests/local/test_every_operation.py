"""Every operation of every api-version, with each parameter, on objects that exist or do not.

The operations are those of the published descriptions, not those of the service's own table, so
that one that the service lacks is found. Every exchange is also compared with its description.
Without the descriptions these tests are skipped.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import count
from typing import Any

import pytest

from batchspec.local.api.routes import FORMER_ROUTES, ROUTES, find_route
from batchspec.local.model import JobState, NodeState
from batchspec.local.wire import NEWEST_VERSION, OPERATIONS, VERSIONS, in_versions
from tests.local.engine_stub import NOW, finish
from tests.local.openapi import FILES, FOLDER
from tests.local.running import Answer, Service

PUBLISHED = sorted(FILES)
FORMER = PUBLISHED[0]
"""The description for all versions without their own."""

pytestmark = pytest.mark.skipif(
    not all((FOLDER / name).is_file() for name in FILES.values()),
    reason="the published descriptions of the protocol are not next to the project",
)


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation of a description; ``parameters`` are its optional parameters by place."""

    method: str
    path: str
    statuses: frozenset[int]
    parameters: tuple[tuple[str, str], ...]

    @property
    def name(self) -> str:
        """The name in the service's table."""
        return find_route(self.method, self.path).route.operation


@cache
def operations(version: str) -> tuple[Operation, ...]:
    """The operations of a published description."""
    raw = json.loads((FOLDER / FILES[version]).read_text("utf-8"))
    return tuple(
        Operation(
            method.upper(),
            path,
            frozenset(int(status) for status in found["responses"] if status != "default"),
            tuple(_optional(raw, found)),
        )
        for path, verbs in raw["paths"].items()
        for method, found in verbs.items()
    )


def _optional(raw: Mapping[str, Any], found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for one in found["parameters"]:
        parameter = raw["parameters"][one["$ref"].rpartition("/")[2]] if "$ref" in one else one
        if parameter["in"] in ("query", "header") and parameter["name"].lower() in VALUES:
            yield parameter["in"], parameter["name"]


POOL = {
    "vmSize": "standard_d2s_v3",
    "virtualMachineConfiguration": {
        "imageReference": {"publisher": "canonical", "offer": "ubuntu", "sku": "24_04"},
        "nodeAgentSKUId": "batch.node.ubuntu 24.04",
        "extensions": [{"name": "ext", "publisher": "a", "type": "b"}],
    },
}
FORMULA = {"autoScaleFormula": "$TargetDedicatedNodes=0;"}
BODIES: Mapping[str, Mapping[str, Any]] = {
    "create_pool": {"id": "new{n}", **POOL},
    "update_pool": {"metadata": []},
    "enable_pool_auto_scale": FORMULA,
    "evaluate_pool_auto_scale": FORMULA,
    "resize_pool": {"targetDedicatedNodes": 2},
    "replace_pool_properties": {"applicationPackageReferences": [], "metadata": []},
    "remove_nodes": {"nodeList": ["n{n}"]},
    "create_job": {"id": "new{n}", "poolInfo": {"poolId": "p"}},
    "update_job": {"priority": 3},
    "replace_job": {"poolInfo": {"poolId": "p{n}"}},
    "disable_job": {"disableTasks": "requeue"},
    "terminate_job": {"terminateReason": "enough"},
    "create_job_schedule": {
        "id": "new{n}",
        "schedule": {},
        "jobSpecification": {"poolInfo": {"poolId": "p"}},
    },
    "update_job_schedule": {"metadata": []},
    "replace_job_schedule": {"schedule": {}, "jobSpecification": {"poolInfo": {"poolId": "p"}}},
    "create_task": {"id": "new", "commandLine": "true"},
    "create_task_collection": {"value": [{"id": "new", "commandLine": "true"}]},
    "replace_task": {"constraints": {"maxTaskRetryCount": 1}},
    "create_node_user": {"name": "new", "password": "kv8#pQ!z"},
    "replace_node_user": {"password": "kv8#pQ!z"},
    "reboot_node": {"nodeRebootOption": "requeue"},
    "reimage_node": {"nodeReimageOption": "requeue"},
    "deallocate_node": {"nodeDeallocateOption": "requeue"},
    "disable_node_scheduling": {"nodeDisableSchedulingOption": "requeue"},
    "upload_node_logs": {
        "containerUrl": "http://127.0.0.1:1/account/c?sv=1&sig=x",
        "startTime": "2026-01-01T00:00:00Z",
    },
}
"""Valid bodies; ``{n}`` is the number of the account's objects."""

FAILED_TASK = {"reactivate_task"}
"""Operations for which the task has failed; for all others it is active."""
SCALED_POOL = {"disable_pool_auto_scale", "evaluate_pool_auto_scale"}
"""Operations for which the pool has a formula."""
DISABLED_JOB = {"enable_job"}

DISABLED_NODE = {"enable_node_scheduling"}

REFUSED: Mapping[str, tuple[int, str]] = {
    "list_pool_usage_metrics": (400, "PoolUsageMetricAPIRetired"),
    "get_application": (404, "ApplicationNotFound"),
    "create_certificate": (400, "InvalidRequestBody"),
    "cancel_certificate_deletion": (409, "CertificateStateActive"),
    "start_node": (409, "OperationInvalidForCurrentState"),
    "get_remote_desktop_file": (501, "NotImplemented"),
}
"""The documented replies of operations that are not possible on the objects of these tests."""


class Objects:
    """Objects for the operations: new objects for each operation that changes them."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._numbers = count(1)
        self._read: int | None = None

    def path(self, operation: Operation) -> tuple[str, int]:
        """The path of an operation, and the number of its objects."""
        if operation.method not in ("GET", "HEAD"):
            number = self._new(operation)
        else:
            self._read = number = self._read or self._new(None)
        names = {
            "applicationId": "app",
            "poolId": f"p{number}",
            "nodeId": f"n{number}",
            "userName": "u",
            "extensionName": "ext",
            "jobId": f"j{number}",
            "taskId": "t",
            "jobScheduleId": f"s{number}",
            "filePath": "startup/f" if "{nodeId}" in operation.path else "f",
            "thumbprintAlgorithm": "sha1",
            "thumbprint": f"{number:040x}",
        }
        return operation.path.format_map(names), number

    def _new(self, operation: Operation | None) -> int:
        """New objects for an operation, or for all operations that read."""
        number = next(self._numbers)
        path = operation.path if operation else "{jobId}{taskId}/files{jobScheduleId}{thumbprint}"
        name = operation.name if operation else ""
        if "{poolId}" in path or "{jobId}" in path:
            self._pool(f"p{number}", f"n{number}", name)
            self._write(number, "startup/f")
        if "{jobId}" in path:
            self._job(number, path, name)
        if "{jobScheduleId}" in path:
            self._post("/jobschedules", {**BODIES["create_job_schedule"], "id": f"s{number}"})
        if "{thumbprint}" in path:
            self._service.store.certificates.add(f"{number:040x}", "", NOW)
        return number

    def _post(self, path: str, body: Any) -> None:
        answer = self._service.request("POST", path, body, checked=False)
        assert answer.status < 300, answer.body

    def _write(self, number: int, name: str) -> None:
        path = self._service.data / "nodes" / f"p{number}" / f"n{number}" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("text")

    def _pool(self, pool_id: str, node_id: str, name: str) -> None:
        store = self._service.store
        scaled = {"enableAutoScale": True, **FORMULA} if name in SCALED_POOL else {}
        self._post("/pools", {"id": pool_id, **POOL, **scaled})
        pool = store.pools.get(pool_id)
        assert pool is not None
        store.pools.complete_resize(pool, NOW)
        store.nodes.add(pool, [node_id], NOW, dedicated=True, slots=4)
        node = store.nodes.get(pool_id, node_id)
        assert node is not None
        for state in (NodeState.STARTING, NodeState.IDLE):
            node = store.nodes.update(node, state, NOW)
        path = f"/pools/{pool_id}/nodes/{node_id}"
        self._post(f"{path}/users", {"name": "u", "password": "kv8#pQ!z"})
        if name in DISABLED_NODE:
            self._post(f"{path}/disablescheduling", BODIES["disable_node_scheduling"])

    def _job(self, number: int, path: str, name: str) -> None:
        store, job_id = self._service.store, f"j{number}"
        body = {"id": job_id, "poolInfo": {"poolId": f"p{number}"}}
        self._post("/jobs", {**body, "jobPreparationTask": {"commandLine": "true"}})
        if name in DISABLED_JOB:
            self._post(f"/jobs/{job_id}/disable", BODIES["disable_job"])
            job = store.jobs.get(job_id)
            assert job is not None
            store.jobs.set_state(job, JobState.DISABLED, NOW)
        if "{taskId}" not in path:
            return
        self._post(f"/jobs/{job_id}/tasks", {"id": "t", "commandLine": "true"})
        if "/files" not in path and name not in FAILED_TASK:
            return
        node, task = store.nodes.get(f"p{number}", f"n{number}"), store.tasks.get(job_id, "t")
        assert node is not None and task is not None
        directory = f"workitems/{job_id}/job-1/t"
        run = store.runs.begin(task, node, directory, NOW)
        assert run is not None
        finish(self._service, run, exit_code=1)
        self._write(number, f"{directory}/f")


VALUES: Mapping[str, str] = {
    "timeout": "30",
    "$select": "id",
    "$expand": "stats",
    "$filter": "",
    "maxresults": "1",
    "recursive": "true",
    "force": "true",
    "starttime": "2026-01-01T00:00:00Z",
    "endtime": "2026-01-02T00:00:00Z",
    "client-request-id": "00000000-0000-0000-0000-000000000001",
    "return-client-request-id": "true",
    "ocp-range": "bytes=0-1",
    "if-match": "*",
    "if-none-match": '"0x1"',
    "if-modified-since": "Thu, 01 Jan 2026 00:00:00 GMT",
    "if-unmodified-since": "Tue, 01 Jan 2030 00:00:00 GMT",
}
"""A valid value of each parameter; the value of a condition meets the condition."""


SELECTED = {
    "list_job_preparation_and_release_task_status": "poolId",
    "list_node_extensions": "instanceView",
    "get_node_extension": "instanceView",
    "list_certificates": "thumbprint",
    "get_certificate": "thumbprint",
}


def send(
    service: Service,
    operation: Operation,
    version: str,
    on: tuple[str, int],
    *parameters: tuple[str, str],
) -> Answer:
    """Send a valid request for a path and a number of objects, with optional parameters."""
    path, number = on
    values = {**VALUES, "$select": SELECTED.get(operation.name, "id")}
    body = json.loads(json.dumps(BODIES.get(operation.name)).replace("{n}", str(number)))
    if operation.name == "replace_pool_properties" and version == FORMER:
        body["certificateReferences"] = []
    return service.request(
        operation.method,
        path,
        body,
        query="&".join(
            f"{name}={values[name.lower()]}" for at, name in parameters if at == "query"
        ),
        headers={name.lower(): values[name.lower()] for at, name in parameters if at == "header"},
        version=version,
    )


def check(operation: Operation, answer: Answer) -> None:
    """Check that a reply is documented: a success, or the refusal in this state."""
    if operation.name in REFUSED:
        assert (answer.status, answer.code) == REFUSED[operation.name], operation
        assert answer.status != 501 or operation.name in answer.values["Reason"]
    else:
        assert answer.status in operation.statuses - {404}, (operation, answer.body)


@pytest.mark.parametrize("version", PUBLISHED)
def test_an_operation_accepts_all_its_parameters_together(service: Service, version: str) -> None:
    objects = Objects(service)
    for operation in operations(version):
        on = objects.path(operation)
        check(operation, send(service, operation, version, on, *operation.parameters))


def test_a_reading_operation_accepts_each_of_its_parameters(service: Service) -> None:
    objects = Objects(service)
    for operation in operations(NEWEST_VERSION):
        if operation.method in ("GET", "HEAD"):
            on = objects.path(operation)
            for parameter in operation.parameters:
                check(operation, send(service, operation, NEWEST_VERSION, on, parameter))


@pytest.mark.parametrize("version", VERSIONS)
def test_an_operation_of_a_version_answers_for_objects_that_do_not_exist(
    service: Service, version: str
) -> None:
    known = set()
    for operation in operations(version if version in FILES else FORMER):
        known.add(operation.name)
        path = operation.path.replace("{", "").replace("}", "")
        path = path.replace("=thumbprintAlgorithm", "=sha1").replace("=thumbprint", f"={40 * 'a'}")
        answer = send(service, operation, version, (path, 0))
        if not in_versions(version, *OPERATIONS.get(operation.name, ("", ""))):
            assert (answer.status, answer.code) == (400, "InvalidUri"), operation
        elif "{" in operation.path and operation.name not in REFUSED:
            assert answer.status == 404, (operation, answer.body)
            assert operation.method == "HEAD" or answer.code.endswith("NotFound")
        else:
            assert answer.status < 500 or answer.code == "NotImplemented", (operation, answer.body)
    if version in FILES:
        routes = {
            route.operation
            for route in (*ROUTES, *FORMER_ROUTES)
            if in_versions(version, *OPERATIONS.get(route.operation, ("", "")))
        }
        assert routes == known
