"""Polls the state of a run with one deadline, and reports changes as events.

Every wait of a run uses the same monitor. Whether a cause ends the run is decided by the waits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING

from batchspec.account import NodeFacts
from batchspec.apply.events import Emit, NodeFailed, NodesSeen, Noticed, Waiting
from batchspec.apply.monitor.cause_table import Cause
from batchspec.apply.monitor.causes import find_causes
from batchspec.apply.monitor.health import Health, Watched, poll
from batchspec.apply.node_logs import (
    TAIL,
    failed_preparation,
    failed_start_task,
    keep_node_output,
    read_tail,
)
from batchspec.apply.polling import PollInterval
from batchspec.apply.ports import World
from batchspec.diagnostics import ServiceError, Severity, redact
from batchspec.exit_codes import Exit
from batchspec.plan.observed import START_TASK_RUNNING, PoolFacts

if TYPE_CHECKING:
    from batchspec.plan import NodeRelease

_NODES_SHOWN = 3
"""How many failed nodes are reported with the output of their start task."""


def nodes_seen(pool: PoolFacts, states: Mapping[str, int], at: datetime) -> NodesSeen:
    """The event of the nodes that a pool had at the service's time ``at``."""
    size = pool.properties.get("vmSize")
    return NodesSeen(
        pool.id,
        states,
        pool.target,
        size if isinstance(size, str) else "",
        pool.dedicated,
        pool.spot,
        at,
    )


@dataclass(slots=True)
class Monitor:
    """Watches a pool and a job.

    ``causes`` are those of the latest poll before the job ended.
    """

    world: World
    emit: Emit
    watched: Watched
    causes: tuple[Cause, ...] = ()
    _poll_interval: PollInterval = field(init=False)
    _began: datetime = field(init=False)
    _health: Health | None = None
    _pool: PoolFacts | None = None
    _first: dict[tuple[str, str], datetime] = field(default_factory=dict)
    _reported: dict[tuple[str, str], Cause] = field(default_factory=dict)
    _nodes: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._poll_interval = PollInterval(self.world.shortest_poll_interval)
        self._began = self.world.account.now()

    async def poll(self) -> Health:
        """Read the state of the run and report changes.

        Raises:
            ServiceError: the account refused, or could not be reached.
        """
        before = self._health
        health = await poll(self.world.account, self.watched, before, self._began)
        self._health = health
        if health.pool is not None:
            self._report_earlier(health.pool, health)
            self._pool = health.pool
            self.emit(nodes_seen(health.pool, health.nodes, health.at))
        await self._report_nodes(health.pool_id, health.unhealthy)
        await self._keep_output(health)
        if not health.over:
            self.causes = tuple(self._dated(health))
            self._report(health.at)
        return health

    async def pause(self) -> None:
        """Wait until the next poll is due, at most until the deadline.

        Raises:
            RunCancelled: the run is to stop.
        """
        health = self._health
        assert health is not None
        seen = (health.job and health.job.state, health.counts, tuple(sorted(health.nodes.items())))
        seconds = self._poll_interval.next((*seen, health.pool and health.pool.allocation))
        await self.world.clock.sleep(min(seconds, max(health.left, 0.05)))

    def _report_earlier(self, pool: PoolFacts, health: Health) -> None:
        """Report since when the nodes exist that the first poll finds, at most since the start."""
        since = max(pool.allocation_since or health.at, self._began)
        if self._pool is None and pool.nodes and since < health.at:
            self.emit(nodes_seen(pool, health.nodes, since))

    def expect_release(self, release: NodeRelease) -> datetime | None:
        """When the service is expected to have released the nodes that were seen last, if any.

        The pool of a job may be gone at the last poll.
        """
        health, pool = self._health, self._pool
        if health is None or pool is None:
            return None
        ended = health.job.ended if health.job is not None else None
        return release.expected(ended or health.at, pool.autoscale_at)

    @property
    def ending(self) -> Cause | None:
        """The cause that ends the run, if there is one; failed tasks first."""
        ends = [cause for cause in self.causes if cause.ends]
        failed = [cause for cause in ends if cause.kind.exit is Exit.TASKS_FAILED]
        return next(iter(failed or ends), None)

    def report_all(self) -> None:
        """Report the recent causes, too, because the run ends."""
        for cause in self.causes:
            self._report_cause(cause)

    def _dated(self, health: Health) -> list[Cause]:
        """The causes, each with the time at which it was first seen."""
        found = find_causes(health)
        self._first = {cause.key: self._first.get(cause.key, health.at) for cause in found}
        return [replace(cause, since=cause.since or self._first[cause.key]) for cause in found]

    def _report(self, now: datetime) -> None:
        """Report causes that are new or have changed, and those that no longer apply."""
        for key in [key for key in self._reported if key not in self._first]:
            del self._reported[key]
            self.emit(Waiting(*key, resolved=True))
        for cause in self.causes:
            if cause.ends or now - self._first[cause.key] >= cause.kind.shown_after:
                self._report_cause(cause)

    def _report_cause(self, cause: Cause) -> None:
        before = self._reported.get(cause.key)
        # A new time is not a change.
        if before is not None and replace(before, since=cause.since) == cause:
            return
        self._reported[cause.key] = cause
        self.emit(cause.waiting())

    async def keep_start_tasks(self) -> None:
        """Report and store the output of start tasks that still run when the run ends.

        Not if other nodes accept tasks: then it is not why tasks did not run.
        """
        health = self._health
        if health is None or health.usable or not health.of_nodes(START_TASK_RUNNING):
            return
        try:
            listed = self.world.account.nodes.list_starting(health.pool_id)
            nodes = [_still_running(node, health.at) async for node in listed]
        except ServiceError as error:
            # The end of the run does not depend on it.
            for problem in error.problems:
                self.emit(Noticed(replace(problem, severity=Severity.WARNING)))
            return
        if not nodes:
            return
        self.causes = tuple(
            replace(cause, action=cause.action.replace("NODE", nodes[0].id))
            if cause.code == "start-task-running"
            else cause
            for cause in self.causes
        )
        await self._report_nodes(health.pool_id, nodes)
        failed = [failed_start_task(health.pool_id, node) for node in nodes]
        await keep_node_output(failed, self.world, self.emit)

    async def _keep_output(self, health: Health) -> None:
        """Store the output of failed start and preparation tasks before nodes are deleted."""
        pool = health.pool_id
        failed = [failed_start_task(pool, node) for node in health.unhealthy]
        failed += [failed_preparation(pool, one) for one in health.preparations if one.failed]
        await keep_node_output(failed, self.world, self.emit)

    async def _report_nodes(self, pool: str, nodes: Sequence[NodeFacts]) -> None:
        """Report each node that accepts no tasks once, with the output of its start task."""
        for node in nodes:
            if node.id in self._nodes or len(self._nodes) >= _NODES_SHOWN:
                continue
            self._nodes.add(node.id)
            path = "startup/stderr.txt"
            tail = await read_tail(
                self.world.account.nodes.get_file_tail(pool, node.id, path, TAIL), self.emit
            )
            message = redact(node.message)
            self.emit(NodeFailed(pool, node.id, node.state, node.exit_code, message, tail))


def _still_running(node: NodeFacts, now: datetime) -> NodeFacts:
    """The node with a message about its start task, of which the service reports no error."""
    lasted = (
        "" if node.started is None else f" after {lasting((now - node.started).total_seconds())}"
    )
    return replace(node, message=f"the start task still ran{lasted}")


def lasting(seconds: float) -> str:
    """A duration in a message: ``45 s``, ``12 min``."""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
