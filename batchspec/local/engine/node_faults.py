"""What faults does to nodes and to what runs on them.

What lives here: which Spot node is taken away and when, which run fails, which node is slow. What
may not: requests (``http.rehearsal``), and how a node goes or a run ends: those are the same as on
any other day.

A node is known by its pool and by the how manieth of it that it is, a task by its id: so the same
seed does the same things to the same pools and tasks.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from batchspec.local.agent.launch import Launch
from batchspec.local.engine.executor import Execute, ExecutorRequest, StartTaskRun, TaskRun
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
"""The states in which a Spot node can be taken away; before those it has not been given."""


def preemption_absence(faults: FaultInjection) -> timedelta:
    """How long a node that was taken away stays away: a quarter of the time it may have."""
    rule = faults.rule(FaultKind.PREEMPT)
    return timedelta() if rule is None else rule.duration / 4


@dataclass(slots=True)
class _NodeIdentity:
    """A node as faults knows it: its number in its pool, and its lives, each with its boot."""

    number: int
    booted: datetime | None = None
    life: int = 0


@dataclass(frozen=True, slots=True)
class NodeFaults:
    """The fates of all nodes, for one life of the service."""

    faults: FaultInjection
    _random: RandomSource = field(init=False)
    _nodes: dict[int, _NodeIdentity] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_random", RandomSource(self.faults))

    def end_of(self, node: Node) -> datetime | None:
        """When a Spot node that is up is taken away; ``None`` if it is not."""
        rule = self.faults.rule(FaultKind.PREEMPT)
        if rule is None or node.dedicated or node.booted is None:
            return None
        known = self._know(node)
        name = (node.pool_id.lower(), known.number, known.life)
        if not self._random.applies(rule, *name):
            return None
        return node.booted + rule.duration * self._random.fraction(FaultKind.PREEMPT, *name)

    def change(self, order: ExecutorRequest) -> ExecutorRequest:
        """An order as it is carried out: as it is, later, or so that it fails."""
        if not isinstance(order, Execute) or not isinstance(order.launch, Launch):
            return order
        launch, subject = order.launch, order.subject
        if isinstance(subject, StartTaskRun):
            known = self._know(subject.node)
            name = (subject.node.pool_id.lower(), known.number, known.life, subject.retries)
            launch = self._spoil(launch, FaultKind.START_TASK, *name)
        elif isinstance(subject, TaskRun):
            launch = self._hold_up(launch, subject.node)
            task = subject.task
            launch = self._spoil(launch, FaultKind.TASK, task.job_id, task.id, task.run)
        return replace(order, launch=launch)

    def _spoil(self, launch: Launch, kind: FaultKind, *name: str | int) -> Launch:
        """The launch, or one whose command does nothing but fail."""
        rule = self.faults.rule(kind)
        if rule is None or not self._random.applies(rule, *name):
            return launch
        _LOG.warning("%s: run %s fails", rule.text, launch.key)
        said = f"fault injection: this run fails (rule {rule.text}, seed {self.faults.seed})"
        command = f"/bin/sh -c 'echo \"{said}\" >&2; exit 1'"
        return replace(launch, command_line=command, multi_instance=None, container=None)

    def _hold_up(self, launch: Launch, node: Node) -> Launch:
        """The launch, or one that begins later since its node is slow."""
        rule = self.faults.rule(FaultKind.SLOW_NODE)
        if rule is None:
            return launch
        number = self._know(node).number
        if not self._random.applies(rule, node.pool_id.lower(), number):
            return launch
        _LOG.warning("%s: run %s has to wait", rule.text, launch.key)
        return replace(launch, start_delay=rule.duration)

    def _know(self, node: Node) -> _NodeIdentity:
        known = self._nodes.get(node.seq)
        if known is None:
            number = self._random.next("node", node.pool_id.lower())
            known = self._nodes[node.seq] = _NodeIdentity(number, node.booted)
        # An order may hold a node as it was before; and before its first boot it has none.
        if node.booted is not None and node.booted > (known.booted or node.booted):
            known.life += 1
        known.booted = max(filter(None, (known.booted, node.booted)), default=None)
        return known
