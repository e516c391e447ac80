"""Which task runs on which node: priorities, slots, spread or pack, limits of jobs.

Pure: an offer in, decisions out. Jobs come in their order of priority, tasks in that of creation;
a task that fits nowhere does not keep smaller ones behind it waiting. Before the first task of a
job on a node comes the job's preparation task; where that failed, none of its tasks is placed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Iterator
from dataclasses import dataclass

from batchspec.local.engine.decision import BeginTask, Prepare
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

    def take(self, slots: int, barred: Container[str]) -> Node | None:
        """A node with so many free: the fullest when packing, the emptiest when spreading.

        Never one whose id, in lower case, is ``barred``.
        """
        counts = sorted(count for count, nodes in self.free.items() if count >= slots and nodes)
        for count in counts if self.pack else reversed(counts):
            nodes = self.free[count]
            for at, node in enumerate(nodes):
                if node.id.lower() not in barred:
                    del nodes[at]
                    self.free.setdefault(count - slots, deque()).append(node)
                    return node
        return None


def place(offer: Offer, blocked: Container[Place]) -> Iterator[BeginTask | Prepare]:
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
        known = dict(queue.prepared)
        preparation = queue.job.body.get("jobPreparationTask")
        waits = preparation is not None and preparation["waitForSuccess"]
        barred = {node for node, state in known.items() if waits and state == "failed"}
        for task in queue.tasks:
            if room == 0:
                break
            taken = slots.take(task.slots, barred)
            if taken is None:
                continue
            directory = task_directory(task.job_id, task.id)
            if (taken.pool_id.lower(), taken.id.lower(), directory.lower()) in blocked:
                continue
            if preparation is not None and known.setdefault(taken.id.lower(), "new") == "new":
                known[taken.id.lower()] = "running"
                yield Prepare(queue.job, taken)
            unready = waits and known[taken.id.lower()] == "running"
            yield BeginTask(task, taken, queue.job, waits=unready)
            room = None if room is None else room - 1
