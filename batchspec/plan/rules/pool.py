"""Whether there are nodes, whether there can be as many, and what they start with."""

from __future__ import annotations

from collections.abc import Iterator

from batchspec.diagnostics import Diagnostic
from batchspec.plan.rules.catalogue import finding
from batchspec.plan.rules.context import RuleContext, record

_TOGETHER = 100
"""Nodes of a pool whose nodes reach each other (Batch quotas and limits)."""
_OF_IMAGE = (2_000, 1_000)
"""Dedicated and Spot nodes of a pool of a managed image (Batch quotas and limits)."""
_PACKAGES = 10
_MOUNTS = 10


def nodes(scene: RuleContext) -> Iterator[Diagnostic]:
    """How many nodes there are to be, or are."""
    yield from _none(scene)
    yield from _too_many(scene)
    facts = scene.observed.pool
    if facts is not None and facts.shortfall and facts.state != "deleting":
        yield finding(
            "pool-resize-failed",
            f"the pool {facts.id!r} did not get its nodes: {facts.shortfall}",
            detail="\n".join(message for _, message in facts.resize_errors if message),
            where=scene.spec.pool.where,
        )


def _none(scene: RuleContext) -> Iterator[Diagnostic]:
    if not scene.known or scene.scales or any(scene.targets) or not scene.spec.stages:
        return
    if scene.existing:
        summary = f"the pool {scene.spec.pool.id!r} has no node, and does not scale itself"
        yield finding("pool-without-nodes", summary, where=scene.spec.pool.where)
    else:
        where = scene.at_pool("nodes", "target_dedicated_nodes", "target_low_priority_nodes")
        yield finding("no-nodes", "the pool has no node: no task would ever run", where=where)


def _too_many(scene: RuleContext) -> Iterator[Diagnostic]:
    if scene.existing:
        return
    where = scene.at_pool("nodes", "target_dedicated_nodes", "target_low_priority_nodes")
    most = scene.most
    if scene.body.get("enableInterNodeCommunication") is True and most and most > _TOGETHER:
        yield finding(
            "too-many-nodes",
            f"a pool whose nodes reach each other has up to {_TOGETHER} nodes, not {most}",
            where=where,
        )
    reference = record(scene.machine.get("imageReference"))
    if reference.get("virtualMachineImageId") is None or scene.scales:
        return
    for count, limit, what in zip(scene.targets, _OF_IMAGE, ("dedicated", "Spot"), strict=True):
        if count > limit:
            yield finding(
                "too-many-nodes",
                f"a pool of a managed image has up to {limit:,} {what} nodes, not {count:,}",
                where=where,
            )


def start(scene: RuleContext) -> Iterator[Diagnostic]:
    """What the nodes start with: the start task, packages, mounts."""
    if record(scene.body.get("startTask")).get("waitForSuccess") is False:
        yield finding(
            "start-task-not-waited-for",
            "tasks may start before the start task has ended, or after it has failed",
            where=scene.at_pool("start_task.wait_for_success", "start_task"),
        )
    for key, name, most, code, what in (
        (
            "applicationPackageReferences",
            "application_package_references",
            _PACKAGES,
            "too-many-packages",
            "application packages",
        ),
        (
            "mountConfiguration",
            "mount_configuration",
            _MOUNTS,
            "too-many-mounts",
            "file systems",
        ),
    ):
        listed = scene.body.get(key)
        if isinstance(listed, tuple) and len(listed) > most:
            summary = f"the pool names {len(listed)} {what}; the service takes {most}"
            yield finding(code, summary, where=scene.at_pool(name))
