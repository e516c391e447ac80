"""Fault injection for nodes and runs: preemption, failing start tasks and tasks, slow nodes.

A node is identified by its pool and its ordinal in it, a task by its id, so that the same seed
injects the same faults into the same pools and tasks. Faults of requests are in ``http``.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from batchspec.local.agent import Launch
from batchspec.local.engine.runs import Execute, ExecutorRequest, StartTaskRun, TaskRun
from batchspec.local.fault_injection import FaultInjection, FaultKind, RandomSource
from batchspec.local.model import Node, NodeState

_LOG = logging.getLogger("batchspec.local.chaos")

PREEMPTIBLE_STATES = (
    NodeState.STARTING,
    NodeState.WAITING_FOR_START_TASK,
    NodeState.START_TASK_FAILED,
    NodeState.IDLE,
    NodeState.RUNNING,
)
"""The states in which a Spot node can be preempted; before them it is not allocated."""


def preemption_absence(faults: FaultInjection) -> timedelta:
    """How long a preempted node stays away: a quarter of the duration of the rule."""
    rule = faults.rule(FaultKind.PREEMPT)
    return timedelta() if rule is None else rule.duration / 4


@dataclass(slots=True)
class _NodeIdentity:
    """A node's ordinal in its pool, its last boot, and the ordinal of its boots."""

    ordinal: int
    booted: datetime | None = None
    boots: int = 0


@dataclass(frozen=True, slots=True)
class NodeFaults:
    """The injected faults of all nodes, for one run of the service."""

    faults: FaultInjection
    _random: RandomSource = field(init=False)
    _nodes: dict[int, _NodeIdentity] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_random", RandomSource(self.faults))

    def preemption_time(self, node: Node) -> datetime | None:
        """When a running Spot node is preempted; ``None`` if it is not."""
        rule = self.faults.rule(FaultKind.PREEMPT)
        if rule is None or node.dedicated or node.booted is None:
            return None
        identity = self._identity(node)
        name = (node.pool_id.lower(), identity.ordinal, identity.boots)
        if not self._random.applies(rule, *name):
            return None
        return node.booted + rule.duration * self._random.fraction(FaultKind.PREEMPT, *name)

    def apply_to(self, request: ExecutorRequest) -> ExecutorRequest:
        """The request as it is, delayed, or changed so that the run fails."""
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
        """The launch, or one whose command only fails."""
        rule = self.faults.rule(kind)
        if rule is None or not self._random.applies(rule, *name):
            return launch
        _LOG.warning("%s: run %s fails", rule.text, launch.key)
        message = f"fault injection: this run fails (rule {rule.text}, seed {self.faults.seed})"
        command = f"/bin/sh -c 'echo \"{message}\" >&2; exit 1'"
        return replace(launch, command_line=command, multi_instance=None, container=None)

    def _with_delay(self, launch: Launch, node: Node) -> Launch:
        """The launch, or one that starts later because its node is slow."""
        rule = self.faults.rule(FaultKind.SLOW_NODE)
        if rule is None:
            return launch
        ordinal = self._identity(node).ordinal
        if not self._random.applies(rule, node.pool_id.lower(), ordinal):
            return launch
        _LOG.warning("%s: run %s is delayed", rule.text, launch.key)
        return replace(launch, start_delay=rule.duration)

    def _identity(self, node: Node) -> _NodeIdentity:
        identity = self._nodes.get(node.seq)
        if identity is None:
            ordinal = self._random.next("node", node.pool_id.lower())
            identity = self._nodes[node.seq] = _NodeIdentity(ordinal, node.booted)
        # A request may have an older record of the node, even one from before its first boot.
        if node.booted is not None and node.booted > (identity.booted or node.booted):
            identity.boots += 1
        identity.booted = max(filter(None, (identity.booted, node.booted)), default=None)
        return identity
