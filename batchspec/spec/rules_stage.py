"""Rules of stages: commands, items, files, and what they require of pool and job."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import PurePosixPath

from batchspec.diagnostics import Diagnostic, Place
from batchspec.spec.short_forms import EXIT_CODE, ends_job, number
from batchspec.spec.yaml_tree import Node

_ROWS = (".csv", ".tsv", ".jsonl")
_MOST = 100_000_000
"""The maximum number of items of a stage; a larger number is a mistake."""

_JOB_ACTIONS = frozenset({"terminate", "disable", "none"})


def stage_rules(root: Node) -> Iterator[Diagnostic]:
    """Properties of stages that the service refuses, and mistakes in their items."""
    tasks = root.get("tasks")
    for stage in (tasks.members if tasks else {}).values():
        yield from _command(stage)
        yield from _id(stage)
        yield from _items(root, stage)
        yield from _fits_pool(root, stage)
        yield from _exit_codes(root, stage)
        yield from _outputs(stage)
    for resource in _resource_files(root):
        yield from _resource(resource)


def _command(stage: Node) -> Iterator[Diagnostic]:
    command = stage.get("command") or stage.get("command_line")
    if command is None:
        yield Diagnostic("missing-key", "`command` is missing in the stage", where=stage.name)
    elif command.text is not None and not command.text.strip():
        yield Diagnostic("empty", "`command` is empty", where=command.where)


def _id(stage: Node) -> Iterator[Diagnostic]:
    id_ = stage.get("id")
    if id_ is None or id_.text is None or stage.get("for_each") is None or id_.template is not None:
        return
    yield Diagnostic(
        "same-id",
        "all tasks of the stage would have the same `id`",
        where=id_.where,
        fix="Add a part of the item, such as `{{ index }}`, or remove `id`.",
    )


def _items(root: Node, stage: Node) -> Iterator[Diagnostic]:
    parameters = root.get("parameters")
    matrix = stage.get("for_each", "matrix")
    for name, axis in (matrix.members if matrix else {}).items():
        if name in ("exclude", "include"):
            yield Diagnostic(
                "not-an-axis",
                f"`{name}` is not an axis; it belongs beside `matrix`",
                where=axis.name,
                fix=f"Write `for_each: {{matrix: {{...}}, {name}: [...]}}`.",
            )
        if parameters is not None and name in parameters.members:
            yield Diagnostic(
                "same-name",
                f"the axis `{name}` has the name of a parameter",
                where=axis.name,
                fix="Rename the axis.",
            )
        yield from _range(axis.get("range"))
    if matrix is not None:
        yield from _combinations(matrix)
    yield from _range(stage.get("for_each", "range"))
    rows = stage.get("for_each", "rows")
    if rows is not None and rows.text and not rows.text.lower().endswith(_ROWS):
        yield Diagnostic(
            "bad-rows",
            "`rows` must be a .csv, .tsv or .jsonl file",
            where=rows.where,
        )


def _length(numbers: Node) -> int:
    """The number of items of a range; 0 if it is not known."""
    values = [item.value for item in numbers.items if isinstance(item.value, int | float)]
    if len(values) != len(numbers.items) or len(values) < 2:
        return 0
    step = values[2] if len(values) > 2 else 1
    return max(0, math.ceil((values[1] - values[0]) / step)) if step else 0


def _combinations(matrix: Node) -> Iterator[Diagnostic]:
    axes = matrix.members.values()
    lengths = [
        _length(range_) if (range_ := axis.get("range")) else len(axis.items) for axis in axes
    ]
    number = math.prod(max(1, length) for length in lengths)
    if number > _MOST and max(lengths) <= _MOST:
        yield Diagnostic(
            "out-of-range",
            f"the matrix has more than {_MOST:,} combinations, the maximum for a stage",
            where=matrix.name,
        )


def _range(numbers: Node | None) -> Iterator[Diagnostic]:
    if numbers is None:
        return
    values = [item.value for item in numbers.items if isinstance(item.value, int | float)]
    if len(values) != len(numbers.items) or len(values) < 2:
        return
    step = values[2] if len(values) > 2 else 1
    if _length(numbers) > _MOST:
        yield Diagnostic(
            "out-of-range",
            f"the range has more than {_MOST:,} numbers",
            where=numbers.at,
        )
    elif step == 0:
        yield Diagnostic(
            "out-of-range", "the step of a range cannot be 0", where=numbers.items[2].where
        )
    elif (values[1] - values[0]) / step <= 0:
        yield Diagnostic(
            "empty",
            f"the range from {values[0]} to {values[1]} with step {step} is empty",
            where=numbers.items[0].where,
        )


def _fits_pool(root: Node, stage: Node) -> Iterator[Diagnostic]:
    pool = root.get("pool")
    if pool is None or pool.get("existing") is not None:
        return
    slots = stage.get("slots") or stage.get("required_slots")
    most = number(pool, "task_slots_per_node", 1)
    if slots is not None and isinstance(slots.value, int) and slots.value > most:
        yield too_many_slots(slots.value, most, slots.where)
    image = stage.get("container_image") or stage.get("container_settings")
    configured = pool.get("virtual_machine_configuration", "container_configuration")
    if image is not None and configured is None and pool.get("container_images") is None:
        name = image.text or "IMAGE"
        yield Diagnostic(
            "no-containers",
            "the stage uses a container image, but the pool is not configured for containers",
            where=image.name,
            fix=f"Add `container_images: [{name}]` to the pool.",
        )
    instances = stage.get("instances") or stage.get("multi_instance_settings")
    between = pool.get("enable_inter_node_communication")
    if instances is not None and (between is None or between.value is False):
        yield Diagnostic(
            "no-communication",
            "a multi-instance task requires communication between nodes",
            where=instances.name,
            fix="Add `enable_inter_node_communication: true` to the pool.",
        )


def too_many_slots(slots: int, most: int, where: Place, task: str = "the task") -> Diagnostic:
    """A task that needs more slots than a node has."""
    return Diagnostic(
        "out-of-range",
        f"{task} requires {slots} slots, and a node has {most}",
        where=where,
        fix=f"Add `task_slots_per_node: {slots}` to the pool." if slots <= 256 else "",
    )


def _exit_codes(root: Node, stage: Node) -> Iterator[Diagnostic]:
    codes = stage.get("exit_codes")
    job = root.get("job")
    mode = job and (job.get("on_task_failure") or job.get("task_failure_mode"))
    ends = job is not None and ends_job(job)
    for key, node in (codes.members if codes else {}).items():
        match = EXIT_CODE.fullmatch(key)
        if match is not None and match[2] is not None and int(match[2]) < int(match[1]):
            yield Diagnostic(
                "out-of-range",
                f"the range `{key}` is empty: its end is less than its start",
                where=node.name,
            )
        action = node.get("job_action") if node.members else node
        acts = action is not None and (action.text in _JOB_ACTIONS or _acts_later(node, action))
        if acts and not ends and (mode is None or mode.template is None):
            yield Diagnostic(
                "no-job-action",
                "this exit code has a job action, but failed tasks do not act on the job",
                where=node.name,
                fix="Add `on_task_failure: terminate` to the job.",
            )


def _acts_later(node: Node, action: Node) -> bool:
    """A ``job_action`` that varies from task to task always acts on the job."""
    return bool(node.members) and action.kind is not None


def _outputs(stage: Node) -> Iterator[Diagnostic]:
    outputs = stage.get("outputs")
    if stage.get("for_each") is None:
        return
    for output in outputs.items if outputs else ():
        files, path = output.get("files"), output.get("path")
        if files is None or any(mark in (files.text or "*") for mark in ("*", "?", "[", "{{")):
            continue
        if path is None or "{{" not in (path.text or "{{"):
            yield Diagnostic(
                "same-blob",
                "all tasks of the stage would write the same blob",
                where=(path or files).where,
                fix='Write `path: "{{ task.id }}/"`.',
            )


def _resource_files(root: Node) -> Iterator[Node]:
    """Every ResourceFile in its long form."""
    for node in root.walk():
        for key in ("resource_files", "resources", "common_resource_files"):
            listed = node.get(key)
            for item in listed.items if listed else ():
                if item.is_collection:
                    yield item


def _resource(resource: Node) -> Iterator[Diagnostic]:
    sources = ("http_url", "storage_container_url", "auto_storage_container_name")
    given = [node for key in sources if (node := resource.get(key)) is not None]
    if not given:
        yield Diagnostic(
            "missing-key",
            "a resource file must have `http_url`, `storage_container_url` or "
            "`auto_storage_container_name`",
            where=resource.name,
        )
    for node in given[1:]:
        yield Diagnostic("either-or", "a resource file can have only one source", where=node.name)
    path = resource.get("file_path")
    if resource.get("http_url") is not None and path is None:
        yield Diagnostic(
            "missing-key", "`file_path` is missing: `http_url` requires it", where=resource.name
        )
    if path is not None and path.text is not None:
        parts = PurePosixPath(path.text.replace("\\", "/")).parts
        if path.text.startswith(("/", "\\")) or ".." in parts or path.text[1:2] == ":":
            yield Diagnostic(
                "leaves-directory",
                "`file_path` is outside the working directory of the task",
                where=path.where,
                fix="Write a relative path without `..`.",
            )
