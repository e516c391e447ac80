"""The values of the cost estimate, and the cost limit of the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from batchspec.diagnostics import SpecError, UsageError
from batchspec.plan import Estimate, NodeRelease, Plan, build_plan
from batchspec.plan.actions import CreateJob, CreatePool
from batchspec.plan.observed import PoolFacts
from batchspec.pricing import NodePrices, NodeType, Unknown
from batchspec.render import cost_json, plan_json, plan_markdown
from batchspec.spec import Record, Scale, scale_range, scaled_down, with_max
from tests.plan.situation import SPEC, situation

PRICES = NodePrices(NodeType("d", ""), Unknown(""), Unknown(""))
AUTO = {"pool:\n  vm_size": "pool:\n  lifetime: job\n  vm_size", ", pool: ask": ""}
SCALE = {"nodes: 2": "nodes: {scale: {min: LEAST, max: 8, spot_max: 8}}", ", pool: ask": ""}
EARLIER = {"tasks": 9, "task": 1000.0, "before": 300.0, "after": 20.0}


@contextmanager
def planned(folder: Path, change: dict[str, str], cost: str, **facts: Any) -> Iterator[Plan]:
    text = SPEC.replace("results:", f"cost: {cost}\nresults:")
    case = {"spec": text, "change": change, "cost": {"dedicated": 0.5, "spot": 0.1, **facts}}
    with situation(case, folder) as found:
        yield build_plan(found.spec, found.observed)


def estimated(folder: Path, change: dict[str, str], cost: str = "{}", **facts: Any) -> Estimate:
    with planned(folder, change, cost, **facts) as plan:
        assert plan.estimate is not None
        return plan.estimate


def test_the_expected_time_is_that_of_an_earlier_run(tmp_path: Path) -> None:
    """Three tasks on two nodes need two rounds."""
    found = estimated(tmp_path, AUTO, earlier=EARLIER)
    hours = (300 + 2 * 1000 + 20 + 80) / 3600
    assert found.lifetime.expected == pytest.approx(hours)
    assert found.total.expected == pytest.approx(2 * 0.5 * hours)
    assert found.lifetime.least == pytest.approx(300 / 3600)
    assert found.lifetime.most == pytest.approx(1 + 10 / 60)


def test_the_expected_time_is_not_longer_than_the_limit(tmp_path: Path) -> None:
    found = estimated(tmp_path, AUTO, earlier={**EARLIER, "task": 90_000.0})
    assert found.lifetime.expected is not None
    assert found.lifetime.most is not None
    assert 1.0 <= found.lifetime.expected <= found.lifetime.most


def test_the_expected_time_depends_on_slots(tmp_path: Path) -> None:
    change = {**AUTO, "nodes: 2": "nodes: 1\n  task_slots_per_node: 4", "logs: false": "slots: 2"}
    found = estimated(tmp_path, change, earlier=EARLIER)
    assert found.lifetime.expected == pytest.approx((300 + 2 * 1000 + 20 + 80) / 3600)


def test_a_pool_that_scales_has_as_many_nodes_as_tasks(tmp_path: Path) -> None:
    change = {key: text.replace("LEAST", "0") for key, text in SCALE.items()}
    found = estimated(tmp_path, change, earlier=EARLIER)
    dedicated, spot = found.nodes
    assert (dedicated.nodes, spot.nodes) == ((0, 8), (0, 8))
    # Nodes stay for 15 minutes after 1,320 s, until the evaluation at 2,400 s.
    hours = (2400 + 80) / 3600
    assert dedicated.hours.expected == pytest.approx(3 * hours)
    assert spot.hours.expected == 0
    assert found.lifetime.most == pytest.approx(1 + (10 + 15 + 5) / 60)
    assert found.stays == 0


def test_nodes_that_always_remain_cost_money_per_hour(tmp_path: Path) -> None:
    change = {key: text.replace("LEAST", "2") for key, text in SCALE.items()}
    found = estimated(tmp_path, change)
    assert found.end == "never"
    assert found.stays == 1.0
    assert found.total.most is None


def test_nothing_is_estimated_unless_it_is_requested(tmp_path: Path) -> None:
    with situation({"spec": SPEC, "change": AUTO, "cost": {"dedicated": 1}}, tmp_path) as found:
        assert build_plan(found.spec, found.observed).estimate is None


def test_a_run_with_nothing_to_do_costs_nothing(tmp_path: Path) -> None:
    case = {
        "spec": SPEC.replace("results:", "cost: {max: 0.001}\nresults:"),
        "jobs": [{"id": "demo", "state": "completed", "tasks": {"count": ["done"] * 3}}],
        "receipt": {"job": "demo", "files": 3, "missing": 0},
        "cost": {"dedicated": 1},
    }
    with situation(case, tmp_path) as found:
        plan = build_plan(found.spec, found.observed)
    assert plan.estimate is None


def test_an_estimate_does_not_make_a_saved_plan_stale(tmp_path: Path) -> None:
    with planned(tmp_path, AUTO, "{}") as cheap, planned(tmp_path, AUTO, "{}", dedicated=9) as dear:
        assert cheap.estimate != dear.estimate
        assert cheap.fingerprint == dear.fingerprint


def test_a_cost_limit_does_not_change_the_version(tmp_path: Path) -> None:
    digests = set()
    for cost in ("{}", "{max: 9}", "{max: 10, prices: {standard_d2s_v5: 0.1}}"):
        with planned(tmp_path, AUTO, cost) as plan:
            digests.add(plan.digest)
    assert len(digests) == 1


def test_the_bound_is_in_the_requests(tmp_path: Path) -> None:
    """The service enforces the limit when no client is running."""
    change = {key: text.replace("LEAST", "0") for key, text in SCALE.items()}
    with planned(tmp_path, change, "{max: 3.8, on_exceed: shorten}") as plan:
        (job,) = (s.action for s in plan.steps if isinstance(s.action, CreateJob))
        (pool,) = (s.action for s in plan.steps if isinstance(s.action, CreatePool))
    constraints = job.body["constraints"]
    assert isinstance(constraints, Record)
    assert constraints["maxWallClockTime"] == "PT35M"
    formula = str(pool.body["autoScaleFormula"])
    assert "$TargetDedicatedNodes = min(7, max(0, wanted));" in formula
    assert "$TargetLowPriorityNodes = min(0, " in formula
    assert plan.estimate is not None
    assert plan.estimate.total.most is not None
    # One node more would cost more than the bound.
    assert 3.8 - 0.5 < plan.estimate.total.most <= 3.8


@pytest.mark.parametrize("bound", [0.3, 0.6, 1.2, 3.0, 4.7, 7.0, 9.0])
def test_a_shortened_run_fits_and_is_not_shorter_than_necessary(
    tmp_path: Path, bound: float
) -> None:
    change = {key: text.replace("LEAST", "0") for key, text in SCALE.items()}
    change["1h"] = "5h"
    cost = f"{{max: {bound}, on_exceed: shorten}}"
    try:
        found = estimated(tmp_path, change, cost)
    except SpecError as error:
        assert bound < 0.5  # Half an hour, and half an hour until one node is released.
        assert [problem.code for problem in error.problems if problem.severity == "error"] == [
            "cost-above-max"
        ]
        return
    assert found.total.most is not None
    assert found.total.most <= bound
    assert found.limit >= timedelta(minutes=30)
    minute = sum(line.nodes[1] * p for line, p in zip(found.nodes, (0.5, 0.1), strict=False)) / 60  # type: ignore[operator]
    if found.limit > timedelta(minutes=30):
        assert found.total.most > bound - minute - 1e-9


def test_json_and_markdown_contain_the_estimate(tmp_path: Path) -> None:
    with planned(tmp_path, AUTO, "{rates: {network_per_hour: 0.03}}", earlier=EARLIER) as plan:
        found = json.loads(plan_json(plan))["cost"]
        assert json.loads(cost_json(plan, (), PRICES))["estimate"] == found
        markdown = plan_markdown(plan)
    assert found["currency"] == "USD"
    assert found["least"] < found["expected"] < found["most"]
    assert found["nodes"][0]["price_per_hour"] == 0.5
    assert found["nodes"][0]["price_source"] == "price list"
    assert found["end"] == "job"
    assert found["earlier_run"]["seconds_per_task"] == 1000
    assert [each["rate"] for each in found["included"]] == ["network_per_hour"]
    assert {each["rate"] for each in found["not_included"]} == {
        "disk_per_node_hour",
        "storage_per_gb_month",
        "egress_per_gb",
    }
    assert "**Cost on Azure: at least 0.086 USD, expected 0.69 USD, at most 1.20 USD**" in markdown


def test_json_of_a_plan_without_an_estimate_has_no_cost(tmp_path: Path) -> None:
    with situation({"spec": SPEC, "change": AUTO}, tmp_path) as found:
        assert "cost" not in json.loads(plan_json(build_plan(found.spec, found.observed)))


@pytest.mark.parametrize(
    ("section", "text", "bound"),
    [
        ("", "25", (25.0, "USD")),
        ("", "25.5 EUR", (25.5, "EUR")),
        ("cost: {currency: EUR}\n", "25", (25.0, "EUR")),
        ("cost: {max: 3 EUR}\n", "4EUR", (4.0, "EUR")),
    ],
)
def test_the_option_replaces_the_bound_of_the_spec(
    tmp_path: Path, section: str, text: str, bound: tuple[float, str]
) -> None:
    with situation({"spec": SPEC + section}, tmp_path) as found:
        cost = with_max(found.spec, text).cost
    assert cost is not None
    assert (cost.max, cost.currency) == bound


@pytest.mark.parametrize(
    "text", ["", "0", "-1", "nan", "1e3", "25 euros", "$25", "1_000", "9" * 400]
)
def test_a_bound_that_is_not_an_amount_is_refused(tmp_path: Path, text: str) -> None:
    with situation({"spec": SPEC}, tmp_path) as found, pytest.raises(UsageError) as error:
        with_max(found.spec, text)
    assert error.value.problems[0].code == "bad-amount"


def test_a_bound_in_another_currency_is_refused(tmp_path: Path) -> None:
    text = SPEC + "cost: {prices: {standard_d2s_v5: 1}}\n"
    with situation({"spec": text}, tmp_path) as found, pytest.raises(UsageError) as error:
        with_max(found.spec, "25 EUR")
    assert error.value.problems[0].summary == (
        "`--max-cost` is in EUR, and the prices of the spec are in USD"
    )


@pytest.mark.parametrize("prefers_spot", [False, True])
@pytest.mark.parametrize(("most", "spot"), [(3, 0), (1, 5), (0, 2), (7, 9)])
def test_a_lowered_formula_equals_that_of_a_smaller_scale(
    prefers_spot: bool, most: int, spot: int
) -> None:
    scale = Scale(0, 40, 50, timedelta(minutes=5), 2, prefers_spot=prefers_spot)
    smaller = replace(scale, most=most, most_spot=spot)
    found = scale_range(scaled_down(scale.formula, most, spot))
    assert found is not None
    assert (found.most, found.most_spot, found.spot_first) == (most, spot, prefers_spot)
    if spot:
        assert scaled_down(scale.formula, most, spot) == smaller.formula


def test_nodes_that_scale_by_time_are_not_released_with_the_job(tmp_path: Path) -> None:
    change = {"nodes: 2": "nodes: {scale: {scenario: weekday, max: 4}}", ", pool: ask": ""}
    found = estimated(tmp_path, change)
    assert found.nodes[0].nodes == (0, 4)
    assert (found.end, found.stays, found.total.most) == ("never", None, None)


def test_tasks_are_expected_on_spot_nodes_if_these_are_preferred(tmp_path: Path) -> None:
    scale = "nodes: {scale: {max: 8, spot_max: 8, prefer: spot}}"
    found = estimated(tmp_path, {"nodes: 2": scale, ", pool: ask": ""}, earlier=EARLIER)
    dedicated, spot = found.nodes
    assert dedicated.hours.expected == 0
    assert spot.hours.least is not None
    assert spot.hours.least > 0


NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("release", "evaluated", "seconds"),
    [
        (NodeRelease(), None, 80),
        # Evaluations are at -60, 240, 540 and 840 s.
        (NodeRelease(timedelta(minutes=10), timedelta(minutes=5)), -60, 840 + 80),
        (NodeRelease(timedelta(minutes=10), timedelta(minutes=5)), None, 600 + 150 + 80),
        (NodeRelease(timedelta(minutes=10), timedelta(minutes=5)), -300, 600 + 80),
    ],
)
def test_the_expected_release_of_nodes(
    release: NodeRelease, evaluated: float | None, seconds: float
) -> None:
    at = None if evaluated is None else NOW + timedelta(seconds=evaluated)
    assert release.expected(NOW, at) == NOW + timedelta(seconds=seconds)


def test_only_nodes_that_the_service_releases_are_expected_after_the_job(tmp_path: Path) -> None:
    scale = {key: text.replace("LEAST", "0") for key, text in SCALE.items()}
    assert estimated(tmp_path, AUTO).release == NodeRelease()
    expected = NodeRelease(timedelta(minutes=15), timedelta(minutes=5))
    assert estimated(tmp_path, scale).release == expected
    with planned(tmp_path, {"pool: ask": "pool: never"}, "{}", earlier=EARLIER) as plan:
        assert plan.release is None
        assert plan.estimate is not None
        # The pool is kept: its nodes count until the end of the job.
        assert plan.estimate.lifetime.expected == pytest.approx((300 + 2 * 1000 + 20) / 3600)


def test_tasks_start_at_once_on_nodes_that_exist(tmp_path: Path) -> None:
    change = {"nodes: 2": "nodes: 2", "pool: ask": "pool: never"}
    with planned(tmp_path, change, "{}", earlier=EARLIER) as plan:
        (body,) = (s.action.body for s in plan.steps if isinstance(s.action, CreatePool))
    text = SPEC.replace("results:", "cost: {}\nresults:")
    case = {"spec": text, "change": change, "cost": {"dedicated": 0.5, "earlier": EARLIER}}
    with situation(case, tmp_path) as found:
        pool = PoolFacts("demo", "active", "steady", body, {}, 2, 0, 2, 0)
        estimate = build_plan(found.spec, replace(found.observed, pool=pool)).estimate
    assert estimate is not None
    assert estimate.lifetime.least == 0
    assert estimate.lifetime.expected == pytest.approx((2 * 1000 + 20) / 3600)


@pytest.mark.parametrize(("target", "seconds"), [("azure", 226), ("local", 2)])
def test_new_nodes_are_allocated_although_those_of_the_earlier_run_existed(
    target: str, seconds: int, tmp_path: Path
) -> None:
    """The embedded service allocates nodes at once."""
    case = {"spec": SPEC.replace("results:", "cost: {}\nresults:"), "target": target}
    cost = {"dedicated": 0.5, "earlier": {**EARLIER, "before": 2.0}}
    with situation({**case, "change": AUTO, "cost": cost}, tmp_path) as found:
        estimate = build_plan(found.spec, found.observed).estimate
    assert estimate is not None
    hours = (seconds + 2 * 1000 + 20 + 80) / 3600
    assert estimate.lifetime.expected == pytest.approx(hours)
