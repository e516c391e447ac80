"""The facts of an estimate: nodes, their region, and times of an earlier run."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from batchspec.account import TaskTimes
from batchspec.observe import cost_per_hour, observe_cost
from batchspec.plan import node_type
from batchspec.plan.observed import AccountNames, EarlierRun, JobFacts, Observed, PoolFacts
from batchspec.pricing import NodeType, Price, PriceCache, Unknown, parse_table
from batchspec.spec import Record, Spec, read_spec, with_estimate
from tests.apply.fake import FakeAccount

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SPEC = """\
version: 1
name: demo
pool: {lifetime: job, vm_size: STANDARD_d2s_v5, nodes: {dedicated: 1, spot: 2}, image: IMAGE}
job: {max_wall_clock_time: 1h}
tasks: {one: {command: "true"}}
"""


class NoPrices:
    """A price list that must not be read, or that has no rows."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str]] = []

    def rows(
        self, size: str, region: str, currency: str, seconds: float
    ) -> list[dict[str, object]]:
        self.asked.append((size, region, currency))
        return []


def spec(folder: Path, more: str = "cost: {}\n", image: str = "ubuntu-24.04") -> Spec:
    path = folder / "demo.yaml"
    path.write_text(SPEC.replace("IMAGE", image) + more)
    return read_spec(path)


def job(number: int, state: str = "completed", ended: bool = True) -> JobFacts:
    begin = NOW - timedelta(days=9 - number)
    end = begin + timedelta(seconds=1000) if ended else None
    return JobFacts(f"demo-r{number}", state, begin, Record(), {}, ended=end)


def observed(*jobs: JobFacts, host: str = "ada.westeurope.batch.azure.com") -> Observed:
    return Observed(AccountNames("azure", host, "ada"), NOW, {}, jobs=jobs)


@pytest.mark.parametrize(
    ("host", "more", "region"),
    [
        ("ada.westeurope.batch.azure.com", "", "westeurope"),
        ("ada.WestEurope.batch.azure.com:443", "", "westeurope"),
        ("ada.westeurope.batch.azure.com", "cost: {region: northeurope}\n", "northeurope"),
        ("ada.chinaeast2.batch.chinacloudapi.cn", "", ""),
        ("batchspeclocal", "", ""),
    ],
)
def test_the_region_is_that_of_the_spec_or_of_the_account(
    tmp_path: Path, host: str, more: str, region: str
) -> None:
    found = node_type(spec(tmp_path, more), observed(host=host))
    assert found == NodeType("STANDARD_d2s_v5", region, windows=False)


def test_nodes_of_windows(tmp_path: Path) -> None:
    read = spec(tmp_path, image="windowsserver-2022")
    assert node_type(read, observed()).windows


async def test_prices_are_requested_in_the_currency_of_the_spec(tmp_path: Path) -> None:
    source = NoPrices()
    read = spec(tmp_path, "cost: {max: 3 EUR, prices: {standard_d2s_v5: 0.5}}\n")
    facts = await observe_cost(
        read, observed(), FakeAccount(), source=source, cache=PriceCache(tmp_path), now=NOW
    )
    assert facts.prices.dedicated == Price(0.5, "EUR", "given")
    assert isinstance(facts.prices.spot, Unknown)
    assert source.asked == [("STANDARD_d2s_v5", "westeurope", "EUR")]
    assert facts.earlier is None


async def test_the_newest_job_that_ended_shows_how_long_tasks_take(tmp_path: Path) -> None:
    jobs = (job(1), job(2), job(3, "active", ended=False), job(4, "deleting"))
    begin = jobs[1].created
    at = [begin + timedelta(seconds=second) for second in (100, 400, 250, 990)]
    account = FakeAccount(times=(TaskTimes("a", at[0], at[1]), TaskTimes("b", at[2], at[3])))
    account.task_ids["demo-r2"] = ["a", "b"]
    facts = await observe_cost(
        spec(tmp_path),
        observed(*jobs),
        account,
        source=NoPrices(),
        cache=PriceCache(tmp_path),
        now=NOW,
    )
    assert facts.earlier == EarlierRun(
        "demo-r2", begin + timedelta(seconds=1000), tasks=2, task=520.0, before=100.0, after=10.0
    )


def test_a_spec_without_a_section_gets_one_for_a_command_that_estimates(tmp_path: Path) -> None:
    read = spec(tmp_path, "")
    assert read.cost is None
    found = with_estimate(read).cost
    assert found is not None
    assert (found.currency, found.max) == ("USD", None)
    assert with_estimate(replace(read, cost=found)).cost is found


def pool(dedicated: int, spot: int) -> PoolFacts:
    body = Record(vmSize="standard_d2s_v5")
    return PoolFacts("p", "active", "steady", body, {}, dedicated, spot, dedicated, spot)


async def test_the_cost_per_hour_of_the_nodes_of_a_pool(tmp_path: Path) -> None:
    table = parse_table({"standard_d2s_v5": {"dedicated": 0.5, "spot": 0.1}}, "EUR")
    source = NoPrices()
    options = {"source": source, "cache": PriceCache(tmp_path), "now": NOW}
    found = await cost_per_hour(pool(2, 3), "westeurope", table=table, **options)  # type: ignore[arg-type]
    assert found == Price(pytest.approx(1.3), "EUR", "given")  # type: ignore[arg-type]
    assert await cost_per_hour(pool(0, 0), "", **options) == Price(0.0, "USD", "no nodes")  # type: ignore[arg-type]
    assert source.asked == []
    found = await cost_per_hour(pool(1, 0), "westeurope", **options)  # type: ignore[arg-type]
    assert isinstance(found, Unknown)
    assert source.asked == [("standard_d2s_v5", "westeurope", "USD")]
