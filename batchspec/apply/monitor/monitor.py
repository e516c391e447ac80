"""The monitor of a run: one loop of looks with one deadline, which every wait of the run uses.

What it sees it reports as events. Whether a run ends is decided by its waits, from the same causes.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime

from batchspec.apply.events import Emit, NodeFailed, NodesSeen, Waiting
from batchspec.apply.monitor.cause_table import Cause
from batchspec.apply.monitor.causes import causes
from batchspec.apply.monitor.health import Health, Watched
from batchspec.apply.monitor.poll import poll
from batchspec.apply.node_logs import (
    TAIL,
    failed_preparation,
    failed_start_task,
    keep_node_output,
    read_tail,
)
from batchspec.apply.polling import PollInterval
from batchspec.apply.ports import World
from batchspec.diagnostics import Exit

_NODES_SHOWN = 3
"""How many failed nodes are shown with what their start task wrote; the others are counted."""


@dataclass(slots=True)
class Monitor:
    """Watches a pool and a job.

    ``causes`` are those of the latest look at a job that had not ended: the reasons, when it has.
    """

    world: World
    emit: Emit
    watched: Watched
    causes: tuple[Cause, ...] = ()
    _pace: PollInterval = field(init=False)
    _began: datetime = field(init=False)
    _health: Health | None = None
    _first: dict[tuple[str, str], datetime] = field(default_factory=dict)
    _reported: dict[tuple[str, str], Cause] = field(default_factory=dict)
    _nodes: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._pace = PollInterval(self.world.pace)
        self._began = self.world.batch.now()

    async def poll(self) -> Health:
        """Look now, and report what is seen.

        Raises:
            ServiceError: the account refused, or could not be reached.
        """
        before = self._health
        health = await poll(self.world.batch, self.watched, before, self._began)
        self._health = health
        if health.pool is not None:
            self.emit(NodesSeen(health.pool.id, health.nodes, health.pool.target))
        await self._report_nodes(health)
        await self._keep_output(health)
        if not health.over:
            self.causes = tuple(self._dated(health))
            self._report(health.at)
        return health

    async def pause(self) -> None:
        """Wait until it is time for another look, and not beyond the deadline.

        Raises:
            RunCancelled: the run is to stop.
        """
        health = self._health
        assert health is not None
        seen = (health.job and health.job.state, health.counts, tuple(sorted(health.nodes.items())))
        seconds = self._pace.next((*seen, health.pool and health.pool.allocation))
        await self.world.clock.sleep(min(seconds, max(health.left, 0.05)))

    @property
    def ending(self) -> Cause | None:
        """The cause by which the run ends, if there is one; failed tasks come before all else."""
        ends = [cause for cause in self.causes if cause.ends]
        failed = [cause for cause in ends if cause.kind.exit is Exit.TASKS_FAILED]
        return next(iter(failed or ends), None)

    def report_all(self) -> None:
        """Report also the causes that are too young for it: the run ends with them."""
        for cause in self.causes:
            self._tell(cause)

    def _dated(self, health: Health) -> list[Cause]:
        """The causes, each with the time since which it is known."""
        found = causes(health)
        self._first = {cause.key: self._first.get(cause.key, health.at) for cause in found}
        return [replace(cause, since=cause.since or self._first[cause.key]) for cause in found]

    def _report(self, now: datetime) -> None:
        """Report causes that are new or have changed, and those that no longer apply."""
        for key in [key for key in self._reported if key not in self._first]:
            del self._reported[key]
            self.emit(Waiting(*key, resolved=True))
        for cause in self.causes:
            if cause.ends or now - self._first[cause.key] >= cause.kind.after:
                self._tell(cause)

    def _tell(self, cause: Cause) -> None:
        before = self._reported.get(cause.key)
        # Since when is no news.
        if before is not None and replace(before, since=cause.since) == cause:
            return
        self._reported[cause.key] = cause
        self.emit(cause.waiting())

    async def _keep_output(self, health: Health) -> None:
        """Store what failed start and preparation tasks wrote: nodes may be deleted at any time."""
        pool = health.pool_id
        failed = [failed_start_task(pool, node) for node in health.unwell]
        failed += [failed_preparation(pool, one) for one in health.preparations if one.failed]
        await keep_node_output(failed, self.world, self.emit)

    async def _report_nodes(self, health: Health) -> None:
        """Report the nodes that take no tasks, each once, with what its start task wrote."""
        for node in health.unwell:
            if node.id in self._nodes or len(self._nodes) >= _NODES_SHOWN:
                continue
            self._nodes.add(node.id)
            path = "startup/stderr.txt"
            tail = await read_tail(
                self.world.batch.node_file_tail(health.pool_id, node.id, path, TAIL), self.emit
            )
            self.emit(
                NodeFailed(health.pool_id, node.id, node.state, node.exit_code, node.message, tail)
            )
