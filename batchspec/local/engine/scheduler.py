"""decide: what is to be done now, from what is.

Pure: no clock, no store, no process. It is asked again after every change, so a decision never
has to look further than the next step; and what it decides is idempotent: asked twice about the
same state it says the same.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from datetime import datetime

from batchspec.local.engine.allocating import Allotment, allocate
from batchspec.local.engine.decision import (
    BeginTask,
    ClearFiles,
    CutShort,
    Decision,
    ExpireFiles,
    KeepNode,
    KillRun,
    MoveJob,
    Release,
    RemoveNode,
    TakeNode,
)
from batchspec.local.engine.placing import Place, place
from batchspec.local.engine.recurring import follow
from batchspec.local.engine.scaling import scale
from batchspec.local.engine.state import State, due, run_key
from batchspec.local.engine.tending import tend_job, tend_node
from batchspec.local.model.life import JobState, TaskState
from batchspec.local.wire.times import read_duration


def decide(state: State, now: datetime) -> list[Decision]:
    """Everything that can be done at once, in the order in which it is to be done."""
    return list(_decide(state, now))


def is_settled(state: State, decisions: Iterable[Decision]) -> bool:
    """Whether ``decisions`` are all that there is to do until something else changes.

    So when nothing was decided; and when tasks were begun, and nothing else was done, until their
    pools had no slot left.
    """
    left = {
        offer.pool.id: sum(node.slots - node.running_slots for node in offer.nodes)
        for offer in state.offers
    }
    begun = set()
    for decision in decisions:
        if not isinstance(decision, BeginTask) or decision.waits:
            return False
        pool_id = decision.node.pool_id
        begun.add(pool_id)
        left[pool_id] -= decision.task.slots * (1 + len(decision.others))
    return not any(left[pool_id] for pool_id in begun)


def _decide(state: State, now: datetime) -> Iterator[Decision]:
    for_jobs = tuple(_tend_jobs(state))
    yield from for_jobs
    released = {
        (one.preparation.pool_id.lower(), one.preparation.node_id.lower())
        for one in for_jobs
        if isinstance(one, Release)
    }
    for task in state.ending:
        if task.state is TaskState.PREPARING:
            yield CutShort(task)
        else:
            yield KillRun(task.seq, task.run)
    yield from _tend_nodes(state, now, released)
    for scale_view in state.scales:
        yield from scale(scale_view, now)
    for schedule_view in state.schedules:
        yield from follow(schedule_view, now)
    yield from _clear(state)
    blocked = _blocked(state)
    for offer in state.offers:
        yield from place(offer, blocked)
    yield from (TakeNode(node) for node in state.taken)


def _tend_jobs(state: State) -> Iterator[Decision]:
    ended = set()
    for end in _end_jobs(state):
        ended.add(end.job.seq)
        yield end
    for view in state.jobs:
        # What follows from the state it was in must not undo that it ends.
        if view.job.seq not in ended:
            yield from tend_job(view)


def _tend_nodes(
    state: State, now: datetime, released: Container[tuple[str, str]]
) -> Iterator[Decision]:
    """Pools and nodes; but none of ``released``, by pool and id in lower case.

    A release task begins there now, and a node that goes would not know of it.
    """
    asked = set()
    allotment = Allotment(state.room)
    for pool_view in state.pools:
        timeout = read_duration(pool_view.pool.resize_timeout)
        since = pool_view.pool.allocation_since
        timed_out = timeout is not None and due(since, timeout, now)
        for decision in allocate(pool_view, allotment, timed_out=timed_out):
            if isinstance(decision, RemoveNode | KeepNode):
                asked.add(decision.node.seq)
            yield decision
    for node_view in state.nodes:
        node = node_view.node
        # One of which something else is asked now is looked at again as it is then.
        if node.seq not in asked and (node.pool_id.lower(), node.id.lower()) not in released:
            yield from tend_node(node_view, state.delays, now)


def _end_jobs(state: State) -> Iterator[MoveJob]:
    """Jobs that come to their end by themselves, each for the first reason that it has."""
    told = set()
    for jobs, reason in (
        (state.overdue, "MaxWallClockTimeExpiry"),
        (state.managed, "JMComplete"),
        (state.done, "AllTasksComplete"),
    ):
        for job in jobs:
            if job.id not in told:
                told.add(job.id)
                yield MoveJob(job, JobState.TERMINATING, reason)


def _clear(state: State) -> Iterator[Decision]:
    for doomed in state.doomed:
        if run_key(doomed.task_seq, doomed.run) in state.running:
            yield KillRun(doomed.task_seq, doomed.run)
        else:
            yield ClearFiles(doomed)
    for task in state.expired:
        yield ExpireFiles(task)


def _blocked(state: State) -> set[Place]:
    """The directories that a run of a task that is no more may still write."""
    return {
        (doomed.pool_id.lower(), doomed.node_id.lower(), doomed.directory.lower())
        for doomed in state.doomed
        if run_key(doomed.task_seq, doomed.run) in state.running
    }
