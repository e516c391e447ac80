"""The usage of this machine: samples of autoscale formulas, and resources of pools."""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path

import pytest

from batchspec.local.engine.machine_usage import MachineUsage, PoolResources
from batchspec.local.model import Pool, Resources
from batchspec.local.store import Store
from tests.local.engine_stub import NOW
from tests.local.engines import pool, running_with_engine, wait_until

NET = "Inter-|   Receive\n face |bytes\n"
MEASURED = (
    "CPUPercent",
    "MemoryBytes",
    "DiskBytes",
    "DiskReadBytes",
    "DiskWriteBytes",
    "DiskReadOps",
    "DiskWriteOps",
    "NetworkInBytes",
    "NetworkOutBytes",
)


class Kernel:
    """A folder like ``/proc``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "net").mkdir(parents=True)
        (path / "meminfo").write_text("MemTotal: 4000000 kB\nMemAvailable: 3000000 kB\n")

    def show(self, worked: int, rested: int, disk: int = 0, net: int = 0) -> None:
        (self.path / "stat").write_text(f"cpu  {worked} 0 0 {rested} 0 0 0 0 9 9\ncpu0 1 1\n")
        row = f"{disk} 0 {2 * disk} 0 {3 * disk} 0 {4 * disk} 0 0 0"
        names = ("sda", "sda1", "nvme0n1", "nvme0n1p2", "loop0", "dm-0")
        lines = [f"8 {minor} {name} {row}\n" for minor, name in enumerate(names)]
        (self.path / "diskstats").write_text("".join(lines))
        counts = f"{net} 0 0 0 0 0 0 0 {2 * net} 0 0 0 0 0 0 0"
        (self.path / "net" / "dev").write_text(f"{NET}  lo: {counts}\neth0: {counts}\n")


def test_amounts_count_from_the_last_call_of_the_same_caller(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path / "proc")
    kernel.show(60, 40, disk=100, net=1000)
    usage = MachineUsage(tmp_path, kernel.path)
    kernel.show(60, 40, disk=110, net=1500)
    found = usage.sample("p")
    assert found.pop("DiskBytes") > 0
    assert found == {
        "CPUPercent": 0.6,
        "MemoryBytes": 1024.0,
        "DiskReadOps": 20.0,  # of two disks; partitions and virtual disks are not counted again
        "DiskReadBytes": 2 * 20 * 512.0,
        "DiskWriteOps": 60.0,
        "DiskWriteBytes": 2 * 40 * 512.0,
        "NetworkInBytes": 500.0,
        "NetworkOutBytes": 1000.0,
    }
    assert "CPUPercent" not in usage.sample("p")  # no time has passed
    kernel.show(135, 65, disk=111, net=1501)
    found = usage.sample("p")
    assert (found["CPUPercent"], found["DiskReadOps"], found["NetworkInBytes"]) == (0.75, 2, 1)
    assert usage.sample("q")["DiskReadOps"] == 22


def test_values_that_the_kernel_does_not_show_are_missing(tmp_path: Path) -> None:
    assert MachineUsage(tmp_path / "none", tmp_path).sample("p") == {}


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_a_formula_can_read_the_usage(tmp_path: Path) -> None:
    counts = "+".join(f"len(${name}.GetSample(1))" for name in MEASURED)
    formula = f"$TargetDedicatedNodes=0; n={counts}; b=max($CPUPercent.GetSample(1))<=1;"
    scaled = {"enableAutoScale": True, "autoScaleFormula": "$TargetDedicatedNodes=0;"}
    with running_with_engine(tmp_path / "batch") as service:
        settings = pool(**scaled)
        del settings["targetDedicatedNodes"]
        service.client.create_pool(settings)

        def results() -> str:
            body = {"autoScaleFormula": formula}
            run = service.request("POST", "/pools/p/evaluateautoscale", body).json
            return str(run.get("results"))

        wait_until(lambda: f";$b=1;$n={len(MEASURED)}" in results())


SECOND = timedelta(seconds=1)


class Measured:
    """The resources of pools of a store, without an engine, on a simulated machine."""

    def __init__(self, folder: Path, speed: float = 1) -> None:
        self.kernel = Kernel(folder / "proc")
        self.kernel.show(0, 0)
        self.store = Store(folder / "batch.db")
        self.usage = MachineUsage(folder, self.kernel.path)
        self.resources = PoolResources(self.store, self.usage, speed)

    def pool(self, pool_id: str, nodes: int) -> Pool:
        """A new pool with nodes."""
        targets = {"target_dedicated": nodes, "target_spot": 0}
        made = self.store.pools.add(pool_id, {}, NOW, resize_timeout="PT15M", **targets)
        assert made is not None
        ids = [f"tvmps_{number}_d" for number in range(nodes)]
        self.store.nodes.add(made, ids, NOW, dedicated=True, slots=1)
        return made

    def remove_nodes(self, pool_id: str) -> None:
        for node in self.store.nodes.of(pool_id):
            self.store.nodes.delete(node, NOW)

    def of(self, pool_: Pool) -> Resources:
        found = self.store.pools.resources(pool_)
        assert found is not None
        return found


def test_resources_are_added_while_a_pool_has_nodes(tmp_path: Path) -> None:
    here = Measured(tmp_path)
    kernel, resources = here.kernel, here.resources
    resources.resume(NOW)
    assert resources.next_moment(NOW) is None  # nothing is read without nodes
    kernel.show(100, 100, disk=50)
    first = here.pool("first", 1)
    resources.measure([first], NOW)
    assert resources.next_moment(NOW) == NOW + SECOND
    kernel.show(150, 150, disk=60, net=5)
    (kernel.path / "meminfo").write_text("MemTotal: 4000000 kB\nMemAvailable: 1000000 kB\n")
    resources.measure([first], NOW + SECOND)
    assert resources.next_moment(NOW + SECOND) == NOW + 31 * SECOND
    found = here.of(first)
    assert (found.since, found.until, found.measured) == (NOW, NOW + SECOND, 1_000_000)
    assert (found.busy, found.ticks, found.disk_reads, found.network_out) == (50, 100, 20, 10)
    gigabyte = 1_024_000_000
    assert (found.memory, found.peak_memory) == (2 * gigabyte, 3 * gigabyte)

    kernel.show(150, 450, disk=61)
    resources.measure([], NOW + SECOND * 1.5)  # too early
    assert here.of(first) == found
    here.remove_nodes("first")
    second = here.pool("second", 1)
    resources.measure([second], NOW + 3 * SECOND)
    later = here.of(first)
    assert (later.busy, later.ticks, later.disk_reads) == (50, 400, 22)
    assert later.memory == pytest.approx((2 * 1 + 3 * 2) / 3 * gigabyte, abs=1)
    assert here.store.pools.resources(second) is None

    kernel.show(250, 450, disk=70)
    resources.measure([], NOW + 4 * SECOND)
    assert here.of(first) == later  # it has no nodes
    assert (here.of(second).busy, here.of(second).since) == (100, NOW + 3 * SECOND)
    here.remove_nodes("second")
    resources.measure([], NOW + 5 * SECOND)
    assert resources.next_moment(NOW + 5 * SECOND) is None
    late = NOW + 3600 * SECOND
    resources.measure([here.pool("third", 1)], late)
    assert resources.next_moment(late) == late + SECOND


def test_the_first_amounts_of_a_pool_that_begins_with_a_measurement_are_soon(
    tmp_path: Path,
) -> None:
    here = Measured(tmp_path)
    here.resources.measure([here.pool("p", 1)], NOW)
    here.resources.measure([here.pool("q", 1)], NOW + 2 * SECOND)
    assert here.resources.next_moment(NOW + 2 * SECOND) == NOW + 3 * SECOND


def test_a_restart_of_the_service_does_not_count_the_time_between(tmp_path: Path) -> None:
    here = Measured(tmp_path)
    made = here.pool("p", 1)
    here.resources.resume(NOW)
    here.kernel.show(30, 70)
    here.resources.measure([], NOW + SECOND)
    here.kernel.show(1030, 70)
    again = PoolResources(here.store, here.usage, speed=1)
    again.resume(NOW + 500 * SECOND)
    here.kernel.show(1040, 70)
    again.measure([], NOW + 501 * SECOND)
    found = here.of(made)
    assert (found.busy, found.ticks, found.measured) == (40, 110, 2_000_000)
    assert (found.since, found.until) == (NOW, NOW + 501 * SECOND)


def test_a_pool_that_was_created_again_begins_again(tmp_path: Path) -> None:
    here = Measured(tmp_path)
    before = here.pool("p", 1)
    here.resources.measure([before], NOW)
    here.remove_nodes("p")
    here.store.pools.remove(here.store.pools.delete(before, NOW))
    after = here.pool("p", 1)
    here.resources.measure([after], NOW + SECOND)
    assert here.store.pools.resources(after) is None
    here.resources.measure([after], NOW + 2 * SECOND)
    assert here.of(after).since == NOW + SECOND


def test_readings_are_at_intervals_of_real_time(tmp_path: Path) -> None:
    here = Measured(tmp_path, speed=60)
    here.resources.measure([here.pool("p", 1)], NOW)
    assert here.resources.next_moment(NOW) == NOW + 60 * SECOND
    here.resources.measure([], NOW + 60 * SECOND)
    assert here.resources.next_moment(NOW + 60 * SECOND) == NOW + 60 * SECOND + 1800 * SECOND
