"""How a pool comes to its size: which nodes are added, which are asked to leave, when it is over.

Pure: a view in, decisions out.
"""

from __future__ import annotations

from collections.abc import Iterator

from batchspec.local.engine.decision import (
    AddNodes,
    Decision,
    DropPool,
    KeepNode,
    RemoveNode,
    SettlePool,
)
from batchspec.local.engine.state import PoolView
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
_BURDEN = {
    NodeState.CREATING: 0,
    NodeState.STARTING: 1,
    NodeState.START_TASK_FAILED: 0,
    NodeState.UNUSABLE: 0,
    NodeState.RUNNING: 3,
}
"""What it costs to lose a node in a state; 2 for the others."""


def allocate(view: PoolView, *, timed_out: bool) -> Iterator[Decision]:
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
        grown = list(_approach(view, staying))
        yield from grown
        creating = any(node.state is NodeState.CREATING for node in staying)
        if not (grown or leaving or creating):
            yield SettlePool(pool, tuple(_shortfall(view, staying, _NO_WINDOWS)))
        elif timed_out and not grown:
            yield from _give_up(view, staying, leaving, _TIMED_OUT)


def _targets(view: PoolView) -> dict[bool, int]:
    return {True: view.pool.target_dedicated, False: view.pool.target_spot}


def _approach(view: PoolView, staying: list[Node]) -> Iterator[Decision]:
    for dedicated, _ in _KINDS:
        mine = [node for node in staying if node.dedicated is dedicated]
        missing = _targets(view)[dedicated] - len(mine)
        if missing > 0 and not is_windows(view.pool.body):
            yield AddNodes(view.pool, dedicated, missing)
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


def _shortfall(view: PoolView, there: list[Node], why: tuple[str, str]) -> Iterator[Wire]:
    """The ``resizeErrors`` of a pool that has not come to its targets."""
    code, because = why
    for dedicated, name in _KINDS:
        if sum(node.dedicated is dedicated for node in there) != _targets(view)[dedicated]:
            text = f"Desired number of {name} nodes could not be allocated {because}"
            yield {"code": code, "message": text}
