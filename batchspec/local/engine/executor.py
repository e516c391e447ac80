"""What goes on now: the runs that have a process, and those that have just ended.

What lives here: the one thing in the engine that is not in the store, and that a restart finds
empty. What may not: what a run is for, or what its end means.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from batchspec.local.agent.agent import Agent
from batchspec.local.agent.launch import Failure, Installation, Launch, Outcome, Package
from batchspec.local.agent.processes import ProcessLostError
from batchspec.local.model import Job, Node, Pool, Preparation, Task

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TaskRun:
    """A run of a task on a node; ``others`` are the nodes of its subtasks."""

    task: Task
    job: Job
    node: Node
    others: tuple[Node, ...] = ()


@dataclass(frozen=True, slots=True)
class StartTaskRun:
    """A run of a pool's start task on a node, after so many ``retries``."""

    node: Node
    pool: Pool
    retries: int


@dataclass(frozen=True, slots=True)
class PreparationRun:
    """A run of a job's preparation task on a node, after so many ``retries``."""

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
    """The packages of its pool are put on a node."""

    node: Node
    packages: tuple[Package, ...]


RunSubject = TaskRun | StartTaskRun | PreparationRun | ReleaseRun | InstallRun


@dataclass(frozen=True, slots=True)
class Execute:
    """An order to the hands: perform ``launch`` for ``subject``."""

    launch: Launch | Installation
    subject: RunSubject


@dataclass(frozen=True, slots=True)
class Cancel:
    """An order to the hands: cut a run short."""

    key: str


ExecutorRequest = Execute | Cancel


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """A run that has ended. ``outcome`` is ``None`` when nobody knows how."""

    subject: RunSubject
    outcome: Outcome | None


class Executor:
    """Performs launches side by side and collects what comes of them."""

    def __init__(self, agent: Agent, on_finished: Callable[[], None]) -> None:
        """``on_finished`` is called when something has finished."""
        self._agent = agent
        self._on_finished = on_finished
        self._runs: dict[str, asyncio.Task[None]] = {}
        self._cancelled: set[str] = set()
        self._finished: list[FinishedRun] = []

    @property
    def running(self) -> frozenset[str]:
        """The keys of the runs that go on."""
        return frozenset(self._runs)

    def is_running(self, key: str) -> bool:
        """Whether a run goes on."""
        return key in self._runs

    def is_cancelled(self, key: str) -> bool:
        """Whether a run that goes on was told to end."""
        return key in self._cancelled

    def submit(self, order: ExecutorRequest) -> None:
        """Begin a launch, or cut one short."""
        if isinstance(order, Execute):
            key = order.launch.key
            self._runs[key] = asyncio.create_task(self._perform(order), name=f"run {key}")
        elif order.key in self._runs and order.key not in self._cancelled:
            self._cancelled.add(order.key)
            # The agent knows of a run when its task has taken the first step: one that was ordered
            # together with this is ended after that.
            asyncio.get_running_loop().call_soon(self._agent.end, order.key)

    def take_finished(self) -> list[FinishedRun]:
        """What has finished since this was last asked."""
        finished, self._finished = self._finished, []
        return finished

    async def close(self) -> None:
        """Forget every run: the agent ends them, and nobody records how."""
        runs = list(self._runs.values())
        for run in runs:
            run.cancel()
        await asyncio.gather(*runs, return_exceptions=True)

    async def _perform(self, order: Execute) -> None:
        outcome: Outcome | None = None
        try:
            if isinstance(order.launch, Installation):
                outcome = await self._agent.install(order.launch)
            else:
                outcome = await self._agent.perform(order.launch)
        except ProcessLostError:
            _log.warning("run %s was lost", order.launch.key)
        except Exception:  # noqa: BLE001  a fault of ours in one run must not end the others
            _log.exception("run %s failed in the service", order.launch.key)
            outcome = _internal_error(self._agent)
        key = order.launch.key
        self._runs.pop(key, None)
        self._cancelled.discard(key)
        self._finished.append(FinishedRun(order.subject, outcome))
        self._on_finished()


def _internal_error(agent: Agent) -> Outcome:
    now = agent.now()
    return Outcome(now, now, None, Failure("ServerError", "Unknown", "An unknown error occurred"))
