"""The store: acknowledged writes are durable, counters are correct, queries use indexes."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from batchspec.local.model import (
    ALLOCATION,
    JOB,
    NODE,
    POOL,
    SCHEDULE,
    TASK,
    AllocationState,
    IllegalTransitionError,
    Job,
    JobState,
    Node,
    NodeState,
    Pool,
    PoolState,
    Refusal,
    ScheduleState,
    StateMachine,
    Task,
    TaskState,
)
from batchspec.local.store import NewerStateError, NewTask, Page, Store
from batchspec.local.wire import FAULTS

NOW = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "batch.db")


def pool_of(store: Store) -> Pool:
    pool = store.pools.add(
        "P", {"vmSize": "x"}, NOW, target_dedicated=1, target_spot=0, resize_timeout="PT15M"
    )
    assert pool is not None
    return pool


def node_of(store: Store, pool: Pool, name: str = "n", slots: int = 4) -> Node:
    store.nodes.add(pool, [name], NOW, dedicated=True, slots=slots)
    node = store.nodes.get(pool.id, name)
    assert node is not None
    for state in (NodeState.STARTING, NodeState.IDLE):
        node = store.nodes.update(node, state, NOW)
    return node


def job_of(
    store: Store,
    name: str = "J",
    priority: int = 0,
    ends: bool = False,
    body: Mapping[str, object] | None = None,
) -> Job:
    body = {"onAllTasksComplete": "terminatejob" if ends else "noaction", **(body or {})}
    job = store.jobs.add(
        name, body, NOW, pool_id="p", priority=priority, max_parallel=-1, deadline=None
    )
    assert job is not None
    return job


WEEK = timedelta(days=7)


def end(store: Store, task: Task, *, good: bool = True, retention: timedelta = WEEK) -> Task | None:
    ended = store.runs.finish(
        task,
        NOW,
        started=None,
        ended=NOW,
        exit_code=0 if good else 1,
        failure=None if good else {"code": "FailureExitCode"},
        satisfies=good,
        retain_until=NOW + retention,
    )
    return store.runs.get(task.seq) if ended else None


LIVES: list[tuple[StateMachine[object], type]] = [  # type: ignore[type-var]
    (POOL, PoolState),
    (ALLOCATION, AllocationState),
    (NODE, NodeState),
    (JOB, JobState),
    (TASK, TaskState),
    (SCHEDULE, ScheduleState),
]


@pytest.mark.parametrize(("life", "states"), LIVES, ids=[states.__name__ for _, states in LIVES])
def test_state_machines_are_complete_tables(life: StateMachine[object], states: type) -> None:  # type: ignore[type-var]
    assert set(life.transitions) == set(states)
    for operation, cells in life.operations.items():
        assert set(cells) == set(states), operation
        for state, cell in cells.items():
            if isinstance(cell, Refusal):
                assert cell.code in FAULTS
            else:
                life.check(state, cell)  # a operation never asks for what the engine may not do
    for state in states:
        for other in states:
            if other != state and other not in life.transitions[state]:
                with pytest.raises(IllegalTransitionError):
                    life.check(state, other)


def test_a_run_takes_and_frees_slots(store: Store) -> None:
    node, job = node_of(store, pool_of(store)), job_of(store)
    store.tasks.add(job, [NewTask(f"t{n}", {}, slots=2) for n in range(3)], NOW)
    first, second, third = store.runs.runnable("j", 10, largest=4)
    run = store.runs.begin(first, node, "d", NOW)
    assert run is not None
    assert run == store.runs.get(run.seq)
    assert store.runs.begin(first, node, "d", NOW) is None  # never twice
    assert store.runs.begin(second, node, "d", NOW) is not None
    assert store.runs.begin(third, node, "d", NOW) is None  # no slot is free
    full = store.nodes.get("P", "N")
    assert full is not None
    assert (full.state, full.running_tasks, full.running_slots) == (NodeState.RUNNING, 2, 4)
    assert store.nodes.with_free_slots("P") == []
    assert end(store, run) is not None
    assert end(store, run) is None  # nor does it end twice
    left = store.nodes.get("P", "N")
    assert left is not None
    assert (left.running_tasks, left.running_slots, left.total_run) == (1, 2, 1)


def test_a_requeued_run_can_no_longer_finish(store: Store) -> None:
    node, job = node_of(store, pool_of(store)), job_of(store)
    store.tasks.add(job, [NewTask("t", {})], NOW)
    (task,) = store.runs.runnable("j", 1, 1)
    run = store.runs.begin(task, node, "d", NOW)
    assert run is not None
    again = store.runs.requeue(run, NOW)
    assert again is not None
    assert (again.state, again.requeue_count, again.node_id) == (TaskState.ACTIVE, 1, None)
    assert end(store, run) is None
    second = store.runs.begin(again, node, "d", NOW)
    assert second is not None
    assert end(store, run) is None
    assert end(store, second) is not None
    idle = store.nodes.get("P", "N")
    assert idle is not None
    assert (idle.state, idle.running_tasks) == (NodeState.IDLE, 0)


def test_jobs_with_work_come_by_priority_then_age(store: Store) -> None:
    pool_of(store)
    jobs = [job_of(store, name, priority) for name, priority in (("a", 0), ("b", 9), ("c", 9))]
    for job in [*jobs, job_of(store, "empty", 100)]:
        if job.id != "empty":
            store.tasks.add(job, [NewTask("t", {})], NOW)
    assert [job.id for job in store.jobs.with_work("P")] == ["b", "c", "a"]


def test_a_job_is_complete_when_no_task_is_left(store: Store) -> None:
    node, job = node_of(store, pool_of(store)), job_of(store, ends=True)
    assert [found.id for found in store.jobs.with_all_tasks_complete()] == ["J"]  # empty: at once
    store.tasks.add(job, [NewTask("t", {})], NOW)
    assert store.jobs.with_all_tasks_complete() == []
    run = store.runs.begin(store.runs.runnable("j", 1, 1)[0], node, "d", NOW)
    assert run is not None
    assert store.jobs.with_all_tasks_complete() == []
    end(store, run, good=False)
    assert [found.id for found in store.jobs.with_all_tasks_complete()] == ["J"]


def test_the_callback_is_called_for_each_commit_only(store: Store) -> None:
    told: list[int] = []
    store.on_change(lambda: told.append(store.version))
    job = job_of(store)
    assert len(told) == 1
    with store.transaction():
        store.tasks.add(job, [NewTask("t", {})], NOW)
        store.tasks.add(job, [NewTask("u", {})], NOW)
        assert len(told) == 1
    assert len(told) == 2
    with pytest.raises(ZeroDivisionError), store.transaction():
        store.tasks.add(job, [NewTask("v", {})], NOW)
        raise ZeroDivisionError
    store.tasks.page("j")
    assert len(told) == 2
    assert store.tasks.get("j", "v") is None


@given(
    st.lists(st.sampled_from(["add", "begin", "good", "bad", "requeue", "end", "again", "drop"]))
)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_counters_equal_a_count(tmp_path: Path, steps: list[str]) -> None:
    store = Store(":memory:")
    node, job = node_of(store, pool_of(store), slots=99), job_of(store)
    for number, step in enumerate(steps):
        live, waiting = store.runs.live("j"), store.runs.runnable("j", 1, 99)
        done = [t for t in store.tasks.page("j") if t.state is TaskState.COMPLETED]
        match step:
            case "add":
                store.tasks.add(job, [NewTask(f"t{number}", {}, slots=number % 3 + 1)], NOW)
            case "begin" if waiting:
                store.runs.begin(waiting[0], node, "d", NOW)
            case "good" | "bad" if live:
                end(store, live[0], good=step == "good")
            case "requeue" if live:
                store.runs.requeue(live[-1], NOW)
            case "end" if waiting:
                store.tasks.end(waiting[0], NOW, {"code": "TaskEnded"})
            case "again" if done:
                store.tasks.reactivate(done[0], NOW)
            case "drop" if live:
                store.tasks.delete(live[0], NOW)
    tasks = store.tasks.page("j")
    counts = store.jobs.counts("j")
    for weigh, found in ((lambda _: 1, counts.tasks), (lambda t: t.slots, counts.slots)):
        assert found.active == sum(weigh(t) for t in tasks if t.state is TaskState.ACTIVE)
        assert found.running == sum(weigh(t) for t in tasks if t.state is TaskState.RUNNING)
        assert found.failed == sum(weigh(t) for t in tasks if t.result == "failure")
        assert found.succeeded == sum(weigh(t) for t in tasks if t.result == "success")
    now = store.nodes.get("p", "n")
    assert now is not None
    live = store.runs.live("j")
    assert (now.running_tasks, now.running_slots) == (len(live), sum(t.slots for t in live))
    assert now.state is (NodeState.RUNNING if live else NodeState.IDLE)


STEPS = """
    add begin good bad requeue stop again drop late several pool job manager deadline schedule scale
    intent node boot log disable purge
""".split()  # noqa: SIM905  a list has twice as many lines
RUNS = ("add", "begin", "add", "begin", "good", "good")


def change(store: Store, step: str, number: int, later: datetime) -> None:
    """Change one record of a store with the pool, the node and the job of these tests."""
    pool, node, job = store.pools.get("p"), store.nodes.get("p", "n"), store.jobs.get("j")
    assert pool is not None and node is not None and job is not None
    live, ready = store.runs.live("j"), store.runs.runnable("j", 1, 99)
    done = [task for task in store.tasks.page("j") if task.state is TaskState.COMPLETED]
    match step:
        case "add":
            store.tasks.add(job, [NewTask(f"t{number}", {}, needs=("T1",) * (number % 2))], NOW)
        case "begin" if ready:
            store.runs.begin(ready[0], node, "d", NOW)
        case "good" | "bad" if live:
            end(store, live[0], good=step == "good", retention=timedelta(days=7 * number % 10))
        case "requeue" if live:
            store.runs.requeue(live[-1], NOW)
        case "stop" if live:
            store.runs.request_end(live[-1], "requeue")
        case "again" if done:
            store.tasks.reactivate(done[0], NOW)
        case "drop" if live:
            store.tasks.delete(live[0], NOW)
        case "late" if done:
            store.runs.files_deleted(done[0])
        case "several":
            body = {"multiInstanceSettings": {}}
            (task,) = store.tasks.add(job, [NewTask(f"m{number}", body)], NOW)
            if task is not None and (run := store.runs.begin(task, node, "d", NOW)) is not None:
                store.subtasks.begin(run, [node], {}, NOW)
        case "pool":
            store.pools.update(pool, {"vmSize": str(number)}, NOW)
        case "job" | "manager":
            body = {"jobManagerTask": {"id": "t1", "killJobOnCompletion": True}}
            job_of(store, f"{step}{number}", body=body if step == "manager" else {})
        case "deadline":
            store.jobs.update(
                job, job.body, NOW, pool_id="p", priority=0, max_parallel=-1, deadline=later
            )
        case "schedule":
            store.schedules.add(f"s{number}", {}, NOW, later)
        case "scale":
            store.autoscale.start(pool, later)
        case "intent":
            store.nodes.set_intent(node, "reboot", None)
        case "node":
            store.nodes.add(pool, [f"n{number}"], NOW, dedicated=True, slots=1)
        case "boot":
            for other in store.nodes.in_transition():
                store.nodes.update(other, NodeState.STARTING, NOW)
        case "log":
            store.log_uploads.add(node, "c", "b", identity=False)
        case "disable" if job.state is JobState.ACTIVE:
            store.jobs.set_state(job, JobState.DISABLING, NOW)
        case "purge":
            for one in store.runs.pending_deletions():
                store.runs.deletion_done(one)


def views(store: Store, later: datetime) -> list[object]:
    """The reads of the engine whose results are kept."""
    found: list[object] = [
        store.pools.in_transition(),
        store.nodes.with_intent(),
        store.nodes.in_transition(),
        store.jobs.in_state(JobState.DISABLING, JobState.TERMINATING),
        store.jobs.next_deadline(),
        store.jobs.overdue(later),
        store.jobs.with_manager_complete(),
        store.jobs.with_all_tasks_complete(),
        store.jobs.with_work("p"),
        store.runs.ending(),
        store.runs.pending_deletions(),
        store.runs.next_expiry(),
        store.runs.expired(later),
        store.autoscale.due(later),
        store.schedules.due(later),
        store.log_uploads.pending(),
        store.pools.get("p"),
        store.jobs.get("j"),
    ]
    return found + [store.runs.requested_end(task) for task in store.tasks.page("j")]


class UndoneError(Exception):
    """Undoes a step of a test."""


@example([(step, "") for step in ("several", "requeue")])
@example([(step, "") for step in (*RUNS, "again", "late")])
@example([(step, "all" if step == "good" else "") for step in (*RUNS, "good")])
@given(st.lists(st.tuples(st.sampled_from(STEPS), st.sampled_from(["", "all", "part"]))))
@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_kept_results_equal_a_read(steps: list[tuple[str, str]]) -> None:
    store, later = Store(":memory:"), NOW + timedelta(days=3)
    node_of(store, pool_of(store), slots=99)
    job_of(store, ends=True)
    for number, (step, undone) in enumerate(steps):
        views(store, later)  # keep the results before the step
        with suppress(UndoneError), store.transaction():
            with suppress(UndoneError), store.part():
                change(store, step, number, later)
                views(store, later)
                if undone == "part":
                    raise UndoneError
            if undone == "all":
                raise UndoneError
        kept = views(store, later)
        store._database._forget_all()
        assert kept == views(store, later), (step, undone)


def test_reactivation_makes_dependents_wait_again(store: Store) -> None:
    node, job = node_of(store, pool_of(store)), job_of(store)
    store.tasks.add(job, [NewTask("a", {}), NewTask("b", {}, needs=("A",))], NOW)

    def waiting() -> int:
        task = store.tasks.get("j", "b")
        assert task is not None
        return task.waiting

    for _ in range(2):
        assert waiting() == 1
        run = store.runs.begin(store.runs.runnable("j", 1, 1)[0], node, "d", NOW)
        assert run is not None
        done = end(store, run)
        assert waiting() == 0
        assert done is not None
        store.tasks.reactivate(done, NOW)


def test_a_large_job_is_purged_in_slices(store: Store) -> None:
    job = job_of(store)
    for part in range(5):
        store.tasks.add(job, [NewTask(f"{part}-{n}", {}) for n in range(100)], NOW)
    job = store.jobs.set_state(job, JobState.DELETING, NOW)
    assert [store.jobs.purge(job, limit=200) for _ in range(3)] == [False, False, True]
    assert store.jobs.get("j") is None


WRITER = """
import sys
from datetime import UTC, datetime
from batchspec.local.store.store import Store
from batchspec.local.store.tasks import NewTask
store = Store(sys.argv[1])
now = datetime(2026, 1, 2, tzinfo=UTC)
job = store.jobs.get("j") or store.jobs.add(
    "j", {}, now, pool_id="p", priority=0, max_parallel=-1, deadline=None)
number = store.jobs.counts("j").tasks.active
while True:
    new = [NewTask(f"t{number + n}", {"commandLine": "x" * 50}) for n in range(10)]
    store.tasks.add(job, new, now)
    number += 10
    print(number, flush=True)
"""


def test_sigkill_loses_no_acknowledged_write(tmp_path: Path) -> None:
    path = tmp_path / "batch.db"
    acknowledged = 0
    for round_ in range(8):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True
        ) as writer:
            assert writer.stdout is not None
            for _ in range(3 + 5 * round_):
                acknowledged = int(writer.stdout.readline())
            os.kill(writer.pid, signal.SIGKILL)
            lines = writer.stdout.read().split()
            # A line cut by the kill was not acknowledged in full.
            acknowledged = max(acknowledged, *(int(line) for line in lines[:-1]), 0)
        store = Store(path)
        kept = store.jobs.counts("j").tasks.active
        assert acknowledged <= kept
        assert kept == len(store.tasks.page("j", Page(-1)))
        acknowledged = kept
        store.close()


def test_a_newer_database_is_not_changed(tmp_path: Path) -> None:
    path = tmp_path / "batch.db"
    Store(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(NewerStateError, match="version 99"):
        Store(path)


@pytest.mark.parametrize(
    ("read", "index"),
    [
        ("SELECT * FROM task WHERE job = 'j' AND key > '' AND (state IS 'completed') "
         "ORDER BY key LIMIT 9", "task_by_state"),
        ("SELECT * FROM task WHERE job = 'j' AND key > '' AND (1) ORDER BY key LIMIT 9",
         "task_by_key"),
        ("SELECT * FROM task WHERE job = 'j' AND key > '' AND (key IS 'x') ORDER BY key LIMIT 9",
         "task_by_key"),
        ("SELECT * FROM task INDEXED BY task_runnable WHERE job = 'j' AND state = 'active' "
         "AND waiting = 0 AND slots <= 1 ORDER BY seq LIMIT 5", "task_runnable"),
        ("SELECT * FROM task WHERE pool = 'p' AND node = 'n' ORDER BY started DESC LIMIT 10",
         "task_by_node"),
        ("SELECT state, dedicated, count(*) FROM node WHERE pool = 'p' "
         "GROUP BY state, dedicated", "node_by_state"),
        ("SELECT * FROM task WHERE retain_until IS NOT NULL AND retain_until <= 5 "
         "ORDER BY retain_until LIMIT 100", "task_by_retention"),
        ("SELECT * FROM job WHERE deadline IS NOT NULL AND deadline <= 5 ORDER BY deadline",
         "job_by_deadline"),
    ],
)  # fmt: skip
def test_reads_use_an_index_without_a_sort(tmp_path: Path, read: str, index: str) -> None:
    Store(tmp_path / "batch.db").close()
    with sqlite3.connect(tmp_path / "batch.db") as connection:
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {read}")]
    assert any(index in line for line in plan), plan
    assert not any("TEMP B-TREE" in line for line in plan), plan
