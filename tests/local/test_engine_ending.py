"""Runs that are ended at the same moment as another event."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from batchspec.local.agent import (
    Agent,
    Launch,
    MultiInstance,
    NoAutoStorage,
    Outcome,
    TaskInstance,
    exit_failure,
)
from batchspec.local.agent import agent as agents
from batchspec.local.agent.agent import Coordination
from batchspec.local.clock import Clock
from batchspec.local.engine import NodeConfig
from batchspec.local.engine.outcomes import OutcomeRecorder
from batchspec.local.engine.runs import Cancel, Execute, Executor, FinishedRun, RunStarter, TaskRun
from batchspec.local.model import Task
from tests.local.engine_stub import NOW, idle_node, start
from tests.local.engines import job, task
from tests.local.running import Service


@pytest.fixture
async def agent(tmp_path: Path) -> AsyncIterator[Agent]:
    found = Agent(tmp_path, Clock(), NoAutoStorage())
    yield found
    await found.close()


def launch(folder: Path, **more: Any) -> Launch:
    """A launch of a run that does not end by itself."""
    directory, line = folder / "node" / "task", "/bin/sh -c 'sleep 1000'"
    return Launch("1.1", folder / "node", directory, line, {"PATH": "/usr/bin:/bin"}, **more)


def code(outcome: Outcome) -> str | None:
    return None if outcome.failure is None else outcome.failure.code


async def end_immediately(agent: Agent, run: Launch, patch: pytest.MonkeyPatch) -> Outcome:
    """The outcome of a run that is ended while an old directory is removed."""
    loop, remove = asyncio.get_running_loop(), shutil.rmtree

    def rmtree(*place: Any, **more: Any) -> None:
        loop.call_soon_threadsafe(agent.end, run.key)
        remove(*place, **more)

    patch.setattr(shutil, "rmtree", rmtree)
    async with asyncio.timeout(30):
        return await agent.perform(run)


async def test_no_file_is_downloaded_for_a_run_that_ends_while_its_directory_is_emptied(
    agent: Agent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched = []

    async def fill(*_: object) -> None:
        fetched.append("files")

    monkeypatch.setattr(agents, "add_files", fill)
    (tmp_path / "node" / "task").mkdir(parents=True)
    run = launch(tmp_path, resource_files=({"httpUrl": "http://x/y", "filePath": "y"},))
    assert code(await end_immediately(agent, run, monkeypatch)) == "TaskEnded"
    assert fetched == []


async def test_no_coordination_runs_for_a_run_that_ends_while_a_directory_is_emptied(
    agent: Agent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    coordinated = []

    async def perform(_: Coordination) -> None:
        coordinated.append("nodes")

    monkeypatch.setattr(Coordination, "perform", perform)
    other = tmp_path / "other" / "task"
    other.mkdir(parents=True)
    instances = TaskInstance(0, tmp_path / "node" / "task", {}), TaskInstance(1, other, {})
    run = launch(tmp_path, multi_instance=MultiInstance("true", (), instances))
    assert code(await end_immediately(agent, run, monkeypatch)) == "TaskEnded"
    assert coordinated == []


@pytest.fixture
def run(service: Service) -> TaskRun:
    """A run of a task with unlimited retries."""
    node = idle_node(service)
    service.client.create_job(job())
    again = {"maxTaskRetryCount": -1}
    service.client.create_task("j", task("t", "exit 1", constraints=again))
    found = service.store.jobs.get("j")
    assert found is not None
    return TaskRun(start(service, node, "t"), found, node)


async def test_a_run_that_is_cancelled_as_it_is_submitted_ends(
    agent: Agent, run: TaskRun, tmp_path: Path
) -> None:
    woken = asyncio.Event()
    executor = Executor(agent, woken.set)
    executor.submit(Execute(launch(tmp_path), run))
    executor.submit(Cancel("1.1"))
    async with asyncio.timeout(30):
        await woken.wait()
    (finished,) = executor.finished()
    assert finished.outcome is not None
    assert code(finished.outcome) == "TaskEnded"


@pytest.mark.parametrize(
    ("how", "shown"),
    [("terminate", ("completed", 1, "TaskEnded", 0)), ("requeue", ("active", None, None, 1))],
)
def test_a_run_that_fails_while_it_must_end_is_not_retried(
    service: Service, run: TaskRun, tmp_path: Path, how: str, shown: tuple[object, ...]
) -> None:
    store, data = service.store, tmp_path / "nodes"
    starter = RunStarter(store, NodeConfig("a", service.url), data)
    store.runs.request_end(run.task, how)
    failed = FinishedRun(run, Outcome(NOW, NOW, 1, exit_failure()))
    assert list(OutcomeRecorder(store, starter).record([failed], NOW)) == []
    found = service.client.get_task("j", "t")
    info = found.execution_info
    why = None if info.failure_info is None else info.failure_info.code
    assert (str(found.state.value), info.exit_code, why, info.requeue_count) == shown
    assert info.retry_count == 0


def test_the_first_request_to_end_a_task_wins(service: Service, run: TaskRun) -> None:
    """A job is terminated while its node is preempted."""
    for how in ("terminate", "requeue"):
        service.store.runs.request_end(run.task, how)
    found: Task | None = service.store.runs.get(run.task.seq)
    assert found is not None
    assert found.ending == "terminate"
