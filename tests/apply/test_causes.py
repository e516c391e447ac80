"""Why a run waits, from one poll: each cause of the table, and states that are no cause."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from batchspec.account import NodeFacts, PreparationFacts, TaskCounts
from batchspec.apply.monitor import CAUSES, Cause, Health, Watched, find_causes
from batchspec.apply.monitor.health import SlowTask, StuckTasks
from batchspec.cloud.errors import TABLE
from batchspec.exit_codes import Exit
from batchspec.plan.capacity import AccountResource, Capacity
from batchspec.plan.failures import resize_fix
from batchspec.plan.observed import JobFacts, PoolFacts
from batchspec.plan.rules.pool import pool_resize_failed
from batchspec.spec import Record
from tests.apply.fake import START

if TYPE_CHECKING:
    from batchspec.plan.rules.rule import RuleContext

ROOT = Path(__file__).parents[2]
NOW = START + timedelta(minutes=20)
QUOTA = (("AccountCoreQuotaReached", "The specified account has reached core quota"),)
SCALES = Record(enableAutoScale=True)
JOB = JobFacts("j", "active", START, Record(), {})
WAITING = TaskCounts(3, 0, 1, 0)
RUNNING = TaskCounts(2, 1, 1, 0)


def pool(now: int = 2, target: int = 2, **fields: Any) -> PoolFacts:
    """A pool that has ``now`` of ``target`` nodes."""
    found = PoolFacts("p", "active", "steady", Record(), {}, now, 0, target, 0)
    return replace(found, **fields)


def health(nodes: Mapping[str, int] | None = None, **fields: Any) -> Health:
    """A poll of a job with waiting tasks, on a healthy pool of two idle nodes."""
    found = Health(
        at=NOW,
        deadline=START + timedelta(hours=1),
        watched=Watched("p", "j"),
        job=JOB,
        job_seen=True,
        counts=WAITING,
        pool_id="p",
        pool=pool(),
        nodes={"idle": 2} if nodes is None else nodes,
        steady_since=START,
    )
    return replace(found, **fields)


def unhealthy(count: int, state: str = "starttaskfailed") -> tuple[NodeFacts, ...]:
    return tuple(NodeFacts(f"n{number}", state, 3, "it failed") for number in range(count))


def stuck(**why: Any) -> dict[str, Any]:
    return {"stuck": StuckTasks(3, **why)}


FAILED = PreparationFacts("n1", failed=True, exit_code=4, message="no disk")
SLOW = SlowTask("t", START, timedelta(seconds=20))

LOOKS: Mapping[str, tuple[Health, str, bool]] = {
    "the job was deleted": (health(job=None), "job-gone", True),
    "the job is disabled": (health(job=replace(JOB, state="disabled")), "job-disabled", False),
    "the job's own pool cannot be created": (
        health(
            {},
            job=replace(JOB, scheduling_error=("AutoPoolCreationFailedWithQuotaReached", "no")),
            watched=Watched("", "j"),
            pool=None,
            pool_id="",
        ),
        "job-unschedulable",
        True,
    ),
    "the pool was deleted": (health({}, pool=None), "pool-gone", True),
    "the pool is deleted, and a task runs": (
        health(pool=pool(state="deleting"), counts=RUNNING),
        "pool-gone",
        False,
    ),
    "quota, and no node": (health({}, pool=pool(0, resize_errors=QUOTA)), "no-nodes", True),
    "quota, and no node, on a pool that scales": (
        health({}, pool=pool(0, resize_errors=QUOTA, properties=SCALES)),
        "no-nodes",
        False,
    ),
    "quota, and one node": (
        health({"running": 1}, pool=pool(1, 3, resize_errors=QUOTA), counts=RUNNING),
        "fewer-nodes",
        False,
    ),
    "a formula with an unknown variable": (
        health({}, pool=pool(0, 0, properties=SCALES, autoscale_error=("E", "$Unknown"))),
        "autoscale-error",
        True,
    ),
    "a formula before there are samples": (
        health({}, pool=pool(0, 0, properties=SCALES, autoscale_error=("E", "too few samples"))),
        "autoscale-error",
        False,
    ),
    "a formula that fails once there are nodes": (
        health(pool=pool(properties=SCALES, autoscale_error=("E", "$Unknown")), counts=RUNNING),
        "autoscale-error",
        False,
    ),
    "a pool whose target is no nodes": (health({}, pool=pool(0, 0)), "pool-empty", False),
    "a formula that asks for none": (
        health({}, pool=pool(0, 0, properties=SCALES)),
        "scaled-to-zero",
        False,
    ),
    "nodes are allocated": (
        health({}, pool=pool(0, allocation="resizing")),
        "nodes-starting",
        False,
    ),
    "nodes start": (health({"starting": 2}), "nodes-starting", False),
    "the start task runs": (health({"waitingforstarttask": 2}), "start-task-running", False),
    "the start task failed on every node": (
        health({"starttaskfailed": 2}, unhealthy=unhealthy(2)),
        "start-task-failed",
        True,
    ),
    "the start task failed on every node of a pool that scales": (
        health({"starttaskfailed": 2}, unhealthy=unhealthy(2), pool=pool(properties=SCALES)),
        "start-task-failed",
        True,
    ),
    "the start task failed, and more nodes come": (
        health({"starttaskfailed": 2}, unhealthy=unhealthy(2), pool=pool(allocation="resizing")),
        "start-task-failed",
        False,
    ),
    "the start task failed on one of two, and the other is not counted yet": (
        health({"starttaskfailed": 1}, unhealthy=unhealthy(1)),
        "start-task-failed",
        False,
    ),
    "the start task failed on one of two": (
        health({"starttaskfailed": 1, "idle": 1}, unhealthy=unhealthy(1)),
        "start-task-failed",
        False,
    ),
    "every node is unusable": (
        health({"unusable": 2}, unhealthy=unhealthy(2, "unusable")),
        "nodes-unusable",
        True,
    ),
    "Spot nodes were taken away": (health({"preempted": 2}), "spot-preempted", False),
    "nodes are offline": (health({"offline": 2}), "nodes-offline", False),
    "nodes are out of contact": (health({"unknown": 2}), "nodes-lost", False),
    "other jobs have the nodes": (health({"running": 2}), "pool-busy", False),
    "the preparation task failed everywhere": (
        health(preparations=(FAILED, FAILED)),
        "preparation-failed",
        True,
    ),
    "the preparation task failed on one of two": (
        health(preparations=(FAILED, replace(FAILED, failed=False))),
        "preparation-failed",
        False,
    ),
    "a dependency failed": (health(**stuck(failed=("a", "b"))), "dependency-failed", True),
    "a dependency does not exist": (
        health(**stuck(missing=("a", "b"))),
        "dependency-missing",
        True,
    ),
    "a dependency does not exist, and tasks may come": (
        health(**stuck(missing=("a", "b")), watched=Watched("p", "j", closed=False)),
        "dependency-missing",
        False,
    ),
    "tasks wait for each other": (health(**stuck(circle="a")), "dependency-circle", True),
    "a task takes too many slots": (
        health(**stuck(too_large=("a", 4), slots=2)),
        "too-many-slots",
        True,
    ),
    "nothing explains it": (health(), "not-started", False),
    "a task is slow": (health(counts=RUNNING, slow=(SLOW,)), "task-slow", False),
}


@pytest.mark.parametrize(("look", "code", "ends"), LOOKS.values(), ids=LOOKS)
def test_the_cause(look: Health, code: str, ends: bool) -> None:
    found = find_causes(look)
    assert [(cause.code, cause.ends) for cause in found] == [(code, ends)]
    (cause,) = found
    assert cause.summary and cause.action and cause.subject
    assert not {"JOB", "POOL", "TASK"} & set(re.findall(r"[A-Z]+", cause.action)), "to be pasted"
    assert find_causes(look) == found
    assert not ends or cause.kind.ends_when, "the table says when it ends a run"


def test_every_cause_has_a_case_and_every_ending_cause_an_ending_one() -> None:
    of_cloud = {code for code, kind in CAUSES.items() if kind.resource == "service"}
    assert {code for _, code, _ in LOOKS.values()} | of_cloud == set(CAUSES)
    ending = {code for _, code, ends in LOOKS.values() if ends}
    assert ending == {kind.code for kind in CAUSES.values() if kind.ends_when}
    waiting = {code for _, code, ends in LOOKS.values() if not ends}
    assert {kind.code for kind in CAUSES.values() if not kind.ends_when} <= waiting | of_cloud


def test_the_page_is_up_to_date() -> None:
    command = [sys.executable, "tools/generate_waiting.py", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


NONE: Mapping[str, Health] = {
    "tasks run": health({"running": 2}, counts=RUNNING),
    "nothing waits": health(counts=TaskCounts(0, 0, 4, 0)),
    "the job has ended": health({}, job=replace(JOB, state="completed"), pool=None),
    "an old resize error, and the target is met": health(
        pool=pool(resize_errors=QUOTA), counts=RUNNING
    ),
    "an old resize error on a pool that is scaled to zero, before there are tasks": health(
        {},
        pool=pool(0, 0, resize_errors=QUOTA, properties=SCALES),
        job=None,
        job_seen=False,
    ),
    "nodes that were restarted are counted as failed, and not listed": health(
        {"starttaskfailed": 2}, counts=RUNNING
    ),
    "the pool of a job that the service makes just now": health(
        {}, watched=Watched("", "j"), pool_id="x", pool=None, counts=TaskCounts(0, 0, 0, 0)
    ),
}


@pytest.mark.parametrize("look", NONE.values(), ids=NONE)
def test_normal_states_have_no_cause_that_ends_the_run(look: Health) -> None:
    found = find_causes(look)
    assert not [cause for cause in found if cause.ends]
    assert {cause.code for cause in found} <= {"scaled-to-zero"}


def test_causes_that_end_the_run_come_first() -> None:
    look = health(
        {"starttaskfailed": 1},
        pool=pool(1, 3, resize_errors=QUOTA),
        unhealthy=unhealthy(1),
    )
    assert [cause.code for cause in find_causes(look)] == ["start-task-failed", "fewer-nodes"]


def test_the_text_names_object_numbers_and_service_code() -> None:
    def only(name: str) -> Cause:
        (cause,) = find_causes(LOOKS[name][0])
        return cause

    assert only("quota, and one node").summary == "1 of 3 nodes: AccountCoreQuotaReached"
    assert only("quota, and no node").summary == (
        "the pool 'p' got no nodes: AccountCoreQuotaReached"
    )
    assert only("the start task failed on every node").summary == (
        "start task failed on 2 of 2 nodes of the pool 'p' (exit code 3)"
    )
    assert only("a dependency does not exist").summary == (
        "3 tasks can never start: the task 'a' waits for task 'b', which does not exist"
    )
    assert only("a dependency failed").kind.exit is Exit.TASKS_FAILED


RESIZE_ERRORS = [
    ("AccountCoreQuotaReached", "quota of dedicated cores"),
    ("AccountLowPriorityCoreQuotaReached", "quota of Spot cores"),
    ("AccountSpotCoreQuotaReached", "quota of Spot cores"),
    ("AllocationFailed", "--target azure"),
    ("AllocationTimedout", "`resize_timeout`"),
    ("AllocationTimedOut", "`resize_timeout`"),
    ("CommunicationEnabledPoolReachedMaxVMCount", "`enable_inter_node_communication`"),
    ("OverconstrainedAllocationRequestError", "another `vm_size`"),
    ("RemoveNodesFailed", "in a few minutes"),
    ("UnsupportedVMSize", "another `vm_size`"),
    ("ResizeStopped", "Apply again"),
    ("SomethingNew", "other nodes"),
]


@pytest.mark.parametrize(("code", "words"), RESIZE_ERRORS)
def test_a_resize_error_has_one_fix_everywhere(code: str, words: str) -> None:
    """In the cause of a run, in the finding of a plan, and in a refusal of the service."""
    (cause,) = find_causes(health({}, pool=pool(0, resize_errors=((code, "why"),))))
    assert resize_fix(code) == cause.action
    assert words in cause.action
    assert code not in TABLE or TABLE[code][1] + "." == cause.action
    assert "Quota" not in code or code in TABLE


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("The server encountered an internal error.", "in a few minutes"),
        ("Allocation failed as subnet has delegation to external resources.", "delegation"),
        (
            "Azure Batch Service does not have the desired permissions to perform a pool operation",
            "on the subscription",
        ),
        ("Allocation failed as Batch is not authorized to access the key vault.", "key vault"),
    ],
)
def test_a_failed_allocation_has_the_fix_of_its_reason(reason: str, words: str) -> None:
    """The reasons are those of Microsoft's troubleshooting guide for resize failures."""
    message = f"Desired number of dedicated nodes could not be allocated; Reason: {reason}"
    errors = (("AllocationFailed", message),)
    for nodes in (0, 1):
        (cause, *_) = find_causes(health({}, pool=pool(nodes, resize_errors=errors)))
        assert words in cause.action
        assert cause.action == resize_fix("AllocationFailed", message)


@pytest.mark.parametrize("code", ["AccountLowPriorityCoreQuotaReached", "SomethingNew"])
def test_the_finding_about_a_resize_error_has_the_same_fix(code: str) -> None:
    facts = pool(0, resize_errors=((code, "why"),))
    found = SimpleNamespace(
        observed=SimpleNamespace(pool=facts),
        spec=SimpleNamespace(pool=SimpleNamespace(where=None)),
    )

    (finding,) = pool_resize_failed(cast("RuleContext", found))

    assert finding.fix == resize_fix(code)
    assert finding.detail == "why"


@pytest.mark.parametrize(("code", "words"), RESIZE_ERRORS)
def test_the_action_for_a_resize_error_depends_on_its_code(code: str, words: str) -> None:
    (cause,) = find_causes(health({}, pool=pool(0, resize_errors=((code, "as the service says"),))))
    assert code in cause.summary
    assert cause.detail == "as the service says"
    assert words in cause.action
    assert ("quota" in cause.action) == ("Quota" in code)


def test_a_quota_error_names_the_numbers_if_they_are_known() -> None:
    resource = AccountResource("/x", dedicated_cores=10)
    short = pool(1, 3, resize_errors=QUOTA, properties=Record(vmSize="standard_d4s_v3"))
    looked = health({"idle": 1}, pool=short, capacity=Capacity(resource, None, (short,)))
    [cause] = find_causes(looked)
    assert cause.detail == (
        "The specified account has reached core quota; the quota of dedicated cores is 10, and"
        " pools have or request 12 (p 12)"
    )
    [unknown] = find_causes(replace(looked, capacity=None))
    assert unknown.detail == "The specified account has reached core quota"
