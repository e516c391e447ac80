"""``$CPUPercent``: the processor usage of this machine."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from batchspec.local.engine.observe import CpuUsage
from tests.local.engines import pool, running_with_engine, wait_until


def test_usage_covers_the_time_since_the_last_call_of_the_same_caller(tmp_path: Path) -> None:
    stat = tmp_path / "stat"

    def ticks(worked: int, rested: int) -> None:
        stat.write_text(f"cpu  {worked} 0 0 {rested} 0 0 0 0 99 99\ncpu0 1 1 1 1\n")

    ticks(60, 40)
    processor = CpuUsage(stat)
    assert processor.busy("p") == 0.6
    assert processor.busy("p") is None  # no time has passed
    ticks(135, 65)
    assert processor.busy("p") == 0.75
    ticks(135, 165)
    assert processor.busy("p") == 0
    assert processor.busy("q") == 0.45
    stat.unlink()
    assert processor.busy("p") is None
    assert CpuUsage(stat).busy("p") is None


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_a_formula_can_read_it(tmp_path: Path) -> None:
    formula = "$TargetDedicatedNodes=0; x=$CPUPercent.GetSample(1); n=len(x); b=max(x)<=1;"
    expected = ";$b=1;$n=1;"
    scaled = {"enableAutoScale": True, "autoScaleFormula": "$TargetDedicatedNodes=0;"}
    with running_with_engine(tmp_path / "batch") as service:
        settings = pool(**scaled)
        del settings["targetDedicatedNodes"]
        service.client.create_pool(settings)

        def results() -> str:
            body = {"autoScaleFormula": formula}
            run = service.request("POST", "/pools/p/evaluateautoscale", body).json
            return str(run.get("results"))

        wait_until(lambda: expected in results())
