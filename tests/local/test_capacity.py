"""The cost of an engine round and of a page of a list does not depend on the size of the store."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

from batchspec.local.agent import Agent, NoAutoStorage
from batchspec.local.api.resources import TASK_COLUMNS
from batchspec.local.clock import Clock
from batchspec.local.engine import Delays
from batchspec.local.engine.observe import next_moment, observe
from batchspec.local.engine.runs import Executor
from batchspec.local.model import Job, NodeState, Pool
from batchspec.local.store import NewTask, Page, Store, to_column
from batchspec.local.wire import parse_filter, to_sql

NOW = datetime(2026, 1, 2, tzinfo=UTC)
FEW, MANY = 50, 5000


def filled(path: Path, count: int) -> Store:
    """Two jobs with the given number of active, blocked and successful tasks, and of idle nodes."""
    store = Store(path)
    add_pool(store, "p")
    idle = add_pool(store, "idle")
    names = [f"n{number}" for number in range(count)]
    with store.transaction():
        store.nodes.add(idle, names, NOW, dedicated=True, slots=1)
        for node in store.nodes.of("idle"):
            started = store.nodes.update(node, NodeState.STARTING, NOW)
            store.nodes.update(started, NodeState.IDLE, NOW)
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


def add_pool(store: Store, name: str) -> Pool:
    pool = store.pools.add(
        name, {"vmSize": "x"}, NOW, target_dedicated=0, target_spot=0, resize_timeout="PT15M"
    )
    assert pool is not None
    store.pools.complete_resize(pool, NOW, ())
    return pool


def fill(store: Store, job: Job, count: int) -> None:
    plain = [NewTask(f"t{n}", {"commandLine": "x"}) for n in range(count)]
    blocked = [NewTask(f"b{n}", {"commandLine": "x"}, needs=("none",)) for n in range(count)]
    ended = [NewTask(f"e{n}", {"commandLine": "x"}) for n in range(count)]
    store.tasks.add(job, [*plain, *blocked], NOW)
    made = [task for task in store.tasks.add(job, ended, NOW) if task is not None]
    with store.transaction():
        for task in made:
            store.tasks.end(task, NOW, {"code": "TaskEnded"})
    well = "UPDATE task SET result = 'success', exit_code = 0 WHERE state = 'completed'"
    store.tasks._db.write(well)


def steps(store: Store, call: Callable[[], object]) -> int:
    """The number of database steps of a call, in hundreds."""
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


def one_round(store: Store, executor: Executor) -> None:
    state = observe(store, executor, Delays(), NOW)
    next_moment(store, state, NOW)


def test_a_round_of_the_engine(stores: tuple[Store, Store], tmp_path: Path) -> None:
    executor = Executor(Agent(tmp_path, Clock(), NoAutoStorage()), lambda: None)
    few, many = (steps(store, partial(one_round, store, executor)) for store in stores)
    assert many <= 2 * few + 5


@pytest.mark.parametrize("page", [Page(100), Page(100, "t3")], ids=["all", "next"])
def test_a_page_of_a_list(stores: tuple[Store, Store], page: Page) -> None:
    few, many = (steps(store, partial(store.tasks.page, "of", page)) for store in stores)
    # With fewer rows than a page before, there is a full page now.
    assert many <= 2 * few + 100


@pytest.mark.parametrize("after", ["", "t11"])
@pytest.mark.parametrize(
    "text",
    [
        "id eq 't7'",
        "startswith(id, 't1')",
        "state eq 'running'",
        "state eq 'completed'",
        "executionInfo/result eq 'failure'",
        "state eq 'completed' and executionInfo/result eq 'failure'",
        "executionInfo/exitCode eq 3",
        "state eq 'completed' and executionInfo/exitCode eq 3",
    ],
)
def test_a_page_of_a_filtered_list(stores: tuple[Store, Store], text: str, after: str) -> None:
    found = to_sql(parse_filter(text), TASK_COLUMNS, to_column)
    page = Page(100, after, found.sql, found.parameters)
    few, many = (steps(store, partial(store.tasks.page, "of", page)) for store in stores)
    # With fewer rows than a page before, there is a full page now.
    assert many <= 2 * few + 100


def test_counts(stores: tuple[Store, Store]) -> None:
    few, many = (steps(store, partial(store.jobs.counts, "of")) for store in stores)
    assert many <= few + 1
