"""What goes on costing money when nobody looks, or costs more than it seems to."""

from __future__ import annotations

from collections.abc import Iterator

from batchspec.diagnostics import Diagnostic, Place
from batchspec.plan.rules.catalogue import finding
from batchspec.plan.rules.context import RuleContext, number, record
from batchspec.spec import PoolKind, Record, When

_MANY = 10
_RETRIES = ("retries", "max_retries", "constraints.max_task_retry_count", "max_task_retry_count")
_PAID = "azure"
_BETWEEN = (
    "`pool: {lifetime: job, ...}` makes one for each job of the schedule, `nodes: {scale: {max:"
    " N}}` has it shrink between them."
)


def pool_cost(scene: RuleContext) -> Iterator[Diagnostic]:
    """A pool that nobody deletes, or that is deleted only if this program comes back."""
    pool, nodes = scene.spec.pool, scene.least
    if pool.kind is PoolKind.JOB and pool.auto.get("keepAlive") is True and nodes:
        yield finding(
            "pool-kept",
            f"nothing ever deletes the pool of the job: it stays ({_nodes(nodes)}) when that ends",
            where=scene.at_pool("keep_alive"),
            fix="Take `keep_alive` out.",
        )
    if pool.kind is not PoolKind.OWN or not nodes:
        return
    sizes = ("nodes", "target_dedicated_nodes", "target_low_priority_nodes")
    scheduled = scene.spec.job.schedule is not None
    if scheduled or scene.spec.cleanup.pool is When.NEVER:
        yield finding(
            "pool-kept",
            f"nothing ever deletes the pool {pool.id!r} ({_nodes(nodes)}): it costs money until"
            " somebody does",
            where=scene.spec.place("cleanup.pool") or scene.at_pool(*sizes),
            fix=_BETWEEN if scheduled else "",
        )
    elif scene.observed.account.target == _PAID:
        yield finding(
            "pool-needs-client",
            f"the pool {pool.id!r} ({_nodes(nodes)}) costs money until batchspec comes back and"
            " deletes it",
            where=scene.at_pool(*sizes),
        )


def _nodes(count: int) -> str:
    return "1 node" if count == 1 else f"{count} nodes"


def retries(scene: RuleContext) -> Iterator[Diagnostic]:
    """Retries without end, or so many that a mistake is dear."""
    spec = scene.spec
    job = record(spec.job.properties.get("constraints"))
    yield from _retries("tasks", job, scene.at_job(*_RETRIES))
    start = record(scene.body.get("startTask"))
    at_start = scene.at_pool("start_task.max_task_retry_count", "start_task")
    yield from _retries("the start task", start, at_start)
    for stage in spec.stages:
        own = record(stage.body.get("constraints"))
        yield from _retries(f"tasks of {stage.name}", own, scene.at_stage(stage, *_RETRIES))


def _retries(who: str, constraints: Record, where: Place) -> Iterator[Diagnostic]:
    count = number(constraints.get("maxTaskRetryCount"), 0)
    if count < 0:
        summary = f"when {who} fail, they are run again without end"
        yield finding("unlimited-retries", _singular(summary, who), where=where)
    elif count > _MANY:
        summary = f"when {who} fail, they are run up to {count + 1} times"
        yield finding("many-retries", _singular(summary, who), where=where)


def _singular(summary: str, who: str) -> str:
    if who.startswith("the "):
        return summary.replace(" fail, they are", " fails, it is")
    return summary
