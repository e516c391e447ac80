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

from batchspec.local.engine.observe import CpuUsage
from tests.local.engines import WAIT, engined, go, job, pool, task, until
from tests.local.playing import finish, idle_node, start
from tests.local.running import Service

OLDER = "2024-02-01.19.0"


@pytest.fixture(scope="module")
def batch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with its engine, a pool of one node and two slots, and a job."""
    with engined(tmp_path_factory.mktemp("contract") / "batch") as service:
        service.client.create_pool(pool(taskSlotsPerNode=2))
        service.client.create_job(job())
        yield service


def ended(batch: Service, task_id: str, script: str, **more: Any) -> dict[str, Any]:
    """The execution information of a task that was run."""
    batch.client.create_task("j", task(task_id, script, **more))
    until(lambda: batch.client.get_task("j", task_id).state == "completed")
    found: dict[str, Any] = batch.request("GET", f"/jobs/j/tasks/{task_id}").json["executionInfo"]
    return found


# --- pools and nodes


def test_01_stop_resize_of_a_steady_pool(service: Service) -> None:
    """1. Stopping the resize of a pool that is steady is accepted and changes nothing.

    Evidence: none recorded; the reference names no error, and a client that races with the end of
    a resize cannot know.
    """
    service.client.create_pool(pool(nodes=0))
    made = service.store.pools.get("p")
    assert made is not None
    service.store.pools.complete_resize(made, datetime.now(UTC), ())
    assert service.request("POST", "/pools/p/stopresize").status == 202
    assert service.request("GET", "/pools/p").json["allocationState"] == "steady"


def test_02_what_a_pool_with_nodes_keeps(service: Service) -> None:
    """2. A property that only an empty pool may change is refused on others with 409
    OperationInvalidForCurrentState, even if its value is the same.

    Evidence: "can be updated only when the pool is empty"; the code is that of other operations
    that a state forbids.
    """
    idle_node(service)
    refused = service.request("PATCH", "/pools/p", {"vmSize": "x"})
    assert (refused.status, refused.code) == (409, "OperationInvalidForCurrentState")


def test_03_evaluate_on_a_fixed_pool(service: Service) -> None:
    """3. A formula is evaluated only for a pool that scales by one: else 409
    OperationInvalidForCurrentState.

    Evidence: "autoscaling must first be enabled on the pool"; the code is not recorded.
    """
    idle_node(service)
    formula = {"autoScaleFormula": "$TargetDedicatedNodes=1;"}
    refused = service.request("POST", "/pools/p/evaluateautoscale", formula)
    assert (refused.status, refused.code) == (409, "OperationInvalidForCurrentState")


def test_04_delete_twice(service: Service) -> None:
    """4. Deleting a pool that is being deleted is refused with 409 PoolBeingDeleted.

    Evidence: recorded, azure-sdk-for-node.
    """
    service.client.create_pool(pool())
    assert service.request("DELETE", "/pools/p").status == 202
    again = service.request("DELETE", "/pools/p")
    assert (again.status, again.code) == (409, "PoolBeingDeleted")


def test_05_accounts_of_nodes(service: Service) -> None:
    """5. Two accounts of a node may differ in case; one that has expired may be made again.

    Evidence: none recorded; so it is on Linux.
    """
    node = idle_node(service)
    path = f"/pools/p/nodes/{node.id}/users"
    assert [service.request("POST", path, {"name": n}).status for n in ("a", "A")] == [201, 201]
    assert service.request("POST", path, {"name": "a"}).code == "NodeUserExists"


# --- jobs


def test_06_a_job_without_its_pool(service: Service) -> None:
    """6. A job may name a pool that is not there; its tasks wait for one of that name.

    Evidence: the reference names no error for it.
    """
    assert service.request("POST", "/jobs", job(pool_id="none")).status == 201
    assert service.request("POST", "/jobs/j/tasks", task("t", "true")).status == 201
    assert service.request("GET", "/jobs/j/tasks/t").json["state"] == "active"


def test_07_a_job_without_tasks_that_ends_with_them(batch: Service) -> None:
    """7. A job made with ``onAllTasksComplete: terminatejob`` and no task ends at once.

    Evidence: "if there are no Tasks, then all Tasks are considered complete", and the advice to set
    it only when all tasks are added. 27 recorded jobs were still active within a second.
    """
    batch.client.create_job(job("empty", onAllTasksComplete="terminatejob"))
    until(lambda: batch.client.get_job("empty").state == "completed")
    info = batch.request("GET", "/jobs/empty").json["executionInfo"]
    assert info["terminateReason"] == "AllTasksComplete"


def test_08_a_disabled_job_takes_tasks(service: Service) -> None:
    """8. A job that is disabled takes tasks, which wait until it is enabled.

    Evidence: none recorded; the reference of disabling a job speaks of running tasks alone.
    """
    service.client.create_job(job())
    service.request("POST", "/jobs/j/disable", {"disableTasks": "wait"})
    assert service.request("POST", "/jobs/j/tasks", task("t", "true")).status == 201


def test_09_what_a_terminated_job_leaves_active(batch: Service) -> None:
    """9. The active tasks of a job that was terminated stay active.

    Evidence: azure-sdk-for-python#26037, "by design".
    """
    batch.client.create_job(job("cut", "none"))
    batch.client.create_task("cut", task("t", "true"))
    batch.request("POST", "/jobs/cut/terminate")
    until(lambda: batch.client.get_job("cut").state == "completed")
    assert batch.client.get_task("cut", "t").state == "active"


def test_10_no_preparation_to_tell_of(service: Service) -> None:
    """10. The status of preparation and release tasks of a job with neither is 409
    JobPreparationTaskOrReleaseTaskNotSpecified.

    Evidence: recorded, azure-sdk-for-node; the reference names other codes.
    """
    service.client.create_job(job())
    refused = service.request("GET", "/jobs/j/jobpreparationandreleasetaskstatus")
    assert (refused.status, refused.code) == (409, "JobPreparationTaskOrReleaseTaskNotSpecified")


def test_11_the_pool_of_an_enabled_job(service: Service) -> None:
    """11. An active job takes its own ``poolInfo`` again, and no other (409).

    Evidence: the tests of azure-sdk-for-python put a fetched job back as it is; the reference:
    "will fail if you include the poolInfo element and the Job is not disabled".
    """
    service.client.create_job(job())
    same, other = ({"poolInfo": {"poolId": name}} for name in ("p", "q"))
    assert service.request("PATCH", "/jobs/j", same).status == 200
    assert service.request("PATCH", "/jobs/j", other).status == 409


# --- tasks


def test_12_depending_without_saying_so(service: Service) -> None:
    """12. ``dependsOn`` in a job without ``usesTaskDependencies`` is 400 UnsupportedProperty.

    Evidence: azure-sdk-for-python#27859 and #42399; the reference has
    TaskDependenciesNotSpecifiedOnJob.
    """
    service.client.create_job(job())
    refused = service.request("POST", "/jobs/j/tasks", task("t", "x", dependsOn={"taskIds": ["a"]}))
    assert (refused.status, refused.code) == (400, "UnsupportedProperty")


def test_13_the_words_of_a_collection(service: Service) -> None:
    """13. Results of a collection are ``Success`` and ``ClientError``, in these cases of letters.

    Evidence: recorded 647 times, up to 2024-02-01.19.0; the description has lower case.
    """
    service.client.create_job(job())
    tasks = [task("t", "true"), {"id": "..", "commandLine": "x"}]
    found = service.request("POST", "/jobs/j/addtaskcollection", {"value": tasks}).json["value"]
    assert [one["status"] for one in found] == ["Success", "ClientError"]


def test_14_the_end_by_time(batch: Service) -> None:
    """14. A task that ran too long has the code TaskEnded, and on Linux the exit code 137.

    Evidence: the reference has the code of Windows alone (0xC000013A); 128 and the number of the
    signal that ended it, as shells count.
    """
    # Where the time is over before it was started, it has no exit code at all.
    info = ended(batch, "long", "sleep 1000", constraints={"maxWallClockTime": "PT2S"})
    assert (info["exitCode"], info["failureInfo"]["code"]) == (137, "TaskEnded")


def test_15_the_end_by_a_signal(batch: Service) -> None:
    """15. A task that a signal ended has an exit code of 128 and the number of the signal.

    Evidence: as shells count; the reference says nothing of Linux.
    """
    info = ended(batch, "signal", "kill -USR1 $$")
    assert (info["exitCode"], info["failureInfo"]["code"]) == (138, "FailureExitCode")


def test_16_no_program(batch: Service) -> None:
    """16. A program that is not there leaves no exit code, but the times of start and end.

    Evidence: recorded, azure-batch-cli-extensions.
    """
    batch.client.create_task("j", {"id": "none", "commandLine": "no-such-program"})
    until(lambda: batch.client.get_task("j", "none").state == "completed")
    info = batch.request("GET", "/jobs/j/tasks/none").json["executionInfo"]
    assert info["failureInfo"]["code"] == "CommandProgramNotFound"
    assert {"startTime", "endTime"} <= info.keys()
    assert "exitCode" not in info


def test_17_an_output_that_cannot_be_sent(batch: Service) -> None:
    """17. A task whose output cannot be uploaded has exit code 0 and a failure.

    Evidence: recorded, azure-batch-cli-extensions: FileUploadContainerNotFound beside exit code 0.
    """
    always = {"uploadCondition": "taskcompletion"}
    nowhere = {"container": {"containerUrl": "http://127.0.0.1:1/none"}}
    output = {"filePattern": "../stdout.txt", "destination": nowhere}
    info = ended(batch, "lost", "echo x", outputFiles=[{**output, "uploadOptions": always}])
    assert (info["exitCode"], info["result"]) == (0, "failure")
    assert info["failureInfo"]["code"].startswith("FileUpload")


def test_18_ending_what_has_not_begun(service: Service) -> None:
    """18. Terminating an active task completes it at once, with an end and no start.

    Evidence: the tests of azure-sdk-for-python expect it.
    """
    service.client.create_job(job())
    service.client.create_task("j", task("t", "true"))
    assert service.request("POST", "/jobs/j/tasks/t/terminate").status == 204
    shown = service.request("GET", "/jobs/j/tasks/t").json
    assert shown["state"] == "completed"
    assert shown["executionInfo"]["failureInfo"]["code"] == "TaskEnded"
    assert "startTime" not in shown["executionInfo"]


def test_19_the_version_of_a_task(service: Service) -> None:
    """19. The ETag of a task does not change with its state.

    Evidence: recorded: ``lastModified`` of tasks that ran is the time of their creation.
    """
    node = idle_node(service)
    service.client.create_job(job())
    service.client.create_task("j", task("t", "true"))
    before = service.request("GET", "/jobs/j/tasks/t").json["eTag"]
    finish(service, start(service, node, "t"))
    assert service.request("GET", "/jobs/j/tasks/t").json["eTag"] == before


def test_20_the_start_of_a_retried_task(batch: Service) -> None:
    """20. The start of a task that was retried is that of its latest run, also while it runs.

    Evidence: "the most recent time at which the Task started running"; recorded when completed.
    """
    again = {"maxTaskRetryCount": 1}
    script = f"test -e tried && {{ {WAIT}; }}; touch tried; exit 1"
    batch.client.create_task("j", task("twice", script, constraints=again))
    until(lambda: batch.client.get_task("j", "twice").execution_info.retry_count == 1)
    info = batch.request("GET", "/jobs/j/tasks/twice").json["executionInfo"]
    assert info["startTime"] == info["lastRetryTime"]
    go(batch)
    until(lambda: batch.client.get_task("j", "twice").state == "completed")


# --- the wire


def test_21_a_part_of_a_file(batch: Service) -> None:
    """21. A part of a file (``ocp-range``) is answered 200, not 206.

    Evidence: recorded; clients take 206 for an error.
    """
    ended(batch, "part", "echo whole")
    headers = {"ocp-range": "bytes=0-1"}
    found = batch.request("GET", "/jobs/j/tasks/part/files/stdout.txt", headers=headers)
    assert (found.status, found.body) == (200, b"wh")


def test_22_numbers_as_texts(service: Service) -> None:
    """22. A number may be written as a text, and words in any case of letters.

    Evidence: recorded: azure-cli sends ``"targetDedicatedNodes": "2"``.
    """
    sent = pool(nodes=0, targetLowPriorityNodes="2", taskSchedulingPolicy={"nodeFillType": "PACK"})
    assert service.request("POST", "/pools", sent, judged=False).status == 201
    assert service.request("GET", "/pools/p").json["targetLowPriorityNodes"] == 2


def test_23_quotes_around_an_etag(service: Service) -> None:
    """23. ETags are told without quotes, and are taken with them and without.

    Evidence: recorded bare; azure-core sends them back in quotes.
    """
    service.client.create_job(job())
    etag = service.request("GET", "/jobs/j").headers["etag"]
    assert '"' not in etag
    for sent in (etag, f'"{etag}"'):
        assert service.request("GET", "/jobs/j", headers={"if-none-match": sent}).status == 304


def test_24_the_id_of_a_request(service: Service) -> None:
    """24. The client's id of a request comes back only if it asks for that.

    Evidence: recorded.
    """
    one = {"client-request-id": "mine"}
    both = {**one, "return-client-request-id": "true"}
    found = [service.request("GET", "/jobs", headers=sent).headers for sent in (one, both)]
    assert [headers.get("client-request-id") for headers in found] == [None, "mine"]


def test_25_times_in_filters(service: Service) -> None:
    """25. A time in a filter may be bare, in quotes, or ``DateTime'...'``.

    Evidence: OData has the bare form, older samples of Batch the last; none is recorded.
    """
    service.client.create_job(job())
    for text in ("2020-01-01T00:00:00Z", "'2020-01-01'", "DateTime'2020-01-01T00:00:00Z'"):
        query = f"$filter=creationTime%20gt%20{text}".replace("'", "%27")
        found = service.request("GET", "/jobs", query=query).json["value"]
        assert [one["id"] for one in found] == ["j"], text


def test_26_no_results_at_all(service: Service) -> None:
    """26. ``maxresults=0`` is 400 InvalidQueryParameterValue.

    Evidence: recorded, azure-sdk-for-node: "MaxResults cannot be less than 1".
    """
    refused = service.request("GET", "/jobs", query="maxresults=0")
    assert (refused.status, refused.code) == (400, "InvalidQueryParameterValue")


def test_27_how_busy_a_processor_is(tmp_path: Path) -> None:
    """27. Samples of ``$CPUPercent`` are fractions of 1.

    Evidence: the example of the page on formulas compares them with 0.7.
    """
    stat = tmp_path / "stat"
    stat.write_text("cpu  70 0 0 30 0 0 0 0\n")
    assert CpuUsage(stat).busy("p") == 0.7


def test_they_are_numbered_without_a_gap() -> None:
    names = [name for name in globals() if name.startswith("test_") and name[5].isdigit()]
    numbers = [int(name[5:7]) for name in names]
    assert numbers == list(range(1, len(numbers) + 1))
    for number, name in zip(numbers, names, strict=True):
        said = globals()[name].__doc__
        assert said.startswith(f"{number}. "), name
        assert "\n\n    Evidence: " in said, name
