"""Fault injection for nodes: preemption, slow nodes, failing start tasks, quotas."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from batchspec.local.engine import NodeFaults
from batchspec.local.fault_injection import parse_fault_injection
from batchspec.local.model import NodeState
from tests.local.engines import (
    WAIT,
    job,
    pool,
    processes_of,
    release_tasks,
    running_with_engine,
    task,
    wait_until,
)
from tests.local.running import Service
from tests.local.test_engine_decide import NOW, a_node


@contextmanager
def running_with_faults(folder: Path, text: str, seed: int = 0) -> Iterator[Service]:
    """A complete service with fault injection."""
    with running_with_engine(folder / "batch", faults=parse_fault_injection(text, seed)) as service:
        yield service
        assert service.violations == []


def nodes(service: Service) -> list[Any]:
    return list(service.client.list_nodes("p"))


def states(service: Service) -> list[str]:
    return sorted(str(node.state.value) for node in nodes(service))


def booted(service: Service, before: Any = None) -> Any:
    """The only node, once it has booted; after ``before``, once it has booted again."""
    found: list[Any] = []

    def is_up() -> bool:
        found[:] = nodes(service)
        times = [node.last_boot_time for node in found]  # none while it comes up
        return all(times) and times > ([] if before is None else [before.last_boot_time])

    wait_until(is_up)
    (node,) = found
    return node


def the_task(service: Service, name: str = "t") -> Any:
    return service.request("GET", f"/jobs/j/tasks/{name}").json


def ended(service: Service, name: str = "t") -> Any:
    wait_until(lambda: the_task(service, name)["state"] == "completed")
    return the_task(service, name)["executionInfo"]


def text_of(service: Service, path: str) -> str:
    return service.request("GET", path).body.decode()


def test_a_spot_node_is_preempted_and_comes_back_empty(tmp_path: Path) -> None:
    """The same node, reinitialized; its tasks run again, and never twice at the same time."""
    runs, old = tmp_path / "runs", tmp_path / "old"
    script = (
        f"test -e $AZ_BATCH_NODE_SHARED_DIR/mark && touch {old}; "
        f"touch $AZ_BATCH_NODE_SHARED_DIR/mark; echo x >> {runs}; sleep 600"
    )
    with running_with_faults(tmp_path, "preempt=100%:1s") as service:
        service.client.create_pool(pool(nodes=0, targetLowPriorityNodes=1))
        service.client.create_job(job())
        service.client.create_task("j", task("t", script))
        first = booted(service)
        wait_until(lambda: states(service) == ["running"])
        wait_until(lambda: states(service) == ["preempted"])
        wait_until(lambda: processes_of(tmp_path, "sleep 600") == [])
        wait_until(lambda: runs.exists() and runs.read_text().count("x") >= 3)
        assert the_task(service)["executionInfo"]["requeueCount"] >= 2
        assert the_task(service)["executionInfo"]["retryCount"] == 0
        again = booted(service, before=first)
        assert (again.id, again.affinity_id) == (first.id, first.affinity_id)
    assert not old.exists()


def test_a_dedicated_node_is_not_preempted(tmp_path: Path) -> None:
    with running_with_faults(tmp_path, "preempt=100%:200ms") as service:
        service.client.create_pool(pool(nodes=1, targetLowPriorityNodes=1))
        wait_until(lambda: states(service) == ["idle", "preempted"])
        wait_until(lambda: states(service) != ["idle", "preempted"])
        (kept,) = [node for node in nodes(service) if node.is_dedicated]
        assert kept.state.value == "idle"


def test_a_preempted_node_comes_back_without_fault_injection(tmp_path: Path) -> None:
    with running_with_faults(tmp_path, "preempt=100%:1h") as service:
        service.client.create_pool(pool(nodes=0, targetLowPriorityNodes=1))
        wait_until(lambda: states(service) == ["idle"])
        (node,) = service.store.nodes.of("p")
        service.store.nodes.update(node, NodeState.PREEMPTED, node.state_since)
    with running_with_engine(tmp_path / "batch") as service:
        wait_until(lambda: states(service) == ["idle"])


def test_a_pool_can_be_deleted_while_nodes_are_preempted(tmp_path: Path) -> None:
    with running_with_faults(tmp_path, "preempt=100%:400ms") as service:
        service.client.create_pool(pool(nodes=0, targetLowPriorityNodes=4))
        wait_until(lambda: "preempted" in states(service))
        assert service.request("DELETE", "/pools/p").status == 202
        wait_until(lambda: service.request("GET", "/pools/p").status == 404)


def test_an_injected_start_task_failure_names_its_rule(tmp_path: Path) -> None:
    start = {"commandLine": "/bin/sh -c 'touch $AZ_BATCH_NODE_SHARED_DIR/done'"}
    with running_with_faults(tmp_path, "start-task=100%") as service:
        service.client.create_pool(pool(startTask=start | {"maxTaskRetryCount": 1}))
        wait_until(lambda: states(service) == ["starttaskfailed"])
        (node,) = nodes(service)
        assert (node.start_task_info.exit_code, node.start_task_info.retry_count) == (1, 1)
        said = text_of(service, f"/pools/p/nodes/{node.id}/files/startup/stderr.txt")
        assert "fault injection" in said and "start-task=100%" in said
        assert not list((service.data / "nodes").glob("*/*/shared/done"))


def test_a_task_fails_at_random_and_is_retried(tmp_path: Path) -> None:
    """The same seed fails the same attempts of the same tasks, in any order."""
    found = []
    for number, order in enumerate(("abcdef", "fedcba")):
        with running_with_faults(tmp_path / str(number), "task=50%", seed=3) as service:
            service.client.create_pool(pool(nodes=2))
            service.client.create_job(job())
            for name in order:
                constraints = {"maxTaskRetryCount": 20}
                service.client.create_task("j", task(name, "true", constraints=constraints))
            infos = {name: ended(service, name) for name in "abcdef"}
            assert {info["exitCode"] for info in infos.values()} == {0}
            found.append({name: info["retryCount"] for name, info in infos.items()})
    assert found[0] == found[1]
    assert any(found[0].values())


def test_a_slow_node_delays_its_runs(tmp_path: Path) -> None:
    with running_with_faults(tmp_path, "slow-node=100%:300ms") as service:
        service.client.create_pool(pool())
        service.client.create_job(job())
        service.client.create_task("j", task("t", "true"))
        info = ended(service)
        took = datetime.fromisoformat(info["endTime"]) - datetime.fromisoformat(info["startTime"])
        assert took >= timedelta(milliseconds=300)


def test_a_delayed_run_can_be_ended(tmp_path: Path) -> None:
    with running_with_faults(tmp_path, "slow-node=100%:1h") as service:
        service.client.create_pool(pool())
        service.client.create_job(job())
        service.client.create_task("j", task("t", "true"))
        wait_until(lambda: the_task(service)["state"] == "running")
        service.request("POST", "/jobs/j/tasks/t/terminate")
        assert ended(service)["failureInfo"]["code"] == "TaskEnded"


def test_a_quota_allocates_a_part_with_resize_errors(tmp_path: Path) -> None:
    # A standard_d2s_v3 has two cores.
    with running_with_faults(tmp_path, "quota=3,spot-quota=0") as service:
        service.client.create_pool(pool(nodes=3, targetLowPriorityNodes=1))
        wait_until(lambda: service.client.get_pool("p").allocation_state.value == "steady")
        found = service.client.get_pool("p")
        assert found.current_dedicated_nodes == 1
        assert [(error.code, error.message) for error in found.resize_errors] == [
            ("AccountCoreQuotaReached", "The specified account has reached core quota"),
            (
                "AccountLowPriorityCoreQuotaReached",
                "The specified account has reached low priority core quota",
            ),
        ]
        service.client.create_pool(pool("other"))
        wait_until(lambda: service.client.get_pool("other").allocation_state.value == "steady")
        assert service.client.get_pool("other").resize_errors[0].code == "AccountCoreQuotaReached"
        service.client.begin_delete_pool("p").result()
        service.request("POST", "/pools/other/resize", {"targetDedicatedNodes": 1})
        wait_until(lambda: service.client.get_pool("other").current_dedicated_nodes == 1)


def test_the_same_seed_preempts_the_same_spot_nodes() -> None:
    """The ordinal in the pool identifies a node; each boot has a separate decision."""
    faults = parse_fault_injection("preempt=50%:1h", 4)
    ends = []
    for first in (1, 501):
        node_faults = NodeFaults(faults)
        nodes = [a_node(first + place, dedicated=False) for place in range(40)]
        once = [node_faults.preemption_time(node) for node in nodes]
        assert [node_faults.preemption_time(node) for node in nodes] == once, (
            "the time of a node does not change"
        )
        booted = NOW + timedelta(hours=2)
        again = [
            node_faults.preemption_time(replace(node, booted=booted)) for node in reversed(nodes)
        ]
        ends.append((once, again[::-1]))
    assert ends[0] == ends[1]
    once, again = ends[0]
    assert 10 < sum(end is None for end in once) < 30
    assert [end is None for end in once] != [end is None for end in again]
    assert all(end is None or NOW <= end < NOW + timedelta(hours=1) for end in once)
    assert NodeFaults(replace(faults, seed=5)).preemption_time(a_node(dedicated=True)) is None


def test_a_pool_can_be_deleted_while_its_nodes_are_starting(tmp_path: Path) -> None:
    with running_with_engine(tmp_path / "batch", allocation=timedelta(hours=1)) as service:
        service.client.create_pool(pool(nodes=2))
        wait_until(lambda: states(service) == ["creating", "creating"])
        service.client.begin_delete_pool("p").result()
        assert service.request("GET", "/pools/p").status == 404


def test_scheduling_can_be_disabled_on_a_starting_node(tmp_path: Path) -> None:
    with running_with_engine(tmp_path / "batch", allocation=timedelta(hours=1)) as service:
        service.client.create_pool(pool(nodes=2))
        wait_until(lambda: states(service) == ["creating", "creating"])
        name = nodes(service)[0].id
        assert service.request("POST", f"/pools/p/nodes/{name}/disablescheduling").status == 200
        wait_until(lambda: service.store.nodes.get("p", name).intent is None)  # type: ignore[union-attr]
        assert states(service) == ["creating", "creating"]
        assert service.request("GET", f"/pools/p/nodes/{name}").json["schedulingState"] == (
            "disabled"
        )
    with running_with_engine(tmp_path / "batch") as service:
        wait_until(lambda: states(service) == ["idle", "idle"])
        service.client.create_job(job())
        for number in range(2):
            service.client.create_task("j", task(f"t{number}", WAIT))
        wait_until(lambda: states(service) == ["idle", "running"])
        assert the_task(service, "t1")["state"] == "active"
        release_tasks(service)


def test_a_client_that_polls_after_a_request_sees_resizing(tmp_path: Path) -> None:
    with running_with_engine(tmp_path / "batch", unread=timedelta(days=1)) as service:
        service.client.create_pool(pool(nodes=2))
        wait_until(lambda: states(service) == ["idle"] * 2)
        # The first allocation ends without a reader; a requested resize waits for a reader.
        for path, given in (
            ("resize", {"targetDedicatedNodes": 3}),
            ("removenodes", {"nodeList": [next(iter(service.client.list_nodes("p"))).id]}),
        ):
            wait_until(lambda: service.client.get_pool("p").allocation_state.value == "steady")
            assert service.request("POST", f"/pools/p/{path}", given).status == 202
            refused = service.request("POST", "/pools/p/resize", {"targetDedicatedNodes": 1})
            assert refused.code == "PoolBeingResized"
            (shown,) = service.client.list_pools()
            assert shown.allocation_state.value == "resizing"
        wait_until(lambda: service.client.get_pool("p").allocation_state.value == "steady")
        assert service.client.get_pool("p").current_dedicated_nodes == 2


def test_a_resize_that_no_client_reads_ends_in_time(tmp_path: Path) -> None:
    with running_with_engine(tmp_path / "batch", unread=timedelta(milliseconds=100)) as service:
        service.client.create_pool(pool())
        wait_until(lambda: states(service) == ["idle"])
        wait_until(lambda: service.client.get_pool("p").allocation_state.value == "steady")
        for count in (2, 1):
            body = {"targetDedicatedNodes": count}
            wait_until(lambda: service.request("POST", "/pools/p/resize", body).status == 202)  # noqa: B023


def test_requests_see_the_states_of_objects_in_deletion(tmp_path: Path) -> None:
    day = {"doNotRunUntil": "2999-01-01T00:00:00Z"}
    with running_with_faults(tmp_path, "transition=1h") as service:
        request = service.request
        service.client.create_pool(pool())
        service.client.create_job(job())
        specification = {"poolInfo": {"poolId": "p"}}
        schedule = {"id": "s", "schedule": day, "jobSpecification": specification}
        assert request("POST", "/jobschedules", schedule).status == 201
        assert request("POST", "/jobs/j/disable", {"disableTasks": "requeue"}).status == 202
        assert request("GET", "/jobs/j").json["state"] == "disabling"
        assert request("POST", "/jobs/j/terminate").status == 202
        assert request("GET", "/jobs/j").json["state"] == "terminating"
        assert request("POST", "/jobs/j/tasks", task("t", "true")).code == "JobBeingTerminated"
        assert request("POST", "/jobschedules/s/terminate").status == 202
        assert request("GET", "/jobschedules/s").json["state"] == "terminating"
        for path in ("/jobs/j", "/jobschedules/s", "/pools/p"):
            assert request("DELETE", path).status == 202
            assert request("GET", path).json["state"] == "deleting"
        assert request("POST", "/jobs/j/tasks", task("t", "true")).code == "JobBeingDeleted"
        # An id can be used again when the object is gone.
        assert request("POST", "/pools", pool()).code == "PoolBeingDeleted"
        assert request("POST", "/jobs", job()).code == "JobBeingDeleted"
        assert request("POST", "/jobschedules", schedule).code == "JobScheduleBeingDeleted"
        assert request("POST", "/pools/p/resize", {"targetDedicatedNodes": 0}).code == (
            "PoolBeingDeleted"
        )


def test_quotas_of_pools_and_of_active_jobs_and_schedules(tmp_path: Path) -> None:
    day = {"doNotRunUntil": "2999-01-01T00:00:00Z"}
    with running_with_faults(tmp_path, "pool-quota=1,job-quota=2") as service:
        request = service.request
        service.client.create_pool(pool(nodes=0))
        assert request("POST", "/pools", pool("other", nodes=0)).code == "PoolQuotaReached"
        assert request("POST", "/pools", pool(nodes=0)).code == "PoolExists"
        settings = {name: value for name, value in pool().items() if name != "id"}
        auto = {"autoPoolSpecification": {"poolLifetimeOption": "job", "pool": settings}}
        assert request("POST", "/jobs", {"id": "auto", "poolInfo": auto}).status == 201
        ended = request("GET", "/jobs/auto").json
        assert ended["state"] == "completed"
        error = ended["executionInfo"]["schedulingError"]
        assert error["code"] == "AutoPoolCreationFailedWithQuotaReached"
        service.client.create_job(job())
        schedule = {"id": "s", "schedule": day, "jobSpecification": {"poolInfo": {"poolId": "p"}}}
        assert request("POST", "/jobschedules", schedule).status == 201
        refused = request("POST", "/jobs", job("k"))
        assert (refused.status, refused.code) == (409, "ActiveJobAndScheduleQuotaReached")
        again = {**schedule, "id": "r"}
        assert request("POST", "/jobschedules", again).code == "ActiveJobAndScheduleQuotaReached"
        # A completed job does not count.
        assert request("POST", "/jobs/j/terminate").status == 202
        wait_until(lambda: request("GET", "/jobs/j").json["state"] == "completed")
        assert request("POST", "/jobs", job("k")).status == 201


def test_the_quota_of_pools_applies_to_auto_pools_of_job_schedules(tmp_path: Path) -> None:
    settings = {name: value for name, value in pool(nodes=0).items() if name != "id"}
    auto = {"poolLifetimeOption": "jobschedule", "pool": settings}
    schedule = {
        "schedule": {"recurrenceInterval": "PT1H"},
        "jobSpecification": {"poolInfo": {"autoPoolSpecification": auto}},
    }
    with running_with_faults(tmp_path, "pool-quota=1") as service:
        request = service.request
        for name in ("first", "second"):
            assert request("POST", "/jobschedules", {"id": name, **schedule}).status == 201
            wait_until(lambda: request("GET", f"/jobs/{name}:job-1").status == 200)  # noqa: B023
        found = {name: request("GET", f"/jobs/{name}:job-1").json for name in ("first", "second")}
        assert found["first"]["state"] == "active"
        assert found["second"]["state"] == "completed"
        error = found["second"]["executionInfo"]["schedulingError"]
        assert error["code"] == "AutoPoolCreationFailedWithQuotaReached"
        assert len(list(service.client.list_pools())) == 1


def test_a_quota_of_a_vm_family_is_a_resize_error(tmp_path: Path) -> None:
    with running_with_faults(tmp_path, "quota@DSv3=3") as service:
        service.client.create_pool(pool(nodes=2))
        wait_until(lambda: service.client.get_pool("p").allocation_state.value == "steady")
        found = service.client.get_pool("p")
        assert found.current_dedicated_nodes == 1
        assert [error.code for error in found.resize_errors] == ["AccountVMSeriesCoreQuotaReached"]
        service.client.create_pool(pool("other", vmSize="standard_d2_v3"))
        wait_until(lambda: service.client.get_pool("other").current_dedicated_nodes == 1)


def test_a_node_stays_creating_for_a_moment(tmp_path: Path) -> None:
    with running_with_engine(tmp_path / "batch", node_state=timedelta(days=1)) as service:
        service.client.create_pool(pool())
        wait_until(lambda: states(service) == ["creating"])
        assert service.client.get_pool("p").allocation_state.value == "resizing"
