"""The runs in progress: those that have a process, and those that have just ended.

This is the only state of the engine that is not in the store; after a restart it is empty.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from batchspec.local.agent import (
    Agent,
    Failure,
    Installation,
    Launch,
    Outcome,
    Package,
    ProcessLostError,
)
from batchspec.local.model import Job, Node, Pool, Preparation, Task

_log = logging.getLogger(__name__)

MAX_LOSSES = 5
"""Runs of a task that may be lost in a row, because it kills its supervisor, before it fails."""


@dataclass(frozen=True, slots=True)
class TaskRun:
    """A run of a task on a node; ``others`` are the nodes of its subtasks."""

    task: Task
    job: Job
    node: Node
    others: tuple[Node, ...] = ()


@dataclass(frozen=True, slots=True)
class StartTaskRun:
    """A run of a pool's start task on a node, after ``retries`` retries."""

    node: Node
    pool: Pool
    retries: int


@dataclass(frozen=True, slots=True)
class PreparationRun:
    """A run of a job's preparation task on a node, after ``retries`` retries."""

    preparation: Preparation
    job: Job
    node: Node
    retries: int


@dataclass(frozen=True, slots=True)
class ReleaseRun:
    """A run of a job's release task on a node."""

    preparation: Preparation


@dataclass(frozen=True, slots=True)
class InstallRun:
    """An installation of the packages of its pool on a node."""

    node: Node
    packages: tuple[Package, ...]


RunSubject = TaskRun | StartTaskRun | PreparationRun | ReleaseRun | InstallRun


@dataclass(frozen=True, slots=True)
class Execute:
    """A request to the executor: run ``launch`` for ``subject``."""

    launch: Launch | Installation
    subject: RunSubject


@dataclass(frozen=True, slots=True)
class Cancel:
    """A request to the executor: end a run early."""

    key: str


ExecutorRequest = Execute | Cancel


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """A run that has ended. ``outcome`` is ``None`` if it is not known how."""

    subject: RunSubject
    outcome: Outcome | None


class Executor:
    """Runs launches concurrently and collects their outcomes."""

    def __init__(self, agent: Agent, on_finished: Callable[[], None]) -> None:
        """``on_finished`` is called when a run has finished."""
        self._agent = agent
        self._on_finished = on_finished
        self._runs: dict[str, asyncio.Task[None]] = {}
        self._cancelled: set[str] = set()
        self._finished: list[FinishedRun] = []
        self._losses: Counter[str] = Counter()

    @property
    def running(self) -> frozenset[str]:
        """The keys of the runs in progress."""
        return frozenset(self._runs)

    def is_running(self, key: str) -> bool:
        """Whether a run is in progress."""
        return key in self._runs

    def is_cancelled(self, key: str) -> bool:
        """Whether a run in progress was requested to end."""
        return key in self._cancelled

    def submit(self, request: ExecutorRequest) -> None:
        """Start a run, or end one early."""
        if isinstance(request, Execute):
            key = request.launch.key
            self._runs[key] = asyncio.create_task(self._perform(request), name=f"run {key}")
        elif request.key in self._runs and request.key not in self._cancelled:
            self._cancelled.add(request.key)
            # The agent knows a run once its asyncio task has taken the first step. A run that was
            # requested together with this is ended after that.
            asyncio.get_running_loop().call_soon(self._agent.end, request.key)

    def take_finished(self) -> list[FinishedRun]:
        """The runs that have finished since the last call."""
        finished, self._finished = self._finished, []
        return finished

    async def close(self) -> None:
        """Cancel every run: the agent ends them, and no outcome is recorded."""
        runs = list(self._runs.values())
        for run in runs:
            run.cancel()
        await asyncio.gather(*runs, return_exceptions=True)

    async def _perform(self, request: Execute) -> None:
        outcome: Outcome | None = None
        try:
            if isinstance(request.launch, Installation):
                outcome = await self._agent.install(request.launch)
            else:
                outcome = await self._agent.perform(request.launch)
        except ProcessLostError as error:
            _log.warning("run %s was lost", request.launch.key)
            if not error.host:
                outcome = self._count_loss(request)
        except Exception:  # noqa: BLE001  a bug in one run must not end the others
            _log.exception("run %s failed in the service", request.launch.key)
            outcome = _internal_error(self._agent)
        key = request.launch.key
        if outcome is not None:
            self._losses.pop(_loss_key(request), None)
        self._runs.pop(key, None)
        self._cancelled.discard(key)
        self._finished.append(FinishedRun(request.subject, outcome))
        self._on_finished()

    def _count_loss(self, request: Execute) -> Outcome | None:
        """A failure after :data:`MAX_LOSSES` losses in a row; ``None`` to run again."""
        key = _loss_key(request)
        self._losses[key] += 1
        if self._losses[key] < MAX_LOSSES:
            return None
        now = self._agent.now()
        reason = f"The supervisor of the task's processes was killed {MAX_LOSSES} times in a row"
        return Outcome(
            now,
            now,
            None,
            Failure("ServerError", "Unknown", "An unknown error occurred", (("Message", reason),)),
        )


def _loss_key(request: Execute) -> str:
    """What is run: a task, whatever its run; or a start, preparation or release task."""
    key = request.launch.key
    return key.partition(".")[0] if isinstance(request.subject, TaskRun) else key


def _internal_error(agent: Agent) -> Outcome:
    now = agent.now()
    return Outcome(now, now, None, Failure("ServerError", "Unknown", "An unknown error occurred"))
