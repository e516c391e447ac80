"""Runs of tasks: their start, runs in progress, finished runs, and injected faults.

The runs in progress are the only state of the engine outside the store. A restart of the service
ends them.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

from batchspec.local.agent import (
    Agent,
    Failure,
    Installation,
    Launch,
    Outcome,
    Package,
    ProcessLostError,
    ended_by_user,
    failure_json,
)
from batchspec.local.engine.environment import NodeConfig
from batchspec.local.engine.launches import (
    installation,
    job_task_directory,
    job_task_launch,
    start_launch,
    task_launch,
)
from batchspec.local.engine.state import preparation_key, release_key
from batchspec.local.fault_injection import FaultInjection, FaultKind, RandomSource
from batchspec.local.model import Job, Node, NodeState, Pool, Preparation, Task, Wire
from batchspec.local.store import Store
from batchspec.local.wire import write_time

_log = logging.getLogger(__name__)
_fault_log = logging.getLogger("batchspec.local.chaos")

MAX_LOSSES = 5
"""Maximum number of consecutive lost runs of a task; then the task fails. A run is lost when a task
kills processes of the service.

The first loss can be the fault of another task, since tasks share a process. After a loss, a task
runs with separate processes until one of its runs ends.
"""


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
    """A run that has ended. ``outcome`` is ``None`` for a lost run."""

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
        """Whether the end of a run in progress was requested."""
        return key in self._cancelled

    def submit(self, request: ExecutorRequest) -> None:
        """Start a run, or end one early."""
        if isinstance(request, Execute):
            key = request.launch.key
            self._runs[key] = asyncio.create_task(self._perform(request), name=f"run {key}")
        elif request.key in self._runs and request.key not in self._cancelled:
            self._cancelled.add(request.key)
            # The agent knows a run after the first step of its asyncio task. End the run after that
            # step, since this request can follow the start in the same batch.
            asyncio.get_running_loop().call_soon(self._agent.end, request.key)

    def finished(self) -> list[FinishedRun]:
        """The finished runs that :meth:`forget` has not removed."""
        return list(self._finished)

    def forget(self, finished: list[FinishedRun]) -> None:
        """Remove the runs of an earlier call of :meth:`finished`, which are recorded now."""
        del self._finished[: len(finished)]

    async def close(self) -> None:
        """Cancel all runs: the agent ends them, and no outcome is recorded."""
        runs = list(self._runs.values())
        for run in runs:
            run.cancel()
        await asyncio.gather(*runs, return_exceptions=True)

    async def _perform(self, request: Execute) -> None:
        outcome: Outcome | None = None
        self._note(request, "starts")
        try:
            if isinstance(request.launch, Installation):
                outcome = await self._agent.install(request.launch)
            else:
                lost = self._losses[_loss_key(request)] > 0
                outcome = await self._agent.perform(request.launch, isolated=lost)
        except ProcessLostError:
            _log.warning("run %s was lost", request.launch.key)
            outcome = self._count_loss(request)
        except Exception:  # noqa: BLE001  a bug in one run must not end the others
            _log.exception("run %s failed in the service", request.launch.key)
            outcome = internal_error(self._agent.now())
        key = request.launch.key
        if outcome is not None:
            self._losses.pop(_loss_key(request), None)
        self._note(request, _describe(outcome))
        self._runs.pop(key, None)
        self._cancelled.discard(key)
        self._finished.append(FinishedRun(request.subject, outcome))
        self._on_finished()

    def _note(self, request: Execute, what: str) -> None:
        """Write a line to the log of the node."""
        subject = request.subject
        node = subject.preparation if isinstance(subject, ReleaseRun) else subject.node
        now, text = self._agent.now(), f"run {request.launch.key} {what}"
        if isinstance(subject, TaskRun):
            text += f": task {subject.task.id} of job {subject.job.id}"
        node_id = node.node_id if isinstance(node, Preparation) else node.id
        self._agent.logs.write(node.pool_id, node_id, now, text)

    def _count_loss(self, request: Execute) -> Outcome | None:
        """A failure after :data:`MAX_LOSSES` consecutive losses; ``None`` to run again."""
        key = _loss_key(request)
        self._losses[key] += 1
        if self._losses[key] < MAX_LOSSES:
            return None
        now = self._agent.now()
        reason = f"The process that runs the task was killed {MAX_LOSSES} times in a row"
        return Outcome(
            now,
            now,
            None,
            Failure("ServerError", "Unknown", "An unknown error occurred", (("Message", reason),)),
        )


def _describe(outcome: Outcome | None) -> str:
    """The end of a run as text for the log of its node."""
    if outcome is None:
        return "was lost"
    why = "" if outcome.failure is None else f" ({outcome.failure.code})"
    return f"ended with exit code {outcome.exit_code}{why}"


def _loss_key(request: Execute) -> str:
    """The run key without the number of a task's run, which is the same for all its runs."""
    key = request.launch.key
    return key.partition(".")[0] if isinstance(request.subject, TaskRun) else key


def internal_error(now: datetime) -> Outcome:
    """The outcome of a run that failed due to a bug in the service."""
    return Outcome(now, now, None, Failure("ServerError", "Unknown", "An unknown error occurred"))


# Runs start in a transaction. The executor carries out the requests after the transaction, so that
# each process belongs to a run in the store.


class RunStarter:
    """Starts runs of tasks, start tasks, preparation and release tasks, and installations.

    ``data`` is the folder of the nodes' directories.
    """

    def __init__(self, store: Store, node_config: NodeConfig, data: Path) -> None:
        self._store = store
        self._node_config = node_config
        self._data = data

    def install_packages(self, node: Node, pool: Pool) -> Execute:
        """Install the application packages of ``pool`` on ``node``."""
        launch = installation(self._node_config, self._data, node, pool)
        return Execute(launch, InstallRun(node, launch.packages))

    def start_task(
        self, node: Node, pool: Pool, now: datetime, retries: int = 0, info: Wire | None = None
    ) -> Execute:
        """Run the start task of ``pool`` on ``node``; ``info`` extends its ``startTaskInfo``."""
        started = {"state": "running", "startTime": write_time(now), "retryCount": retries}
        current = self._store.nodes.get(node.pool_id, node.id) or node
        updated = self._store.nodes.update(
            current, current.state, now, start_task_info=started | dict(info or {})
        )
        launch = start_launch(self._node_config, self._data, updated, pool)
        return Execute(launch, StartTaskRun(updated, pool, retries))

    def task(self, run: TaskRun, *, fresh: bool) -> Execute:
        """The request for a run that has started in the store; a retry is not ``fresh``."""
        nodes = (run.node, *run.others)
        pool = self._pool(run.node)
        launch = task_launch(
            self._node_config, self._data, run.task, run.job, nodes, pool=pool, fresh=fresh
        )
        return Execute(launch, run)

    def preparation_task(self, job: Job, node: Node, now: datetime) -> Execute:
        """Run the preparation task of ``job`` on ``node`` for the first time."""
        info = {
            "startTime": write_time(now),
            "state": "running",
            "taskRootDirectory": job_task_directory(job, release=False),
            "retryCount": 0,
        }
        preparation = self._store.preparations.begin(job, node, info)
        return self.preparation_run(PreparationRun(preparation, job, node, 0), fresh=True)

    def preparation_run(self, run: PreparationRun, *, fresh: bool) -> Execute:
        """The request for a preparation task in the store; a retry is not ``fresh``."""
        launch = job_task_launch(
            self._node_config,
            self._data,
            run.job,
            run.node,
            pool=self._pool(run.node),
            key=preparation_key(run.preparation),
            release=False,
            fresh=fresh,
        )
        return Execute(launch, run)

    def release_task(self, job: Job, preparation: Preparation, now: datetime) -> Execute | None:
        """Run the release task of ``job`` on a prepared node; ``None`` if the node has left."""
        node = self._store.nodes.get(preparation.pool_id, preparation.node_id)
        if node is None:
            return None
        info = {
            "startTime": write_time(now),
            "state": "running",
            "taskRootDirectory": job_task_directory(job, release=True),
        }
        self._store.preparations.update_release(preparation, "running", info)
        launch = job_task_launch(
            self._node_config,
            self._data,
            job,
            node,
            pool=self._pool(node),
            key=release_key(preparation),
            release=True,
            fresh=True,
        )
        return Execute(launch, ReleaseRun(preparation))

    def end_without_process(self, task: Task, now: datetime) -> None:
        """End a task on a node without a process: as requested, or else requeue it."""
        if task.ending != "terminate":
            self._store.runs.requeue(task, now)
            return
        self._store.runs.finish(
            task,
            now,
            started=None,
            ended=now,
            exit_code=None,
            failure=failure_json(ended_by_user()),
            satisfies=False,
            retain_until=None,
        )

    def _pool(self, node: Node) -> Pool:
        """The pool of a node; a pool exists as long as it has nodes."""
        pool = self._store.pools.get(node.pool_id)
        if pool is None:
            raise LookupError(f"pool {node.pool_id} does not exist")
        return pool


PREEMPTIBLE_STATES = (
    NodeState.STARTING,
    NodeState.WAITING_FOR_START_TASK,
    NodeState.START_TASK_FAILED,
    NodeState.IDLE,
    NodeState.RUNNING,
)
"""The states in which a Spot node can be preempted; in earlier states it is not allocated."""


def preemption_absence(faults: FaultInjection) -> timedelta:
    """The time until a preempted node is allocated again: a quarter of the rule's duration."""
    rule = faults.rule(FaultKind.PREEMPT)
    return timedelta() if rule is None else rule.duration / 4


@dataclass(slots=True)
class _NodeIdentity:
    """A node's ordinal in its pool, its last boot, and its number of boots."""

    ordinal: int
    booted: datetime | None = None
    boots: int = 0


@dataclass(frozen=True, slots=True)
class NodeFaults:
    """The injected faults of nodes and runs, for one run of the service.

    Faults preempt nodes, make nodes slow, and make start tasks and tasks fail. Pool and ordinal
    identify a node, the id identifies a task, so that the same seed injects the same faults into
    the same pools and tasks. Faults of requests are in ``http``.
    """

    faults: FaultInjection
    _random: RandomSource = field(init=False)
    _nodes: dict[int, _NodeIdentity] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_random", RandomSource(self.faults))

    def preemption_time(self, node: Node) -> datetime | None:
        """The time at which a running Spot node is preempted, or ``None``."""
        rule = self.faults.rule(FaultKind.PREEMPT)
        if rule is None or node.dedicated or node.booted is None:
            return None
        identity = self._identity(node)
        name = (node.pool_id.lower(), identity.ordinal, identity.boots)
        if not self._random.applies(rule, *name):
            return None
        return node.booted + rule.duration * self._random.fraction(FaultKind.PREEMPT, *name)

    def apply_to(self, request: ExecutorRequest) -> ExecutorRequest:
        """The request, unchanged, delayed, or changed so that the run fails."""
        if not isinstance(request, Execute) or not isinstance(request.launch, Launch):
            return request
        launch, subject = request.launch, request.subject
        if isinstance(subject, StartTaskRun):
            identity = self._identity(subject.node)
            name = (subject.node.pool_id.lower(), identity.ordinal, identity.boots, subject.retries)
            launch = self._with_failure(launch, FaultKind.START_TASK, *name)
        elif isinstance(subject, TaskRun):
            launch = self._with_delay(launch, subject.node)
            task = subject.task
            launch = self._with_failure(launch, FaultKind.TASK, task.job_id, task.id, task.run)
        return replace(request, launch=launch)

    def _with_failure(self, launch: Launch, kind: FaultKind, *name: str | int) -> Launch:
        """The launch, or a launch with a command that fails."""
        rule = self.faults.rule(kind)
        if rule is None or not self._random.applies(rule, *name):
            return launch
        _fault_log.warning("%s: run %s fails", rule.text, launch.key)
        message = f"fault injection: this run fails (rule {rule.text}, seed {self.faults.seed})"
        command = f"/bin/sh -c 'echo \"{message}\" >&2; exit 1'"
        return replace(launch, command_line=command, multi_instance=None, container=None)

    def _with_delay(self, launch: Launch, node: Node) -> Launch:
        """The launch, or a launch with a delay if its node is slow."""
        rule = self.faults.rule(FaultKind.SLOW_NODE)
        if rule is None:
            return launch
        ordinal = self._identity(node).ordinal
        if not self._random.applies(rule, node.pool_id.lower(), ordinal):
            return launch
        _fault_log.warning("%s: run %s is delayed", rule.text, launch.key)
        return replace(launch, start_delay=rule.duration)

    def _identity(self, node: Node) -> _NodeIdentity:
        identity = self._nodes.get(node.seq)
        if identity is None:
            ordinal = self._random.next("node", node.pool_id.lower())
            identity = self._nodes[node.seq] = _NodeIdentity(ordinal, node.booted)
        # A request can contain an older record of the node, even from before its first boot.
        if node.booted is not None and node.booted > (identity.booted or node.booted):
            identity.boots += 1
        identity.booted = max(filter(None, (identity.booted, node.booted)), default=None)
        return identity
