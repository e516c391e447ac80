"""Which task runs on which node: priorities, slots, spread or pack, limits of jobs.

Pure: an offer in, decisions out. Jobs come in their order of priority, tasks in that of creation;
a task that fits nowhere does not keep smaller ones behind it waiting. A task that wishes for a node
gets it if there is room. Before the first task of a job on a node comes the job's preparation task;
where that failed, none of its tasks is placed. A multi-instance task whose nodes are not all free
keeps those that are for itself, since they would never be free together otherwise.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Iterator
from dataclasses import dataclass, field

from batchspec.local.engine.decisions import RunPreparationTask, RunTask
from batchspec.local.engine.state import JobQueue, PoolWork
from batchspec.local.model import Node, Task, instance_count, task_directory

DirectoryKey = tuple[str, str, str]
"""Pool, node and directory, the ids in lower case."""


@dataclass(frozen=True, slots=True)
class _FreeSlots:
    """Nodes by the number of slots that are free on each."""

    free: dict[int, deque[Node]]
    pack: bool

    def take(self, slots: int, barred: Container[str], wish: str | None) -> Node | None:
        """A node with so many free: the fullest when packing, the emptiest when spreading.

        Never one whose id, in lower case, is ``barred``; before all others the one of id ``wish``.
        """
        counts = sorted(count for count, nodes in self.free.items() if count >= slots and nodes)
        ordered = counts if self.pack else counts[::-1]
        fitting = ((count, node) for count in ordered for node in self.free[count])
        open_ = ((count, node) for count, node in fitting if node.id.lower() not in barred)
        first = next(open_, None)
        if first is None:
            return None
        if wish is not None and first[1].id.lower() != wish:
            first = next((one for one in open_ if one[1].id.lower() == wish), first)
        count, node = first
        self.free[count].remove(node)
        self.free.setdefault(count - slots, deque()).append(node)
        return node


@dataclass(slots=True)
class _JobScheduler:
    """Where the tasks of one job are placed.

    ``known`` is how far the job's preparation task is on each node, ``held`` whether what is free
    is kept for a multi-instance task.
    """

    offer: PoolWork
    queue: JobQueue
    slots: _FreeSlots
    blocked: Container[DirectoryKey]
    known: dict[str, str] = field(init=False)
    waits: bool = field(init=False)
    barred: frozenset[str] = field(init=False)
    held: bool = False

    def __post_init__(self) -> None:
        preparation = self.queue.job.body.get("jobPreparationTask")
        self.known = dict(self.queue.prepared)
        self.waits = preparation is not None and preparation["waitForSuccess"]
        failed = (node for node, state in self.known.items() if state == "failed")
        self.barred = frozenset(failed if self.waits else ())

    def schedule(self, task: Task) -> Iterator[RunTask | RunPreparationTask]:
        """Place a task on one node, or do not."""
        node = self.slots.take(task.slots, self._barred(task), _preferred_node(task))
        if node is None or self._is_blocked(task, node):
            return
        yield from self._prepare(node)
        unready = self.waits and self.known[node.id.lower()] == "running"
        yield RunTask(task, node, self.queue.job, waits=unready)

    def schedule_all(self, task: Task, count: int) -> Iterator[RunTask | RunPreparationTask]:
        """Place a multi-instance task on ``count`` nodes, where the preparation task is done."""
        if count > self.offer.capable - len(self.barred):
            return
        self.held = True
        nodes: list[Node] = []
        barred = set(self.barred)
        while len(nodes) < count:
            node = self.slots.take(task.slots, barred, None if nodes else _preferred_node(task))
            if node is None or self._is_blocked(task, node):
                return
            nodes.append(node)
            barred.add(node.id.lower())
        for node in nodes:
            yield from self._prepare(node)
        if self.waits and any(self.known[node.id.lower()] != "ready" for node in nodes):
            return
        self.held = False
        yield RunTask(task, nodes[0], self.queue.job, others=tuple(nodes[1:]))

    def _barred(self, task: Task) -> frozenset[str]:
        """Where a task cannot run: a job manager task may be for dedicated nodes alone."""
        manager = self.queue.job.body.get("jobManagerTask")
        if manager is None or manager["allowLowPriorityNode"]:
            return self.barred
        if manager["id"].lower() != task.id.lower():
            return self.barred
        return self.barred | {node.id.lower() for node in self.offer.nodes if not node.dedicated}

    def _prepare(self, node: Node) -> Iterator[RunPreparationTask]:
        key = node.id.lower()
        wants = "jobPreparationTask" in self.queue.job.body
        if wants and self.known.setdefault(key, "new") == "new":
            self.known[key] = "running"
            yield RunPreparationTask(self.queue.job, node)

    def _is_blocked(self, task: Task, node: Node) -> bool:
        directory = task_directory(task.job_id, task.id)
        return (node.pool_id.lower(), node.id.lower(), directory.lower()) in self.blocked


def schedule_tasks(
    offer: PoolWork, blocked: Container[DirectoryKey]
) -> Iterator[RunTask | RunPreparationTask]:
    """Fill the free slots of a pool.

    ``blocked`` are directories in which something of an earlier task is still to be removed.
    """
    free: dict[int, deque[Node]] = {}
    for node in offer.nodes:
        free.setdefault(node.slots - node.running_slots, deque()).append(node)
    fill = offer.pool.body.get("taskSchedulingPolicy", {}).get("nodeFillType", "spread")
    slots = _FreeSlots(free, pack=fill.lower() == "pack")
    for queue in offer.queues:
        desk = _JobScheduler(offer, queue, slots, blocked)
        room = queue.room
        for task in queue.tasks:
            if room == 0:
                break
            count = instance_count(task)
            for decision in desk.schedule_all(task, count) if count else desk.schedule(task):
                yield decision
                if isinstance(decision, RunTask) and room is not None:
                    room -= 1
            if desk.held:
                return


def _preferred_node(task: Task) -> str | None:
    """The node that a task wishes for: an ``affinityId`` is ``TVM:`` and the id of a node."""
    wish = task.body.get("affinityInfo")
    return None if wish is None else str(wish["affinityId"]).rpartition(":")[2].lower()
