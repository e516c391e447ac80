"""Rules about costs: pools that are not deleted, and retries without a limit."""

from __future__ import annotations

from collections.abc import Iterator

from batchspec.diagnostics import Place
from batchspec.plan.rules.context import RuleContext, number, record
from batchspec.plan.rules.rule import NOTE, WARNING, Finding, RuleGroup
from batchspec.spec import PoolKind, Record, When

MONEY = RuleGroup(
    "Costs", "What costs money while no client is running. The spec requires a time limit of a job."
)

_MANY = 10
_RETRY_KEYS = ("retries", "max_retries", "constraints.max_task_retry_count", "max_task_retry_count")
_NODE_KEYS = ("nodes", "target_dedicated_nodes", "target_low_priority_nodes")
_PAID = "azure"


@MONEY.check(
    "pool-kept",
    WARNING,
    title="The pool is never deleted",
    why="Its nodes cost money until you delete it.",
    fix="Write `cleanup: {pool: always}`, `pool: {lifetime: job, ...}`, or"
    " `nodes: {scale: {max: N}}`.",
)
def pool_kept(context: RuleContext) -> Iterator[Finding]:
    """A pool with nodes that neither batchspec nor the service deletes."""
    pool, nodes = context.spec.pool, context.least
    if pool.kind is PoolKind.JOB and pool.auto.get("keepAlive") is True and nodes:
        yield Finding(
            f"the auto pool ({_nodes(nodes)}) remains after its job and is never deleted",
            context.at_pool("keep_alive"),
            fix="Remove `keep_alive`.",
        )
    if _is_kept(context):
        scheduled = context.spec.job.schedule is not None
        between = (
            "Use `pool: {lifetime: job, ...}` for a pool for each job, or `nodes: {scale: {max:"
            " N}}` to remove nodes between jobs."
        )
        yield Finding(
            f"the pool {pool.id!r} ({_nodes(nodes)}) is never deleted and costs money until you"
            " delete it",
            context.spec.place("cleanup.pool") or context.at_pool(*_NODE_KEYS),
            fix=between if scheduled else "",
        )


@MONEY.check(
    "pool-needs-client",
    NOTE,
    title="The pool is deleted by batchspec, not by the service",
    why="If the run is interrupted, the nodes cost money until the next `apply` or `attach`.",
    fix="Use `lifetime: job` or `nodes: {scale: ...}` to let the service release the nodes."
    " `batchspec list --orphans` finds pools that remained.",
)
def pool_needs_client(context: RuleContext) -> Iterator[Finding]:
    """A paid pool that clean-up deletes."""
    pool, nodes = context.spec.pool, context.least
    paid = context.observed.account.target == _PAID
    if pool.kind is PoolKind.OWN and nodes and paid and not _is_kept(context):
        yield Finding(
            f"the pool {pool.id!r} ({_nodes(nodes)}) costs money until batchspec deletes it",
            context.at_pool(*_NODE_KEYS),
        )


def _is_kept(context: RuleContext) -> bool:
    """Whether the spec creates a pool with nodes and never deletes it."""
    spec = context.spec
    if spec.pool.kind is not PoolKind.OWN or not context.least:
        return False
    return spec.job.schedule is not None or spec.cleanup.pool is When.NEVER


def _nodes(count: int) -> str:
    return "1 node" if count == 1 else f"{count:,} nodes"


@MONEY.rule(
    "pool-stays",
    WARNING,
    title="The pool remains when the job has ended",
    why="`apply --detach` skips the clean-up.",
    fix="`batchspec attach` waits, downloads the results and cleans up; `batchspec destroy` deletes"
    " the pool.",
)
def pool_stays(pool: str) -> Iterator[Finding]:
    """A detached run that would delete a pool at its end."""
    yield Finding(f"the pool {pool!r} remains when the job has ended: clean-up is skipped")


@MONEY.check(
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


@MONEY.check(
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

    def count(constraints: Record) -> int:
        return number(constraints.get("maxTaskRetryCount"), 0)

    job = record(context.spec.job.properties.get("constraints"))
    yield "failed tasks are", count(job), context.at_job(*_RETRY_KEYS)
    start = record(context.body.get("startTask"))
    at_start = context.at_pool("start_task.max_task_retry_count", "start_task")
    yield "a failed start task is", count(start), at_start
    for stage in context.spec.stages:
        own = record(stage.body.get("constraints"))
        subject = f"failed tasks of {stage.name} are"
        yield subject, count(own), context.at_stage(stage, *_RETRY_KEYS)
