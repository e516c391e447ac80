"""Jobs through the SDK: create, read, change, state transitions, counts."""

from __future__ import annotations

from typing import Any

import pytest
from azure.batch import models as m

from batchspec.local.model import JobState
from tests.local.running import Service

JOB: dict[str, Any] = {"id": "Job-1", "poolInfo": {"poolId": "pool-1"}}


def test_a_new_job_has_the_recorded_defaults(service: Service) -> None:
    created = service.request("POST", "/jobs", {**JOB, "metadata": [{"name": "a", "value": "b"}]})
    assert (created.status, created.body) == (201, b"")
    shown = service.request("GET", "/jobs/job-1").json
    time = shown["creationTime"]
    assert list(shown.items()) == list(
        {
            "odata.metadata": f"{service.url}/$metadata#jobs/@Element",
            "id": "Job-1",
            "url": f"{service.url}/jobs/Job-1",
            "eTag": created.headers["etag"],
            "lastModified": time,
            "creationTime": time,
            "state": "active",
            "stateTransitionTime": time,
            "priority": 0,
            "maxParallelTasks": -1,
            "usesTaskDependencies": False,
            "allowTaskPreemption": False,
            "constraints": {
                "maxWallClockTime": "P10675199DT2H48M5.4775807S",
                "maxTaskRetryCount": 0,
            },
            "poolInfo": {"poolId": "pool-1"},
            "metadata": [{"name": "a", "value": "b"}],
            "executionInfo": {"startTime": time, "poolId": "pool-1"},
            "onAllTasksComplete": "noaction",
            "onTaskFailure": "noaction",
        }.items()
    )


def test_a_job_can_be_created_before_its_pool(service: Service) -> None:
    service.client.create_job(
        m.BatchJobCreateOptions(id="j", pool_info=m.BatchPoolInfo(pool_id="x"))
    )
    assert service.client.get_job("j").state == "active"


def test_patch_replaces_given_properties_and_put_resets_the_others(service: Service) -> None:
    service.request("POST", "/jobs", {**JOB, "priority": 5, "onTaskFailure": "NoAction"})
    service.client.update_job("Job-1", m.BatchJobUpdateOptions(max_parallel_tasks=3))
    shown = service.request("GET", "/jobs/Job-1").json
    assert (shown["priority"], shown["maxParallelTasks"]) == (5, 3)
    answer = service.request("PUT", "/jobs/Job-1", {"poolInfo": {"poolId": "POOL-1"}})
    assert answer.headers["dataserviceid"] == f"{service.url}/jobs/Job-1"
    shown = service.request("GET", "/jobs/Job-1").json
    assert (shown["priority"], shown["maxParallelTasks"]) == (0, -1)
    assert shown["onTaskFailure"] == "noaction"


def test_a_job_can_be_replaced_by_itself(service: Service) -> None:
    service.request("POST", "/jobs", {**JOB, "priority": 5})
    job = service.client.get_job("Job-1")
    job.priority = 7
    service.client.replace_job("Job-1", job)
    assert service.client.get_job("Job-1").priority == 7


def test_an_invalid_enum_value_is_rejected_with_the_recorded_values(service: Service) -> None:
    service.request("POST", "/jobs", JOB)
    answer = service.request("PATCH", "/jobs/Job-1", {"onAllTasksComplete": "badValue"})
    assert (answer.status, answer.code) == (400, "InvalidPropertyValue")
    # As recorded.
    assert answer.json["values"] == [
        {"key": "PropertyName", "value": "onAllTasksComplete"},
        {"key": "PropertyValue", "value": "badValue"},
        {
            "key": "Reason",
            "value": "The value provided for one of the properties in the request body is invalid.",
        },
    ]


def test_the_pool_of_a_job_changes_only_while_it_is_disabled(service: Service) -> None:
    service.request("POST", "/jobs", JOB)
    move = {"poolInfo": {"poolId": "other"}}
    assert service.request("PATCH", "/jobs/Job-1", move).status == 409
    service.request("POST", "/jobs/Job-1/disable", {"disableTasks": "wait"})
    job = service.store.jobs.get("job-1")
    assert job is not None
    service.store.jobs.set_state(job, JobState.DISABLED, job.created)
    assert service.request("PATCH", "/jobs/Job-1", move).status == 200
    shown = service.request("GET", "/jobs/Job-1").json
    assert shown["executionInfo"]["poolId"] == "other"


def test_terminate_then_complete(service: Service) -> None:
    service.request("POST", "/jobs", JOB)
    poller = service.client.begin_terminate_job(
        "Job-1", options={"terminateReason": "because"}, polling_interval=0.01
    )
    shown = service.request("GET", "/jobs/Job-1").json
    assert (shown["state"], shown["previousState"]) == ("terminating", "active")
    assert service.request("POST", "/jobs/Job-1/terminate", {}).code == "JobBeingTerminated"
    assert service.request("POST", "/jobs/Job-1/terminate", query="force=true").status == 202
    job = service.store.jobs.get("job-1")
    assert job is not None
    service.store.jobs.set_state(job, JobState.COMPLETED, job.created)
    poller.wait(10)
    assert poller.status() == "Succeeded"
    info = service.request("GET", "/jobs/Job-1").json["executionInfo"]
    assert info["terminateReason"] == "because"
    assert "endTime" in info
    answer = service.request("POST", "/jobs/Job-1/tasks", {"id": "t", "commandLine": "x"})
    assert (answer.status, answer.code) == (409, "JobCompleted")


def test_terminate_without_a_body_has_the_default_reason(service: Service) -> None:
    service.request("POST", "/jobs", JOB)
    assert service.request("POST", "/jobs/Job-1/terminate").status == 202
    assert service.client.get_job("Job-1").execution_info.termination_reason == "UserTerminate"


def test_disable_and_enable(service: Service) -> None:
    service.request("POST", "/jobs", JOB)
    answer = service.request("POST", "/jobs/Job-1/disable", {"disableTasks": "requeue"})
    assert answer.headers["dataserviceid"] == f"{service.url}/jobs/Job-1/disable"
    assert service.client.get_job("Job-1").state == "disabling"
    assert service.request("POST", "/jobs/Job-1/enable").status == 202
    assert service.client.get_job("Job-1").state == "enabling"
    answer = service.request("POST", "/jobs/Job-1/disable", {"disableTasks": "requeue"})
    assert answer.code == "JobNotActive"


def test_delete(service: Service) -> None:
    service.request("POST", "/jobs", JOB)
    service.client.create_tasks("Job-1", [{"id": "t", "commandLine": "x"}])
    poller = service.client.begin_delete_job("Job-1", polling_interval=0.01)
    assert service.request("DELETE", "/jobs/Job-1").code == "JobBeingDeleted"
    assert service.request("PATCH", "/jobs/Job-1", {"priority": 1}).code == "JobBeingDeleted"
    job = service.store.jobs.get("job-1")
    assert job is not None
    assert service.store.jobs.purge(job)
    poller.wait(10)
    assert poller.status() == "Succeeded"
    assert service.request("GET", "/jobs/Job-1").code == "JobNotFound"
    assert service.request("GET", "/jobs/Job-1/tasks/t").code == "JobNotFound"


def test_counts_of_tasks_and_slots(service: Service) -> None:
    service.request("POST", "/jobs", JOB)
    service.client.create_tasks(
        "Job-1", [{"id": f"t{n}", "commandLine": "x", "requiredSlots": 2} for n in range(3)]
    )
    service.client.terminate_task("Job-1", "t1")
    counts = service.client.get_job_task_counts("job-1")
    assert counts.task_counts.as_dict() == {
        "active": 2, "running": 0, "completed": 1, "succeeded": 0, "failed": 1
    }  # fmt: skip
    assert counts.task_slot_counts.as_dict() == {
        "active": 4, "running": 0, "completed": 2, "succeeded": 0, "failed": 2
    }  # fmt: skip


def test_stats_are_returned_with_expand(service: Service) -> None:
    service.request("POST", "/jobs", JOB)
    assert "stats" not in service.request("GET", "/jobs/Job-1").json
    (job,) = service.request("GET", "/jobs", query="$expand=stats").json["value"]
    assert job["stats"]["numSucceededTasks"] == "0"
    answer = service.request("GET", "/jobs/Job-1", query="$expand=tasks")
    assert answer.code == "InvalidQueryParameterValue"


@pytest.mark.parametrize(
    ("extra", "name"),
    [
        ({"priority": 1001}, "priority"),
        ({"maxParallelTasks": 0}, "maxParallelTasks"),
        ({"constraints": {"maxTaskRetryCount": -2}}, "maxTaskRetryCount"),
        ({"constraints": {"maxWallClockTime": "PT0S"}}, "maxWallClockTime"),
        ({"constraints": {"maxWallClockTime": "P"}}, "maxWallClockTime"),
        ({"id": "a b"}, "id"),
        ({"id": "x" * 65}, "id"),
        ({"priority": 1.5}, "priority"),
        ({"usesTaskDependencies": "yes"}, "usesTaskDependencies"),
    ],
)
def test_values_out_of_range_are_rejected(
    service: Service, extra: dict[str, Any], name: str
) -> None:
    answer = service.request("POST", "/jobs", {**JOB, **extra})
    assert (answer.status, answer.code) == (400, "InvalidPropertyValue")
    assert answer.values["PropertyName"] == name


def test_the_identity_of_a_registry_is_kept(service: Service) -> None:
    registry = {"registryServer": "r", "identityReference": {"resourceId": "i"}}
    settings = {"imageName": "x", "registry": registry}
    manager = {"id": "m", "commandLine": "true", "containerSettings": settings}
    assert service.request("POST", "/jobs", {**JOB, "jobManagerTask": manager}).status == 201
    shown = service.request("GET", f"/jobs/{JOB['id']}").json["jobManagerTask"]
    assert shown["containerSettings"]["registry"] == registry
