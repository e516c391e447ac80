"""Finds the causes for which a run waits, from its state at one poll (pure)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from batchspec.account import NodeFacts
from batchspec.apply.monitor.cause_table import CAUSES, Cause
from batchspec.apply.monitor.health import USABLE, Health
from batchspec.diagnostics import counted
from batchspec.plan.capacity import Capacity, quota_numbers
from batchspec.plan.failures import NodeFailure, resize_fix
from batchspec.plan.observed import (
    NODE_UNUSABLE,
    START_TASK_FAILED,
    START_TASK_RUNNING,
    JobFacts,
    PoolFacts,
)

_STARTING = (
    "creating",
    "starting",
    "rebooting",
    "reimaging",
    "upgradingos",
    "leavingpool",
    "deallocating",
    "deallocated",
)
"""The states through which a node normally passes in which it accepts no tasks."""

_UNHEALTHY_CODES = {START_TASK_FAILED: "start-task-failed", NODE_UNUSABLE: "nodes-unusable"}
"""The code of a cause by the state of the nodes."""


def find_causes(health: Health) -> tuple[Cause, ...]:
    """The causes for which the run waits, those that end it first.

    The result is empty if the job has ended.
    """
    if health.over:
        return ()
    found = [*_of_job(health), *_of_pool(health), *_of_nodes(health), *_of_tasks(health)]
    if not found:
        found = list(_unexplained(health))
    return tuple(sorted(found, key=lambda cause: not cause.ends))


def _cause(code: str, subject: str, summary: str, **fields: Any) -> Cause:
    kind = CAUSES[code]
    # The subject names the placeholder of the commands in the table: JOB in "job ID".
    placeholder, _, name = subject.partition(" ")
    action = fields.pop("action", kind.action).replace(f" {placeholder.upper()}", f" {name}")
    return Cause(kind, subject, summary, action=action, **fields)


def _of_job(health: Health) -> Iterator[Cause]:
    job, watched = health.job, health.watched
    subject = f"job {watched.job}"
    if job is None:
        if health.job_seen:
            summary = f"the job {watched.job!r} was deleted while it ran"
            yield _cause("job-gone", subject, summary, ends=True, service="JobNotFound")
        return
    if job.state in {"disabled", "disabling"}:
        yield _cause("job-disabled", subject, f"the job {job.id!r} is disabled")
    if job.scheduling_error is not None:
        code, message = job.scheduling_error
        summary = f"the job {job.id!r} cannot be started: {code}"
        ends = not health.counts.running
        yield _cause("job-unschedulable", subject, summary, detail=message, ends=ends, service=code)


def _of_pool(health: Health) -> Iterator[Cause]:
    pool, name = health.pool, health.pool_id
    if not name:
        return
    subject, idle = f"pool {name}", not health.counts.running
    if pool is None and not (health.watched.pool or health.pool_seen):
        # The service creates an auto pool shortly after its job.
        return
    if pool is None or pool.state == "deleting":
        what = "does not exist" if pool is None else "is being deleted"
        summary = f"the pool {name!r} {what}"
        ends = pool is None or idle
        yield _cause("pool-gone", subject, summary, ends=ends, service="PoolNotFound")
        return
    without_nodes = not pool.nodes and not health.nodes
    if pool.autoscale_error is not None:
        code, message = pool.autoscale_error
        yield _cause(
            "autoscale-error",
            subject,
            f"the autoscale formula of the pool {name!r} cannot be evaluated: {code}",
            detail=message,
            since=pool.autoscale_at,
            service=code,
            # Samples are taken every 30 seconds; a new pool has none.
            ends=without_nodes and idle and "sample" not in message.lower(),
        )
    elif without_nodes and not pool.target:
        yield _without_target(pool)
    if pool.shortfall:
        yield _shortfall(pool, health.capacity, without_nodes=without_nodes, idle=idle)


def _without_target(pool: PoolFacts) -> Cause:
    subject = f"pool {pool.id}"
    if pool.scales:
        summary = f"the formula of the pool {pool.id!r} requests no nodes"
        return _cause("scaled-to-zero", subject, summary, since=pool.autoscale_at)
    summary = f"the pool {pool.id!r} has no nodes and does not scale"
    return _cause("pool-empty", subject, summary, since=pool.allocation_since)


def _shortfall(
    pool: PoolFacts, capacity: Capacity | None, *, without_nodes: bool, idle: bool
) -> Cause:
    code, message = pool.resize_errors[0]
    if (numbers := quota_numbers(capacity, pool, code)) and numbers not in message:
        message = f"{message}; {numbers}" if message else numbers
    kind, subject = "no-nodes" if without_nodes else "fewer-nodes", f"pool {pool.id}"
    counts = f"{pool.nodes:,} of {counted(pool.target, 'node')}"
    return _cause(
        kind,
        subject,
        f"the pool {pool.id!r} got no nodes: {code}" if without_nodes else f"{counts}: {code}",
        detail=message,
        action=resize_fix(code, message, CAUSES[kind].action),
        ends=without_nodes and idle and not pool.scales,
        service=code,
        since=pool.allocation_since,
    )


def _of_nodes(health: Health) -> Iterator[Cause]:
    pool = health.pool
    if pool is None or pool.state == "deleting":
        return
    yield from _list_unhealthy(health, pool)
    if health.usable:
        return
    subject = f"pool {pool.id}"
    waiting = health.of_nodes("waitingforstarttask")
    if waiting:
        summary = f"the start task runs on {_part(waiting, pool, health)}"
        yield _cause("start-task-running", subject, summary)
    starting = health.of_nodes(*_STARTING)
    allocating = pool.allocation == "resizing" and not health.nodes and pool.target
    if starting or allocating:
        summary = f"0 of {counted(pool.target, 'node')} of the pool {pool.id!r} accept tasks: "
        summary += f"{starting:,} starting" if starting else "none is allocated yet"
        yield _cause("nodes-starting", subject, summary)
    for state, code, what in (
        ("preempted", "spot-preempted", "preempted"),
        ("offline", "nodes-offline", "offline"),
        ("unknown", "nodes-lost", "out of contact"),
    ):
        if count := health.of_nodes(state):
            are = "is" if count == 1 else "are"
            yield _cause(code, subject, f"{_part(count, pool, health)} {are} {what}")


def _list_unhealthy(health: Health, pool: PoolFacts) -> Iterator[Cause]:
    """The causes of nodes that accept no tasks until a client acts, from a list of nodes."""
    every = len(health.unhealthy) >= max(sum(health.nodes.values()), pool.nodes)
    steady = pool.allocation == "steady"
    for state, code in _UNHEALTHY_CODES.items():
        nodes = [node for node in health.unhealthy if node.state == state]
        if not nodes:
            continue
        part = _part(len(nodes), pool, health)
        how = "" if nodes[0].exit_code is None else f" (exit code {nodes[0].exit_code})"
        summary = (
            f"start task failed on {part}{how}"
            if state == START_TASK_FAILED
            else f"{part} {'is' if len(nodes) == 1 else 'are'} unusable"
        )
        yield _cause(
            code,
            f"pool {pool.id}",
            summary,
            detail=_node_message(nodes),
            action=CAUSES[code].action.replace("NODE", nodes[0].id),
            ends=every and steady and not health.counts.running,
            service="StartTaskFailed" if state == START_TASK_FAILED else "NodeStateUnusable",
        )


def _node_message(nodes: list[NodeFacts]) -> str:
    """The first message of a node; messages of start tasks only repeat the exit code."""
    found = (node for node in nodes if node.message and node.exit_code is None)
    return next((f"node {node.id}: {node.message}" for node in found), "")


def cause_of_deleted_pool(pool: str, failures: Sequence[NodeFailure]) -> Cause | None:
    """Why the nodes of a deleted pool ran no tasks, from the stored failures."""
    codes = {**_UNHEALTHY_CODES, START_TASK_RUNNING: "start-task-running"}
    known = [failure for failure in failures if failure.state in codes]
    if not known:
        return None
    first = max(known, key=lambda failure: failure.count)
    nodes = f"{counted(first.count, 'node')} of the pool {pool!r}"
    how = "" if first.exit_code is None else f" (exit code {first.exit_code})"
    summary = {
        START_TASK_FAILED: f"start task failed on {nodes}{how}",
        START_TASK_RUNNING: f"{first.message or 'the start task still ran'} on {nodes}",
    }.get(first.state, f"{nodes} {'was' if first.count == 1 else 'were'} unusable")
    return _cause(
        codes[first.state],
        f"pool {pool}",
        summary,
        detail="The pool no longer exists.",
        action="`batchspec failures` shows the output of the start task. Fix the cause, and run "
        "`batchspec apply`.",
    )


def _part(count: int, pool: PoolFacts, health: Health) -> str:
    """``2 of 3 nodes of the pool 'topn'``."""
    total = max(sum(health.nodes.values()), pool.nodes, count)
    return f"{count:,} of {counted(total, 'node')} of the pool {pool.id!r}"


def _of_tasks(health: Health) -> Iterator[Cause]:
    if health.job is None:
        return
    yield from _preparation(health, health.job)
    if health.stuck is not None and health.stalled:
        yield from _stuck(health, health.job)
    for task in health.slow:
        took = int(task.longest.total_seconds())
        summary = f"the task {task.id!r} still runs; the longest completed task took {took} s"
        yield _cause("task-slow", f"task {task.id}", summary, since=task.started)


def _preparation(health: Health, job: JobFacts) -> Iterator[Cause]:
    failed = [node for node in health.preparations if node.failed]
    if not failed or not health.counts.active:
        return
    pool, usable = health.pool, health.usable
    steady = pool is None or pool.allocation == "steady"
    how = "" if failed[0].exit_code is None else f" (exit code {failed[0].exit_code})"
    nodes = counted(len(failed), "node")
    yield _cause(
        "preparation-failed",
        f"job {job.id}",
        f"the preparation task of the job {job.id!r} failed on {nodes}{how}",
        detail=next((f"node {one.node}: {one.message}" for one in failed if one.message), ""),
        ends=health.stalled and steady and 0 < usable <= len(failed),
        service="JobPreparationTaskFailed",
    )


def _stuck(health: Health, job: JobFacts) -> Iterator[Cause]:
    stuck = health.stuck
    assert stuck is not None
    subject = f"job {job.id}"
    head = "" if stuck.tasks == 1 else f"{stuck.tasks:,} tasks can never start: "
    for code, pair, what in (
        ("dependency-failed", stuck.failed, "has failed"),
        ("dependency-missing", stuck.missing, "does not exist"),
    ):
        if pair is not None:
            summary = f"{head}the task {pair[0]!r} waits for task {pair[1]!r}, which {what}"
            # A missing task may be added later; a failed one stays failed.
            ends = health.watched.closed or code == "dependency-failed"
            yield _cause(code, subject, summary, ends=ends)
    if stuck.too_large is not None:
        task, slots = stuck.too_large
        summary = f"{head}the task {task!r} takes {slots} slots; a node has {stuck.slots}"
        yield _cause("too-many-slots", subject, summary, ends=health.watched.closed)
    if stuck.circle:
        summary = f"{head}the task {stuck.circle!r} and others wait for each other"
        yield _cause("dependency-circle", subject, summary, ends=health.watched.closed)


def _unexplained(health: Health) -> Iterator[Cause]:
    """Tasks wait although nodes could run them, and the service gives no reason."""
    job = health.job
    if job is None or not health.stalled or not health.usable:
        return
    idle = health.of_nodes("idle")
    if not idle:
        busy = health.of_nodes(*USABLE)
        nodes = counted(busy, "node of the pool runs", "nodes of the pool run")
        summary = f"{nodes} tasks of other jobs"
        yield _cause("pool-busy", f"pool {health.pool_id}", summary)
        return
    nodes = counted(idle, "node is", "nodes are")
    summary = f"{health.counts.active:,} tasks wait although {nodes} idle"
    yield _cause("not-started", f"job {job.id}", summary)
