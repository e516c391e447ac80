"""Rules about all tasks of a stage: whether they can run on the pool, and for how long."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING

from batchspec.plan.rules.rule import (
    ERROR,
    NOTE,
    WARNING,
    Finding,
    RuleContext,
    RuleGroup,
)
from batchspec.spec import Record, Stage, duration

if TYPE_CHECKING:
    from batchspec.plan.task_sets import TaskSets

STAGE = RuleGroup(
    "Tasks on the pool",
    "Whether the tasks of a stage can run on the nodes of the pool, and for how long.",
)

_INSTANCE_KEYS = ("instances.count", "instances", "multi_instance_settings")
_LIMIT_KEYS = ("max_wall_clock_time", "constraints.max_wall_clock_time")
_CONTAINER_KEYS = ("container_image", "container_settings")
_SPOT_KEYS = ("nodes.spot", "nodes.scale.spot_max", "target_low_priority_nodes", "nodes")
_LONG = timedelta(hours=4)
"""The time limit above which a task on a Spot node may lose expensive work."""
_MAX_DEPENDENCIES = 64_000
"""Characters of ids in one task's ``dependsOn`` (Add Task: TaskDependencyListTooLong above)."""
_SEPARATORS = 3
"""Two quotes and a comma for each id."""
_MAX_COUNTED = 200_000
"""Tasks of a job; the reference of Get Task Counts does not guarantee counts above this number."""
_MAX_AGE = timedelta(days=180)
"""Add Task: the service ends a task that is not completed within 180 days of being added."""


@STAGE.check(
    "no-containers",
    ERROR,
    title="A task runs in a container, and the pool does not support containers",
    why="The service rejects the task.",
    fix="Write `container_images: [IMAGE]` in the pool.",
)
def no_containers(context: RuleContext) -> Iterator[Finding]:
    """Container settings of a stage on an existing pool without container support."""
    for stage in _stages(context):
        wants = stage.body.get("containerSettings") is not None
        if wants and not _has_containers(context) and context.existing:
            yield Finding(
                f"the nodes of the pool {context.spec.pool.id!r} cannot run containers",
                context.at_stage(stage, *_CONTAINER_KEYS),
                fix="Use a pool with container support.",
            )


@STAGE.check(
    "task-outside-container",
    WARNING,
    title="A task of a pool with containers runs outside of them",
    why="The service documents that tasks of such a pool specify a container image; programs that"
    " exist only in the image are not found.",
    fix="Write `container_image: IMAGE` in the stage.",
)
def task_outside_container(context: RuleContext) -> Iterator[Finding]:
    """A stage without container settings on a pool with container support."""
    for stage in _stages(context):
        if _has_containers(context) and stage.body.get("containerSettings") is None:
            yield Finding(
                f"the tasks of {stage.name} run outside the containers of the pool", stage.where
            )


def _has_containers(context: RuleContext) -> bool:
    return context.machine.get("containerConfiguration") is not None


@STAGE.check(
    "too-few-nodes",
    ERROR,
    title="A task needs more nodes than the pool has",
    why="A multi-instance task starts when all of its nodes are free at the same time, which is"
    " impossible here.",
    fix="Increase `nodes` of the pool, or decrease `instances` of the task.",
)
def too_few_nodes(context: RuleContext) -> Iterator[Finding]:
    """More instances than the largest number of nodes of the pool."""
    for stage, settings in _multi_instance(context):
        instances, most = settings.number("numberOfInstances", 1), context.most
        if most and instances > most:
            yield Finding(
                f"a task of {stage.name} needs {instances} nodes at the same time;"
                f" the pool has {most}",
                context.at_stage(stage, *_INSTANCE_KEYS),
            )


@STAGE.check(
    "no-communication",
    ERROR,
    title="A multi-instance task runs on a pool without inter-node communication",
    why="The service rejects the task.",
    fix="Write `enable_inter_node_communication: true` in the pool.",
)
def no_communication(context: RuleContext) -> Iterator[Finding]:
    """Several instances on an existing pool without inter-node communication."""
    if not context.existing or context.pool.get("enableInterNodeCommunication") is True:
        return
    for stage, _ in _multi_instance(context):
        yield Finding(
            f"the pool {context.spec.pool.id!r} has no inter-node communication",
            context.at_stage(stage, *_INSTANCE_KEYS),
            fix="Use a pool with inter-node communication.",
        )


@STAGE.check(
    "instances-share-nodes",
    ERROR,
    title="A multi-instance task runs on nodes with several task slots",
    why="The service never starts such a task: it remains active until the job ends.",
    fix="Remove `task_slots_per_node` from the pool, or use a pool with one slot per node.",
)
def instances_share_nodes(context: RuleContext) -> Iterator[Finding]:
    """Several instances on an existing pool; for other pools ``spec`` compares the two values."""
    for stage, _ in _multi_instance(context):
        if context.existing and context.slots > 1:
            yield Finding(
                f"a task of {stage.name} uses several nodes, each with {context.slots} task slots",
                context.at_stage(stage, *_INSTANCE_KEYS),
                fix="Use a pool with one task slot per node.",
            )


def _multi_instance(context: RuleContext) -> Iterator[tuple[Stage, Record]]:
    """The stages of multi-instance tasks, with their settings."""
    for stage in _stages(context):
        settings = stage.body.get("multiInstanceSettings")
        if isinstance(settings, Record):
            yield stage, settings


@STAGE.check(
    "too-many-slots",
    ERROR,
    title="A task needs more slots than a node has",
    why="No node can run it, so it would wait until the job ends.",
    fix="Decrease `slots` of the task, or increase `task_slots_per_node` of the pool.",
)
def too_many_slots(context: RuleContext) -> Iterator[Finding]:
    """Slots on an existing pool; for other pools ``spec`` compares the two values."""
    for stage in _stages(context):
        slots = stage.body.number("requiredSlots", 1)
        if context.existing and slots > context.slots:
            yield Finding(
                f"a task of {stage.name} needs {slots} slots; a node of the pool has"
                f" {context.slots}",
                context.at_stage(stage, "slots", "required_slots"),
                fix=f"Use {context.slots} slots or fewer, or another pool.",
            )


@STAGE.check(
    "too-many-dependencies",
    ERROR,
    title="A task depends on more ids than the service accepts",
    why="The limit is 64,000 characters of ids. `needs` has no such limit.",
    fix="Write `needs: [STAGE]` instead of `depends_on`.",
)
def too_many_dependencies(context: RuleContext) -> Iterator[Finding]:
    """Ids in ``dependsOn`` whose total length is too large."""
    for stage in _stages(context):
        ids = stage.body.array("dependsOn", "taskIds")
        names = [name for name in ids if isinstance(name, str)]
        size = sum(len(name) + _SEPARATORS for name in names)
        if size > _MAX_DEPENDENCIES:
            yield Finding(
                f"each task of {stage.name} depends on {size:,} characters of ids; the limit is"
                f" {_MAX_DEPENDENCIES:,}",
                context.at_stage(stage, "depends_on.task_ids", "depends_on"),
            )


def _stages(context: RuleContext) -> tuple[Stage, ...]:
    """The stages; none if the properties of the pool are not known."""
    return context.spec.stages if context.known else ()


@STAGE.rule(
    "many-tasks",
    NOTE,
    title="A job has more than 200,000 tasks",
    why="The service does not guarantee its task counts above that, so progress may be shown late."
    " The result of the run is determined from the tasks themselves.",
    fix="Use larger groups (`group`), or split the run into several specs.",
)
def many_tasks(context: RuleContext, task_sets: TaskSets) -> Iterator[Finding]:
    """A job with more tasks than the service counts reliably."""
    tasks = sum(len(stage.here) for stage in task_sets.stages)
    if tasks > _MAX_COUNTED:
        yield Finding(
            f"the job has {tasks:,} tasks; the service guarantees its counts up to"
            f" {_MAX_COUNTED:,}",
            context.spec.job.where,
        )


@STAGE.check(
    "longer-than-tasks-live",
    WARNING,
    title="The job's time limit exceeds the lifetime of tasks",
    why="The service ends a task that is not completed 180 days after it was added.",
    fix="Decrease `max_wall_clock_time`.",
)
def longer_than_tasks_live(context: RuleContext) -> Iterator[Finding]:
    """A time limit of the job above the service's limit for tasks."""
    limit = context.spec.job.limit
    if limit > _MAX_AGE:
        yield Finding(
            f"the time limit of the job is {limit.days} days; tasks end after {_MAX_AGE.days} days",
            context.at_job(*_LIMIT_KEYS),
        )


@STAGE.check(
    "task-limit-after-job",
    NOTE,
    title="A task's time limit exceeds the time limit of its job",
    why="The job's time limit ends the task first, so the task's limit has no effect.",
    fix="Increase `max_wall_clock_time` of the job, or decrease that of the stage.",
)
def task_limit_after_job(context: RuleContext) -> Iterator[Finding]:
    """A time limit of a stage above that of the job."""
    for stage in context.spec.stages:
        limit = _time_limit(stage)
        if limit is not None and limit > context.spec.job.limit:
            yield Finding(
                f"the time limit of tasks of {stage.name} exceeds the time limit of the job",
                context.at_stage(stage, *_LIMIT_KEYS),
            )


@STAGE.check(
    "long-tasks-on-spot",
    WARNING,
    title="Tasks on Spot nodes may run for hours",
    why="When a Spot node is preempted, the service restarts its tasks on another node, whatever"
    " their `retries`, and you pay for the lost work.",
    fix="Split the work into shorter tasks, write checkpoints, or use dedicated nodes.",
)
def long_tasks_on_spot(context: RuleContext) -> Iterator[Finding]:
    """Tasks on Spot nodes with a time limit of many hours."""
    if context.existing or not context.spot:
        return
    limit = context.spec.job.limit
    for stage in context.spec.stages:
        longest = min(_time_limit(stage) or limit, limit)
        if longest >= _LONG:
            yield Finding(
                f"a task of {stage.name} may run for {longest.total_seconds() / 3600:g} hours on a"
                " Spot node, and restarts when the node is preempted",
                context.at_pool(*_SPOT_KEYS),
            )


def _time_limit(stage: Stage) -> timedelta | None:
    return duration(stage.body.string("constraints", "maxWallClockTime") or "")
