"""Numbered contracts: behaviour that the service description does not settle, with its evidence.

``docs/compatibility.md`` lists the contracts, and the code cites the number. Details that
recordings show (defaults, headers, spelling) are tested in ``test_api_recorded.py`` and replayed as
a whole by ``tools/replay_recordings.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from batchspec.local.engine.machine_usage import MachineUsage
from tests.local.engine_stub import finish, idle_node, start
from tests.local.engines import (
    WAIT,
    job,
    pool,
    release_tasks,
    running_with_engine,
    task,
    wait_until,
)
from tests.local.running import Service

OLDER = "2024-02-01.19.0"


@pytest.fixture(scope="module")
def batch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with its engine, a pool of one node with two slots, and a job."""
    with running_with_engine(tmp_path_factory.mktemp("contract") / "batch") as service:
        service.client.create_pool(pool(taskSlotsPerNode=2))
        service.client.create_job(job())
        yield service


def ended(batch: Service, task_id: str, script: str, **more: Any) -> dict[str, Any]:
    """Run a task to completion and return its ``executionInfo``."""
    batch.client.create_task("j", task(task_id, script, **more))
    wait_until(lambda: batch.client.get_task("j", task_id).state == "completed")
    found: dict[str, Any] = batch.request("GET", f"/jobs/j/tasks/{task_id}").json["executionInfo"]
    return found


# --- pools and nodes


def test_01_stop_resize_of_a_steady_pool(service: Service) -> None:
    """1. Stop resize of a steady pool succeeds and changes nothing.

    Evidence: not recorded; the reference names no error, and a client cannot know that the resize
    has just ended.
    """
    service.client.create_pool(pool(nodes=0))
    made = service.store.pools.get("p")
    assert made is not None
    service.store.pools.complete_resize(made, datetime.now(UTC), ())
    assert service.request("POST", "/pools/p/stopresize").status == 202
    assert service.request("GET", "/pools/p").json["allocationState"] == "steady"


def test_02_properties_that_need_an_empty_pool(service: Service) -> None:
    """2. Updating a property that requires an empty pool in a pool with nodes is 409
    OperationInvalidForCurrentState, even if the value is unchanged.

    Evidence: "can be updated only when the pool is empty"; other operations that a state does not
    allow have this code.
    """
    idle_node(service)
    refused = service.request("PATCH", "/pools/p", {"vmSize": "x"})
    assert (refused.status, refused.code) == (409, "OperationInvalidForCurrentState")


def test_03_evaluate_on_a_fixed_pool(service: Service) -> None:
    """3. Evaluating a formula for a pool without autoscale is 409 OperationInvalidForCurrentState.

    Evidence: "autoscaling must first be enabled on the pool"; the code is not recorded.
    """
    idle_node(service)
    formula = {"autoScaleFormula": "$TargetDedicatedNodes=1;"}
    refused = service.request("POST", "/pools/p/evaluateautoscale", formula)
    assert (refused.status, refused.code) == (409, "OperationInvalidForCurrentState")


def test_04_delete_twice(service: Service) -> None:
    """4. Deleting a pool in state ``deleting`` is 409 PoolBeingDeleted.

    Evidence: recorded, azure-sdk-for-node.
    """
    service.client.create_pool(pool())
    assert service.request("DELETE", "/pools/p").status == 202
    again = service.request("DELETE", "/pools/p")
    assert (again.status, again.code) == (409, "PoolBeingDeleted")


def test_05_user_accounts_of_nodes(service: Service) -> None:
    """5. Names of node users are case-sensitive; an expired user can be created again.

    Evidence: not recorded; this is the behaviour of Linux.
    """
    node = idle_node(service)
    path = f"/pools/p/nodes/{node.id}/users"
    assert [service.request("POST", path, {"name": n}).status for n in ("a", "A")] == [201, 201]
    assert service.request("POST", path, {"name": "a"}).code == "NodeUserExists"


# --- jobs


def test_06_a_job_whose_pool_does_not_exist(service: Service) -> None:
    """6. A job can name a pool that does not exist; its tasks wait for a pool with that id.

    Evidence: the reference names no error for this.
    """
    assert service.request("POST", "/jobs", job(pool_id="none")).status == 201
    assert service.request("POST", "/jobs/j/tasks", task("t", "true")).status == 201
    assert service.request("GET", "/jobs/j/tasks/t").json["state"] == "active"


def test_07_a_job_without_tasks_that_terminates_with_them(batch: Service) -> None:
    """7. A job created with ``onAllTasksComplete: terminatejob`` and without tasks ends at once.

    Evidence: "if there are no Tasks, then all Tasks are considered complete", and the advice to set
    it only when all tasks are added. 27 recorded jobs were still active within a second.
    """
    batch.client.create_job(job("empty", onAllTasksComplete="terminatejob"))
    wait_until(lambda: batch.client.get_job("empty").state == "completed")
    info = batch.request("GET", "/jobs/empty").json["executionInfo"]
    assert info["terminateReason"] == "AllTasksComplete"


def test_08_a_disabled_job_accepts_tasks(service: Service) -> None:
    """8. Tasks can be added to a disabled job; they wait until it is enabled.

    Evidence: not recorded; the reference of Disable Job mentions only running tasks.
    """
    service.client.create_job(job())
    service.request("POST", "/jobs/j/disable", {"disableTasks": "wait"})
    assert service.request("POST", "/jobs/j/tasks", task("t", "true")).status == 201


def test_09_active_tasks_of_a_terminated_job(batch: Service) -> None:
    """9. The active tasks of a terminated job stay active.

    Evidence: azure-sdk-for-python#26037, "by design".
    """
    batch.client.create_job(job("cut", "none"))
    batch.client.create_task("cut", task("t", "true"))
    batch.request("POST", "/jobs/cut/terminate")
    wait_until(lambda: batch.client.get_job("cut").state == "completed")
    assert batch.client.get_task("cut", "t").state == "active"


def test_10_preparation_status_of_a_job_without_preparation(service: Service) -> None:
    """10. The preparation and release task status of a job without these tasks is 409
    JobPreparationTaskOrReleaseTaskNotSpecified.

    Evidence: recorded, azure-sdk-for-node; the reference names other codes.
    """
    service.client.create_job(job())
    refused = service.request("GET", "/jobs/j/jobpreparationandreleasetaskstatus")
    assert (refused.status, refused.code) == (409, "JobPreparationTaskOrReleaseTaskNotSpecified")


def test_11_the_pool_of_an_enabled_job(service: Service) -> None:
    """11. An active job accepts its current ``poolInfo``; another ``poolInfo`` is 409.

    Evidence: the tests of azure-sdk-for-python put a job back unchanged; the reference:
    "will fail if you include the poolInfo element and the Job is not disabled".
    """
    service.client.create_job(job())
    same, other = ({"poolInfo": {"poolId": name}} for name in ("p", "q"))
    assert service.request("PATCH", "/jobs/j", same).status == 200
    assert service.request("PATCH", "/jobs/j", other).status == 409


# --- tasks


def test_12_dependencies_in_a_job_without_dependencies(service: Service) -> None:
    """12. ``dependsOn`` in a job without ``usesTaskDependencies`` is 400 UnsupportedProperty.

    Evidence: azure-sdk-for-python#27859 and #42399; the reference lists
    TaskDependenciesNotSpecifiedOnJob.
    """
    service.client.create_job(job())
    refused = service.request("POST", "/jobs/j/tasks", task("t", "x", dependsOn={"taskIds": ["a"]}))
    assert (refused.status, refused.code) == (400, "UnsupportedProperty")


def test_13_the_status_values_of_a_collection(service: Service) -> None:
    """13. The status of a task of a collection is ``Success`` or ``ClientError``, in this spelling.

    Evidence: recorded 647 times, up to 2024-02-01.19.0; the API description has lower case.
    """
    service.client.create_job(job())
    tasks = [task("t", "true"), {"id": "..", "commandLine": "x"}]
    found = service.request("POST", "/jobs/j/addtaskcollection", {"value": tasks}).json["value"]
    assert [one["status"] for one in found] == ["Success", "ClientError"]


def test_14_a_task_that_exceeds_its_time_limit(batch: Service) -> None:
    """14. A task that exceeds ``maxWallClockTime`` has the error TaskEnded and exit code 137.

    Evidence: the reference contains only the exit code on Windows (0xC000013A); shells report 128
    plus the signal number.
    """
    # If the time limit passes before the process starts, there is no exit code.
    info = ended(batch, "long", "sleep 1000", constraints={"maxWallClockTime": "PT2S"})
    assert (info["exitCode"], info["failureInfo"]["code"]) == (137, "TaskEnded")


def test_15_a_task_that_a_signal_ended(batch: Service) -> None:
    """15. A task that a signal ended has the exit code 128 plus the signal number.

    Evidence: the convention of shells; the reference does not describe Linux.
    """
    info = ended(batch, "signal", "kill -USR1 $$")
    assert (info["exitCode"], info["failureInfo"]["code"]) == (138, "FailureExitCode")


def test_16_a_program_that_does_not_exist(batch: Service) -> None:
    """16. A task whose program does not exist has no exit code, but a start and an end time.

    Evidence: recorded, azure-batch-cli-extensions.
    """
    batch.client.create_task("j", {"id": "none", "commandLine": "no-such-program"})
    wait_until(lambda: batch.client.get_task("j", "none").state == "completed")
    info = batch.request("GET", "/jobs/j/tasks/none").json["executionInfo"]
    assert info["failureInfo"]["code"] == "CommandProgramNotFound"
    assert {"startTime", "endTime"} <= info.keys()
    assert "exitCode" not in info


def test_17_an_output_that_cannot_be_uploaded(batch: Service) -> None:
    """17. A task whose output file cannot be uploaded has exit code 0 and the result failure.

    Evidence: recorded, azure-batch-cli-extensions: FileUploadContainerNotFound with exit code 0.
    """
    always = {"uploadCondition": "taskcompletion"}
    nowhere = {"container": {"containerUrl": "http://127.0.0.1:1/none"}}
    output = {"filePattern": "../stdout.txt", "destination": nowhere}
    info = ended(batch, "lost", "echo x", outputFiles=[{**output, "uploadOptions": always}])
    assert (info["exitCode"], info["result"]) == (0, "failure")
    assert info["failureInfo"]["code"].startswith("FileUpload")


def test_18_terminating_an_active_task(service: Service) -> None:
    """18. Terminating an active task completes it at once, with an end time and no start time.

    Evidence: the tests of azure-sdk-for-python expect this.
    """
    service.client.create_job(job())
    service.client.create_task("j", task("t", "true"))
    assert service.request("POST", "/jobs/j/tasks/t/terminate").status == 204
    shown = service.request("GET", "/jobs/j/tasks/t").json
    assert shown["state"] == "completed"
    assert shown["executionInfo"]["failureInfo"]["code"] == "TaskEnded"
    assert "startTime" not in shown["executionInfo"]


def test_19_the_etag_of_a_task(service: Service) -> None:
    """19. The ETag of a task does not change with its state.

    Evidence: recorded: ``lastModified`` of completed tasks is their creation time.
    """
    node = idle_node(service)
    service.client.create_job(job())
    service.client.create_task("j", task("t", "true"))
    before = service.request("GET", "/jobs/j/tasks/t").json["eTag"]
    finish(service, start(service, node, "t"))
    assert service.request("GET", "/jobs/j/tasks/t").json["eTag"] == before


def test_20_the_start_of_a_retried_task(batch: Service) -> None:
    """20. The start time of a retried task is the start time of its latest run, even in progress.

    Evidence: "the most recent time at which the Task started running"; recorded for completed
    tasks.
    """
    again = {"maxTaskRetryCount": 1}
    script = f"test -e tried && {{ {WAIT}; }}; touch tried; exit 1"
    batch.client.create_task("j", task("twice", script, constraints=again))
    wait_until(lambda: batch.client.get_task("j", "twice").execution_info.retry_count == 1)
    info = batch.request("GET", "/jobs/j/tasks/twice").json["executionInfo"]
    assert info["startTime"] == info["lastRetryTime"]
    release_tasks(batch)
    wait_until(lambda: batch.client.get_task("j", "twice").state == "completed")


# --- the wire


def test_21_a_part_of_a_file(batch: Service) -> None:
    """21. The status of a range of a file (``ocp-range``) is 200, not 206.

    Evidence: recorded; clients treat 206 as an error.
    """
    ended(batch, "part", "echo whole")
    headers = {"ocp-range": "bytes=0-1"}
    found = batch.request("GET", "/jobs/j/tasks/part/files/stdout.txt", headers=headers)
    assert (found.status, found.body) == (200, b"wh")


def test_22_numbers_as_strings(service: Service) -> None:
    """22. A number can be sent as a string, and an enum value in any case.

    Evidence: recorded: azure-cli sends ``"targetDedicatedNodes": "2"``.
    """
    sent = pool(nodes=0, targetLowPriorityNodes="2", taskSchedulingPolicy={"nodeFillType": "PACK"})
    assert service.request("POST", "/pools", sent, checked=False).status == 201
    assert service.request("GET", "/pools/p").json["targetLowPriorityNodes"] == 2


def test_23_quotes_around_an_etag(service: Service) -> None:
    """23. ETags are sent without quotes and accepted with and without quotes.

    Evidence: recorded without quotes; azure-core sends them back with quotes.
    """
    service.client.create_job(job())
    etag = service.request("GET", "/jobs/j").headers["etag"]
    assert '"' not in etag
    for sent in (etag, f'"{etag}"'):
        assert service.request("GET", "/jobs/j", headers={"if-none-match": sent}).status == 304


def test_24_the_client_request_id(service: Service) -> None:
    """24. The ``client-request-id`` is returned only with ``return-client-request-id: true``.

    Evidence: recorded.
    """
    one = {"client-request-id": "mine"}
    both = {**one, "return-client-request-id": "true"}
    found = [service.request("GET", "/jobs", headers=sent).headers for sent in (one, both)]
    assert [headers.get("client-request-id") for headers in found] == [None, "mine"]


def test_25_times_in_filters(service: Service) -> None:
    """25. A time in a filter can be unquoted, quoted, or ``DateTime'...'``.

    Evidence: OData has the unquoted form, older Batch samples the last; not recorded.
    """
    service.client.create_job(job())
    for text in ("2020-01-01T00:00:00Z", "'2020-01-01'", "DateTime'2020-01-01T00:00:00Z'"):
        query = f"$filter=creationTime%20gt%20{text}".replace("'", "%27")
        found = service.request("GET", "/jobs", query=query).json["value"]
        assert [one["id"] for one in found] == ["j"], text


def test_26_maxresults_of_zero(service: Service) -> None:
    """26. ``maxresults=0`` is 400 InvalidQueryParameterValue.

    Evidence: recorded, azure-sdk-for-node: "MaxResults cannot be less than 1".
    """
    refused = service.request("GET", "/jobs", query="maxresults=0")
    assert (refused.status, refused.code) == (400, "InvalidQueryParameterValue")


def test_27_cpu_percent_is_a_fraction(tmp_path: Path) -> None:
    """27. Samples of ``$CPUPercent`` are fractions of 1.

    Evidence: an example in the documentation of formulas compares them with 0.7.
    """
    stat = tmp_path / "stat"
    stat.write_text("cpu  70 0 0 30 0 0 0 0\n")
    assert MachineUsage(tmp_path, tmp_path).sample("p")["CPUPercent"] == 0.7


def test_28_an_id_that_is_being_deleted(service: Service) -> None:
    """28. Creating a pool with the id of a pool in state ``deleting`` is 409 PoolBeingDeleted.

    Evidence: doAzureParallel (R) handles this code of a create request; not recorded for jobs and
    job schedules, which have the same rule.
    """
    service.client.create_pool(pool())
    service.client.create_job(job())
    for path, body in (("/pools/p", pool()), ("/jobs/j", job())):
        assert service.request("DELETE", path).status == 202
        refused = service.request("POST", path[:-2], body)
        name = "Pool" if path == "/pools/p" else "Job"
        assert (refused.status, refused.code) == (409, f"{name}BeingDeleted")


def test_29_a_public_key_of_a_node_user(service: Service) -> None:
    """29. A public key is a line of OpenSSH or its base64 part; anything else is refused.

    Evidence: "compatible with OpenSSH encoding and should be base 64 encoded"; the refusal is not
    recorded. Without it, a user created with the path of a file could not sign in.
    """
    node = idle_node(service)
    path = f"/pools/p/nodes/{node.id}/users"
    key = "AAAAC3NzaC1lZDI1NTE5AAAAIA=="
    for name, text in (("a", key), ("b", f"ssh-ed25519 {key} b@host")):
        assert service.request("POST", path, {"name": name, "sshPublicKey": text}).status == 201
    refused = service.request("POST", path, {"name": "c", "sshPublicKey": "~/.ssh/id.pub"})
    assert (refused.status, refused.code) == (400, "InvalidPropertyValue")


def test_contracts_are_numbered_consecutively() -> None:
    names = [name for name in globals() if name.startswith("test_") and name[5].isdigit()]
    numbers = [int(name[5:7]) for name in names]
    assert numbers == list(range(1, len(numbers) + 1))
    for number, name in zip(numbers, names, strict=True):
        doc = globals()[name].__doc__
        assert doc.startswith(f"{number}. "), name
        assert "\n\n    Evidence: " in doc, name
