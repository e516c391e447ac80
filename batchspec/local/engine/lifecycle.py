"""The next steps of pools, nodes, jobs and job schedules between their states.

All functions are pure: a view in, decisions out. A task ends only after a request in the store.
Random numbers of an autoscale formula depend on the time of its evaluation, so that two evaluations
give the same result.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from batchspec.autoscale import run_formula
from batchspec.catalog.vm_sizes import family, family_key
from batchspec.local.engine.decisions import (
    AddNodes,
    BootNode,
    CancelNodeRemoval,
    CompleteResize,
    CreateScheduledJob,
    Decision,
    DeletePool,
    EndMode,
    InstallPackages,
    KillProcess,
    ReallocateNode,
    RecordAutoscaleRun,
    RecordSample,
    RemoveJob,
    RemoveNode,
    RemovePool,
    RemoveSchedule,
    RequestNodeRemoval,
    RequestTaskEnd,
    ResizePool,
    RunReleaseTask,
    RunStartTask,
    SetJobState,
    SetNodeState,
    SetScheduleState,
    SkipScheduledJob,
)
from batchspec.local.engine.environment import has_packages
from batchspec.local.engine.state import (
    AutoscaleView,
    Delays,
    JobView,
    NodeView,
    PoolView,
    RemainingQuota,
    ScheduleView,
    is_due,
    packages_key,
    preparation_key,
    start_key,
)
from batchspec.local.model import (
    NODE,
    AllocationState,
    Job,
    JobState,
    Node,
    NodeState,
    Pool,
    PoolState,
    Schedule,
    ScheduleState,
    Task,
    Wire,
    cores_of,
    is_windows,
)
from batchspec.local.store import SAMPLE_INTERVAL, autoscale_run
from batchspec.local.wire import next_run, read_duration, window_passed

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
"""Both codes are documented; user reports contain the message for dedicated nodes."""
_FAMILY_QUOTA = "AccountVMSeriesCoreQuotaReached"
"""Recorded with the message below. Quotas of VM families apply to dedicated nodes only."""
_REMOVAL_COST = {
    NodeState.CREATING: 0,
    NodeState.STARTING: 1,
    NodeState.START_TASK_FAILED: 0,
    NodeState.UNUSABLE: 0,
    NodeState.PREEMPTED: 0,
    NodeState.RUNNING: 3,
}
"""The cost of the removal of a node by state; 2 for other states."""


@dataclass(slots=True)
class QuotaBudget:
    """The remaining quotas of the account while several pools grow."""

    remaining: RemainingQuota

    def take(self, count: int, vm_size: str, *, dedicated: bool) -> int:
        """Take ``count`` nodes of a size, or as many as the core quotas allow."""
        cores, name = cores_of(vm_size), family_key(family(vm_size))
        left = (self._left(dedicated=dedicated), self._left_of_family(name, dedicated=dedicated))
        taken = min([count, *(limit // cores for limit in left if limit is not None)])
        used = taken * cores
        if not dedicated:
            self.remaining = replace(self.remaining, spot=_minus(self.remaining.spot, used))
            return taken
        families = {**self.remaining.families}
        if name in families:
            families[name] -= used
        rest = _minus(self.remaining.dedicated, used)
        self.remaining = replace(self.remaining, dedicated=rest, families=families)
        return taken

    def error(self, vm_size: str, *, dedicated: bool) -> tuple[str, str]:
        """The code and the message of the reached quota for nodes of a size."""
        left = self._left(dedicated=dedicated)
        name = family(vm_size)
        of_family = self._left_of_family(family_key(name), dedicated=dedicated)
        if of_family is not None and (left is None or left >= cores_of(vm_size)):
            text = f"The specified account has reached VM series core quota for {name}"
            return _FAMILY_QUOTA, text
        return _QUOTA[dedicated]

    def _left(self, *, dedicated: bool) -> int | None:
        return self.remaining.dedicated if dedicated else self.remaining.spot

    def _left_of_family(self, name: str, *, dedicated: bool) -> int | None:
        return self.remaining.families.get(name) if dedicated else None


def _minus(left: int | None, used: int) -> int | None:
    return None if left is None else left - used


def resize_steps(
    view: PoolView, budget: QuotaBudget, delays: Delays, now: datetime
) -> Iterator[Decision]:
    """The next steps of a pool to its targets, or to its deletion."""
    pool, nodes = view.pool, view.nodes
    leaving = [node for node in nodes if node.intent == "remove"]
    staying = [node for node in nodes if node.intent != "remove"]
    if pool.state is PoolState.DELETING:
        yield from (RequestNodeRemoval(node, "requeue") for node in staying)
        if not nodes and is_due(pool.state_since, delays.transition, now):
            yield RemovePool(pool)
        return
    if pool.allocation is AllocationState.STOPPING:
        yield from _end_resize(view, staying, leaving, _STOPPED, budget)
    elif pool.allocation is AllocationState.RESIZING:
        grown = list(_grow_or_shrink(view, staying, budget))
        yield from grown
        creating = any(node.state is NodeState.CREATING for node in staying)
        if not grown and (leaving or creating) and _is_timed_out(pool, now):
            yield from _end_resize(view, staying, leaving, _TIMED_OUT, budget)
        elif not (grown or leaving or creating or view.unread):
            why = _WINDOWS_UNSUPPORTED if is_windows(pool.body) else None
            yield CompleteResize(pool, tuple(_resize_errors(view, staying, why, budget)))


def _is_timed_out(pool: Pool, now: datetime) -> bool:
    timeout = read_duration(pool.resize_timeout)
    return timeout is not None and is_due(pool.allocation_since, timeout, now)


def _targets(view: PoolView) -> dict[bool, int]:
    return {True: view.pool.target_dedicated, False: view.pool.target_spot}


def _grow_or_shrink(view: PoolView, staying: list[Node], budget: QuotaBudget) -> Iterator[Decision]:
    for dedicated, _ in _KINDS:
        mine = [node for node in staying if node.dedicated is dedicated]
        missing = _targets(view)[dedicated] - len(mine)
        if missing > 0 and not is_windows(view.pool.body):
            if taken := budget.take(missing, view.pool.body["vmSize"], dedicated=dedicated):
                yield AddNodes(view.pool, dedicated, taken)
        elif missing < 0:
            mine.sort(
                key=lambda node: (_REMOVAL_COST.get(node.state, 2), node.running_tasks, -node.seq)
            )
            for node in mine[:-missing]:
                yield RequestNodeRemoval(node, view.pool.deallocation)


def _end_resize(
    view: PoolView,
    staying: list[Node],
    leaving: list[Node],
    why: tuple[str, str],
    budget: QuotaBudget,
) -> Iterator[Decision]:
    """End the resize: keep nodes that have not left yet, and remove nodes that are not created."""
    kept = [node for node in leaving if node.state is not NodeState.LEAVING_POOL]
    yield from (CancelNodeRemoval(node) for node in kept)
    uncreated = [node for node in staying if node.state is NodeState.CREATING]
    yield from (RequestNodeRemoval(node, "requeue") for node in uncreated)
    present = [node for node in (*staying, *kept) if node not in uncreated]
    yield CompleteResize(view.pool, tuple(_resize_errors(view, present, why, budget)))


def _resize_errors(
    view: PoolView, present: list[Node], why: tuple[str, str] | None, budget: QuotaBudget
) -> Iterator[Wire]:
    """The ``resizeErrors`` of a pool that did not reach its targets, by default for a quota."""
    for dedicated, name in _KINDS:
        if sum(node.dedicated is dedicated for node in present) != _targets(view)[dedicated]:
            code, text = budget.error(view.pool.body["vmSize"], dedicated=dedicated)
            if why is not None:
                code = why[0]
                text = f"Desired number of {name} nodes could not be allocated {why[1]}"
            yield {"code": code, "message": text}


_DEFAULT_INTERVAL = timedelta(minutes=15)


def autoscale_pool(view: AutoscaleView, now: datetime) -> Iterator[Decision]:
    """Take a due sample, then evaluate a due formula."""
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
    # Wait for the end of a resize that is stopping; the next evaluation resizes the pool.
    changes = targets != (pool.target_dedicated, pool.target_spot)
    if changes and pool.allocation is not AllocationState.STOPPING:
        yield ResizePool(pool, *targets, evaluated.option)


def _next_due(due: datetime, interval: timedelta, now: datetime) -> datetime:
    """The first time after ``now`` in the series of ``due`` and ``interval``."""
    return due + interval * ((now - due) // interval + 1)


_WAITING_OPTIONS = {"taskcompletion", "retaineddata"}
_NO_DELAY = timedelta()
_INTENT_STATES = {
    "reboot": NodeState.REBOOTING,
    "reimage": NodeState.REIMAGING,
    "deallocate": NodeState.DEALLOCATING,
    "preempt": NodeState.PREEMPTED,
}
"""The intents of a node, and the state that follows once the node has no tasks."""


def node_steps(view: NodeView, delays: Delays, now: datetime) -> Iterator[Decision]:
    """The next step of a node: for its intent, or else for its state."""
    node = view.node
    waits = {
        NodeState.CREATING: delays.allocation,
        NodeState.DEALLOCATING: delays.allocation,
        NodeState.PREEMPTED: delays.absence,
        NodeState.STARTING: delays.boot,
    }
    if node.intent is not None:
        yield from _intent_steps(view, delays, now)
    elif is_due(node.state_since, waits.get(node.state, _NO_DELAY), now):
        yield from _state_step(view)


def _state_step(view: NodeView) -> Iterator[Decision]:
    """The next step of a node without an intent."""
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


def _intent_steps(view: NodeView, delays: Delays, now: datetime) -> Iterator[Decision]:
    """Carry out the intent of a node, after its tasks have ended."""
    node, intent = view.node, view.node.intent
    waits = node.intent_option in _WAITING_OPTIONS
    if view.live:
        if intent == "remove" and not waits and node.state is not NodeState.LEAVING_POOL:
            yield SetNodeState(node, NodeState.LEAVING_POOL)
        if not waits:
            mode: EndMode = "terminate" if node.intent_option == "terminate" else "requeue"
            yield from request_end(view.live, mode)
        return
    if node.intent_option == "retaineddata" and view.retained:
        return
    if view.others and intent != "offline":
        yield from (KillProcess(key) for key in view.others)
        return
    if intent != "remove":
        yield _intent_done(node)
    elif node.state is not NodeState.LEAVING_POOL:
        yield SetNodeState(node, NodeState.LEAVING_POOL)
    else:
        shown = timedelta() if view.pool.state is PoolState.DELETING else delays.leaving
        if is_due(node.state_since, max(shown, delays.release), now):
            yield RemoveNode(node)


def _intent_done(node: Node) -> Decision:
    """The last step of an intent, once nothing runs on the node."""
    match node.intent:
        case "start":
            return BootNode(node)
        case "offline":
            # A node that cannot become offline now takes no tasks, not even after a boot.
            up = NodeState.OFFLINE in NODE.transitions[node.state]
            return SetNodeState(node, NodeState.OFFLINE if up else node.state, done=True)
        case intent if intent in _INTENT_STATES:
            return SetNodeState(node, _INTENT_STATES[intent], done=True)
        case _:
            raise ValueError(f"unknown intent of a node: '{node.intent}'")


def job_steps(view: JobView, delays: Delays, now: datetime) -> Iterator[Decision]:
    """The next step of a job in transition."""
    job, live = view.job, view.live
    due = is_due(job.state_since, delays.transition, now)
    match job.state:
        case JobState.TERMINATING | JobState.DELETING:
            yield from request_end(live, "terminate")
            busy = bool(live)
            for step in _release_steps(view, busy=busy):
                busy = True
                yield step
            if due and not (busy or _is_releasing(view)):
                ends = job.state is JobState.TERMINATING
                yield SetJobState(job, JobState.COMPLETED) if ends else RemoveJob(job)
                yield from _delete_auto_pool(job)
        case JobState.DISABLING:
            if job.disable_tasks == "requeue":
                yield from request_end(live, "requeue")
            elif job.disable_tasks == "terminate":
                yield from request_end(live, "terminate")
            if due and not live:
                yield SetJobState(job, JobState.DISABLED)
        case JobState.ENABLING:
            yield SetJobState(job, JobState.ACTIVE)


def _is_releasing(view: JobView) -> bool:
    return any(one.release_state == "running" for one in view.preparations)


def _release_steps(view: JobView, *, busy: bool) -> Iterator[Decision]:
    """End running preparation tasks; then run the release task once on each prepared node."""
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
    """Request the end of tasks without such a request; the first request wins."""
    return (RequestTaskEnd(task, mode) for task in live if task.ending is None)


_ENDING_JOBS = (JobState.TERMINATING, JobState.DELETING)


def schedule_steps(view: ScheduleView, delays: Delays, now: datetime) -> Iterator[Decision]:
    """The next step of a job schedule."""
    schedule, jobs = view.schedule, view.jobs
    due = is_due(schedule.state_since, delays.transition, now)
    if schedule.state is ScheduleState.TERMINATING:
        yield from _terminate_jobs(view)
        if due and not jobs:
            yield from _complete_schedule(schedule)
    elif schedule.state is ScheduleState.DELETING:
        for job in jobs:
            if job.state is not JobState.DELETING:
                yield SetJobState(job, JobState.DELETING)
        if due and not jobs:
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
