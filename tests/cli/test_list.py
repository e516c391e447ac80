"""The resources that batchspec created in an account, and their use."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import cast

from batchspec.account import Account, ContainerProperties
from batchspec.observe import OwnedResource, owned_resources
from batchspec.plan.metadata import OWNER
from batchspec.plan.observed import AccountNames, JobFacts, PoolFacts, ScheduleFacts
from batchspec.render import inventory_text
from batchspec.spec import Record
from tests.cli.conftest import Workplace
from tests.render import golden

GOLDEN = Path(__file__).parent / "golden"
NOW = datetime(2026, 3, 5, tzinfo=UTC)


@dataclass
class Store:
    """An account in memory."""

    pools: Sequence[PoolFacts] = ()
    jobs: Sequence[JobFacts] = ()
    containers: Sequence[ContainerProperties] = ()
    schedules: Sequence[ScheduleFacts] = ()

    @property
    def client(self) -> Account:
        return cast(
            Account,
            SimpleNamespace(
                pools=Listed(self.pools),
                jobs=Listed(self.jobs),
                job_schedules=Listed(self.schedules),
                containers=Listed(self.containers),
            ),
        )


@dataclass
class Listed:
    """A resource in memory."""

    found: Sequence[object]

    async def list(self) -> AsyncIterator[object]:
        for one in self.found:
            yield one


def by(spec: str | None) -> Mapping[str, str]:
    return {} if spec is None else {"batchspec:spec": spec}


def pool(name: str, spec: str | None, state: str = "active", nodes: int = 2) -> PoolFacts:
    body = Record(creationTime="2026-03-01T00:00:00.1234567Z")
    return PoolFacts(name, state, "steady", body, by(spec), nodes, 0, 2, 0)


def job(name: str, spec: str | None, state: str = "active", on: str = "") -> JobFacts:
    info = Record(poolId=on) if on else Record(autoPoolSpecification=Record())
    return JobFacts(name, state, NOW - timedelta(hours=5), Record(poolInfo=info), by(spec))


def container(name: str, spec: str | None) -> ContainerProperties:
    metadata = {"other": "x"} if spec is None else {OWNER: spec}
    return ContainerProperties(name, metadata, NOW - timedelta(minutes=3))


async def orphans(store: Store) -> list[str]:
    return [
        f"{owned.kind} {owned.id}" for owned in await owned_resources(store.client) if owned.orphan
    ]


async def test_resources_of_an_open_job_are_in_use() -> None:
    store = Store([pool("p", "a")], [job("j", "a", on="p")], [container("c", "a")])
    assert await orphans(store) == []


async def test_a_pool_with_a_job_of_another_client_is_in_use() -> None:
    assert await orphans(Store([pool("P", "a")], [job("theirs", None, on="p")])) == []


async def test_pool_and_containers_are_orphans_after_the_job_ended() -> None:
    store = Store([pool("p", "a")], [job("j", "a", "completed", "p")], [container("c", "a")])
    assert await orphans(store) == ["pool p", "container c"]


def schedule(name: str, spec: str | None, state: str = "active", on: str = "") -> ScheduleFacts:
    info = Record(poolId=on) if on else Record(autoPoolSpecification=Record())
    body = Record(jobSpecification=Record(poolInfo=info))
    return ScheduleFacts(name, state, NOW - timedelta(days=2), body, by(spec))


async def test_resources_of_a_schedule_are_in_use_between_its_jobs() -> None:
    ended = job("s:job-1", "a", "completed", "p")
    store = Store([pool("p", "a")], [ended], [container("c", "a")], [schedule("s", "a", on="p")])
    assert await orphans(store) == []
    store.schedules = [schedule("s", "a", "completed", on="p")]
    assert await orphans(store) == ["pool p", "container c"]


async def test_a_schedule_without_its_pool_is_an_orphan() -> None:
    assert await orphans(Store(schedules=[schedule("s", "a", on="gone")])) == ["schedule s"]
    assert await orphans(Store(schedules=[schedule("s", "a"), schedule("t", None)])) == []


async def test_a_pool_that_is_being_deleted_is_not_an_orphan() -> None:
    assert await orphans(Store([pool("p", "a", "deleting")])) == []


async def test_an_open_job_without_its_pool_is_an_orphan() -> None:
    store = Store([pool("p", "a", "deleting")], [job("j", "a", on="p"), job("auto", "a")])
    assert await orphans(store) == ["job j"]


async def test_resources_of_other_clients_are_not_listed() -> None:
    store = Store([pool("p", None)], [job("j", None, on="p")], [container("c", None)])
    assert await owned_resources(store.client) == ()


async def found() -> tuple[OwnedResource, ...]:
    return await owned_resources(
        Store(
            [pool("p", "b", nodes=0), pool("q", "a"), pool("r", "c", "deleting")],
            [job("j", "a", "completed", "q"), job("k", "b", on="gone"), job("l", "b", on="p")],
            [container("a-input", "a"), container("b-input", "b")],
            [schedule("s", "b", on="p"), schedule("t", None)],
        ).client
    )


async def test_the_table() -> None:
    account = AccountNames("azure", "acct.westeurope.batch.azure.com", "store")
    every = await found()
    left = tuple(owned for owned in every if owned.orphan)
    golden.check("list.txt", inventory_text(account, every, NOW, orphans=False), GOLDEN)
    golden.check("orphans.txt", inventory_text(account, left, NOW, orphans=True), GOLDEN)
    assert "in use" in inventory_text(account, (), NOW, orphans=True)
    assert "no resource that batchspec created" in inventory_text(account, (), NOW, orphans=False)


def test_the_account_is_listed(mixed: Workplace) -> None:
    done = mixed.run("list", "--format", "json")
    assert done.code == 0, done.text
    seen = json.loads(done.out)
    assert [(item["kind"], item["id"], item["orphan"]) for item in seen["items"]] == [
        ("pool", "mixed", True),
        ("job", "mixed", False),
        ("container", "mixed-logs", True),
        ("container", "mixed-out", True),
    ]
    assert seen["items"][0]["nodes"] == 1
    text = mixed.run("list", "--orphans").out
    assert "mixed-logs" in text
    assert "completed" not in text
