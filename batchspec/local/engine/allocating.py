"""How a pool comes to its size: which nodes are added, which are asked to leave, when it is over.

Pure: a view in, decisions out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from batchspec.local.engine.decision import (
    AddNodes,
    Decision,
    DropPool,
    KeepNode,
    RemoveNode,
    SettlePool,
)
from batchspec.local.engine.state import PoolView, Room
from batchspec.local.model.life import AllocationState, NodeState, PoolState
from batchspec.local.model.machine import is_windows
from batchspec.local.model.record import Node, Wire

_KINDS = ((True, "dedicated"), (False, "low priority"))
_NO_WINDOWS = (
    "AllocationFailed",
    "on this machine: the local service has Linux nodes alone, and the pool names a Windows image",
)
_STOPPED = ("ResizeStopped", "due to a stop resize operation")
_TIMED_OUT = ("AllocationTimedout", "as the resize timeout was reached")
_QUOTA = {
    True: ("AccountCoreQuotaReached", "The specified account has reached core quota"),
    False: (
        "AccountLowPriorityCoreQuotaReached",
        "The specified account has reached low priority core quota",
    ),
}
"""Both codes are documented; users have quoted the sentence for dedicated nodes."""
_BURDEN = {
    NodeState.CREATING: 0,
    NodeState.STARTING: 1,
    NodeState.START_TASK_FAILED: 0,
    NodeState.UNUSABLE: 0,
    NodeState.PREEMPTED: 0,
    NodeState.RUNNING: 3,
}
"""What it costs to lose a node in a state; 2 for the others."""


@dataclass(slots=True)
class Allotment:
    """What of the account's quota is left while several pools take of it."""

    room: Room

    def take(self, count: int, *, dedicated: bool) -> int:
        """So many nodes, or as many as there is room for."""
        left = self.room.dedicated if dedicated else self.room.spot
        if left is None:
            return count
        taken = min(count, left)
        rest = left - taken
        self.room = (
            replace(self.room, dedicated=rest) if dedicated else replace(self.room, spot=rest)
        )
        return taken


def allocate(view: PoolView, allotment: Allotment, *, timed_out: bool) -> Iterator[Decision]:
    """Bring the pool nearer to its targets, or to its end.

    ``timed_out`` says that ``resizeTimeout`` has passed since the resize began.
    """
    pool, nodes = view.pool, view.nodes
    leaving = [node for node in nodes if node.intent == "remove"]
    staying = [node for node in nodes if node.intent != "remove"]
    if pool.state is PoolState.DELETING:
        yield from (RemoveNode(node, "requeue") for node in staying)
        if not nodes:
            yield DropPool(pool)
        return
    if pool.allocation is AllocationState.STOPPING:
        yield from _give_up(view, staying, leaving, _STOPPED)
    elif pool.allocation is AllocationState.RESIZING:
        grown = list(_approach(view, staying, allotment))
        yield from grown
        creating = any(node.state is NodeState.CREATING for node in staying)
        if not (grown or leaving or creating):
            why = _NO_WINDOWS if is_windows(pool.body) else None
            yield SettlePool(pool, tuple(_shortfall(view, staying, why)))
        elif timed_out and not grown:
            yield from _give_up(view, staying, leaving, _TIMED_OUT)


def _targets(view: PoolView) -> dict[bool, int]:
    return {True: view.pool.target_dedicated, False: view.pool.target_spot}


def _approach(view: PoolView, staying: list[Node], allotment: Allotment) -> Iterator[Decision]:
    for dedicated, _ in _KINDS:
        mine = [node for node in staying if node.dedicated is dedicated]
        missing = _targets(view)[dedicated] - len(mine)
        if missing > 0 and not is_windows(view.pool.body):
            if taken := allotment.take(missing, dedicated=dedicated):
                yield AddNodes(view.pool, dedicated, taken)
        elif missing < 0:
            mine.sort(key=lambda node: (_BURDEN.get(node.state, 2), node.running_tasks, -node.seq))
            for node in mine[:-missing]:
                yield RemoveNode(node, view.pool.deallocation)


def _give_up(
    view: PoolView, staying: list[Node], leaving: list[Node], why: tuple[str, str]
) -> Iterator[Decision]:
    """End the resize where it is: what has not begun to come or go does not."""
    kept = [node for node in leaving if node.state is not NodeState.LEAVING_POOL]
    yield from (KeepNode(node) for node in kept)
    unborn = [node for node in staying if node.state is NodeState.CREATING]
    yield from (RemoveNode(node, "requeue") for node in unborn)
    there = [node for node in (*staying, *kept) if node not in unborn]
    yield SettlePool(view.pool, tuple(_shortfall(view, there, why)))


def _shortfall(view: PoolView, there: list[Node], why: tuple[str, str] | None) -> Iterator[Wire]:
    """The ``resizeErrors`` of a pool that has not come to its targets; by default for quota."""
    for dedicated, name in _KINDS:
        if sum(node.dedicated is dedicated for node in there) != _targets(view)[dedicated]:
            code, text = _QUOTA[dedicated]
            if why is not None:
                code = why[0]
                text = f"Desired number of {name} nodes could not be allocated {why[1]}"
            yield {"code": code, "message": text}
