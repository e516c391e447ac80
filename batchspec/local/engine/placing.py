"""Which task runs on which node: priorities, slots, spread or pack, limits of jobs.

Pure: an offer in, decisions out. Jobs come in their order of priority, tasks in that of creation;
a task that fits nowhere does not keep smaller ones behind it waiting.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Iterator
from dataclasses import dataclass

from batchspec.local.engine.decision import BeginTask
from batchspec.local.engine.state import Offer
from batchspec.local.model.layout import task_directory
from batchspec.local.model.record import Node

Place = tuple[str, str, str]
"""Pool, node and directory, the ids in lower case."""


@dataclass(frozen=True, slots=True)
class _Slots:
    """Nodes by the number of slots that are free on each."""

    free: dict[int, deque[Node]]
    pack: bool

    def take(self, slots: int) -> Node | None:
        """A node with so many free: the fullest when packing, the emptiest when spreading."""
        fitting = [count for count, nodes in self.free.items() if count >= slots and nodes]
        if not fitting:
            return None
        count = min(fitting) if self.pack else max(fitting)
        node = self.free[count].popleft()
        self.free.setdefault(count - slots, deque()).append(node)
        return node


def place(offer: Offer, blocked: Container[Place]) -> Iterator[BeginTask]:
    """Fill the free slots of a pool.

    ``blocked`` are directories in which something of an earlier task is still to be removed.
    """
    free: dict[int, deque[Node]] = {}
    for node in offer.nodes:
        free.setdefault(node.slots - node.running_slots, deque()).append(node)
    fill = offer.pool.body.get("taskSchedulingPolicy", {}).get("nodeFillType", "spread")
    slots = _Slots(free, pack=fill.lower() == "pack")
    for queue in offer.queues:
        room = queue.room
        for task in queue.tasks:
            if room == 0:
                break
            taken = slots.take(task.slots)
            if taken is None:
                continue
            directory = task_directory(task.job_id, task.id)
            if (taken.pool_id.lower(), taken.id.lower(), directory.lower()) in blocked:
                continue
            yield BeginTask(task, taken, queue.job)
            room = None if room is None else room - 1
