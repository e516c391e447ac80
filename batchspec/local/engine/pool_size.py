"""The size of a pool: which nodes are added and removed, when a resize ends, and autoscale.

Pure: a view in, decisions out. Random numbers of a formula depend on the time of its evaluation, so
that evaluating twice gives the same result.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from batchspec.autoscale import run_formula
from batchspec.local.engine.decisions import (
    AddNodes,
    CancelNodeRemoval,
    CompleteResize,
    Decision,
    RecordAutoscaleRun,
    RecordSample,
    RemovePool,
    RequestNodeRemoval,
    ResizePool,
)
from batchspec.local.engine.state import AutoscaleView, PoolView, RemainingQuota
from batchspec.local.model import (
    AllocationState,
    Node,
    NodeState,
    PoolState,
    Wire,
    is_windows,
)
from batchspec.local.store import SAMPLE_INTERVAL, autoscale_run
from batchspec.local.wire import read_duration

_KINDS = ((True, "dedicated"), (False, "low priority"))
_WINDOWS_UNSUPPORTED = (
    "AllocationFailed",
    "on this machine: the embedded service has only Linux nodes and the pool has a Windows image",
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
"""Both codes are documented; the message for dedicated nodes is quoted by users."""
_REMOVAL_COST = {
    NodeState.CREATING: 0,
    NodeState.STARTING: 1,
    NodeState.START_TASK_FAILED: 0,
    NodeState.UNUSABLE: 0,
    NodeState.PREEMPTED: 0,
    NodeState.RUNNING: 3,
}
"""The cost of removing a node in a state; 2 for other states."""


@dataclass(slots=True)
class QuotaBudget:
    """What is left of the account's quota while several pools grow."""

    remaining: RemainingQuota

    def take(self, count: int, *, dedicated: bool) -> int:
        """``count`` nodes, or as many as the quota allows."""
        left = self.remaining.dedicated if dedicated else self.remaining.spot
        if left is None:
            return count
        taken = min(count, left)
        rest = left - taken
        self.remaining = (
            replace(self.remaining, dedicated=rest)
            if dedicated
            else replace(self.remaining, spot=rest)
        )
        return taken


def resize_steps(view: PoolView, budget: QuotaBudget, *, timed_out: bool) -> Iterator[Decision]:
    """The next steps of a pool to its targets, or to its deletion.

    ``timed_out`` means that ``resizeTimeout`` has passed since the resize began.
    """
    pool, nodes = view.pool, view.nodes
    leaving = [node for node in nodes if node.intent == "remove"]
    staying = [node for node in nodes if node.intent != "remove"]
    if pool.state is PoolState.DELETING:
        yield from (RequestNodeRemoval(node, "requeue") for node in staying)
        if not nodes:
            yield RemovePool(pool)
        return
    if pool.allocation is AllocationState.STOPPING:
        yield from _end_resize(view, staying, leaving, _STOPPED)
    elif pool.allocation is AllocationState.RESIZING:
        grown = list(_grow_or_shrink(view, staying, budget))
        yield from grown
        creating = any(node.state is NodeState.CREATING for node in staying)
        if not (grown or leaving or creating):
            why = _WINDOWS_UNSUPPORTED if is_windows(pool.body) else None
            yield CompleteResize(pool, tuple(_resize_errors(view, staying, why)))
        elif timed_out and not grown:
            yield from _end_resize(view, staying, leaving, _TIMED_OUT)


def _targets(view: PoolView) -> dict[bool, int]:
    return {True: view.pool.target_dedicated, False: view.pool.target_spot}


def _grow_or_shrink(view: PoolView, staying: list[Node], budget: QuotaBudget) -> Iterator[Decision]:
    for dedicated, _ in _KINDS:
        mine = [node for node in staying if node.dedicated is dedicated]
        missing = _targets(view)[dedicated] - len(mine)
        if missing > 0 and not is_windows(view.pool.body):
            if taken := budget.take(missing, dedicated=dedicated):
                yield AddNodes(view.pool, dedicated, taken)
        elif missing < 0:
            mine.sort(
                key=lambda node: (_REMOVAL_COST.get(node.state, 2), node.running_tasks, -node.seq)
            )
            for node in mine[:-missing]:
                yield RequestNodeRemoval(node, view.pool.deallocation)


def _end_resize(
    view: PoolView, staying: list[Node], leaving: list[Node], why: tuple[str, str]
) -> Iterator[Decision]:
    """End the resize: nodes that are not yet starting or leaving stay as they are."""
    kept = [node for node in leaving if node.state is not NodeState.LEAVING_POOL]
    yield from (CancelNodeRemoval(node) for node in kept)
    unborn = [node for node in staying if node.state is NodeState.CREATING]
    yield from (RequestNodeRemoval(node, "requeue") for node in unborn)
    there = [node for node in (*staying, *kept) if node not in unborn]
    yield CompleteResize(view.pool, tuple(_resize_errors(view, there, why)))


def _resize_errors(
    view: PoolView, there: list[Node], why: tuple[str, str] | None
) -> Iterator[Wire]:
    """The ``resizeErrors`` of a pool that did not reach its targets; by default for quota."""
    for dedicated, name in _KINDS:
        if sum(node.dedicated is dedicated for node in there) != _targets(view)[dedicated]:
            code, text = _QUOTA[dedicated]
            if why is not None:
                code = why[0]
                text = f"Desired number of {name} nodes could not be allocated {why[1]}"
            yield {"code": code, "message": text}


_DEFAULT_INTERVAL = timedelta(minutes=15)


def autoscale_pool(view: AutoscaleView, now: datetime) -> Iterator[Decision]:
    """Take the sample that is due, then evaluate the formula if it is due."""
    pool, when, samples = view.pool, view.times, list(view.samples)
    if when.sample_due <= now:
        yield RecordSample(pool, view.metrics, _next_due(when.sample_due, SAMPLE_INTERVAL, now))
        samples.append((now, view.metrics))
    if when.due > now or pool.autoscale is None:
        return
    interval = read_duration(pool.autoscale["autoScaleEvaluationInterval"]) or _DEFAULT_INTERVAL
    evaluated = run_formula(
        pool.autoscale["autoScaleFormula"],
        now,
        (pool.target_dedicated, pool.target_spot),
        samples,
        random.Random(when.due.timestamp()).random,  # noqa: S311  not used for security
    )
    following = _next_due(when.due, interval, now)
    yield RecordAutoscaleRun(pool, autoscale_run(evaluated, now), following)
    targets = (evaluated.dedicated, evaluated.spot)
    # A resize that is stopping ends first; the next evaluation follows.
    changes = targets != (pool.target_dedicated, pool.target_spot)
    if changes and pool.allocation is not AllocationState.STOPPING:
        yield ResizePool(pool, *targets, evaluated.option)


def _next_due(due: datetime, interval: timedelta, now: datetime) -> datetime:
    """The first time after ``now`` in the series of ``due`` and ``interval``."""
    return due + interval * ((now - due) // interval + 1)
