"""Autoscale in the service: its operations, and pools that follow their formulas."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from batchspec.local.engine.decisions import Decision, RecordAutoscaleRun, RecordSample, ResizePool
from batchspec.local.engine.lifecycle import autoscale_pool
from batchspec.local.engine.state import AutoscaleView
from batchspec.local.model import AllocationState, AutoscaleTimes, Pool, PoolState
from batchspec.spec import Scale, read_spec
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

NOW = datetime(2026, 1, 1, tzinfo=UTC)
POOLS = "/pools"
PATIENT = {"resizeTimeout": "P7D"}
"""Settings of a pool on a fast clock, where the default timeout of 15 minutes is a few seconds."""


def scaled(formula: str = "$TargetDedicatedNodes=0;", **more: Any) -> dict[str, Any]:
    """A pool in wire form with an autoscale formula."""
    body = pool(**more)
    del body["targetDedicatedNodes"]
    return {**body, "enableAutoScale": True, "autoScaleFormula": formula}


# --- the operations


def test_a_pool_shows_its_formula(service: Service) -> None:
    assert service.request("POST", POOLS, scaled()).status == 201
    shown = service.request("GET", "/pools/p").json
    assert shown["enableAutoScale"] is True
    assert shown["autoScaleFormula"] == "$TargetDedicatedNodes=0;"
    assert shown["autoScaleEvaluationInterval"] == "PT15M"
    assert (shown["targetDedicatedNodes"], shown["targetLowPriorityNodes"]) == (0, 0)
    found = [p.id for p in service.client.list_pools(filter="enableAutoScale eq true")]
    assert found == ["p"]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"targetDedicatedNodes": 1}, "InvalidAutoScalingSettings"),
        ({"targetLowPriorityNodes": 1}, "InvalidAutoScalingSettings"),
        ({"autoScaleFormula": None}, "InvalidAutoScalingSettings"),
        ({"enableAutoScale": False}, "InvalidAutoScalingSettings"),
        ({"autoScaleFormula": "$x = ;"}, "AutoScalingFormulaSyntaxError"),
        ({"autoScaleFormula": "v = 1;" + " " * 8192}, "AutoScalingFormulaTooLong"),
        ({"autoScaleEvaluationInterval": "PT4M59S"}, "InvalidPropertyValue"),
        ({"autoScaleEvaluationInterval": "P7DT1S"}, "InvalidPropertyValue"),
    ],
)
def test_contradictory_settings_are_refused(
    service: Service, change: dict[str, Any], code: str
) -> None:
    refused = service.request("POST", POOLS, {**scaled(), **change})
    assert (refused.status, refused.code) == (400, code)
    assert service.request("GET", "/pools/p").status == 404


def test_a_syntax_error_has_a_position(service: Service) -> None:
    refused = service.request("POST", POOLS, scaled("a = 1;\nb = ;"))
    assert refused.values == {"Message": "Line 2, Col 5: Unexpected ';'"}


def test_a_formula_is_evaluated_without_being_applied(service: Service) -> None:
    service.request("POST", POOLS, scaled())
    run = service.client.evaluate_pool_auto_scale(
        "p", {"autoScaleFormula": "$TargetDedicatedNodes=3"}
    )
    assert run.results == (
        "$TargetDedicatedNodes=3;$TargetLowPriorityNodes=0;$NodeDeallocationOption=requeue"
    )
    assert run.error is None
    shown = service.request("GET", "/pools/p").json
    assert shown["autoScaleFormula"] == "$TargetDedicatedNodes=0;"
    assert shown["targetDedicatedNodes"] == 0


def test_a_failing_formula_has_the_recorded_response(service: Service) -> None:
    """azure-sdk-for-node, should fail to evaluate invalid autoscale formula."""
    service.request("POST", POOLS, scaled())
    answer = service.request(
        "POST", "/pools/p/evaluateautoscale", {"autoScaleFormula": "$something_useless"}
    )
    assert answer.status == 200
    assert answer.headers["dataserviceid"] == f"{service.url}/pools/p/evaluateautoscale"
    assert answer.json["error"] == {
        "code": "AutoScalingFormulaEvaluationError",
        "message": "The specified auto-scaling formula has evaluation error",
        "values": [
            {"name": "Message", "value": "Line 1, Col 1: Undefined symbol: something_useless"}
        ],
    }
    wrong = service.request("POST", "/pools/p/evaluateautoscale", {"autoScaleFormula": "1 +"})
    assert (wrong.status, wrong.code) == (400, "AutoScalingFormulaSyntaxError")


def test_only_a_pool_that_scales_evaluates(service: Service) -> None:
    service.request("POST", POOLS, pool())
    refused = service.request("POST", "/pools/p/evaluateautoscale", {"autoScaleFormula": "1"})
    assert (refused.status, refused.code) == (409, "OperationInvalidForCurrentState")


def settle(service: Service) -> None:
    found = service.store.pools.get("p")
    assert found is not None
    service.store.pools.complete_resize(found, datetime.now(UTC))


def test_scaling_is_enabled_changed_and_disabled(service: Service) -> None:
    service.request("POST", POOLS, pool())
    body = {"autoScaleFormula": "$TargetDedicatedNodes=2", "autoScaleEvaluationInterval": "PT6M"}
    early = service.request("POST", "/pools/p/enableautoscale", body)
    assert (early.status, early.code) == (409, "PoolBeingResized")
    settle(service)
    none = service.request("POST", "/pools/p/enableautoscale", {})
    assert (none.status, none.code) == (400, "MissingRequiredProperty")
    done = service.request("POST", "/pools/p/enableautoscale", body)
    assert (done.status, done.body) == (200, b"")
    shown = service.request("GET", "/pools/p")
    assert shown.headers["etag"] == done.headers["etag"]
    assert shown.json["autoScaleEvaluationInterval"] == "PT6M"
    soon = service.request("POST", "/pools/p/enableautoscale", {"autoScaleFormula": "1"})
    assert (soon.status, soon.code) == (503, "TooManyEnableAutoScaleRequests")
    resized = service.request("POST", "/pools/p/resize", {"targetDedicatedNodes": 1})
    assert resized.status == 409
    assert service.request("POST", "/pools/p/disableautoscale").status == 200
    shown = service.request("GET", "/pools/p")
    assert shown.json["enableAutoScale"] is False
    assert "autoScaleFormula" not in shown.json
    assert service.request("POST", "/pools/p/resize", {"targetDedicatedNodes": 1}).status == 202


def test_enabling_again_keeps_settings_that_are_not_given(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("batchspec.local.api.autoscale._PAUSE", timedelta())
    service.request("POST", POOLS, scaled(autoScaleEvaluationInterval="PT7M"))
    service.request("POST", "/pools/p/enableautoscale", {"autoScaleFormula": "v = 1"})
    shown = service.request("GET", "/pools/p").json
    assert (shown["autoScaleFormula"], shown["autoScaleEvaluationInterval"]) == ("v = 1", "PT7M")


def test_disabling_stops_a_resize_as_recorded(service: Service) -> None:
    """azure-sdk-for-python, test_batch_scale_pools (2018-12-20)."""
    service.request("POST", POOLS, scaled())
    service.request("POST", "/pools/p/disableautoscale")
    assert service.request("GET", "/pools/p").json["allocationState"] == "stopping"


# --- decisions


def view(formula: str, *, due: int = 0, sample_due: int = 0, **changes: Any) -> AutoscaleView:
    """A pool whose formula and sample are due the given seconds after ``NOW``."""
    record = Pool(
        seq=1,
        id="p",
        body={},
        created=NOW,
        modified=NOW,
        state=PoolState.ACTIVE,
        state_since=NOW,
        allocation=AllocationState.STEADY,
        allocation_since=NOW,
        target_dedicated=1,
        target_spot=0,
        resize=1,
        resize_timeout="PT15M",
        resize_errors=(),
        deallocation="requeue",
        autoscale={"autoScaleFormula": formula, "autoScaleEvaluationInterval": "PT5M"},
    )
    after = [NOW + timedelta(seconds=seconds) for seconds in (due, sample_due)]
    return AutoscaleView(
        replace(record, **changes), AutoscaleTimes(NOW, *after), {"PendingTasks": 4.0}
    )


def decided(one: AutoscaleView, now: datetime = NOW) -> list[Decision]:
    return list(autoscale_pool(one, now))


def test_a_due_sample_is_taken_before_the_evaluation() -> None:
    sample, note, resize = decided(view("$TargetDedicatedNodes = $PendingTasks;"))
    assert isinstance(sample, RecordSample) and sample.following == NOW + timedelta(seconds=30)
    assert isinstance(note, RecordAutoscaleRun) and note.following == NOW + timedelta(minutes=5)
    assert note.run["timestamp"] == "2026-01-01T00:00:00Z"
    assert isinstance(resize, ResizePool)
    assert (resize.dedicated, resize.spot, resize.option) == (4, 0, "requeue")


def test_between_two_evaluations_only_samples_are_taken() -> None:
    (sample,) = decided(view("$TargetDedicatedNodes = 9;", due=60))
    assert isinstance(sample, RecordSample)


def test_equal_targets_cause_no_resize() -> None:
    kinds = [type(one) for one in decided(view("$TargetDedicatedNodes = 1;"))]
    assert kinds == [RecordSample, RecordAutoscaleRun]


def test_an_evaluation_error_is_recorded_and_resizes_nothing() -> None:
    _, note = decided(view("$TargetDedicatedNodes = 9; v = nothing;"))
    assert isinstance(note, RecordAutoscaleRun) and note.run["error"]["code"].endswith(
        "EvaluationError"
    )


def test_a_stopping_resize_is_not_changed() -> None:
    stopping = view("$TargetDedicatedNodes = 9;", allocation=AllocationState.STOPPING)
    assert ResizePool not in {type(one) for one in decided(stopping)}


def test_missed_evaluations_are_skipped_and_the_interval_stays() -> None:
    late = NOW + timedelta(seconds=617)
    sample, note, *_ = decided(view("v = 1;"), late)
    assert isinstance(sample, RecordSample) and sample.following == NOW + timedelta(seconds=630)
    assert isinstance(note, RecordAutoscaleRun) and note.following == NOW + timedelta(seconds=900)


def test_random_numbers_are_equal_for_the_same_evaluation() -> None:
    one = view("$TargetDedicatedNodes = rand() * 1000;")
    assert decided(one) == decided(one)


# --- measurements


def test_tasks_and_nodes_are_measured(service: Service) -> None:
    service.request("POST", POOLS, scaled())
    for name, state in (("j", True), ("other", False)):
        service.request(
            "POST", "/jobs", job(name, "P" if state else "q", usesTaskDependencies=True)
        )
        for number in range(3):
            service.request("POST", f"/jobs/{name}/tasks", task(f"t{number}", "true"))
        blocked = task("blocked", "true", dependsOn={"taskIds": ["t0"]})
        service.request("POST", f"/jobs/{name}/tasks", blocked)
    found = service.store.pools.get("p")
    assert found is not None
    service.store.nodes.add(found, ["a", "b"], NOW, dedicated=True, slots=1)
    service.store.nodes.add(found, ["c"], NOW, dedicated=False, slots=1)
    measured = service.store.autoscale.current_metrics("p")
    assert measured["ActiveTasks"] == measured["PendingTasks"] == 3, "a blocked task is not ready"
    assert (measured["CurrentDedicatedNodes"], measured["CurrentLowPriorityNodes"]) == (2, 1)
    assert measured["RunningTasks"] == measured["UsableNodeCount"] == 0


def test_samples_are_deleted_with_their_pool_and_after_a_week(service: Service) -> None:
    service.request("POST", POOLS, scaled())
    found = service.store.pools.get("p")
    assert found is not None
    scaling = service.store.autoscale
    for days in range(9):
        at = NOW + timedelta(days=days)
        scaling.add_sample(found, at, {"ActiveTasks": 1.0}, at + timedelta(seconds=30))
    assert len(scaling.samples("p")) == 8
    service.store.pools.remove(service.store.pools.delete(found, NOW))
    assert scaling.of("p") is None
    assert scaling.samples("p") == []


# --- pools with an engine


@pytest.fixture
def service_600x(tmp_path: Path) -> Iterator[Service]:
    """A service with an engine in which five minutes pass in half a second."""
    with running_with_engine(tmp_path / "batch", speed=600.0) as found:
        yield found


@pytest.fixture
def service_200x(tmp_path: Path) -> Iterator[Service]:
    """A service with an engine in which five minutes pass in one and a half seconds.

    A sample is due each 0.15 seconds: a machine that is busy does not take most of those that are
    due each 0.05 seconds, and a formula that needs most of them does not go back.
    """
    with running_with_engine(tmp_path / "batch", speed=200.0) as found:
        yield found


def sizes(service: Service) -> tuple[int, int]:
    shown = service.request("GET", "/pools/p").json
    return shown["currentDedicatedNodes"], shown["currentLowPriorityNodes"]


def test_the_generated_formula_scales_out_and_in(service_200x: Service) -> None:
    """``nodes: {scale: ...}`` of a spec: out for waiting tasks, and in when they are done."""
    formula = Scale(0, 2, 2, timedelta(minutes=10), slots=2).formula
    body = scaled(formula, autoScaleEvaluationInterval="PT5M", taskSlotsPerNode=2, **PATIENT)
    service_200x.request("POST", POOLS, body)
    service_200x.request("POST", "/jobs", job())
    wait_until(lambda: "autoScaleRun" in service_200x.request("GET", "/pools/p").json)
    for number in range(5):
        service_200x.request("POST", "/jobs/j/tasks", task(f"t{number}", WAIT))
    wait_until(lambda: sizes(service_200x) == (2, 1))
    counts = "/jobs/j/taskcounts"
    wait_until(lambda: service_200x.request("GET", counts).json["taskCounts"]["running"] == 5)
    run = service_200x.request("GET", "/pools/p").json["autoScaleRun"]
    assert "error" not in run, run
    assert "$NodeDeallocationOption=taskcompletion" in run["results"]
    release_tasks(service_200x)
    wait_until(lambda: sizes(service_200x) == (0, 0))
    assert service_200x.request("GET", counts).json["taskCounts"]["succeeded"] == 5


def test_the_service_deletes_the_nodes_of_an_idle_pool(
    service_200x: Service, tmp_path: Path
) -> None:
    """All nodes from the beginning, and none after 15 minutes without a task."""
    path = tmp_path / "spec.yaml"
    path.write_text(
        "version: 1\nname: p\n"
        "pool: {vm_size: standard_d2s_v5, nodes: {dedicated: 2, spot: 1}, image: ubuntu-24.04}\n"
        "job: {max_wall_clock_time: 1h}\ntasks: {run: {command: hostname}}\n"
    )
    formula = read_spec(path).pool.properties["autoScaleFormula"]
    body = scaled(str(formula), autoScaleEvaluationInterval="PT5M", **PATIENT)
    service_200x.request("POST", POOLS, body)
    wait_until(lambda: sizes(service_200x) == (2, 1))
    service_200x.request("POST", "/jobs", job())
    service_200x.request("POST", "/jobs/j/tasks", task("t", WAIT))
    counts = "/jobs/j/taskcounts"
    wait_until(lambda: service_200x.request("GET", counts).json["taskCounts"]["running"] == 1)
    time = service_200x.request("GET", "/pools/p").json["autoScaleRun"]["timestamp"]
    wait_until(
        lambda: service_200x.request("GET", "/pools/p").json["autoScaleRun"]["timestamp"] != time
    )
    assert sizes(service_200x) == (2, 1)
    release_tasks(service_200x)
    wait_until(lambda: sizes(service_200x) == (0, 0))
    assert service_200x.request("GET", counts).json["taskCounts"]["succeeded"] == 1


def test_a_steady_pool_is_evaluated_again_without_a_resize(service_600x: Service) -> None:
    formula = "$TargetDedicatedNodes = $TaskSlotsPerNode; $TargetLowPriorityNodes = 1;"
    service_600x.request("POST", POOLS, scaled(formula, **PATIENT))
    wait_until(lambda: sizes(service_600x) == (1, 1))
    wait_until(lambda: service_600x.request("GET", "/pools/p").json["allocationState"] == "steady")
    time = service_600x.request("GET", "/pools/p").json["autoScaleRun"]["timestamp"]
    wait_until(
        lambda: service_600x.request("GET", "/pools/p").json["autoScaleRun"]["timestamp"] != time
    )
    assert sizes(service_600x) == (1, 1)
