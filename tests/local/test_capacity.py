"""Much of everything: a round of the engine and a page of a list read no more for it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

from batchspec.local.agent.agent import Agent
from batchspec.local.agent.clock import Clock
from batchspec.local.agent.grants import NoGrants
from batchspec.local.engine.hands import Hands
from batchspec.local.engine.observe import next_moment, observe
from batchspec.local.engine.state import Delays
from batchspec.local.model.record import Job
from batchspec.local.store.page import Page
from batchspec.local.store.store import Store
from batchspec.local.store.tasks import NewTask

NOW = datetime(2026, 1, 2, tzinfo=UTC)
FEW, MANY = 50, 5000


def filled(path: Path, count: int) -> Store:
    """A pool with as many idle nodes as jobs, and tasks: active, blocked and completed ones."""
    store = Store(path)
    pool = store.pools.add(
        "p", {"vmSize": "x"}, NOW, target_dedicated=0, target_spot=0, resize_timeout="PT15M"
    )
    assert pool is not None
    store.pools.settle(pool, NOW, ())
    for name in ("of", "other"):
        job = store.jobs.add(
            name,
            {"constraints": {}},
            NOW,
            pool_id="p" if name == "of" else "empty",
            priority=0,
            max_parallel=-1,
            deadline=None,
        )
        assert job is not None
        fill(store, job, count)
    return store


def fill(store: Store, job: Job, count: int) -> None:
    plain = [NewTask(f"t{n}", {"commandLine": "x"}) for n in range(count)]
    blocked = [NewTask(f"b{n}", {"commandLine": "x"}, needs=("none",)) for n in range(count)]
    ended = [NewTask(f"e{n}", {"commandLine": "x"}) for n in range(count)]
    store.tasks.add(job, [*plain, *blocked], NOW)
    for task in store.tasks.add(job, ended, NOW):
        assert task is not None
        store.tasks.end(task, NOW, {"code": "TaskEnded"})


def steps(store: Store, call: Callable[[], object]) -> int:
    """How many hundreds of steps the database takes for a call."""
    taken = 0

    def count() -> int:
        nonlocal taken
        taken += 1
        return 0

    connection = store.tasks._db._connection
    connection.set_progress_handler(count, 100)
    call()
    connection.set_progress_handler(None, 0)
    return taken


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Store]:
    folder = tmp_path_factory.mktemp("stores")
    return filled(folder / "few.db", FEW), filled(folder / "many.db", MANY)


def one_round(store: Store, hands: Hands) -> None:
    state = observe(store, hands, Delays(), NOW)
    next_moment(store, state, NOW)


def test_a_round_of_the_engine(stores: tuple[Store, Store], tmp_path: Path) -> None:
    hands = Hands(Agent(tmp_path, Clock(), NoGrants()), lambda: None)
    few, many = (steps(store, partial(one_round, store, hands)) for store in stores)
    assert many <= 2 * few + 5


@pytest.mark.parametrize(
    "page",
    [
        Page(100),
        Page(100, "t3"),
        Page(100, "", "key IS ?", ("t7",)),
        Page(100, "", "(key >= ? AND key < ?)", ("t1", "t2")),
        Page(100, "t11", "(key >= ? AND key < ?)", ("t1", "t2")),
        Page(100, "", "state IS ?", ("running",)),
        Page(100, "", "state IS ?", ("completed",)),
    ],
    ids=["all", "next", "id", "prefix", "prefix, next", "none", "state"],
)
def test_a_page_of_a_list(stores: tuple[Store, Store], page: Page) -> None:
    few, many = (steps(store, partial(store.tasks.page, "of", page)) for store in stores)
    # Where there were fewer than a page, there is a page now.
    assert many <= 2 * few + 100


def test_counts(stores: tuple[Store, Store]) -> None:
    few, many = (steps(store, partial(store.jobs.counts, "of")) for store in stores)
    assert many <= few + 1
