"""Auto pools of jobs, and job manager tasks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.local.engines import WAIT, pool, release_tasks, running_with_engine, task, wait_until
from tests.local.running import Service


def auto(lifetime: str = "job", *, keep: bool = False, **settings: Any) -> dict[str, Any]:
    """``poolInfo`` with an auto pool."""
    body = {**pool(), **settings}
    del body["id"]
    return {
        "autoPoolSpecification": {
            "autoPoolIdPrefix": "mine",
            "poolLifetimeOption": lifetime,
            "keepAlive": keep,
            "pool": body,
        }
    }


def a_job(info: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"id": "j", "poolInfo": info, **more}


@pytest.fixture
def batch(tmp_path: Path) -> Iterator[Service]:
    with running_with_engine(tmp_path / "batch") as found:
        yield found


# --- auto pools


def test_an_auto_pool_is_returned_with_defaults(service: Service) -> None:
    """azure-cli, test_batch_job_list_cmd: ``TestSpecPrefix_GUID``."""
    info = auto(startTask={"commandLine": "true"})
    del info["autoPoolSpecification"]["keepAlive"]
    assert service.request("POST", "/jobs", a_job(info)).status == 201
    shown = service.request("GET", "/jobs/j").json
    found = shown["executionInfo"]["poolId"]
    assert re.fullmatch(r"mine_[0-9A-F]{8}(-[0-9A-F]{4}){3}-[0-9A-F]{12}", found)
    settings = shown["poolInfo"]["autoPoolSpecification"]
    assert settings["keepAlive"] is False
    assert settings["pool"]["startTask"]["waitForSuccess"] is True
    assert settings["pool"]["resizeTimeout"] == "PT15M"
    assert settings["pool"]["enableAutoScale"] is False
    made = service.request("GET", f"/pools/{found}").json
    assert made["targetDedicatedNodes"] == 1
    assert made["startTask"] == settings["pool"]["startTask"]


def test_an_auto_pool_can_scale(service: Service) -> None:
    info = auto(enableAutoScale=True, autoScaleFormula="$TargetDedicatedNodes=2;")
    del info["autoPoolSpecification"]["pool"]["targetDedicatedNodes"]
    service.request("POST", "/jobs", a_job(info))
    name = service.request("GET", "/jobs/j").json["executionInfo"]["poolId"]
    made = service.request("GET", f"/pools/{name}").json
    assert made["autoScaleFormula"] == "$TargetDedicatedNodes=2;"
    assert service.store.autoscale.of(name) is not None


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"enableAutoScale": True, "autoScaleFormula": "1 +"}, "InvalidAutoScaleFormulaInAutoPool"),
        ({"taskSlotsPerNode": 0}, "InvalidAutoPoolSettings"),
        (
            {"applicationPackageReferences": [{"applicationId": "missing"}]},
            "InvalidApplicationPackageReferencesInAutoPool",
        ),
    ],
)
def test_a_job_with_an_invalid_auto_pool_completes_with_a_scheduling_error(
    service: Service, settings: dict[str, Any], code: str
) -> None:
    info = auto(**settings)
    if "enableAutoScale" in settings:
        del info["autoPoolSpecification"]["pool"]["targetDedicatedNodes"]
    assert service.request("POST", "/jobs", a_job(info)).status == 201
    shown = service.request("GET", "/jobs/j").json
    assert shown["state"] == "completed"
    error = shown["executionInfo"]["schedulingError"]
    assert (error["category"], error["code"]) == ("UserError", code)
    assert error["details"]
    assert service.request("GET", "/pools").json["value"] == []


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"autoPoolIdPrefix": "x" * 21}, "autoPoolIdPrefix"),
        ({"poolLifetimeOption": "jobschedule"}, "poolLifetimeOption"),
    ],
)
def test_an_invalid_auto_pool_lifetime_is_rejected(
    service: Service, change: dict[str, Any], name: str
) -> None:
    info = auto()
    info["autoPoolSpecification"].update(change)
    refused = service.request("POST", "/jobs", a_job(info))
    assert (refused.status, refused.values["PropertyName"]) == (400, name)


def test_a_job_needs_exactly_one_pool(service: Service) -> None:
    refused = service.request("POST", "/jobs", a_job({**auto(), "poolId": "p"}))
    assert refused.values["PropertyName"] == "autoPoolSpecification"
    refused = service.request("POST", "/jobs", a_job({}))
    assert refused.code == "MissingRequiredProperty"


def test_only_keep_alive_of_an_auto_pool_can_change(service: Service) -> None:
    service.request("POST", "/jobs", a_job(auto()))
    before = service.request("GET", "/jobs/j").json
    change = {"poolInfo": auto(keep=True, taskSlotsPerNode=9)}
    assert service.request("PATCH", "/jobs/j", change).status == 200
    after = service.request("GET", "/jobs/j").json
    assert after["executionInfo"] == before["executionInfo"]
    settings = after["poolInfo"]["autoPoolSpecification"]
    assert settings.pop("keepAlive") is True
    del before["poolInfo"]["autoPoolSpecification"]["keepAlive"]
    assert settings == before["poolInfo"]["autoPoolSpecification"]
    refused = service.request("PATCH", "/jobs/j", {"poolInfo": {"poolId": "other"}})
    assert (refused.status, refused.code) == (409, "OperationInvalidForCurrentState")


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("end", ["terminate", "delete"])
def test_an_auto_pool_is_deleted_with_its_job_unless_kept(
    batch: Service, keep: bool, end: str
) -> None:
    batch.request("POST", "/jobs", a_job(auto(keep=keep)))
    batch.request("POST", "/jobs/j/tasks", task("t", "echo $AZ_BATCH_POOL_ID"))
    counts = "/jobs/j/taskcounts"
    wait_until(lambda: batch.request("GET", counts).json["taskCounts"]["succeeded"] == 1)
    name = batch.request("GET", "/jobs/j").json["executionInfo"]["poolId"]
    text = batch.request("GET", "/jobs/j/tasks/t/files/stdout.txt").body
    assert text.decode().strip() == name
    if end == "terminate":
        batch.request("POST", "/jobs/j/terminate", {})
        wait_until(lambda: batch.request("GET", "/jobs/j").json["state"] == "completed")
    else:
        batch.request("DELETE", "/jobs/j")
        wait_until(lambda: batch.request("GET", "/jobs/j").status == 404)
    if keep:
        assert batch.request("GET", f"/pools/{name}").json["state"] == "active"
    else:
        wait_until(lambda: batch.request("GET", f"/pools/{name}").status == 404)


# --- job manager tasks


MANAGER = {"id": "Manager", "commandLine": "/bin/sh -c 'echo managing'"}


def test_a_job_manager_task_has_separate_defaults(service: Service) -> None:
    """azure-cli, test_batch_jobs_and_tasks."""
    limits = {"maxTaskRetryCount": 5}
    body = a_job({"poolId": "p"}, jobManagerTask=MANAGER, constraints=limits)
    service.request("POST", "/jobs", body)
    shown = service.request("GET", "/jobs/j").json["jobManagerTask"]
    assert shown == {
        **MANAGER,
        "constraints": {
            "maxWallClockTime": "P10675199DT2H48M5.4775807S",
            "retentionTime": "P7D",
            "maxTaskRetryCount": 5,
        },
        "requiredSlots": 1,
        "userIdentity": {"autoUser": {"scope": "pool", "elevationLevel": "nonadmin"}},
        "runExclusive": True,
        "allowLowPriorityNode": True,
        "killJobOnCompletion": True,
    }
    made = service.request("GET", "/jobs/j/tasks/manager").json
    assert (made["id"], made["state"]) == ("Manager", "active")
    assert "killJobOnCompletion" not in made
    taken = service.request("POST", "/jobs/j/tasks", task("manager", "true"))
    assert (taken.status, taken.code) == (409, "TaskExists")


def test_older_clients_get_authentication_token_settings(service: Service) -> None:
    """azure-cli, test_batch_task_create_cmd (2025-01-10)."""
    asked = {"authenticationTokenSettings": {"access": ["job"]}}
    body = a_job({"poolId": "p"}, jobManagerTask={**MANAGER, **asked})
    older = "2024-02-01.19.0"
    service.request("POST", "/jobs", body, version=older)
    for path in ("/jobs/j", "/jobs/j/tasks/manager"):
        old = service.request("GET", path, version=older).json
        assert old.get("jobManagerTask", old)["authenticationTokenSettings"] == {"access": ["job"]}
        new = service.request("GET", path).json
        assert "authenticationTokenSettings" not in new.get("jobManagerTask", new)


@pytest.mark.parametrize(("kills", "code"), [(True, 0), (True, 3), (False, 0)])
def test_a_job_ends_with_its_manager_with_kill_job_on_completion(
    batch: Service, kills: bool, code: int
) -> None:
    manager = {
        "id": "manager",
        "commandLine": f"/bin/sh -c 'exit {code}'",
        "killJobOnCompletion": kills,
    }
    batch.request("POST", "/pools", pool(nodes=2))
    batch.request("POST", "/jobs", a_job({"poolId": "p"}, jobManagerTask=manager))
    path = "/jobs/j/tasks/manager"
    wait_until(lambda: batch.request("GET", path).json["state"] == "completed")
    if kills:
        wait_until(lambda: batch.request("GET", "/jobs/j").json["state"] == "completed")
        info = batch.request("GET", "/jobs/j").json["executionInfo"]
        assert info["terminateReason"] == "JMComplete"
    else:
        batch.request("POST", "/jobs/j/tasks", task("t", "true"))
        wait_until(lambda: batch.request("GET", "/jobs/j/tasks/t").json["state"] == "completed")
        assert batch.request("GET", "/jobs/j").json["state"] == "active"


def test_terminating_an_active_manager_ends_the_job(batch: Service) -> None:
    batch.request("POST", "/jobs", a_job({"poolId": "nowhere"}, jobManagerTask=MANAGER))
    batch.request("POST", "/jobs/j/tasks/manager/terminate")
    wait_until(lambda: batch.request("GET", "/jobs/j").json["state"] == "completed")


def test_an_exclusive_manager_occupies_its_node(batch: Service) -> None:
    batch.request("POST", "/pools", pool(taskSlotsPerNode=4))
    manager = {"id": "m", "commandLine": f"/bin/sh -c '{WAIT}'", "killJobOnCompletion": False}
    batch.request("POST", "/jobs", a_job({"poolId": "p"}, jobManagerTask=manager))
    batch.request("POST", "/jobs/j/tasks", task("t", WAIT))
    wait_until(lambda: batch.request("GET", "/jobs/j/tasks/m").json["state"] == "running")
    assert batch.request("GET", "/jobs/j/tasks/t").json["state"] == "active"
    release_tasks(batch)
    wait_until(lambda: batch.request("GET", "/jobs/j/tasks/t").json["state"] == "completed")
    beside = {**manager, "runExclusive": False}
    body = {**a_job({"poolId": "p"}, jobManagerTask=beside), "id": "k"}
    for root in (batch.data / "nodes").glob("*/*"):
        (root / "shared" / "go").unlink()
    batch.request("POST", "/jobs", body)
    batch.request("POST", "/jobs/k/tasks", task("t", WAIT))
    counts = "/jobs/k/taskcounts"
    wait_until(lambda: batch.request("GET", counts).json["taskCounts"]["running"] == 2)
    release_tasks(batch)


def test_a_manager_for_dedicated_nodes_waits_for_a_dedicated_node(batch: Service) -> None:
    batch.request("POST", "/pools", {**pool(nodes=0), "targetLowPriorityNodes": 1})
    manager = {**MANAGER, "allowLowPriorityNode": False, "killJobOnCompletion": False}
    batch.request("POST", "/jobs", a_job({"poolId": "p"}, jobManagerTask=manager))
    batch.request("POST", "/jobs/j/tasks", task("t", "true"))
    wait_until(lambda: batch.request("GET", "/jobs/j/tasks/t").json["state"] == "completed")
    assert batch.request("GET", "/jobs/j/tasks/manager").json["state"] == "active"
    wait_until(lambda: batch.request("GET", "/pools/p").json["allocationState"] == "steady")
    batch.request("POST", "/pools/p/resize", {"targetDedicatedNodes": 1})
    wait_until(lambda: batch.request("GET", "/jobs/j/tasks/manager").json["state"] == "completed")
