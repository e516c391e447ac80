"""The scheduler: what to do now, from the state of the service.

Pure: no clock, no store, no process. It is called again after every change, so that a decision
needs to look no further than the next step. Decisions are idempotent: the same state gives the same
decisions.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from datetime import datetime

from batchspec.local.engine.decisions import (
    CancelNodeRemoval,
    Decision,
    DeleteExpiredFiles,
    DeletePendingFiles,
    EndPreparingTask,
    KillRun,
    PreemptNode,
    RequestNodeRemoval,
    RunReleaseTask,
    RunTask,
    SetJobState,
)
from batchspec.local.engine.lifecycle import job_steps, node_steps, schedule_steps
from batchspec.local.engine.pool_size import QuotaBudget, autoscale_pool, resize_steps
from batchspec.local.engine.scheduling import DirectoryKey, schedule_tasks
from batchspec.local.engine.state import SchedulerState, is_due, run_key
from batchspec.local.model import JobState, TaskState
from batchspec.local.wire import read_duration


def decide(state: SchedulerState, now: datetime) -> list[Decision]:
    """Everything that can be done at once, in the order in which to do it."""
    return list(_decide(state, now))


def is_settled(state: SchedulerState, decisions: Iterable[Decision]) -> bool:
    """Whether nothing is left to do after ``decisions`` until something else changes.

    This is so when nothing was decided, and when only tasks were started, until their pools had no
    free slot left.
    """
    left = {
        work.pool.id: sum(node.slots - node.running_slots for node in work.nodes)
        for work in state.work
    }
    begun = set()
    for decision in decisions:
        if not isinstance(decision, RunTask) or decision.waits:
            return False
        pool_id = decision.node.pool_id
        begun.add(pool_id)
        left[pool_id] -= decision.task.slots * (1 + len(decision.others))
    return not any(left[pool_id] for pool_id in begun)


def _decide(state: SchedulerState, now: datetime) -> Iterator[Decision]:
    job_decisions = tuple(_job_decisions(state))
    yield from job_decisions
    released = {
        (one.preparation.pool_id.lower(), one.preparation.node_id.lower())
        for one in job_decisions
        if isinstance(one, RunReleaseTask)
    }
    for task in state.ending:
        if task.state is TaskState.PREPARING:
            yield EndPreparingTask(task)
        else:
            yield KillRun(task.seq, task.run)
    yield from _pool_and_node_decisions(state, now, released)
    for scale_view in state.scales:
        yield from autoscale_pool(scale_view, now)
    for schedule_view in state.schedules:
        yield from schedule_steps(schedule_view, now)
    yield from _file_deletions(state)
    blocked = _directories_in_use(state)
    for work in state.work:
        yield from schedule_tasks(work, blocked)
    yield from (PreemptNode(node) for node in state.preempted)


def _job_decisions(state: SchedulerState) -> Iterator[Decision]:
    ended = set()
    for end in _completed_jobs(state):
        ended.add(end.job.seq)
        yield end
    for view in state.jobs:
        # What follows from the job's old state must not undo its end.
        if view.job.seq not in ended:
            yield from job_steps(view)


def _pool_and_node_decisions(
    state: SchedulerState, now: datetime, released: Container[tuple[str, str]]
) -> Iterator[Decision]:
    """Decisions about pools and nodes, except ``released`` nodes (pool and id in lower case).

    A release task starts there in this round; a node that left the pool would not know of it.
    """
    decided = set()
    budget = QuotaBudget(state.room)
    for pool_view in state.pools:
        timeout = read_duration(pool_view.pool.resize_timeout)
        since = pool_view.pool.allocation_since
        timed_out = timeout is not None and is_due(since, timeout, now)
        for decision in resize_steps(pool_view, budget, timed_out=timed_out):
            if isinstance(decision, RequestNodeRemoval | CancelNodeRemoval):
                decided.add(decision.node.seq)
            yield decision
    for node_view in state.nodes:
        node = node_view.node
        # A node that gets another intent in this round is decided about in the next one.
        if node.seq not in decided and (node.pool_id.lower(), node.id.lower()) not in released:
            yield from node_steps(node_view, state.delays, now)


def _completed_jobs(state: SchedulerState) -> Iterator[SetJobState]:
    """Jobs that end by themselves, each for the first reason that applies."""
    ended = set()
    for jobs, reason in (
        (state.overdue, "MaxWallClockTimeExpiry"),
        (state.managed, "JMComplete"),
        (state.done, "AllTasksComplete"),
    ):
        for job in jobs:
            if job.id not in ended:
                ended.add(job.id)
                yield SetJobState(job, JobState.TERMINATING, reason)


def _file_deletions(state: SchedulerState) -> Iterator[Decision]:
    for deletion in state.pending_deletions:
        if run_key(deletion.task_seq, deletion.run) in state.running:
            yield KillRun(deletion.task_seq, deletion.run)
        else:
            yield DeletePendingFiles(deletion)
    for task in state.expired:
        yield DeleteExpiredFiles(task)


def _directories_in_use(state: SchedulerState) -> set[DirectoryKey]:
    """The directories that a run of a deleted task may still write."""
    return {
        (deletion.pool_id.lower(), deletion.node_id.lower(), deletion.directory.lower())
        for deletion in state.pending_deletions
        if run_key(deletion.task_seq, deletion.run) in state.running
    }
