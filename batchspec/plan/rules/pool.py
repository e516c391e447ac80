"""Rules about the nodes of the pool: how many there are, and what they start with."""

from __future__ import annotations

from collections.abc import Iterator

from batchspec.plan.rules.context import RuleContext, record
from batchspec.plan.rules.rule import ERROR, WARNING, Finding, RuleGroup

POOL = RuleGroup("Pool", "Whether the pool has nodes, and what they start with.")

_MAX_COMMUNICATING = 100
"""Nodes of a pool with inter-node communication (Batch quotas and limits)."""
_MAX_OF_MANAGED_IMAGE = (2_000, 1_000)
"""Dedicated and Spot nodes of a pool with a managed image (Batch quotas and limits)."""
_MAX_PACKAGES = 10
_MAX_MOUNTS = 10
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
    why="The service reports the error; it tries again only after another resize.",
    fix="Request fewer nodes or another VM size, or increase the account's quota.",
)
def pool_resize_failed(context: RuleContext) -> Iterator[Finding]:
    """The latest resize of the pool ended with an error."""
    pool = context.observed.pool
    if pool is not None and pool.shortfall and pool.state != "deleting":
        yield Finding(
            f"the pool {pool.id!r} did not get its nodes: {pool.shortfall}",
            context.spec.pool.where,
            "\n".join(message for _, message in pool.resize_errors if message),
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
            f"a pool with inter-node communication has up to {_MAX_COMMUNICATING} nodes,"
            f" not {most:,}",
            where,
        )
    reference = record(context.machine.get("imageReference"))
    if reference.get("virtualMachineImageId") is None or context.scales:
        return
    kinds = ("dedicated", "Spot")
    for count, limit, kind in zip(context.targets, _MAX_OF_MANAGED_IMAGE, kinds, strict=True):
        if count > limit:
            yield Finding(
                f"a pool with a managed image has up to {limit:,} {kind} nodes, not {count:,}",
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
    if record(context.body.get("startTask")).get("waitForSuccess") is False:
        yield Finding(
            "tasks can start before the start task has completed, or after it has failed",
            context.at_pool("start_task.wait_for_success", "start_task"),
        )


@POOL.check(
    "too-many-packages",
    ERROR,
    title="The pool refers to more than 10 application packages",
    why="The service supports 10 per pool.",
    fix="Refer to some of them in the tasks, or combine them into one.",
)
def too_many_packages(context: RuleContext) -> Iterator[Finding]:
    """More application packages than a pool can have."""
    count = _length(context, "applicationPackageReferences")
    if count > _MAX_PACKAGES:
        yield Finding(
            f"the pool refers to {count} application packages; the limit is {_MAX_PACKAGES}",
            context.at_pool("application_package_references"),
        )


@POOL.check(
    "too-many-mounts",
    ERROR,
    title="The pool mounts more than 10 file systems",
    why="The service supports 10 per node.",
    fix="Remove some of them.",
)
def too_many_mounts(context: RuleContext) -> Iterator[Finding]:
    """More file systems than a node can mount."""
    count = _length(context, "mountConfiguration")
    if count > _MAX_MOUNTS:
        yield Finding(
            f"the pool mounts {count} file systems; the limit is {_MAX_MOUNTS}",
            context.at_pool("mount_configuration"),
        )


def _length(context: RuleContext, key: str) -> int:
    listed = context.body.get(key)
    return len(listed) if isinstance(listed, tuple) else 0
