"""Rules of stages: commands, items, files, and what they require of pool and job."""

from __future__ import annotations

import math
from collections.abc import Iterator

from batchspec.diagnostics import Diagnostic
from batchspec.spec.yaml_tree import Node

_ROWS = (".csv", ".tsv", ".jsonl")
_MOST = 100_000_000
"""The maximum number of items of a stage; a larger number is a mistake."""


def stage_rules(root: Node) -> Iterator[Diagnostic]:
    """Properties of stages that the service refuses, and mistakes in their items."""
    tasks = root.get("tasks")
    for stage in (tasks.members if tasks else {}).values():
        yield from _command(stage)
        yield from _id(stage)
        yield from _items(root, stage)


def in_container(task: Node) -> bool:
    """Whether a task runs in a container, where no command means the entry point of the image."""
    return task.get("container_image") is not None or task.get("container_settings") is not None


def empty_command(command: Node, key: str = "command") -> Iterator[Diagnostic]:
    """A command without text."""
    if command.text is not None and not command.text.strip():
        yield Diagnostic(
            "empty",
            f"`{key}` is empty",
            where=command.where,
            fix="Write a command. An empty one runs the entry point of a container image.",
        )


def _command(stage: Node) -> Iterator[Diagnostic]:
    command = stage.get("command") or stage.get("command_line")
    if command is None:
        yield Diagnostic("missing-key", "`command` is missing in the stage", where=stage.name)
    elif not in_container(stage):
        yield from empty_command(command)


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
