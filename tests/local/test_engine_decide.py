"""The scheduler on constructed states: every state, every intent, every option."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchspec.local.engine import Delays
from batchspec.local.engine.decisions import (
    AddNodes,
    BootNode,
    CancelNodeRemoval,
    CompleteResize,
    Decision,
    DeleteExpiredFiles,
    DeletePendingFiles,
    EndPreparingTask,
    KillProcess,
    KillRun,
    PreemptNode,
    ReallocateNode,
    RemoveJob,
    RemoveNode,
    RemovePool,
    RequestNodeRemoval,
    RequestTaskEnd,
    RunPreparationTask,
    RunReleaseTask,
    RunStartTask,
    RunTask,
    SetJobState,
    SetNodeState,
)
from batchspec.local.engine.scheduler import decide, is_settled
from batchspec.local.engine.state import (
    JobQueue,
    JobView,
    NodeView,
    PoolView,
    PoolWork,
    RemainingQuota,
    SchedulerState,
    run_key,
)
from batchspec.local.model import (
    JOB,
    NODE,
    AllocationState,
    Job,
    JobState,
    Node,
    NodeState,
    PendingDeletion,
    Pool,
    PoolState,
    Preparation,
    Task,
    TaskState,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
START = {"commandLine": "true", "waitForSuccess": True, "maxTaskRetryCount": 0}


def a_pool(**more: Any) -> Pool:
    base = Pool(
        seq=1,
        id="p",
        body={"vmSize": "standard_d2s_v3", "taskSlotsPerNode": 1},
        created=NOW,
        modified=NOW,
        state=PoolState.ACTIVE,
        state_since=NOW,
        allocation=AllocationState.STEADY,
        allocation_since=NOW,
        target_dedicated=0,
        target_spot=0,
        resize=1,
        resize_timeout="PT15M",
        resize_errors=(),
        deallocation="requeue",
        autoscale=None,
    )
    return replace(base, **more)


def a_node(seq: int = 1, **more: Any) -> Node:
    base = Node(
        seq=seq,
        pool_id="p",
        id=f"n{seq}",
        dedicated=True,
        state=NodeState.IDLE,
        state_since=NOW,
        scheduling="enabled",
        allocated=NOW,
        booted=NOW,
        slots=1,
        running_tasks=0,
        running_slots=0,
        total_run=0,
        total_succeeded=0,
        start_task_info=None,
        intent=None,
        intent_option=None,
        errors=(),
        detail={},
    )
    return replace(base, **more)


def a_job(**more: Any) -> Job:
    base = Job(
        seq=1,
        id="j",
        body={},
        created=NOW,
        modified=NOW,
        state=JobState.ACTIVE,
        state_since=NOW,
        previous_state=None,
        previous_since=None,
        pool_id="p",
        priority=0,
        max_parallel=-1,
        started=NOW,
        ended=None,
        deadline=None,
        reason=None,
        scheduling_error=None,
        disable_tasks=None,
        schedule_id=None,
    )
    return replace(base, **more)


def a_task(seq: int = 1, **more: Any) -> Task:
    base = Task(
        seq=seq,
        job_id="j",
        id=f"t{seq}",
        body={},
        created=NOW,
        modified=NOW,
        state=TaskState.ACTIVE,
        state_since=NOW,
        previous_state=None,
        previous_since=None,
        slots=1,
        waiting=0,
        run=1,
        retry_count=0,
        requeue_count=0,
        last_retry=None,
        last_requeue=None,
        pool_id=None,
        node_id=None,
        directory=None,
        ending=None,
        started=None,
        ended=None,
        exit_code=None,
        result=None,
        failure=None,
        retain_until=None,
        cleaned=False,
    )
    return replace(base, **more)


OTHERS = ("start.1", "preparation.3")
LIVE = a_task(state=TaskState.RUNNING)
ENDING_TASK = replace(LIVE, ending="terminate")


def test_an_empty_state_has_no_decisions() -> None:
    assert decide(SchedulerState(), NOW) == []


# --- pools


def of_pool(pool: Pool, *nodes: Node, now: datetime = NOW) -> list[Decision]:
    return decide(SchedulerState(pools=(PoolView(pool, nodes),)), now)


def resizing(dedicated: int = 0, spot: int = 0, **more: Any) -> Pool:
    return a_pool(
        allocation=AllocationState.RESIZING,
        target_dedicated=dedicated,
        target_spot=spot,
        **more,
    )


def test_a_resizing_pool_adds_the_missing_nodes_of_each_kind() -> None:
    pool = resizing(3, 2)
    assert of_pool(pool, a_node()) == [AddNodes(pool, True, 2), AddNodes(pool, False, 2)]


def test_a_pool_is_steady_when_its_nodes_exist() -> None:
    pool = resizing(1)
    assert of_pool(pool, a_node(state=NodeState.CREATING)) == []
    assert of_pool(pool, a_node(state=NodeState.STARTING)) == [CompleteResize(pool)]
    assert of_pool(resizing()) == [CompleteResize(resizing())]


def test_the_least_used_and_youngest_nodes_are_removed() -> None:
    nodes = (
        a_node(1, state=NodeState.RUNNING, running_tasks=1),
        a_node(2),
        a_node(3),
        a_node(4, state=NodeState.START_TASK_FAILED),
        a_node(5, dedicated=False),
    )
    pool = resizing(1, 1, deallocation="taskcompletion")
    assert of_pool(pool, *nodes) == [
        RequestNodeRemoval(nodes[3], "taskcompletion"),
        RequestNodeRemoval(nodes[2], "taskcompletion"),
        RequestNodeRemoval(nodes[1], "taskcompletion"),
    ]


def test_a_pool_is_not_steady_while_a_node_leaves() -> None:
    assert of_pool(resizing(0), a_node(intent="remove")) == []


def test_a_resize_that_takes_too_long_ends_with_errors() -> None:
    pool = resizing(0)
    leaving = a_node(intent="remove", intent_option="taskcompletion")
    late = NOW + timedelta(minutes=15)
    assert of_pool(pool, leaving, now=late - timedelta(seconds=1)) == []
    keep, settle = of_pool(pool, leaving, now=late)
    assert keep == CancelNodeRemoval(leaving)
    assert isinstance(settle, CompleteResize)
    assert [error["code"] for error in settle.errors] == ["AllocationTimedout"]


def test_a_stopped_resize_keeps_existing_nodes_only() -> None:
    pool = replace(resizing(3, 1), allocation=AllocationState.STOPPING)
    nodes = (
        a_node(1),
        a_node(2, state=NodeState.CREATING),
        a_node(3, intent="remove"),
        a_node(4, intent="remove", state=NodeState.LEAVING_POOL),
        a_node(5, dedicated=False),
    )
    keep, remove, settle = of_pool(pool, *nodes)
    assert (keep, remove) == (CancelNodeRemoval(nodes[2]), RequestNodeRemoval(nodes[1], "requeue"))
    assert isinstance(settle, CompleteResize)
    (error,) = settle.errors
    assert error["code"] == "ResizeStopped"
    assert "dedicated" in error["message"]


@pytest.mark.parametrize("allocation", list(AllocationState))
def test_a_deleted_pool_removes_its_nodes_first(allocation: AllocationState) -> None:
    pool = a_pool(state=PoolState.DELETING, allocation=allocation, target_dedicated=5)
    node, leaving = a_node(1), a_node(2, intent="remove")
    assert of_pool(pool, node, leaving) == [RequestNodeRemoval(node, "requeue")]
    assert of_pool(pool, leaving) == []
    assert of_pool(pool) == [RemovePool(pool)]


def test_an_exhausted_quota_is_a_resize_error_for_each_kind() -> None:
    pool = resizing(2, 1)
    full = SchedulerState(pools=(PoolView(pool, ()),), remaining_quota=RemainingQuota(0, 0))
    (settle,) = decide(full, NOW)
    assert isinstance(settle, CompleteResize)
    assert [error["code"] for error in settle.errors] == [
        "AccountCoreQuotaReached",
        "AccountLowPriorityCoreQuotaReached",
    ]
    assert settle.errors[0]["message"] == "The specified account has reached core quota"


def test_pools_share_the_remaining_quota() -> None:
    first, second = resizing(2, 1), replace(resizing(2), seq=2, id="other")
    views = PoolView(first, ()), PoolView(second, ())
    # A standard_d2s_v3 has two cores; one remaining core is not enough.
    assert decide(SchedulerState(pools=views, remaining_quota=RemainingQuota(7, None)), NOW) == [
        AddNodes(first, True, 2),
        AddNodes(first, False, 1),
        AddNodes(second, True, 1),
    ]


def test_the_quota_of_a_family_limits_dedicated_nodes_of_its_sizes() -> None:
    first, second = resizing(3, 1), replace(resizing(1), seq=2, id="other")
    other = {**second.body, "vmSize": "standard_d2_v3"}
    views = PoolView(first, ()), PoolView(replace(second, body=other), ())
    left = RemainingQuota(None, None, {"dsv3": 5})
    assert decide(SchedulerState(pools=views, remaining_quota=left), NOW) == [
        AddNodes(first, True, 2),
        AddNodes(first, False, 1),
        AddNodes(replace(second, body=other), True, 1),
    ]
    state = SchedulerState(
        pools=(PoolView(resizing(3), (a_node(1), a_node(2))),),
        remaining_quota=RemainingQuota(2, None, {"dsv3": 1}),
    )
    (end,) = decide(state, NOW)
    assert isinstance(end, CompleteResize)
    assert end.errors == (
        {
            "code": "AccountVMSeriesCoreQuotaReached",
            "message": "The specified account has reached VM series core quota for "
            "standardDSv3Family",
        },
    )


def test_a_requested_resize_stays_until_it_is_read() -> None:
    state = SchedulerState(pools=(PoolView(resizing(1), (a_node(),), unread=True),))
    assert decide(state, NOW) == []
    # The pool has reached its targets in time, so that it never times out.
    assert decide(state, NOW + timedelta(hours=1)) == []
    stopping = replace(resizing(1), allocation=AllocationState.STOPPING)
    state = SchedulerState(pools=(PoolView(stopping, (a_node(),), unread=True),))
    assert decide(state, NOW) == [CompleteResize(stopping)]


def test_states_last_as_long_as_a_transition() -> None:
    delays = Delays(transition=timedelta(seconds=5))
    pool = a_pool(state=PoolState.DELETING)

    def after(seconds: float, **views: Any) -> list[Decision]:
        return decide(SchedulerState(delays, **views), NOW + timedelta(seconds=seconds))

    assert after(4.9, pools=(PoolView(pool, ()),)) == []
    assert after(5, pools=(PoolView(pool, ()),)) == [RemovePool(pool)]
    for state in (JobState.TERMINATING, JobState.DELETING, JobState.DISABLING):
        view = JobView(a_job(state=state, disable_tasks="wait"))
        assert after(4.9, jobs=(view,)) == []
        assert len(after(5, jobs=(view,))) == 1
    # Enabling a job takes no time.
    assert len(after(0, jobs=(JobView(a_job(state=JobState.ENABLING)),))) == 1


def test_a_leaving_node_is_shown_unless_its_pool_is_being_deleted() -> None:
    delays = Delays(leaving=timedelta(seconds=1))
    node = a_node(intent="remove", intent_option="requeue", state=NodeState.LEAVING_POOL)
    deleting = a_pool(state=PoolState.DELETING)
    assert decide(SchedulerState(delays, nodes=(NodeView(node, a_pool()),)), NOW) == []
    assert decide(SchedulerState(delays, nodes=(NodeView(node, deleting),)), NOW) == [
        RemoveNode(node)
    ]


def test_a_partial_allocation_is_a_resize_error() -> None:
    pool, there = resizing(2), a_node()
    (settle,) = decide(
        SchedulerState(pools=(PoolView(pool, (there,)),), remaining_quota=RemainingQuota(0)), NOW
    )
    assert isinstance(settle, CompleteResize)
    assert [error["code"] for error in settle.errors] == ["AccountCoreQuotaReached"]


def test_a_node_with_a_new_intent_has_no_other_step_in_that_round() -> None:
    """Another step could undo or contradict the intent."""
    unborn = a_node(1, state=NodeState.CREATING)
    leaving = a_node(2, intent="remove", intent_option="requeue")
    pool = replace(resizing(1), allocation=AllocationState.STOPPING)
    views = tuple(NodeView(node, pool) for node in (unborn, leaving))
    keep, remove, settle = decide(
        SchedulerState(pools=(PoolView(pool, (unborn, leaving)),), nodes=views), NOW
    )
    assert (keep, remove) == (CancelNodeRemoval(leaving), RequestNodeRemoval(unborn, "requeue"))
    assert isinstance(settle, CompleteResize)


# --- nodes

GONE = {NodeState.LEAVING_POOL}
AT_REST = {
    NodeState.START_TASK_FAILED,
    NodeState.IDLE,
    NodeState.RUNNING,
    NodeState.UNUSABLE,
    NodeState.UNKNOWN,
    NodeState.LEAVING_POOL,
    NodeState.UPGRADING_OS,
    NodeState.DEALLOCATED,
}


def of_node(node: Node, *, body: dict[str, Any] | None = None, **more: Any) -> list[Decision]:
    pool = a_pool(body=body or {})
    return decide(SchedulerState(nodes=(NodeView(node, pool, **more),)), NOW)


@pytest.mark.parametrize("state", list(NodeState))
def test_the_step_of_each_node_state(state: NodeState) -> None:
    node = a_node(state=state, scheduling="disabled")
    expected: dict[NodeState, list[Decision]] = {
        NodeState.CREATING: [BootNode(node)],
        NodeState.STARTING: [SetNodeState(node, NodeState.IDLE)],
        NodeState.WAITING_FOR_START_TASK: [RunStartTask(node, a_pool(body={"startTask": START}))],
        NodeState.REBOOTING: [BootNode(node)],
        NodeState.REIMAGING: [BootNode(node, fresh=True)],
        NodeState.DEALLOCATING: [SetNodeState(node, NodeState.DEALLOCATED)],
        NodeState.PREEMPTED: [ReallocateNode(node)],
        NodeState.OFFLINE: [],
    }
    waits = state is NodeState.WAITING_FOR_START_TASK
    found = of_node(node, body={"startTask": START} if waits else None)
    assert found == expected.get(state, [])
    assert (state in expected) is (state not in AT_REST)
    for decision in found:
        if isinstance(decision, SetNodeState):
            NODE.check(state, decision.state)
        elif isinstance(decision, BootNode):
            NODE.check(state, NodeState.STARTING)


@pytest.mark.parametrize(
    ("waits", "state"), [(True, NodeState.WAITING_FOR_START_TASK), (False, NodeState.IDLE)]
)
def test_a_booted_node_runs_its_start_task(waits: bool, state: NodeState) -> None:
    node = a_node(state=NodeState.STARTING)
    body = {"startTask": {**START, "waitForSuccess": waits}}
    assert of_node(node, body=body) == [
        SetNodeState(node, state),
        RunStartTask(node, a_pool(body=body)),
    ]


def test_a_running_start_task_is_not_started_again() -> None:
    node = a_node(state=NodeState.WAITING_FOR_START_TASK)
    assert of_node(node, body={"startTask": START}, others=("start.1",)) == []


def test_delays_are_respected() -> None:
    delays = Delays(allocation=timedelta(minutes=3), boot=timedelta(minutes=1))

    def after(state: NodeState, minutes: float) -> list[Decision]:
        view = NodeView(a_node(state=state), a_pool())
        return decide(SchedulerState(delays, nodes=(view,)), NOW + timedelta(minutes=minutes))

    assert after(NodeState.CREATING, 2.9) == []
    assert after(NodeState.CREATING, 3) != []
    assert after(NodeState.STARTING, 0.9) == []
    assert after(NodeState.STARTING, 1) != []
    for state in (NodeState.REBOOTING, NodeState.REIMAGING):
        assert after(state, 0) == [BootNode(a_node(state=state), fresh=state == "reimaging")]


def test_a_due_spot_node_is_preempted() -> None:
    node = a_node(dedicated=False, state=NodeState.RUNNING)
    assert decide(SchedulerState(preempted=(node,)), NOW) == [PreemptNode(node)]
    gone = replace(node, state=NodeState.PREEMPTED, intent="preempt", intent_option="requeue")
    assert of_node(gone, live=(LIVE,)) == [RequestTaskEnd(LIVE, "requeue")]
    assert of_node(gone, others=OTHERS) == [KillProcess(key) for key in OTHERS]


def test_a_preempted_node_stays_away_for_the_delay() -> None:
    node = a_node(state=NodeState.PREEMPTED)
    view = NodeView(node, a_pool())
    later = NOW + timedelta(seconds=3)
    delays = Delays(absence=timedelta(seconds=3))
    assert decide(SchedulerState(delays=delays, nodes=(view,)), NOW) == []
    assert decide(SchedulerState(delays=delays, nodes=(view,)), later) == [ReallocateNode(node)]


def test_an_offline_node_is_idle_after_scheduling_is_enabled() -> None:
    node = a_node(state=NodeState.OFFLINE)
    assert of_node(node) == [SetNodeState(node, NodeState.IDLE)]


DONE: dict[str, NodeState] = {
    "reboot": NodeState.REBOOTING,
    "reimage": NodeState.REIMAGING,
    "deallocate": NodeState.DEALLOCATING,
    "preempt": NodeState.PREEMPTED,
}


@pytest.mark.parametrize("intent", ["remove", "start", *DONE])
def test_an_intent_of_a_node_without_tasks_is_carried_out(intent: str) -> None:
    node = a_node(intent=intent, intent_option="requeue", state=NodeState.UNUSABLE)
    if intent == "remove":
        assert of_node(node) == [SetNodeState(node, NodeState.LEAVING_POOL)]
        gone = replace(node, state=NodeState.LEAVING_POOL)
        assert of_node(gone) == [RemoveNode(gone)]
    elif intent == "start":
        assert of_node(node) == [BootNode(node)]
    else:
        assert of_node(node) == [SetNodeState(node, DONE[intent], done=True)]


@pytest.mark.parametrize("state", [state for state in NodeState if state not in GONE])
def test_a_node_goes_offline_only_from_states_that_allow_it(state: NodeState) -> None:
    """Scheduling can be disabled in any state; the state machine has no illegal transition."""
    node = a_node(intent="offline", intent_option="requeue", state=state)
    (move,) = of_node(node)
    assert isinstance(move, SetNodeState) and move.done
    assert move.state in {state, NodeState.OFFLINE}
    NODE.check(state, move.state)
    up = state in {NodeState.IDLE, NodeState.RUNNING, NodeState.STARTING}
    assert move.state is NodeState.OFFLINE or not up


@pytest.mark.parametrize("intent", ["remove", *DONE])
@pytest.mark.parametrize("option", ["requeue", "terminate", "taskcompletion", "retaineddata"])
def test_tasks_end_before_an_intent_is_carried_out(intent: str, option: str) -> None:
    node = a_node(intent=intent, intent_option=option, state=NodeState.RUNNING)
    leaving = [SetNodeState(node, NodeState.LEAVING_POOL)]
    patient = option in {"taskcompletion", "retaineddata"}
    first: list[Decision] = leaving if intent == "remove" and not patient else []
    how: Any = option
    asked: list[Decision] = [] if patient else [RequestTaskEnd(LIVE, how)]
    assert of_node(node, live=(LIVE,)) == first + asked
    assert of_node(node, live=(ENDING_TASK,)) == first


def test_an_intent_waits_for_retained_data() -> None:
    node = a_node(intent="remove", intent_option="retaineddata")
    assert of_node(node, retained=True) == []
    assert of_node(node, retained=False) == [SetNodeState(node, NodeState.LEAVING_POOL)]


@pytest.mark.parametrize("intent", ["remove", "reboot", "reimage", "deallocate"])
def test_a_start_task_is_killed_before_its_node_reboots(intent: str) -> None:
    node = a_node(intent=intent, intent_option="requeue", state=NodeState.LEAVING_POOL)
    assert of_node(node, others=OTHERS) == [KillProcess("start.1"), KillProcess("preparation.3")]


def test_a_start_task_continues_while_scheduling_is_disabled() -> None:
    node = a_node(intent="offline", intent_option="requeue")
    assert of_node(node, others=OTHERS) == [SetNodeState(node, NodeState.OFFLINE, done=True)]


def test_an_unknown_intent_is_an_error() -> None:
    with pytest.raises(ValueError, match="dance"):
        of_node(a_node(intent="dance"))


# --- jobs


def of_job(job: Job, *live: Task) -> list[Decision]:
    return decide(SchedulerState(jobs=(JobView(job, live),)), NOW)


@pytest.mark.parametrize("state", list(JobState))
def test_the_step_of_each_job_state(state: JobState) -> None:
    job = a_job(state=state, disable_tasks="wait")
    expected: dict[JobState, list[Decision]] = {
        JobState.TERMINATING: [SetJobState(job, JobState.COMPLETED)],
        JobState.DELETING: [RemoveJob(job)],
        JobState.DISABLING: [SetJobState(job, JobState.DISABLED)],
        JobState.ENABLING: [SetJobState(job, JobState.ACTIVE)],
    }
    found = of_job(job)
    assert found == expected.get(state, [])
    for decision in found:
        if isinstance(decision, SetJobState):
            JOB.check(state, decision.state)


@pytest.mark.parametrize("state", [JobState.TERMINATING, JobState.DELETING])
def test_the_tasks_of_an_ending_job_end_first(state: JobState) -> None:
    job = a_job(state=state)
    asked = of_job(job, LIVE)
    assert asked == [RequestTaskEnd(LIVE, "terminate")]
    assert of_job(job, ENDING_TASK) == []


@pytest.mark.parametrize(
    ("option", "asked"),
    [
        ("requeue", [RequestTaskEnd(LIVE, "requeue")]),
        ("terminate", [RequestTaskEnd(LIVE, "terminate")]),
        ("wait", []),
    ],
)
def test_disabling_applies_its_option_to_running_tasks(option: str, asked: list[Decision]) -> None:
    assert of_job(a_job(state=JobState.DISABLING, disable_tasks=option), LIVE) == asked


def test_jobs_end_by_time_and_by_completion() -> None:
    late, done = a_job(id="late"), a_job(id="done")
    assert decide(SchedulerState(overdue=(late,), done=(done,)), NOW) == [
        SetJobState(late, JobState.TERMINATING, "MaxWallClockTimeExpiry"),
        SetJobState(done, JobState.TERMINATING, "AllTasksComplete"),
    ]


@pytest.mark.parametrize("state", [JobState.DISABLING, JobState.ENABLING])
def test_a_job_that_completes_in_transition_ends(state: JobState) -> None:
    job = a_job(state=state)
    assert decide(SchedulerState(jobs=(JobView(job),), overdue=(job,)), NOW) == [
        SetJobState(job, JobState.TERMINATING, "MaxWallClockTimeExpiry")
    ]


# --- preparation and release tasks

PREPARES = {"jobPreparationTask": {"waitForSuccess": True}}


def a_preparation(seq: int = 3, **more: Any) -> Preparation:
    return replace(Preparation(seq, "j", "p", "n1", "ready", {}, None, None), **more)


@pytest.mark.parametrize(
    ("prepared", "waits", "expected"),
    [
        ({}, True, ["prepare n1", "wait n1"]),
        ({}, False, ["prepare n1", "begin n1"]),
        ({"n1": "running"}, True, ["wait n1"]),
        ({"n1": "running"}, False, ["begin n1"]),
        ({"n1": "ready"}, True, ["begin n1"]),
        ({"n1": "failed"}, False, ["begin n1"]),
        ({"n1": "failed"}, True, ["prepare n2", "wait n2"]),
        ({"n1": "failed", "n2": "ready"}, True, ["begin n2"]),
        ({"n1": "failed", "n2": "failed"}, True, []),
    ],
)
def test_a_node_is_prepared_for_a_job_once_and_first(
    prepared: dict[str, str], waits: bool, expected: list[str]
) -> None:
    job = a_job(body={"jobPreparationTask": {"waitForSuccess": waits}})
    queue = JobQueue(job, (a_task(1),), prepared=prepared)
    work = PoolWork(a_pool(), (a_node(1, id="N1"), a_node(2, id="N2")), (queue,))
    operations = []
    for decision in decide(SchedulerState(work=(work,)), NOW):
        assert isinstance(decision, RunPreparationTask | RunTask)
        operation = (
            "prepare"
            if isinstance(decision, RunPreparationTask)
            else "wait"
            if decision.waits
            else "begin"
        )
        operations.append(f"{operation} {decision.node.id.lower()}")
    assert operations == expected


def test_tasks_of_one_round_share_a_preparation() -> None:
    queue = JobQueue(a_job(body=PREPARES), (a_task(1), a_task(2)))
    found = decide(SchedulerState(work=(PoolWork(a_pool(), (a_node(slots=2),), (queue,)),)), NOW)
    assert [type(decision) for decision in found] == [RunPreparationTask, RunTask, RunTask]


def test_a_preparing_task_is_ended_without_a_process() -> None:
    waiting = replace(ENDING_TASK, state=TaskState.PREPARING)
    assert decide(SchedulerState(ending=(waiting,)), NOW) == [EndPreparingTask(waiting)]


@pytest.mark.parametrize(
    ("state", "last"), [(JobState.TERMINATING, SetJobState), (JobState.DELETING, RemoveJob)]
)
def test_release_tasks_run_on_prepared_nodes_before_the_job_ends(
    state: JobState, last: type[Decision]
) -> None:
    job = a_job(state=state, body={**PREPARES, "jobReleaseTask": {}})

    def steps(*preparations: Preparation, live: tuple[Task, ...] = ()) -> list[Decision]:
        return decide(SchedulerState(jobs=(JobView(job, live, preparations),)), NOW)

    ready, failed = a_preparation(), a_preparation(4, state="failed")
    assert steps(ready, failed, live=(ENDING_TASK,)) == []
    assert steps(a_preparation(state="running")) == [KillProcess("preparation.3")]
    assert steps(ready, failed) == [RunReleaseTask(job, ready)]
    assert steps(a_preparation(release_state="running")) == []
    (end,) = steps(a_preparation(release_state="completed"), failed)
    assert isinstance(end, last)


def test_a_node_is_not_removed_in_the_round_of_a_release_task() -> None:
    """A job and its pool are deleted together: the release task would run on no node."""
    job = a_job(state=JobState.DELETING, body={**PREPARES, "jobReleaseTask": {}})
    ready = a_preparation(pool_id="P", node_id="N1")
    node = a_node(intent="remove", intent_option="requeue", state=NodeState.LEAVING_POOL)
    jobs, nodes = (JobView(job, (), (ready,)),), (NodeView(node, a_pool()),)
    assert decide(SchedulerState(jobs=jobs, nodes=nodes), NOW) == [RunReleaseTask(job, ready)]
    running = NodeView(node, a_pool(), others=("release.3",))
    assert decide(SchedulerState(nodes=(running,)), NOW) == [KillProcess("release.3")]


def test_a_job_without_a_release_task_ends_immediately() -> None:
    job = a_job(state=JobState.TERMINATING, body=PREPARES)
    view = JobView(job, (), (a_preparation(),))
    assert decide(SchedulerState(jobs=(view,)), NOW) == [SetJobState(job, JobState.COMPLETED)]


# --- files of ended tasks


def test_files_are_deleted_when_no_run_writes_them() -> None:
    deletion = PendingDeletion(1, "p", "n1", "workitems/j/job-1/t", task_seq=5, run=2)
    assert decide(SchedulerState(pending_deletions=(deletion,)), NOW) == [
        DeletePendingFiles(deletion)
    ]
    running = frozenset({run_key(5, 2)})
    assert decide(SchedulerState(pending_deletions=(deletion,), running=running), NOW) == [
        KillRun(5, 2)
    ]
    expired = a_task()
    assert decide(SchedulerState(expired=(expired,)), NOW) == [DeleteExpiredFiles(expired)]
    assert decide(SchedulerState(ending=(ENDING_TASK,)), NOW) == [
        KillRun(ENDING_TASK.seq, ENDING_TASK.run)
    ]


def test_no_task_starts_in_a_directory_in_use() -> None:
    deletion = PendingDeletion(1, "P", "N1", "workitems/j/job-1/T1", task_seq=5, run=2)
    work = PoolWork(a_pool(), (a_node(),), (JobQueue(a_job(), (a_task(1),)),))
    state = SchedulerState(
        pending_deletions=(deletion,), work=(work,), running=frozenset({run_key(5, 2)})
    )
    assert not any(isinstance(decision, RunTask) for decision in decide(state, NOW))
    assert any(
        isinstance(one, RunTask) for one in decide(replace(state, pending_deletions=()), NOW)
    )


# --- placement


def placed(work: PoolWork) -> list[RunTask]:
    found = decide(SchedulerState(work=(work,)), NOW)
    assert all(isinstance(decision, RunTask) for decision in found)
    return [decision for decision in found if isinstance(decision, RunTask)]


def offer_of(
    free: list[int], needs: list[int], *, fill: str = "Spread", capacity: int | None = None
) -> PoolWork:
    pool = a_pool(body={"taskSchedulingPolicy": {"nodeFillType": fill}})
    nodes = tuple(a_node(seq, slots=slots) for seq, slots in enumerate(free, start=1))
    tasks = tuple(a_task(seq, slots=slots) for seq, slots in enumerate(needs, start=1))
    return PoolWork(pool, nodes, (JobQueue(a_job(), tasks, capacity),))


@pytest.mark.parametrize(
    ("fill", "free", "needs", "nodes"),
    [
        ("Spread", [2, 2], [1, 1, 1, 1], ["n1", "n2", "n1", "n2"]),
        ("Pack", [2, 2], [1, 1, 1, 1], ["n1", "n1", "n2", "n2"]),
        ("pack", [4, 1], [1], ["n2"]),
        ("spread", [4, 1], [1], ["n1"]),
        ("Pack", [4, 2], [2, 4], ["n2", "n1"]),
        ("Spread", [2], [3], []),
        ("Spread", [2], [3, 2, 1], ["n1"]),
        ("Spread", [], [1], []),
    ],
)
def test_tasks_are_placed_on_nodes(
    fill: str, free: list[int], needs: list[int], nodes: list[str]
) -> None:
    assert [one.node.id for one in placed(offer_of(free, needs, fill=fill))] == nodes


@pytest.mark.parametrize(
    ("free", "needs", "settled"),
    [
        ([2, 1], [], True),  # nothing is decided
        ([2, 1], [1, 1, 1], True),  # nothing is free
        ([2, 1], [2, 1, 4], True),
        ([2, 1], [2, 2, 2], False),  # a smaller task that was not offered may fit
        ([2, 1], [1], False),
    ],
)
def test_another_round_is_needed_while_slots_are_free(
    free: list[int], needs: list[int], settled: bool
) -> None:
    state = SchedulerState(work=(offer_of(free, needs),))
    assert is_settled(state, decide(state, NOW)) is settled


def test_another_round_is_needed_after_other_decisions() -> None:
    state = SchedulerState(pools=(PoolView(a_pool(allocation=AllocationState.RESIZING), ()),))
    decisions = decide(state, NOW)
    assert decisions
    assert not is_settled(state, decisions)


def test_a_job_respects_its_maximum_of_parallel_tasks() -> None:
    assert len(placed(offer_of([8], [1] * 5, capacity=3))) == 3
    assert placed(offer_of([8], [1] * 5, capacity=0)) == []


@given(
    free=st.lists(st.integers(1, 8), max_size=6),
    needs=st.lists(st.integers(1, 8), max_size=20),
    fill=st.sampled_from(["Spread", "Pack"]),
)
def test_slots_are_never_exceeded_and_no_fitting_task_waits(
    free: list[int], needs: list[int], fill: str
) -> None:
    found = placed(offer_of(free, needs, fill=fill))
    left = {f"n{seq}": slots for seq, slots in enumerate(free, start=1)}
    for one in found:
        left[one.node.id] -= one.task.slots
    assert all(slots >= 0 for slots in left.values())
    assert len({one.task.seq for one in found}) == len(found)
    unplaced = set(range(1, len(needs) + 1)) - {one.task.seq for one in found}
    assert all(needs[seq - 1] > max(left.values(), default=0) for seq in unplaced)
