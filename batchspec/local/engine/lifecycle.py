"""The life of a node and of a job between their resting states.

Pure: a view in, decisions out. Nothing is ended here that has not been asked for in the store.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from batchspec.local.engine.application_packages import has_packages
from batchspec.local.engine.decisions import (
    BootNode,
    CreateScheduledJob,
    Decision,
    DeletePool,
    EndMode,
    InstallPackages,
    KillProcess,
    ReallocateNode,
    RemoveJob,
    RemoveNode,
    RemoveSchedule,
    RequestTaskEnd,
    RunReleaseTask,
    RunStartTask,
    SetJobState,
    SetNodeState,
    SetScheduleState,
    SkipScheduledJob,
)
from batchspec.local.engine.state import (
    Delays,
    JobView,
    NodeView,
    ScheduleView,
    is_due,
    packages_key,
    preparation_key,
    start_key,
)
from batchspec.local.model import (
    NODE,
    Job,
    JobState,
    Node,
    NodeState,
    Schedule,
    ScheduleState,
    Task,
)
from batchspec.local.wire import next_run, window_passed

_WAITING_OPTIONS = {"taskcompletion", "retaineddata"}
_NO_DELAY = timedelta()
_INTENT_STATES = {
    "reboot": NodeState.REBOOTING,
    "reimage": NodeState.REIMAGING,
    "deallocate": NodeState.DEALLOCATING,
    "preempt": NodeState.PREEMPTED,
}
"""What is asked of a node, and the state that it is in when its tasks are out of the way."""


def node_steps(view: NodeView, delays: Delays, now: datetime) -> Iterator[Decision]:
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
        yield from _intent_steps(view)
    elif is_due(node.state_since, waits.get(node.state, _NO_DELAY), now):
        yield from _state_step(view)


def _state_step(view: NodeView) -> Iterator[Decision]:
    """What follows from the state of a node of which nothing is asked."""
    node = view.node
    match node.state:
        case NodeState.CREATING | NodeState.REBOOTING:
            yield BootNode(node)
        case NodeState.REIMAGING:
            yield BootNode(node, fresh=True)
        case NodeState.STARTING:
            yield from _start_steps(view)
        case NodeState.DEALLOCATING:
            yield SetNodeState(node, NodeState.DEALLOCATED)
        case NodeState.PREEMPTED:
            yield ReallocateNode(node)
        case NodeState.WAITING_FOR_START_TASK if start_key(node) not in view.others:
            yield RunStartTask(node, view.pool)
        case NodeState.OFFLINE if node.scheduling == "enabled":
            yield SetNodeState(node, NodeState.IDLE)


def _start_steps(view: NodeView) -> Iterator[Decision]:
    node, start_task = view.node, view.pool.body.get("startTask")
    if packages_key(node) in view.others:
        return
    if not has_packages(node, view.pool.body):
        yield InstallPackages(node, view.pool)
        return
    if start_task is None:
        yield SetNodeState(node, NodeState.IDLE)
        return
    waits = start_task["waitForSuccess"]
    yield SetNodeState(node, NodeState.WAITING_FOR_START_TASK if waits else NodeState.IDLE)
    yield RunStartTask(node, view.pool)


def _intent_steps(view: NodeView) -> Iterator[Decision]:
    """Do what is asked of a node, once its tasks are out of the way."""
    node, intent = view.node, view.node.intent
    patient = node.intent_option in _WAITING_OPTIONS
    if intent == "remove" and not patient and node.state is not NodeState.LEAVING_POOL:
        yield SetNodeState(node, NodeState.LEAVING_POOL)
    if view.live:
        if not patient:
            how: EndMode = "terminate" if node.intent_option == "terminate" else "requeue"
            yield from request_end(view.live, how)
        return
    if node.intent_option == "retaineddata" and view.retained:
        return
    if view.others and intent != "offline":
        yield from (KillProcess(key) for key in view.others)
        return
    yield _intent_done(node)


def _intent_done(node: Node) -> Decision:
    """What was asked of a node on which nothing goes on any more."""
    match node.intent:
        case "remove":
            return RemoveNode(node)
        case "start":
            return BootNode(node)
        case "offline":
            # One that is not up takes no tasks anyway, and none when it comes up.
            up = NodeState.OFFLINE in NODE.transitions[node.state]
            return SetNodeState(node, NodeState.OFFLINE if up else node.state, done=True)
        case wish if wish in _INTENT_STATES:
            return SetNodeState(node, _INTENT_STATES[wish], done=True)
        case _:
            raise ValueError(f"nobody knows what '{node.intent}' asks of a node")


def job_steps(view: JobView) -> Iterator[Decision]:
    """The next step of a job that is between two states."""
    job, live = view.job, view.live
    match job.state:
        case JobState.TERMINATING | JobState.DELETING:
            yield from request_end(live, "terminate")
            busy = bool(live)
            for step in _release_steps(view, busy=busy):
                busy = True
                yield step
            if not (busy or any(one.release_state == "running" for one in view.preparations)):
                ends = job.state is JobState.TERMINATING
                yield SetJobState(job, JobState.COMPLETED) if ends else RemoveJob(job)
                yield from _delete_auto_pool(job)
        case JobState.DISABLING:
            if job.disable_tasks == "requeue":
                yield from request_end(live, "requeue")
            elif job.disable_tasks == "terminate":
                yield from request_end(live, "terminate")
            if not live:
                yield SetJobState(job, JobState.DISABLED)
        case JobState.ENABLING:
            yield SetJobState(job, JobState.ACTIVE)


def _release_steps(view: JobView, *, busy: bool) -> Iterator[Decision]:
    """End what prepares; then run the release task once, on each node that was prepared."""
    job, preparations = view.job, view.preparations
    preparing = [one for one in preparations if one.state == "running"]
    if preparing:
        yield from (KillProcess(preparation_key(one)) for one in preparing)
    elif "jobReleaseTask" in job.body and not busy:
        for one in preparations:
            if one.state == "ready" and one.release_state is None:
                yield RunReleaseTask(job, one)


def _delete_auto_pool(job: Job) -> Iterator[Decision]:
    """An auto pool that lives as long as its job goes with it."""
    auto = job.body.get("poolInfo", {}).get("autoPoolSpecification", {})
    if auto.get("poolLifetimeOption") == "job" and not auto.get("keepAlive", False):
        yield DeletePool(job.pool_id)


def request_end(live: Iterable[Task], how: EndMode) -> Iterator[Decision]:
    """Ask those to end that have not been asked; the first wish stands."""
    return (RequestTaskEnd(task, how) for task in live if task.ending is None)


_ENDING_JOBS = (JobState.TERMINATING, JobState.DELETING)


def schedule_steps(view: ScheduleView, now: datetime) -> Iterator[Decision]:
    """The next step of a schedule."""
    schedule, jobs = view.schedule, view.jobs
    if schedule.state is ScheduleState.TERMINATING:
        yield from _terminate_jobs(view)
        if not jobs:
            yield from _complete_schedule(schedule)
    elif schedule.state is ScheduleState.DELETING:
        for job in jobs:
            if job.state is not JobState.DELETING:
                yield SetJobState(job, JobState.DELETING)
        if not jobs:
            yield from _delete_schedule_pool(schedule)
            yield RemoveSchedule(schedule)
    elif schedule.next_run is None:
        if not jobs:
            yield from _complete_schedule(schedule)
    elif schedule.next_run <= now:
        yield from _create_due_job(view, schedule.next_run, now)


def _create_due_job(view: ScheduleView, due: datetime, now: datetime) -> Iterator[Decision]:
    schedule = view.schedule
    settings = schedule.body["schedule"]
    following = next_run(settings, due, now)
    if window_passed(settings, due, now):
        yield SkipScheduledJob(schedule, due, following)
    elif not view.jobs:
        yield CreateScheduledJob(schedule, due, following)


def _terminate_jobs(view: ScheduleView) -> Iterator[Decision]:
    for job in view.jobs:
        if job.state not in _ENDING_JOBS:
            yield SetJobState(job, JobState.TERMINATING, "TerminateJobSchedule")


def _complete_schedule(schedule: Schedule) -> Iterator[Decision]:
    yield SetScheduleState(schedule, ScheduleState.COMPLETED)
    yield from _delete_schedule_pool(schedule)


def _delete_schedule_pool(schedule: Schedule) -> Iterator[Decision]:
    """The pool that lived as long as the schedule goes with it."""
    auto = schedule.body["jobSpecification"]["poolInfo"].get("autoPoolSpecification", {})
    if schedule.pool_id is not None and not auto.get("keepAlive", False):
        yield DeletePool(schedule.pool_id)
