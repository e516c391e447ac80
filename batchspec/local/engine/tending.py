"""The life of a node and of a job between their resting states.

Pure: a view in, decisions out. Nothing is ended here that has not been asked for in the store.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from batchspec.local.engine.decision import (
    AskToEnd,
    BootNode,
    Decision,
    DeletePool,
    DropNode,
    EndProcess,
    How,
    InstallPackages,
    MoveJob,
    MoveNode,
    PurgeJob,
    Release,
    ReturnNode,
    RunStartTask,
)
from batchspec.local.engine.packages import has_packages
from batchspec.local.engine.state import (
    Delays,
    JobView,
    NodeView,
    due,
    packages_key,
    preparation_key,
    start_key,
)
from batchspec.local.model.life import NODE, JobState, NodeState
from batchspec.local.model.record import Job, Node, Task

_WAITING_OPTIONS = {"taskcompletion", "retaineddata"}
_AT_ONCE = timedelta()
_WISHES = {
    "reboot": NodeState.REBOOTING,
    "reimage": NodeState.REIMAGING,
    "deallocate": NodeState.DEALLOCATING,
    "preempt": NodeState.PREEMPTED,
}
"""What is asked of a node, and the state that it is in when its tasks are out of the way."""


def tend_node(view: NodeView, delays: Delays, now: datetime) -> Iterator[Decision]:
    """The next step of a node: what is asked of it first, else what its state leads to."""
    node = view.node
    waits = {
        NodeState.CREATING: delays.allocation,
        NodeState.DEALLOCATING: delays.allocation,
        NodeState.PREEMPTED: delays.absence,
        NodeState.STARTING: delays.boot,
        NodeState.REBOOTING: delays.boot,
        NodeState.REIMAGING: delays.boot,
    }
    if node.intent is not None:
        yield from _heed(view)
    elif due(node.state_since, waits.get(node.state, _AT_ONCE), now):
        yield from _go_on(view)


def _go_on(view: NodeView) -> Iterator[Decision]:
    """What follows from the state of a node of which nothing is asked."""
    node = view.node
    match node.state:
        case NodeState.CREATING | NodeState.REBOOTING:
            yield BootNode(node)
        case NodeState.REIMAGING:
            yield BootNode(node, fresh=True)
        case NodeState.STARTING:
            yield from _come_up(view)
        case NodeState.DEALLOCATING:
            yield MoveNode(node, NodeState.DEALLOCATED)
        case NodeState.PREEMPTED:
            yield ReturnNode(node)
        case NodeState.WAITING_FOR_START_TASK if start_key(node) not in view.others:
            yield RunStartTask(node, view.pool)
        case NodeState.OFFLINE if node.scheduling == "enabled":
            yield MoveNode(node, NodeState.IDLE)


def _come_up(view: NodeView) -> Iterator[Decision]:
    node, start_task = view.node, view.pool.body.get("startTask")
    if packages_key(node) in view.others:
        return
    if not has_packages(node, view.pool.body):
        yield InstallPackages(node, view.pool)
        return
    if start_task is None:
        yield MoveNode(node, NodeState.IDLE)
        return
    waits = start_task["waitForSuccess"]
    yield MoveNode(node, NodeState.WAITING_FOR_START_TASK if waits else NodeState.IDLE)
    yield RunStartTask(node, view.pool)


def _heed(view: NodeView) -> Iterator[Decision]:
    """Do what is asked of a node, once its tasks are out of the way."""
    node, intent = view.node, view.node.intent
    patient = node.intent_option in _WAITING_OPTIONS
    if intent == "remove" and not patient and node.state is not NodeState.LEAVING_POOL:
        yield MoveNode(node, NodeState.LEAVING_POOL)
    if view.live:
        if not patient:
            how: How = "terminate" if node.intent_option == "terminate" else "requeue"
            yield from ask_all(view.live, how)
        return
    if node.intent_option == "retaineddata" and view.retained:
        return
    if view.others and intent != "offline":
        yield from (EndProcess(key) for key in view.others)
        return
    yield _done(node)


def _done(node: Node) -> Decision:
    """What was asked of a node on which nothing goes on any more."""
    match node.intent:
        case "remove":
            return DropNode(node)
        case "start":
            return BootNode(node)
        case "offline":
            # One that is not up takes no tasks anyway, and none when it comes up.
            up = NodeState.OFFLINE in NODE.moves[node.state]
            return MoveNode(node, NodeState.OFFLINE if up else node.state, done=True)
        case wish if wish in _WISHES:
            return MoveNode(node, _WISHES[wish], done=True)
        case _:
            raise ValueError(f"nobody knows what '{node.intent}' asks of a node")


def tend_job(view: JobView) -> Iterator[Decision]:
    """The next step of a job that is between two states."""
    job, live = view.job, view.live
    match job.state:
        case JobState.TERMINATING | JobState.DELETING:
            yield from ask_all(live, "terminate")
            busy = bool(live)
            for step in _release(view, busy=busy):
                busy = True
                yield step
            if not (busy or any(one.release_state == "running" for one in view.preparations)):
                ends = job.state is JobState.TERMINATING
                yield MoveJob(job, JobState.COMPLETED) if ends else PurgeJob(job)
                yield from _release_pool(job)
        case JobState.DISABLING:
            if job.disable_tasks == "requeue":
                yield from ask_all(live, "requeue")
            elif job.disable_tasks == "terminate":
                yield from ask_all(live, "terminate")
            if not live:
                yield MoveJob(job, JobState.DISABLED)
        case JobState.ENABLING:
            yield MoveJob(job, JobState.ACTIVE)


def _release(view: JobView, *, busy: bool) -> Iterator[Decision]:
    """End what prepares; then run the release task once, on each node that was prepared."""
    job, preparations = view.job, view.preparations
    preparing = [one for one in preparations if one.state == "running"]
    if preparing:
        yield from (EndProcess(preparation_key(one)) for one in preparing)
    elif "jobReleaseTask" in job.body and not busy:
        for one in preparations:
            if one.state == "ready" and one.release_state is None:
                yield Release(job, one)


def _release_pool(job: Job) -> Iterator[Decision]:
    """An auto pool that lives as long as its job goes with it."""
    auto = job.body.get("poolInfo", {}).get("autoPoolSpecification", {})
    if auto.get("poolLifetimeOption") == "job" and not auto.get("keepAlive", False):
        yield DeletePool(job.pool_id)


def ask_all(live: Iterable[Task], how: How) -> Iterator[Decision]:
    """Ask those to end that have not been asked; the first wish stands."""
    return (AskToEnd(task, how) for task in live if task.ending is None)
