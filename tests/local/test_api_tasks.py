"""Tasks through the SDK: add, read, list, change, terminate, delete."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from azure.batch import models as m

from tests.local.engine_stub import NOW, finish, idle_node, start
from tests.local.running import Service

TASK: dict[str, Any] = {"id": "Task-1", "commandLine": "/bin/true"}
TASKS = "/jobs/j/tasks"


@pytest.fixture(autouse=True)
def _job(service: Service) -> Iterator[None]:
    service.request("POST", "/jobs", {"id": "j", "poolInfo": {"poolId": "p"}})
    yield


def test_a_new_task_has_the_recorded_defaults(service: Service) -> None:
    created = service.request("POST", TASKS, TASK)
    assert (created.status, created.body) == (201, b"")
    assert created.headers["location"] == f"{service.url}/jobs/j/tasks/Task-1"
    shown = service.request("GET", f"{TASKS}/TASK-1")
    assert shown.headers["etag"] == created.headers["etag"]
    time = shown.json["creationTime"]
    assert list(shown.json.items()) == list(
        {
            "odata.metadata": f"{service.url}/$metadata#tasks/@Element",
            "id": "Task-1",
            "url": f"{service.url}/jobs/j/tasks/Task-1",
            "eTag": created.headers["etag"],
            "creationTime": time,
            "lastModified": time,
            "state": "active",
            "stateTransitionTime": time,
            "commandLine": "/bin/true",
            "userIdentity": {"autoUser": {"scope": "pool", "elevationLevel": "nonadmin"}},
            "constraints": {
                "maxWallClockTime": "P10675199DT2H48M5.4775807S",
                "retentionTime": "P7D",
                "maxTaskRetryCount": 0,
            },
            "requiredSlots": 1,
            "executionInfo": {"retryCount": 0, "requeueCount": 0},
        }.items()
    )


def test_all_settings_of_a_task_are_returned_unchanged(service: Service) -> None:
    service.client.create_task(
        "j",
        m.BatchTaskCreateOptions(
            id="t",
            command_line="x",
            resource_files=[m.ResourceFile(http_url="http://h/b?sig=x", file_path="b")],
            output_files=[
                m.OutputFile(
                    file_pattern="../std*.txt",
                    destination=m.OutputFileDestination(
                        container=m.OutputFileBlobContainerDestination(container_url="http://h/c")
                    ),
                    upload_options=m.OutputFileUploadConfiguration(
                        upload_condition="taskcompletion"
                    ),
                )
            ],
            environment_settings=[m.EnvironmentSetting(name="A", value="b")],
        ),
    )
    shown = service.request("GET", f"{TASKS}/t").json
    assert shown["resourceFiles"] == [{"httpUrl": "http://h/b?sig=x", "filePath": "b"}]
    # Recorded: the service writes these values in Pascal case.
    assert shown["outputFiles"][0]["uploadOptions"] == {"uploadCondition": "TaskCompletion"}
    assert shown["environmentSettings"] == [{"name": "A", "value": "b"}]


def test_a_task_inherits_the_retry_count_of_its_job(service: Service) -> None:
    constraints = {"maxTaskRetryCount": 3}
    service.request("PATCH", "/jobs/j", {"constraints": constraints})
    service.request("POST", TASKS, TASK)
    service.request("POST", TASKS, {**TASK, "id": "own", "constraints": {"maxTaskRetryCount": 0}})
    retries = {t.id: t.constraints.max_task_retry_count for t in service.client.list_tasks("j")}
    assert retries == {"Task-1": 3, "own": 0}


def test_a_collection_reports_the_result_of_each_task(service: Service) -> None:
    service.request("POST", TASKS, {**TASK, "id": "b"})
    values = [
        {"id": "a", "commandLine": "x"},
        {"id": "B", "commandLine": "x"},
        {"id": "c d", "commandLine": "x"},
        {"id": "e", "commandLine": "x", "requiredSlots": 0},
    ]
    answer = service.request("POST", "/jobs/j/addtaskcollection", {"value": values})
    assert answer.status == 200
    assert answer.json["odata.metadata"] == f"{service.url}/$metadata#taskaddresult"
    results = answer.json["value"]
    assert [result["status"] for result in results] == [
        "Success", "ClientError", "ClientError", "ClientError"
    ]  # fmt: skip
    assert results[0]["location"] == f"{service.url}/jobs/j/tasks/a"
    assert [result["error"]["code"] for result in results[1:]] == [
        "TaskExists", "InvalidPropertyValue", "InvalidPropertyValue"
    ]  # fmt: skip
    assert sorted(task.id for task in service.client.list_tasks("j")) == ["a", "b"]


def test_tasks_of_a_collection_run_in_their_order(service: Service) -> None:
    values = [{"id": name, "commandLine": "x"} for name in ("z", "m", "a")]
    service.request("POST", "/jobs/j/addtaskcollection", {"value": values})
    assert [task.id for task in service.store.runs.runnable("j", 9, 1)] == ["z", "m", "a"]
    assert [task.id for task in service.client.list_tasks("j")] == ["a", "m", "z"]


def test_a_collection_has_at_most_100_tasks_and_1_mb(service: Service) -> None:
    values = [{"id": f"t{n}", "commandLine": "x"} for n in range(101)]
    answer = service.request("POST", "/jobs/j/addtaskcollection", {"value": values})
    assert (answer.status, answer.code) == (400, "InvalidRequestBody")
    large = {"value": [{"id": "t", "commandLine": "x" * 1024 * 1024}]}
    answer = service.request("POST", "/jobs/j/addtaskcollection", large)
    assert (answer.status, answer.code) == (413, "RequestBodyTooLarge")
    assert list(service.client.list_tasks("j")) == []


def test_the_sdk_adds_many_tasks_and_splits_large_requests(service: Service) -> None:
    tasks = [{"id": f"t{n}", "commandLine": "x" * 6000} for n in range(250)]
    result = service.client.create_tasks("j", tasks)
    assert all(one.error is None for one in result.result_values)
    assert service.client.get_job_task_counts("j").task_counts.active == 250


def test_one_task_without_a_command_line_fails_the_whole_request(service: Service) -> None:
    answer = service.request("POST", "/jobs/j/addtaskcollection", {"value": [TASK, {"id": "t"}]})
    assert (answer.status, answer.code) == (400, "MissingRequiredProperty")
    assert answer.values == {"PropertyName": "commandLine"}
    assert list(service.client.list_tasks("j")) == []


def test_select_filter_and_pages(service: Service) -> None:
    service.client.create_tasks("j", [{"id": f"t{n}", "commandLine": "x"} for n in range(5)])
    node = idle_node(service)
    finish(service, start(service, node, "t1"), exit_code=1)
    finish(service, start(service, node, "t3"))
    page = service.request("GET", TASKS, query="$select=id,state&maxresults=2").json
    assert page["value"] == [{"id": "t0", "state": "active"}, {"id": "t1", "state": "completed"}]
    found = service.client.list_tasks(
        "j", filter="state eq 'completed' and executionInfo/exitCode ne 0", select=["id"]
    )
    assert [task.id for task in found] == ["t1"]
    found = service.client.list_tasks("j", filter="executionInfo/result eq 'success'")
    assert [task.id for task in found] == ["t3"]
    found = service.client.list_tasks("j", select=["id"], max_results=2)
    assert [task.id for task in found] == ["t0", "t1", "t2", "t3", "t4"]


def test_lists_of_ids_and_states_equal_parts_of_the_full_list(service: Service) -> None:
    service.client.create_tasks("j", [{"id": f"T{n}", "commandLine": "x"} for n in range(7)])
    node = idle_node(service)
    finish(service, start(service, node, "T1"), exit_code=1)
    start(service, node, "T3")
    full = listed(service, "")
    assert {task["state"] for task in full} == {"active", "running", "completed"}
    for names in ("id", "state", "state,id", "id,state,executionInfo"):
        for more in ("", "&$expand=stats", "&$filter=state ne 'completed' and id ge 't1'"):
            found = listed(service, f"&$select={names}{more}")
            expected = listed(service, more) if "filter" in more else full
            reduced = [
                {name: value for name, value in task.items() if name in names.split(",")}
                for task in expected
            ]
            assert found == reduced, (names, more)


def listed(service: Service, options: str) -> list[dict[str, Any]]:
    """All pages of the list of tasks, two tasks in each."""
    found: list[dict[str, Any]] = []
    following = query = quote(f"maxresults=2{options}", safe="=&$,")
    while following:
        page = service.request("GET", TASKS, query=following).json
        found += page["value"]
        token = page.get("odata.nextLink", "").partition("$skiptoken=")[2]
        following = f"{query}&$skiptoken={token}" if token else ""
    return found


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("maxresults=1001", "maxresults"),
        ("maxresults=x", "maxresults"),
        ("$filter=color%20eq%20%27red%27", "$filter"),
        ("$filter=state%20eq", "$filter"),
        ("$select=id,colour", "$select"),
        ("$skiptoken=%21", "$skiptoken"),
    ],
)
def test_errors_name_the_invalid_query_option(service: Service, query: str, name: str) -> None:
    answer = service.request("GET", TASKS, query=query)
    assert (answer.status, answer.code) == (400, "InvalidQueryParameterValue")
    assert answer.values["QueryParameterName"] == name


def test_a_completed_task(service: Service) -> None:
    service.request("POST", TASKS, TASK)
    node = idle_node(service)
    run = start(service, node, "Task-1")
    etag = service.request("GET", f"{TASKS}/Task-1").json["eTag"]
    finish(service, run)
    shown = service.request("GET", f"{TASKS}/Task-1").json
    assert shown["eTag"] == etag  # a task's ETag does not change with its state
    assert shown["executionInfo"] == {
        "startTime": "2026-01-02T03:04:05.6789Z",
        "endTime": "2026-01-02T03:04:05.6789Z",
        "exitCode": 0,
        "result": "success",
        "retryCount": 0,
        "requeueCount": 0,
    }
    node_url = f"{service.url}/pools/p/nodes/tvmps_a_d"
    assert shown["nodeInfo"] == {
        "affinityId": "TVM:tvmps_a_d",
        "nodeUrl": node_url,
        "poolId": "p",
        "nodeId": "tvmps_a_d",
        "taskRootDirectory": "workitems/j/job-1/Task-1",
        "taskRootDirectoryUrl": f"{node_url}/files/workitems/j/job-1/Task-1",
    }


def test_terminating_an_active_task_completes_it(service: Service) -> None:
    service.request("POST", TASKS, TASK)
    answer = service.request("POST", f"{TASKS}/Task-1/terminate")
    assert (answer.status, answer.body) == (204, b"")
    shown = service.request("GET", f"{TASKS}/Task-1").json
    assert (shown["state"], shown["previousState"]) == ("completed", "active")
    info = shown["executionInfo"]
    assert "startTime" not in info
    assert info["failureInfo"] == {
        "category": "UserError",
        "code": "TaskEnded",
        "message": "Task Was Ended by User Request",
    }
    assert service.request("POST", f"{TASKS}/Task-1/terminate").code == "TaskCompleted"


def test_the_engine_terminates_a_running_task(service: Service) -> None:
    service.request("POST", TASKS, TASK)
    start(service, idle_node(service), "Task-1")
    service.client.terminate_task("j", "Task-1")
    assert service.client.get_task("j", "Task-1").state == "running"
    assert [task.ending for task in service.store.runs.ending()] == ["terminate"]


def test_only_failed_tasks_can_be_reactivated(service: Service) -> None:
    service.client.create_tasks("j", [{"id": n, "commandLine": "x"} for n in ("good", "bad")])
    node = idle_node(service)
    assert service.request("POST", f"{TASKS}/bad/reactivate").code == "TaskNotCompleted"
    finish(service, start(service, node, "bad"), exit_code=3)
    finish(service, start(service, node, "good"))
    answer = service.request("POST", f"{TASKS}/bad/reactivate")
    assert answer.status == 204
    assert "dataserviceid" not in answer.headers  # as recorded
    shown = service.request("GET", f"{TASKS}/bad").json
    assert shown["state"] == "active"
    assert shown["executionInfo"] == {"retryCount": 0, "requeueCount": 0}
    assert service.request("POST", f"{TASKS}/good/reactivate").code == "TaskSucceeded"


def test_put_replaces_constraints_and_resets_missing_ones(service: Service) -> None:
    service.request("POST", TASKS, {**TASK, "constraints": {"maxWallClockTime": "PT1H"}})
    answer = service.request(
        "PUT", f"{TASKS}/Task-1", {"constraints": {"maxTaskRetryCount": "3"}}, checked=False
    )
    assert answer.status == 200
    assert service.request("GET", f"{TASKS}/Task-1").json["constraints"] == {
        "maxWallClockTime": "P10675199DT2H48M5.4775807S",
        "retentionTime": "P7D",
        "maxTaskRetryCount": 3,
    }


def test_a_deleted_task_disappears_and_its_run_is_pending_deletion(service: Service) -> None:
    service.request("POST", TASKS, TASK)
    start(service, idle_node(service), "Task-1")
    answer = service.request("DELETE", f"{TASKS}/Task-1")
    assert (answer.status, answer.body) == (200, b"")
    assert service.request("GET", f"{TASKS}/Task-1").code == "TaskNotFound"
    (deletion,) = service.store.runs.pending_deletions()
    assert deletion.directory == "workitems/j/job-1/Task-1"
    node = service.store.nodes.get("p", "tvmps_a_d")
    assert node is not None
    assert (node.running_tasks, node.running_slots) == (0, 0)


@pytest.mark.parametrize(
    ("extra", "code"),
    [
        ({"dependsOn": {"taskIds": ["a"]}}, "UnsupportedProperty"),
        ({"exitConditions": {"default": {"jobAction": "terminate"}}}, "InvalidPropertyValue"),
        ({"resourceFiles": [{"filePath": "x"}]}, "MissingRequiredProperty"),
        ({"resourceFiles": [{"httpUrl": "http://x"}]}, "MissingRequiredProperty"),
        ({"environmentSettings": [{"value": "x"}]}, "MissingRequiredProperty"),
        ({"commandline": "x"}, "InvalidRequestBody"),
    ],
)
def test_invalid_task_settings(service: Service, extra: dict[str, Any], code: str) -> None:
    answer = service.request("POST", TASKS, {**TASK, **extra})
    assert answer.code == code
    assert service.request("GET", f"{TASKS}/Task-1").status == 404


def test_a_task_waits_for_its_dependencies(service: Service) -> None:
    service.request(
        "POST",
        "/jobs",
        {"id": "d", "poolInfo": {"poolId": "p"}, "usesTaskDependencies": True},
    )
    values = [
        {"id": "last", "commandLine": "x", "dependsOn": {"taskIds": ["A", "later"]}},
        {
            "id": "range",
            "commandLine": "x",
            "dependsOn": {"taskIdRanges": [{"start": 1, "end": 2}]},
        },
        {"id": "a", "commandLine": "x"},
        {"id": "1", "commandLine": "x"},
        {"id": "002", "commandLine": "x"},
    ]
    service.request("POST", "/jobs/d/addtaskcollection", {"value": values})
    node = idle_node(service)
    runs = service.store.runs
    assert [task.id for task in runs.runnable("d", 9, 9)] == ["a", "1", "002"]
    for task in runs.runnable("d", 9, 9):
        run = runs.begin(task, node, "x", NOW)
        assert run is not None
        finish(service, run)
    assert [task.id for task in runs.runnable("d", 9, 9)] == ["range"]
    service.request("POST", "/jobs/d/tasks", {"id": "LATER", "commandLine": "x"})
    later = service.store.tasks.get("d", "later")
    assert later is not None
    run = runs.begin(later, node, "x", NOW)
    assert run is not None
    finish(service, run)
    assert [task.id for task in runs.runnable("d", 9, 9)] == ["last", "range"]
