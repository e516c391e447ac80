"""Time that passes faster than real time, and a clock that never goes back."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from batchspec.local.clock import Clock, ClockOffset, DamagedClockError
from tests.local.engines import WAIT, job, pool, running_with_engine, task, wait_until
from tests.local.running import ACCOUNT, KEY, Service

FAST = 1800.0
PATIENT = {"resizeTimeout": "P7D"}
"""Settings of a pool on a fast clock, where the default timeout of 15 minutes is half a second."""


def time_of(text: str) -> datetime:
    return datetime.fromisoformat(text)


def stamp(service: Service) -> datetime:
    """The service's time: the creation time of a new job."""
    name = f"j{uuid4().hex}"
    assert service.request("POST", "/jobs", job(name)).status == 201
    return time_of(service.request("GET", f"/jobs/{name}").json["creationTime"])


def pass_time(service: Service, span: timedelta) -> tuple[datetime, datetime]:
    """Wait for a duration of the service's time; return its start and end."""
    first = stamp(service)
    wait_until(lambda: stamp(service) >= first + span)
    return first, stamp(service)


def node_of(service: Service) -> Any:
    (node,) = service.request("GET", "/pools/p/nodes").json["value"]
    return node


def task_of(service: Service) -> Any:
    return service.request("GET", "/jobs/j/tasks/t").json


def test_a_fast_node_allocation_takes_as_long_as_on_azure(tmp_path: Path) -> None:
    delay = timedelta(seconds=226)
    with running_with_engine(tmp_path / "batch", speed=FAST, allocation=delay) as service:
        service.request("POST", "/pools", pool(**PATIENT))
        wait_until(lambda: service.request("GET", "/pools/p").json["allocationState"] == "steady")
        # Its times show how long it was resizing: a poll may miss an eighth of a second.
        found = service.request("GET", "/pools/p").json
        resized = time_of(found["allocationStateTransitionTime"]) - time_of(found["creationTime"])
        assert resized >= delay
        wait_until(lambda: node_of(service)["state"] == "idle")
        node = node_of(service)
        took = time_of(node["lastBootTime"]) - time_of(node["allocationTime"])
        assert took >= delay


def test_a_pool_scales_on_its_interval(tmp_path: Path) -> None:
    """The formula is evaluated every 5 minutes; the job's tasks exist at the second evaluation."""
    with running_with_engine(tmp_path / "batch", speed=FAST) as service:
        formula = "$TargetDedicatedNodes = min(2, $PendingTasks.GetSample(1));"
        scaled = pool(**PATIENT) | {
            "enableAutoScale": True,
            "autoScaleFormula": formula,
            "autoScaleEvaluationInterval": "PT5M",
        }
        del scaled["targetDedicatedNodes"]
        service.request("POST", "/pools", scaled)
        service.request("POST", "/jobs", job())
        for name in ("t", "u"):
            service.request("POST", "/jobs/j/tasks", task(name, "true"))
        wait_until(lambda: task_of(service)["state"] == "completed")
        wait_until(lambda: service.request("GET", "/pools/p").json["currentDedicatedNodes"] == 0)


def test_a_task_ends_at_its_limit_and_its_files_after_their_retention(tmp_path: Path) -> None:
    with running_with_engine(tmp_path / "batch", speed=FAST) as service:
        service.request("POST", "/pools", pool(**PATIENT))
        service.request("POST", "/jobs", job())
        constraints = {"maxWallClockTime": "PT10M", "retentionTime": "PT30M"}
        service.request("POST", "/jobs/j/tasks", task("t", WAIT, constraints=constraints))
        wait_until(lambda: task_of(service)["state"] == "completed")
        info = task_of(service)["executionInfo"]
        assert info["failureInfo"]["code"] == "TaskEnded"
        took = time_of(info["endTime"]) - time_of(info["startTime"])
        assert took >= timedelta(minutes=10)
        gone = "/jobs/j/tasks/t/files/stdout.txt"
        wait_until(lambda: service.request("GET", gone).status == 409)


def test_a_job_ends_at_its_limit(tmp_path: Path) -> None:
    with running_with_engine(tmp_path / "batch", speed=FAST) as service:
        service.request("POST", "/jobs", job(constraints={"maxWallClockTime": "PT30M"}))
        wait_until(lambda: service.request("GET", "/jobs/j").json["state"] == "completed")
        info = service.request("GET", "/jobs/j").json["executionInfo"]
        assert info["terminateReason"] == "MaxWallClockTimeExpiry"


def test_time_continues_at_any_speed(tmp_path: Path) -> None:
    times: list[datetime] = []
    for speed in (3600.0, 3600.0, 1.0, 60.0):
        with running_with_engine(tmp_path / "batch", speed=speed) as service:
            times += pass_time(service, timedelta(seconds=speed / 4))
    assert times == sorted(times)
    ahead = ClockOffset(tmp_path / "batch").read()
    assert timedelta(minutes=29) <= ahead < timedelta(days=10)


SERVICE = f"""
import asyncio, sys
from pathlib import Path
from batchspec.local.service import ServiceConfig, serve
config = ServiceConfig(Path(sys.argv[1]), {ACCOUNT!r}, {KEY!r}, speed=float(sys.argv[2]))
asyncio.run(serve(config, lambda url: print(url, flush=True)))
"""


def test_the_time_of_a_killed_service_does_not_go_back(tmp_path: Path) -> None:
    data = tmp_path / "batch"
    times: list[datetime] = []
    for speed in ("3600", "3600", "1"):
        command = [sys.executable, "-c", SERVICE, str(data), speed]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                service = Service(process.stdout.readline().strip(), data)
                times += pass_time(service, timedelta(milliseconds=1))
            finally:
                process.kill()
    assert times == sorted(times)


async def test_the_clock_stops_when_it_cannot_be_written(tmp_path: Path) -> None:
    """The clock stops at the written time, so that no restart sets the time back."""
    seconds = [0.0]
    clock, time = Clock(3600.0, monotonic=lambda: seconds[0]), ClockOffset(tmp_path)
    first = clock.now()
    async with time.persist(clock):
        promised = time.read()
        seconds[0] = 1.0
        assert clock.now() == first + timedelta(hours=1)
        seconds[0] = 1000.0
        assert first + timedelta(hours=1) < clock.now() <= first + promised + timedelta(seconds=10)


async def test_the_clock_stops_at_the_written_time(tmp_path: Path) -> None:
    seconds = [0.0]

    class Slow(ClockOffset):
        def write(self, ahead: timedelta) -> None:
            super().write(ahead)
            seconds[0] += 1.5

    clock, time = Clock(3600.0, monotonic=lambda: seconds[0]), Slow(tmp_path)
    async with time.persist(clock):
        seconds[0] = 1000.0
        assert clock.offset() <= time.read()


def test_a_clock_at_real_speed_writes_no_file(tmp_path: Path) -> None:
    with running_with_engine(tmp_path / "batch") as service:
        assert abs(stamp(service) - datetime.now(UTC)) < timedelta(minutes=1)
    assert not (tmp_path / "batch" / "clock.json").exists()


def test_an_existing_file_is_used(tmp_path: Path) -> None:
    data = tmp_path / "batch"
    data.mkdir()
    (data / "clock.json").write_text(json.dumps({"ahead": 86400 * 30}))
    with running_with_engine(data) as service:
        ahead = stamp(service) - datetime.now(UTC)
        assert timedelta(days=29) < ahead < timedelta(days=31)


@pytest.mark.parametrize(
    "text",
    ["", "{}", "null", "[" * 10_000, "\xff", '{"ahead": NaN}', '{"ahead": 1e300}', '{"ahead": -1}'],
)
def test_a_damaged_file_is_an_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "clock.json").write_text(text)
    with pytest.raises(DamagedClockError, match=r"clock\.json"):
        ClockOffset(tmp_path).read()


def test_the_time_never_goes_back_when_the_time_of_the_system_does() -> None:
    start = datetime(2026, 10, 25, 0, 59, tzinfo=UTC)
    seconds = [0, 0, 60, -3600, 30, 90, 7200]
    times = iter([start + timedelta(seconds=passed) for passed in seconds])
    clock = Clock(offset=timedelta(minutes=1), wall=lambda: next(times))
    read = [(clock.now() - start).total_seconds() - 60 for _ in seconds[1:]]
    assert read == pytest.approx([0, 60, 60, 60, 90, 7200], abs=1)


def test_time_passes_while_the_time_of_the_system_is_set_back() -> None:
    start = datetime(2026, 10, 25, 0, 59, tzinfo=UTC)
    monotonic, set_back = [0.0], [0.0]

    def wall() -> datetime:
        return start + timedelta(seconds=monotonic[0] - set_back[0])

    clock = Clock(monotonic=lambda: monotonic[0], wall=wall)

    def passed() -> float:
        return (clock.now() - start).total_seconds()

    assert passed() == 0
    set_back[0] = 3600
    monotonic[0] = 10
    assert passed() == 10, "the change and the ten seconds are seen together"
    monotonic[0] = 20
    assert passed() == 20
    set_back[0] = 7200
    monotonic[0] = 30
    assert passed() == 30
    set_back[0] = 0
    monotonic[0] = 40
    assert passed() == 40, "the correction does not set the clock forward"
    set_back[0] = -600
    assert passed() == 640, "the clock follows a later time"
    for _ in range(100):  # synchronization in small steps
        set_back[0] += 0.4
        monotonic[0] += 1
        passed()
    assert passed() == 740 - 40


def test_a_job_ends_at_its_limit_after_the_time_of_the_system_is_set_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_back = [timedelta()]

    class SetBack(Clock):
        def __init__(self, speed: float, offset: timedelta) -> None:
            super().__init__(speed, offset, wall=lambda: datetime.now(UTC) - set_back[0])

    monkeypatch.setattr("batchspec.local.service.Clock", SetBack)
    with running_with_engine(tmp_path / "batch") as service:
        service.request("POST", "/jobs", job(constraints={"maxWallClockTime": "PT2S"}))
        set_back[0] = timedelta(hours=1)
        wait_until(lambda: service.request("GET", "/jobs/j").json["state"] == "completed")
        info = service.request("GET", "/jobs/j").json["executionInfo"]
        assert info["terminateReason"] == "MaxWallClockTimeExpiry"
