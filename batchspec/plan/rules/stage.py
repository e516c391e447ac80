"""Whether the tasks of a stage can run on the pool: containers, several nodes, how long."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from batchspec.diagnostics import Diagnostic
from batchspec.plan.changes import duration_seconds
from batchspec.plan.rules.catalogue import finding
from batchspec.plan.rules.context import RuleContext, number, record
from batchspec.plan.task_sets import TaskSets
from batchspec.spec import Record, Stage

_INSTANCES = ("instances.count", "instances", "multi_instance_settings")
_LIMITS = ("max_wall_clock_time", "constraints.max_wall_clock_time")
_CONTAINER = ("container_image", "container_settings")
_LONG = timedelta(hours=4)
"""Of a task on a Spot node: work that it is a pity to lose."""
_DEPENDENCIES = 64_000
"""Characters of ids in one task's ``dependsOn`` (Add Task: TaskDependencyListTooLong above)."""
_AROUND = 3
"""Two quotes and a comma."""
_COUNTED = 200_000
"""Tasks; Get Task Counts is not validated above that, as its reference says."""
_LIFE = timedelta(days=180)
"""Add Task: a task that is not completed within 180 days of being added is ended."""


def fit(scene: RuleContext) -> Iterator[Diagnostic]:
    """What keeps the tasks of a stage from running on the pool."""
    if not scene.known:
        return
    for stage in scene.spec.stages:
        yield from _containers(scene, stage)
        yield from _instances(scene, stage)
        yield from _slots(scene, stage)
    yield from _dependencies(scene)


def _containers(scene: RuleContext, stage: Stage) -> Iterator[Diagnostic]:
    wants = stage.body.get("containerSettings") is not None
    has = scene.machine.get("containerConfiguration") is not None
    if wants and not has and scene.existing:
        yield finding(
            "no-containers",
            f"the nodes of the pool {scene.spec.pool.id!r} cannot run containers",
            where=scene.at_stage(stage, *_CONTAINER),
            fix="Name a pool that can.",
        )
    if has and not wants:
        yield finding(
            "task-outside-container",
            f"the tasks of {stage.name} run outside of the containers of the pool",
            where=stage.where,
        )


def _instances(scene: RuleContext, stage: Stage) -> Iterator[Diagnostic]:
    settings = stage.body.get("multiInstanceSettings")
    if not isinstance(settings, Record):
        return
    where = scene.at_stage(stage, *_INSTANCES)
    wanted, most = number(settings.get("numberOfInstances"), 1), scene.most
    if most is not None and most and wanted > most:
        yield finding(
            "too-few-nodes",
            f"a task of {stage.name} needs {wanted} nodes at once, and the pool has {most}",
            where=where,
        )
    if scene.existing and scene.pool.get("enableInterNodeCommunication") is not True:
        yield finding(
            "no-communication",
            f"the nodes of the pool {scene.spec.pool.id!r} do not reach each other",
            where=where,
            fix="Name a pool whose nodes do.",
        )
    if scene.slots > 1:
        yield finding(
            "instances-share-nodes",
            f"a task of {stage.name} runs on several nodes, each of which takes"
            f" {scene.slots} tasks at a time",
            where=where,
        )


def _slots(scene: RuleContext, stage: Stage) -> Iterator[Diagnostic]:
    """Those of a pool that is used as it is; of others the spec says both, and is read so."""
    taken = number(stage.body.get("requiredSlots"), 1)
    if scene.existing and taken > scene.slots:
        yield finding(
            "too-many-slots",
            f"a task of {stage.name} takes {taken} slots, and a node of the pool has {scene.slots}",
            where=scene.at_stage(stage, "slots", "required_slots"),
            fix=f"Give the task {scene.slots} or fewer, or name another pool.",
        )


def _dependencies(scene: RuleContext) -> Iterator[Diagnostic]:
    for stage in scene.spec.stages:
        ids = record(stage.body.get("dependsOn")).get("taskIds")
        names = [name for name in ids if isinstance(name, str)] if isinstance(ids, tuple) else []
        size = sum(len(name) + _AROUND for name in names)
        if size > _DEPENDENCIES:
            yield finding(
                "too-many-dependencies",
                f"each task of {stage.name} waits for {size:,} characters of ids; the service takes"
                f" {_DEPENDENCIES:,}",
                where=scene.at_stage(stage, "depends_on.task_ids", "depends_on"),
            )


def many(scene: RuleContext, work: TaskSets) -> Iterator[Diagnostic]:
    """A job with more tasks than the service counts reliably."""
    tasks = sum(len(stage.here) for stage in work.stages)
    if tasks > _COUNTED:
        yield finding(
            "many-tasks",
            f"the job has {tasks:,} tasks; the service vouches for its counts of {_COUNTED:,}",
            where=scene.spec.job.where,
        )


def times(scene: RuleContext) -> Iterator[Diagnostic]:
    """What is said of how long tasks may take."""
    limit = scene.spec.job.limit
    if limit > _LIFE:
        yield finding(
            "longer-than-tasks-live",
            f"the job may last {limit.days} days, and a task lives for {_LIFE.days}",
            where=scene.at_job(*_LIMITS),
        )
    for stage in scene.spec.stages:
        own = _limit(stage)
        if own is not None and own > limit:
            yield finding(
                "task-limit-after-job",
                f"a task of {stage.name} may take longer than its job, which ends it",
                where=scene.at_stage(stage, *_LIMITS),
            )
        lasts = min(own or limit, limit)
        if not scene.existing and scene.spot and lasts >= _LONG:
            yield finding(
                "long-tasks-on-spot",
                f"a task of {stage.name} may run for {_hours(lasts)} on a Spot node, and starts"
                " over when that is taken away",
                where=scene.at_pool(
                    "nodes.spot", "nodes.scale.spot_max", "target_low_priority_nodes", "nodes"
                ),
            )


def _limit(stage: Stage) -> timedelta | None:
    text = record(stage.body.get("constraints")).get("maxWallClockTime")
    seconds = duration_seconds(text) if isinstance(text, str) else None
    return None if seconds is None else timedelta(seconds=seconds)


def _hours(length: timedelta) -> str:
    return f"{length.total_seconds() / 3600:g} hours"
