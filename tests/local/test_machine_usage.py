"""Samples of autoscale formulas: the usage of this machine."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from batchspec.local.engine.machine_usage import MachineUsage
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


def test_amounts_are_those_since_the_last_call_of_the_same_caller(tmp_path: Path) -> None:
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


def test_what_the_kernel_does_not_show_is_missing(tmp_path: Path) -> None:
    assert MachineUsage(tmp_path / "none", tmp_path).sample("p") == {}


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_a_formula_can_read_it(tmp_path: Path) -> None:
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
