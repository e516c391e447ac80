"""``$expand=stats``: resource usage of tasks, jobs, schedules and pools."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from batchspec.local.model import Resources, Usage
from batchspec.local.wire import ticks_of, write_time
from tests.local.engine_stub import finish, idle_node, start
from tests.local.engines import job, pool, running_with_engine, task, wait_until
from tests.local.running import Service

BURN = f'{sys.executable} -S -c "import time\nwhile time.process_time() < 0.1: pass"'
"""A command that uses a tenth of a second of processor time."""


@pytest.fixture
def batch(tmp_path: Path) -> Iterator[Service]:
    """A service with a pool of one node and a job on it."""
    with running_with_engine(tmp_path / "batch") as found:
        found.client.create_pool(pool())
        found.client.create_job(job())
        yield found
        assert found.violations == []


def stats(service: Service, path: str) -> dict[str, Any]:
    found: dict[str, Any] = service.request("GET", path, query="$expand=stats").json["stats"]
    return found


def seconds(shown: str) -> float:
    return ticks_of(shown) / 10_000_000


def processor(found: dict[str, Any]) -> float:
    return seconds(found["userCPUTime"]) + seconds(found["kernelCPUTime"])


def test_usage_includes_all_processes_of_a_task(batch: Service) -> None:
    script = f"{BURN}; ({BURN} &); {BURN} & wait; touch done; sleep 1000"
    batch.client.create_task("j", task("t", script))
    done = "p/*/workitems/j/job-1/t/wd/done"
    wait_until(lambda: any((batch.data / "nodes").glob(done)))
    assert processor(stats(batch, "/jobs/j/tasks/t")) == 0  # usage is known after the end
    batch.client.terminate_task("j", "t")
    wait_until(lambda: batch.client.get_task("j", "t").state == "completed")
    found = stats(batch, "/jobs/j/tasks/t")
    assert processor(found) >= 0.2
    assert seconds(found["wallClockTime"]) > 0
    assert stats(batch, "/jobs/j")["userCPUTime"] == found["userCPUTime"]


def test_retries_are_summed(batch: Service) -> None:
    again = {"maxTaskRetryCount": 2}
    batch.client.create_task("j", task("t", f"{BURN}; exit 1", constraints=again))
    wait_until(lambda: batch.client.get_task("j", "t").state == "completed")
    info = batch.client.get_task("j", "t").execution_info
    found = stats(batch, "/jobs/j/tasks/t")
    assert processor(found) >= 0.3
    assert stats(batch, "/jobs/j")["numTaskRetries"] == "2"
    last = (info.end_time - info.start_time).total_seconds()
    assert seconds(found["wallClockTime"]) > last


def test_stats_are_read_from_the_store(service: Service) -> None:
    node = idle_node(service)
    service.client.create_job(job())
    service.client.create_task("j", task("t", "true"))
    run = start(service, node, "t")
    half = timedelta(milliseconds=500)
    usage = Usage(
        timedelta(minutes=1), 3 * half, half, read=1 << 29, written=3 << 30, reads=7, writes=9
    )
    service.store.runs.add_usage(run, usage)
    finish(service, run)
    for path in ("/jobs/j/tasks/t", "/jobs/j"):
        found = stats(service, path)
        assert {name: value for name, value in found.items() if name[:4] in ("user", "kern")} == {
            "userCPUTime": "PT1.5S",
            "kernelCPUTime": "PT0.5S",
        }
        assert found["wallClockTime"] == "PT1M"
        assert (found["readIOGiB"], found["writeIOGiB"]) == (0.5, 3.0)
        assert (found["readIOps"], found["writeIOps"]) == ("7", "9")
    listed = service.request("GET", "/jobs/j/tasks", query="$expand=stats").json["value"]
    assert [one["stats"]["writeIOGiB"] for one in listed] == [3.0]


def test_calls_of_all_processes_are_counted_for_their_run(batch: Service) -> None:
    copy = "dd if=/dev/zero of=x bs=1 count={} 2> errors"
    many = f"{copy.format(2000)}; ({copy.format(1000)} & wait)"
    for name, script in (("many", many), ("few", copy.format(10))):
        batch.client.create_task("j", task(name, script))
        wait_until(lambda: batch.client.get_task("j", name).state == "completed")  # noqa: B023
    found = {name: stats(batch, f"/jobs/j/tasks/{name}") for name in ("many", "few")}
    for count in ("readIOps", "writeIOps"):
        assert int(found["many"][count]) >= 3000
        assert 10 <= int(found["few"][count]) < 1000


def test_the_core_time_of_a_pool_includes_nodes_that_have_left(service: Service) -> None:
    node = idle_node(service)
    store = service.store
    hour = timedelta(hours=1)
    pool_ = store.pools.get("p")
    assert pool_ is not None
    before = store.nodes.dedicated_time(pool_, node.allocated + hour)
    assert before == hour
    store.nodes.delete(node, node.allocated + hour)
    assert store.nodes.dedicated_time(pool_, node.allocated + 9 * hour) == hour
    # A standard_d2s_v3 has two cores.
    assert stats(service, "/pools/p")["usageStats"]["dedicatedCoreTime"] == "PT2H"


def test_the_resources_of_a_pool_are_measured(service: Service) -> None:
    service.client.create_pool(pool())
    before = stats(service, "/pools/p")["resourceStats"]
    assert before["startTime"] == before["lastUpdateTime"]
    assert (before["avgCPUPercentage"], before["diskReadIOps"]) == (0, "0")
    found = service.store.pools.get("p")
    assert found is not None
    since = found.created
    half = 1 << 29
    used = Resources(
        since,
        since + timedelta(hours=1),
        busy=3,
        ticks=4,
        memory=half,
        peak_memory=3 * half,
        disk_reads=10,
        network_in=half,
    )
    service.store.pools.set_resources(found, used)
    shown = stats(service, "/pools/p")["resourceStats"]
    assert shown["startTime"] == write_time(since)
    assert shown["lastUpdateTime"] == write_time(used.until)
    assert shown["avgCPUPercentage"] == 75
    assert (shown["avgMemoryGiB"], shown["peakMemoryGiB"]) == (0.5, 1.5)
    assert (shown["diskReadIOps"], shown["networkReadGiB"]) == ("10", 0.5)
    assert service.client.get_pool("p").last_modified == found.modified


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_the_resources_of_every_pool_with_nodes_are_measured(tmp_path: Path) -> None:
    with running_with_engine(tmp_path / "batch") as batch:
        batch.client.create_pool(pool("empty", nodes=0))
        batch.client.create_pool(pool("p"))
        wait_until(lambda: stats(batch, "/pools/p")["resourceStats"]["peakMemoryGiB"] > 0)
        found = stats(batch, "/pools/p")["resourceStats"]
        assert found["peakDiskGiB"] > 0 and found["startTime"] < found["lastUpdateTime"]
        assert stats(batch, "/pools/empty")["resourceStats"]["peakMemoryGiB"] == 0
        assert batch.violations == []
