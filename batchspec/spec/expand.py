"""Expands the short forms of a spec to the properties of the SDK.

Expansion converts a tree to a tree. The result is again a valid spec, which ``batchspec config``
prints.
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta

from batchspec.spec.convert import text
from batchspec.spec.expand_task import (
    constrained,
    environment,
    expanded_stage,
    expanded_task,
    renamed,
)
from batchspec.spec.formats import duration, iso
from batchspec.spec.substitute import LOGS_KEY, Rendered, logs_container
from batchspec.spec.yaml_tree import Node, made

_IDLE = timedelta(minutes=15)
_INTERVAL = timedelta(minutes=5)
"""The autoscale evaluation interval of ``scale``: the minimum of the service."""

_ENOUGH_SAMPLES = 70
"""The percentage of samples that an interval must have; the service's examples use this value."""

_FAILURE = {"continue": "noaction", "terminate": "performexitoptionsjobaction"}
_SCHEDULE = {
    "every": "recurrence_interval",
    "start": "do_not_run_until",
    "until": "do_not_run_after",
    "window": "start_window",
}


def expanded(found: Rendered) -> Rendered:
    """Expand every short form of a spec without errors."""
    root = found.root
    containers = _containers(found)
    ids = {
        key: text(node.members["id"]) if "id" in node.members else key
        for key, node in containers.members.items()
    }
    pool, job, tasks = root.members["pool"], root.members["job"], root.get("tasks")
    stages = {
        name: expanded_stage(_with_logs(node), ids, windows=found.windows, ends_job=ends_job(job))
        for name, node in (tasks.members if tasks else {}).items()
    }
    depends = any(node.get("needs") or node.get("depends_on") for node in stages.values())
    members = {
        **root.members,
        "containers": containers,
        "pool": pool if pool.get("existing") else _with_id(expanded_pool(pool), found.name),
        "job": _with_id(expanded_job(job, depends=depends), found.name),
    }
    if tasks is not None:
        members["tasks"] = replace(tasks, value=stages)
    return replace(found, root=replace(root, value=members))


def _with_id(node: Node, name: str) -> Node:
    """A pool or job with an id; the service generates the id of an auto pool."""
    if node.get("id") is not None or node.get("lifetime") is not None:
        return node
    return replace(node, value={"id": made(name, node), **node.members})


def _containers(found: Rendered) -> Node:
    given = found.root.get("containers") or made({}, found.root)
    if found.implied is None:
        return given
    implied = made({"id": logs_container(found.name)}, found.root.members["tasks"])
    return given.with_(**{found.implied: implied})


def _with_logs(stage: Node) -> Node:
    """The stage with the container of its logs, unless logs are off."""
    logs = stage.get("logs")
    if logs is not None and (logs.members or logs.value is False):
        return stage
    return stage.with_(logs=made({"container": LOGS_KEY}, logs or stage))


def expanded_job(job: Node, *, depends: bool) -> Node:
    """The job. ``depends``: some of its tasks depend on others."""
    members: dict[str, Node | None] = dict.fromkeys(
        ("env", "prepare", "release", "on_task_failure")
    )
    if (env := job.get("env")) is not None:
        members["common_environment_settings"] = environment(env)
    for key in ("job_preparation_task", "job_release_task"):
        if (task := job.get(key)) is not None:
            members[key] = expanded_task(task)
    if (prepare := job.get("prepare")) is not None:
        task = constrained(prepare, ("max_wall_clock_time", "retries", "retention"))
        members["job_preparation_task"] = expanded_task(task)
    if (release := job.get("release")) is not None:
        task = renamed(release, {"retention": "retention_time"})
        members["job_release_task"] = expanded_task(task)
    if (failure := job.get("on_task_failure")) is not None:
        members["task_failure_mode"] = made(_FAILURE[str(failure.value)], failure)
    if (schedule := job.get("schedule")) is not None:
        members["schedule"] = renamed(schedule, _SCHEDULE)
    if depends and job.get("uses_task_dependencies") is None:
        members["uses_task_dependencies"] = made(True, job)
    return constrained(job.with_(**members), ("max_wall_clock_time", "max_retries"))


def ends_job(job: Node) -> bool:
    """Whether a failed task terminates the job unless its exit conditions differ."""
    mode = job.get("on_task_failure") or job.get("task_failure_mode")
    return mode is not None and mode.value in ("terminate", _FAILURE["terminate"])


def expanded_pool(pool: Node) -> Node:
    """The pool; ``image`` is kept, because the account is needed to resolve it."""
    members: dict[str, Node | None] = {"nodes": None, "container_images": None}
    if (nodes := pool.get("nodes")) is not None:
        members |= _nodes(nodes, slots=number(pool, "task_slots_per_node", 1))
    images = pool.get("container_images")
    machine = pool.get("virtual_machine_configuration")
    containers = machine.get("container_configuration") if machine is not None else None
    if (origin := images or containers) is not None:
        containers = containers or made({}, origin)
        machine = machine or made({}, origin)
        kind = containers.get("type") or made("dockerCompatible", origin)
        images = images or containers.get("container_image_names")
        containers = containers.with_(type=kind, container_image_names=images)
        members["virtual_machine_configuration"] = machine.with_(container_configuration=containers)
    if (start := pool.get("start_task")) is not None:
        members["start_task"] = expanded_task(start)
    return pool.with_(**members)


def number(node: Node, key: str, default: int) -> int:
    """An integer of a mapping, or the default if there is none."""
    found = node.get(key)
    return found.value if found is not None and isinstance(found.value, int) else default


def _nodes(nodes: Node, *, slots: int) -> dict[str, Node | None]:
    if isinstance(nodes.value, int):
        return {"target_dedicated_nodes": nodes}
    if (own := nodes.get("autoscale")) is not None:
        return {
            "enable_auto_scale": made(True, own),
            "auto_scale_formula": own.get("formula"),
            "auto_scale_evaluation_interval": own.get("interval"),
        }
    if (scale := nodes.get("scale")) is not None:
        return {
            "enable_auto_scale": made(True, scale),
            "auto_scale_formula": made(_formula(scale, slots), scale),
            "auto_scale_evaluation_interval": made(iso(_INTERVAL), scale),
        }
    return {
        "target_dedicated_nodes": nodes.get("dedicated"),
        "target_low_priority_nodes": nodes.get("spot"),
    }


def _formula(scale: Node, slots: int) -> str:
    least = number(scale, "min", 0)
    given = scale.get("idle")
    idle = duration(given.text or "") if given is not None else _IDLE
    return scale_formula(
        least=least,
        most=max(least, number(scale, "max", 0)),
        most_spot=number(scale, "spot_max", 0),
        idle=idle or _IDLE,
        slots=slots,
    )


def scale_formula(*, least: int, most: int, most_spot: int, idle: timedelta, slots: int) -> str:
    """The autoscale formula of ``nodes: {scale: ...}``: the nodes that the pending tasks need.

    ``least`` dedicated nodes are always allocated; up to ``most`` dedicated and then ``most_spot``
    Spot nodes follow the tasks, of which a node runs ``slots`` at a time.

    The maximum number of pending tasks within ``idle`` determines the target, so that nodes are
    released only after that time with less work, and only when their tasks are completed. While
    there are too few samples (a new pool), the last sample determines the target, with a minimum of
    one node: the formula is evaluated when the pool is created, before it has tasks, and then only
    after an interval, which the first tasks should not have to wait for.
    """
    window = f"TimeInterval_Second * {int(idle.total_seconds())}"
    lines = [
        f"known = $PendingTasks.GetSamplePercent({window}) >= {_ENOUGH_SAMPLES};",
        "last = max(0, $PendingTasks.GetSample(1));",
        f"most = known ? max(last, max($PendingTasks.GetSample({window}))) : max(last, 1);",
    ]
    # The target is rounded down: adding one less than the slots of a node rounds it up.
    lines.append("wanted = most;" if slots == 1 else f"wanted = (most + {slots - 1}) / {slots};")
    lines.append(f"$TargetDedicatedNodes = min({most}, max({least}, wanted));")
    if most_spot:
        lines.append(f"$TargetLowPriorityNodes = min({most_spot}, max(0, wanted - {most}));")
    lines.append("$NodeDeallocationOption = taskcompletion;")
    return "\n".join(lines)


_DEDICATED = re.compile(
    r"^\$TargetDedicatedNodes = min\((\d+), max\((\d+), wanted\)\);$", re.MULTILINE
)
_SPOT = re.compile(
    r"^\$TargetLowPriorityNodes = min\((\d+), max\(0, wanted - \d+\)\);$", re.MULTILINE
)


def scale_bounds(formula: str) -> tuple[int, int] | None:
    """The minimum and maximum number of nodes of a formula of :func:`scale_formula`.

    ``None`` for any other formula.
    """
    dedicated, spot = _DEDICATED.search(formula), _SPOT.search(formula)
    if dedicated is None:
        return None
    return int(dedicated[2]), int(dedicated[1]) + (int(spot[1]) if spot is not None else 0)
