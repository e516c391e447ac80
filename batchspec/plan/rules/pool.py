"""Rules about the pool: how many nodes there are, what they start with, and what costs money."""

from __future__ import annotations

from collections.abc import Iterator

from batchspec.diagnostics import Place, counted
from batchspec.plan.failures import OTHER_FIX, resize_fix
from batchspec.plan.observed import Observed
from batchspec.plan.rules.rule import (
    ERROR,
    NOTE,
    WARNING,
    Finding,
    RuleContext,
    RuleGroup,
)
from batchspec.spec import PoolKind, Spec, When

POOL = RuleGroup("Pool", "The nodes of the pool, and their start task.")

_MAX_COMMUNICATING = 100
"""Nodes of a pool with inter-node communication (Batch quotas and limits)."""
_MAX_OF_MANAGED_IMAGE = (2_000, 1_000)
"""Dedicated and Spot nodes of a pool with a managed image (Batch quotas and limits)."""
_NODE_KEYS = ("nodes", "target_dedicated_nodes", "target_low_priority_nodes")


@POOL.check(
    "no-nodes",
    ERROR,
    title="The pool has no nodes and does not scale",
    why="No task would run, and the run would last until its time limit.",
    fix="Write `nodes: 1` or more, or `nodes: {scale: {max: 10}}`.",
)
def no_nodes(context: RuleContext) -> Iterator[Finding]:
    """A pool to create has zero target nodes."""
    if not context.existing and _without_nodes(context):
        yield Finding(
            "the pool has no nodes, so no task would run",
            context.at_pool(*_NODE_KEYS),
        )


@POOL.check(
    "pool-without-nodes",
    WARNING,
    title="An existing pool has no nodes",
    why="No task runs until the pool gets nodes, while the job's time limit elapses.",
    fix="Resize the pool, or use another pool.",
)
def pool_without_nodes(context: RuleContext) -> Iterator[Finding]:
    """A pool marked ``existing`` has zero target nodes."""
    if context.existing and context.known and _without_nodes(context):
        pool = context.spec.pool
        yield Finding(f"the pool {pool.id!r} has no nodes and does not scale", pool.where)


def _without_nodes(context: RuleContext) -> bool:
    return not context.scales and not any(context.targets) and bool(context.spec.stages)


@POOL.check(
    "pool-resize-failed",
    WARNING,
    title="The pool did not get the nodes that it requested",
    why="The service does not repeat the allocation until the pool is resized again.",
    fix=OTHER_FIX,
)
def pool_resize_failed(context: RuleContext) -> Iterator[Finding]:
    """The latest resize of the pool ended with an error."""
    pool = context.observed.pool
    if pool is not None and pool.shortfall and pool.state != "deleting":
        yield Finding(
            f"the pool {pool.id!r} did not get its nodes: {pool.shortfall}",
            context.spec.pool.where,
            "\n".join(message for _, message in pool.resize_errors if message),
            resize_fix(*pool.resize_errors[0]),
        )


@POOL.check(
    "too-many-nodes",
    ERROR,
    title="The pool has more nodes than the service supports",
    why="A pool with inter-node communication has up to 100 nodes; a pool with a managed image has"
    " up to 2,000 dedicated and 1,000 Spot nodes.",
    fix="Use fewer nodes, or distribute the tasks over several pools.",
)
def too_many_nodes(context: RuleContext) -> Iterator[Finding]:
    """More nodes than pools of this kind can have."""
    if context.existing:
        return
    where, most = context.at_pool(*_NODE_KEYS), context.most
    communicates = context.body.get("enableInterNodeCommunication") is True
    if communicates and most and most > _MAX_COMMUNICATING:
        yield Finding(
            f"the pool has {most:,} nodes; a pool with inter-node communication has up to"
            f" {_MAX_COMMUNICATING}",
            where,
        )
    reference = context.machine.record("imageReference")
    if reference.get("virtualMachineImageId") is None or context.scales:
        return
    kinds = ("dedicated", "Spot")
    for count, limit, kind in zip(context.targets, _MAX_OF_MANAGED_IMAGE, kinds, strict=True):
        if count > limit:
            yield Finding(
                f"the pool has {count:,} {kind} nodes; a pool with a managed image has up to"
                f" {limit:,}",
                where,
            )


@POOL.check(
    "start-task-not-waited-for",
    WARNING,
    title="Tasks do not wait for the start task",
    why="They run on nodes whose start task has not completed or has failed.",
    fix="Remove `wait_for_success: false` from the start task.",
)
def start_task_not_waited_for(context: RuleContext) -> Iterator[Finding]:
    """``waitForSuccess`` is off."""
    if context.body.record("startTask").get("waitForSuccess") is False:
        yield Finding(
            "tasks can start before the start task has completed, or after it has failed",
            context.at_pool("start_task.wait_for_success", "start_task"),
        )


POOL.describe(
    "too-many-packages",
    ERROR,
    "The pool refers to more than 10 application packages",
    "The service supports 10 per pool.",
    "Refer to some of them in the tasks, or combine them into one.",
)
POOL.describe(
    "too-many-mounts",
    ERROR,
    "The pool mounts more than 10 file systems",
    "The service supports 10 per node.",
    "Remove some of them.",
)

COSTS = RuleGroup(
    "Costs",
    "Costs that arise while no client is running. A spec must set a time limit for its job.",
)

_MANY = 10
_RETRY_KEYS = ("retries", "max_retries", "constraints.max_task_retry_count", "max_task_retry_count")
_PAID = "azure"


@COSTS.check(
    "pool-kept",
    WARNING,
    title="The pool is never deleted",
    why="Its nodes cost money until you delete it.",
    fix="Write `cleanup: {pool: always}`, `pool: {lifetime: job, ...}`, or"
    " `nodes: {scale: {max: N}}`.",
)
def pool_kept(context: RuleContext) -> Iterator[Finding]:
    """A pool with nodes that neither batchspec nor the service deletes."""
    pool, nodes = context.spec.pool, context.without_tasks
    if pool.kind is PoolKind.JOB and pool.auto.get("keepAlive") is True and nodes:
        yield Finding(
            f"the auto pool ({counted(nodes, 'node')}) remains after its job and is never deleted",
            context.at_pool("keep_alive"),
            fix="Remove `keep_alive`.",
        )
    scheduled = context.spec.job.schedule is not None
    # `cleanup: {pool: never}` is the user's decision.
    decided = not scheduled and context.spec.place("cleanup.pool") is not None
    if _is_kept(context) and not decided:
        paid = context.observed.account.target == _PAID
        cost = " and costs money until you delete it" if paid else ""
        between = (
            "Use `pool: {lifetime: job, ...}` for a pool for each job, or `nodes: {scale: {max:"
            " N}}` to remove nodes between jobs."
        )
        yield Finding(
            f"the pool {pool.id!r} ({counted(nodes, 'node')}) is never deleted{cost}",
            context.at_pool(*_NODE_KEYS),
            fix=between if scheduled else "",
        )


@COSTS.check(
    "pool-needs-client",
    NOTE,
    title="The pool is deleted by batchspec, not by the service",
    why="If the run is interrupted, the nodes cost money until the next `apply` or `attach`.",
    fix="Use `lifetime: job` or `nodes: {scale: ...}` to let the service release the nodes."
    " `batchspec list --orphans` finds pools that were left behind.",
)
def pool_needs_client(context: RuleContext) -> Iterator[Finding]:
    """A paid pool that clean-up deletes."""
    pool, nodes = context.spec.pool, context.without_tasks
    paid = context.observed.account.target == _PAID
    if pool.kind is PoolKind.OWN and nodes and paid and not _is_kept(context):
        yield Finding(
            f"the pool {pool.id!r} ({counted(nodes, 'node')}) costs money until batchspec deletes"
            " it",
            context.at_pool(*_NODE_KEYS),
        )


def _is_kept(context: RuleContext) -> bool:
    """Whether the spec creates a pool with nodes and never deletes it."""
    spec = context.spec
    if spec.pool.kind is not PoolKind.OWN or not context.without_tasks:
        return False
    return spec.job.schedule is not None or spec.cleanup.pool is When.NEVER


@COSTS.rule(
    "pool-stays",
    WARNING,
    title="The pool remains when the job has ended",
    why="`apply --detach` skips the clean-up.",
    fix="`batchspec attach` waits, downloads the results and cleans up; `batchspec destroy` deletes"
    " the pool.",
)
def pool_stays(pool: str) -> Iterator[Finding]:
    """A detached run whose clean-up would delete the pool."""
    yield Finding(f"the pool {pool!r} remains when the job has ended: clean-up is skipped")


@COSTS.rule(
    "former-pool",
    WARNING,
    title="A pool of an earlier version of the spec remains",
    why="The spec named another pool when its jobs ran. A new `id` or kind of pool does not delete"
    " the earlier pool, and clean-up deletes only the pool that the spec names.",
    fix="`batchspec destroy` deletes it with the run. To use it again, restore its `id` in `pool`.",
)
def former_pool(spec: Spec, observed: Observed) -> Iterator[Finding]:
    """Pools that this spec created under other ids, and that its jobs ran on."""
    for pool in observed.former_pools:
        nodes = max(pool.dedicated + pool.spot, pool.target_dedicated + pool.target_spot)
        has = f" and has {counted(nodes, 'node')}" if nodes else ""
        yield Finding(
            f"the pool {pool.id!r} of an earlier version of this spec remains{has}",
            spec.pool.where,
            "Its nodes are billed as long as they exist." if nodes else "",
        )


@COSTS.check(
    "unlimited-retries",
    WARNING,
    title="A failing task is retried without a limit",
    why="With `-1`, a task that always fails occupies its node until the job ends.",
    fix="Set a number of `retries`; `batchspec retry` runs failed tasks again.",
)
def unlimited_retries(context: RuleContext) -> Iterator[Finding]:
    """A retry count of -1."""
    for subject, count, where in _retries(context):
        if count < 0:
            yield Finding(f"{subject} retried without a limit", where)


@COSTS.check(
    "many-retries",
    WARNING,
    title="A failing task is retried more than 10 times",
    why="An error in the program multiplies the cost of the run.",
    fix="Use fewer `retries`; `batchspec retry` runs failed tasks again.",
)
def many_retries(context: RuleContext) -> Iterator[Finding]:
    """A high retry count."""
    for subject, count, where in _retries(context):
        if count > _MANY:
            yield Finding(f"{subject} retried up to {count} times", where)


def _retries(context: RuleContext) -> Iterator[tuple[str, int, Place]]:
    """Every subject with its retry count."""
    count = "maxTaskRetryCount"
    job = context.spec.job.properties.record("constraints")
    yield "failed tasks are", job.number(count), context.at_job(*_RETRY_KEYS)
    start = context.body.record("startTask")
    at_start = context.at_pool("start_task.max_task_retry_count", "start_task")
    yield "a failed start task is", start.number(count), at_start
    for stage in context.spec.stages:
        own = stage.body.record("constraints")
        subject = f"failed tasks of {stage.name} are"
        yield subject, own.number(count), context.at_stage(stage, *_RETRY_KEYS)
