"""The next steps of nodes, jobs and job schedules between their states.

Pure: a view in, decisions out. Nothing is ended here without a request in the store.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

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
from batchspec.local.engine.environment import has_packages
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
"""The intents of a node, and the state that follows when no task is left on it."""


def node_steps(view: NodeView, delays: Delays, now: datetime) -> Iterator[Decision]:
    """The next step of a node: its intent first, else what follows from its state."""
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
    """What follows from the state of a node without an intent."""
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
    """Carry out the intent of a node, after its tasks have ended."""
    node, intent = view.node, view.node.intent
    waits = node.intent_option in _WAITING_OPTIONS
    if intent == "remove" and not waits and node.state is not NodeState.LEAVING_POOL:
        yield SetNodeState(node, NodeState.LEAVING_POOL)
    if view.live:
        if not waits:
            mode: EndMode = "terminate" if node.intent_option == "terminate" else "requeue"
            yield from request_end(view.live, mode)
        return
    if node.intent_option == "retaineddata" and view.retained:
        return
    if view.others and intent != "offline":
        yield from (KillProcess(key) for key in view.others)
        return
    yield _intent_done(node)


def _intent_done(node: Node) -> Decision:
    """The last step of an intent, when nothing runs on the node any more."""
    match node.intent:
        case "remove":
            return RemoveNode(node)
        case "start":
            return BootNode(node)
        case "offline":
            # A node that is not running takes no tasks, and none after it has booted.
            up = NodeState.OFFLINE in NODE.transitions[node.state]
            return SetNodeState(node, NodeState.OFFLINE if up else node.state, done=True)
        case intent if intent in _INTENT_STATES:
            return SetNodeState(node, _INTENT_STATES[intent], done=True)
        case _:
            raise ValueError(f"unknown intent of a node: '{node.intent}'")


def job_steps(view: JobView) -> Iterator[Decision]:
    """The next step of a job in transition."""
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
    """End preparation tasks that run; then run the release task once on each prepared node."""
    job, preparations = view.job, view.preparations
    preparing = [one for one in preparations if one.state == "running"]
    if preparing:
        yield from (KillProcess(preparation_key(one)) for one in preparing)
    elif "jobReleaseTask" in job.body and not busy:
        for one in preparations:
            if one.state == "ready" and one.release_state is None:
                yield RunReleaseTask(job, one)


def _delete_auto_pool(job: Job) -> Iterator[Decision]:
    """Delete an auto pool with the lifetime of the job."""
    auto = job.body.get("poolInfo", {}).get("autoPoolSpecification", {})
    if auto.get("poolLifetimeOption") == "job" and not auto.get("keepAlive", False):
        yield DeletePool(job.pool_id)


def request_end(live: Iterable[Task], mode: EndMode) -> Iterator[Decision]:
    """Request the end of tasks for which this was not requested yet; the first request stands."""
    return (RequestTaskEnd(task, mode) for task in live if task.ending is None)


_ENDING_JOBS = (JobState.TERMINATING, JobState.DELETING)


def schedule_steps(view: ScheduleView, now: datetime) -> Iterator[Decision]:
    """The next step of a job schedule."""
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
    """Delete the auto pool with the lifetime of the schedule."""
    auto = schedule.body["jobSpecification"]["poolInfo"].get("autoPoolSpecification", {})
    if schedule.pool_id is not None and not auto.get("keepAlive", False):
        yield DeletePool(schedule.pool_id)
