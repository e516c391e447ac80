"""Rules of stages and of all kinds of tasks: commands, items, files, and what the pool needs."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from fractions import Fraction

from batchspec.diagnostics import Diagnostic, Place
from batchspec.frozen import frozen
from batchspec.property_rules import UNKNOWN, Properties
from batchspec.spec.rules_properties import Part, properties_of
from batchspec.spec.validator_messages import nearest_or_all
from batchspec.spec.yaml_tree import Node

_ROWS = (".csv", ".tsv", ".jsonl")
_MOST = 10_000_000
"""The maximum number of items of a stage. A plan of so many tasks takes about half an hour."""
_MOST_WITH_EXCLUDE = 1_000_000
"""The maximum number of combinations of a matrix with `exclude`; the count needs all of them."""


def stage_rules(root: Node) -> Iterator[Diagnostic]:
    """Properties of stages that the service refuses, and mistakes in their items."""
    for stage in root.mapping("tasks").values():
        yield from command_rules(stage, " in the stage")
        yield from _id(stage)
        yield from _items(root, stage)


def in_container(task: Node) -> bool:
    """Whether a task runs in a container.

    Without a command, a container runs the entry point of its image.
    """
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


def command_rules(task: Node, where: str = "") -> Iterator[Diagnostic]:
    """A task without a command, or with an empty one outside a container."""
    command = task.get("command") or task.get("command_line")
    if command is None:
        yield Diagnostic("missing-key", f"`command` is missing{where}", where=task.name)
    elif not in_container(task):
        yield from empty_command(command)


def _id(stage: Node) -> Iterator[Diagnostic]:
    id_ = stage.get("id")
    if id_ is None or id_.literal is None or stage.get("for_each") is None:
        return
    yield Diagnostic(
        "same-id",
        "all tasks of the stage would have the same `id`",
        where=id_.where,
        fix="Add a part of the item, such as `{{ index }}`, or remove `id`.",
    )


def _items(root: Node, stage: Node) -> Iterator[Diagnostic]:
    parameters = root.get("parameters")
    for name, axis in stage.mapping("for_each", "matrix").items():
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
    if (matrix := stage.get("for_each", "matrix")) is not None:
        excludes = stage.get("for_each", "exclude") is not None
        yield from _combinations(matrix, _MOST_WITH_EXCLUDE if excludes else _MOST)
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
    # Exact: the quotient of two floats may be infinite.
    start, stop, by = map(Fraction, (values[0], values[1], step))
    return max(0, math.ceil((stop - start) / by)) if by else 0


def _combinations(matrix: Node, most: int) -> Iterator[Diagnostic]:
    axes = matrix.members.values()
    lengths = [
        _length(range_) if (range_ := axis.get("range")) else len(axis.items) for axis in axes
    ]
    number = math.prod(max(1, length) for length in lengths)
    if number > most and max(lengths) <= _MOST:
        yield Diagnostic(
            "out-of-range",
            f"the matrix has more than {most:,} combinations, the maximum"
            f"{' with `exclude`' if most < _MOST else ' for a stage'}",
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
    elif _length(numbers) == 0:
        yield Diagnostic(
            "empty",
            f"the range from {values[0]} to {values[1]} with step {step} is empty",
            where=numbers.items[0].where,
        )


_JOB_TASKS = ("job_manager_task", "job_preparation_task", "job_release_task")
_JOB_ACTIONS = frozenset({"terminate", "disable", "none"})
_WILDCARD = re.compile(r"[*?\[]|\{\{")


@frozen
class _Pool:
    """The facts about the pool of the spec that the rules of tasks need."""

    node: Node
    properties: Properties

    @property
    def slots(self) -> int | None:
        """The number of slots of a node; ``None`` if it is not known."""
        given = self.node.get("task_slots_per_node")
        return 1 if given is None else given.value if isinstance(given.value, int) else None

    @property
    def users(self) -> frozenset[str] | None:
        """The names of the user accounts in lower case; ``None`` if one is not known."""
        accounts = self.properties.get("userAccounts")
        names = [account.word("name") for _, account in self.properties.objects("userAccounts")]
        if accounts is UNKNOWN or None in names:
            return None
        return frozenset(name for name in names if name is not None)

    @property
    def has_containers(self) -> bool:
        path = ("virtualMachineConfiguration", "containerConfiguration")
        return self.properties.has(*path)


def task_rules(parts: Sequence[Part]) -> Iterator[Diagnostic]:
    """Properties of tasks that the pool or the job of the spec does not support."""
    own = next((part for part in parts if part.path == ("pool",)), None)
    job = next((part.node for part in parts if part.path == ("job",)), None)
    pool = _Pool(own.node, properties_of(own)) if own is not None else None
    stages = [part.node for part in parts if part.path[0] == "tasks"]
    special = [job.members[key] for key in _JOB_TASKS if key in job.members] if job else []
    special += [start] if own is not None and (start := own.node.get("start_task")) else []
    for task in (*special, *stages) if pool is not None else ():
        assert pool is not None
        yield from _user(pool, task)
        yield from _slots(pool, task)
        yield from _containers(pool, task)
        yield from _instances(pool, task)
    for stage in stages:
        yield from _job_actions(job, stage)
        yield from _same_blob(stage)


def _user(pool: _Pool, task: Node) -> Iterator[Diagnostic]:
    user, names = task.get("user_identity", "username"), pool.users
    if user is None or user.literal is None or names is None:
        return
    if user.literal.lower() not in names:
        yield Diagnostic(
            "unknown-user",
            f"the pool has no user account {user.text!r}",
            where=user.where,
            fix=nearest_or_all(user.literal, sorted(names))
            or "Use the name of one of the accounts, or declare it in `user_accounts`.",
        )


def _slots(pool: _Pool, task: Node) -> Iterator[Diagnostic]:
    slots, most = task.get("required_slots"), pool.slots
    if slots is None or most is None or task.get("multi_instance_settings") is not None:
        return
    if isinstance(slots.value, int) and slots.value > most:
        yield too_many_slots(slots.value, most, slots.where)


def too_many_slots(slots: int, most: int, where: Place, task: str = "the task") -> Diagnostic:
    """Tasks that require more slots than a node has."""
    return Diagnostic(
        "out-of-range",
        f"{task} requires {slots} slots, and a node has {most}",
        where=where,
        fix=f"Add `task_slots_per_node: {slots}` to the pool." if slots <= 256 else "",
    )


def _containers(pool: _Pool, task: Node) -> Iterator[Diagnostic]:
    settings = task.get("container_settings")
    if settings is None or pool.has_containers:
        return
    image = settings.get("image_name")
    yield Diagnostic(
        "no-containers",
        "the task uses a container image, but the pool is not configured for containers",
        where=settings.name,
        fix=f"Add `container_images: [{(image and image.text) or 'IMAGE'}]` to the pool.",
    )


def _instances(pool: _Pool, task: Node) -> Iterator[Diagnostic]:
    instances = task.get("multi_instance_settings")
    if instances is None:
        return
    between = pool.node.get("enable_inter_node_communication")
    if between is None or between.value is False:
        yield Diagnostic(
            "no-communication",
            "a multi-instance task requires communication between nodes",
            where=instances.name,
            fix="Add `enable_inter_node_communication: true` to the pool.",
        )
    if pool.slots is not None and pool.slots > 1:
        yield Diagnostic(
            "instances-share-nodes",
            f"a multi-instance task requires nodes with one task slot, and they have {pool.slots}",
            where=instances.name,
            fix="Remove `task_slots_per_node` from the pool.",
        )


def _job_actions(job: Node | None, stage: Node) -> Iterator[Diagnostic]:
    """Job actions in exit conditions of a job without `on_task_failure: terminate`."""
    mode = job.get("task_failure_mode") if job is not None else None
    known = mode is None or mode.literal is not None
    if not known or (mode is not None and mode.value == "performexitoptionsjobaction"):
        return
    conditions, codes = stage.get("exit_conditions"), stage.get("exit_codes")
    actions = [each.get("job_action") for each in (conditions.walk() if conditions else ())]
    # Codes that vary from task to task have no long form.
    actions += [
        each if each.text in _JOB_ACTIONS else each.get("job_action")
        for each in (codes.members.values() if codes is not None else ())
    ]
    for action in actions:
        if action is not None:
            yield Diagnostic(
                "no-job-action",
                "this exit code has a job action, but failed tasks do not act on the job",
                where=action.name,
                fix="Add `on_task_failure: terminate` to the job.",
            )


def _is_one_item(values: Node | None) -> bool:
    """Whether a list of values, which is not a template, has exactly one item."""
    return values is not None and len(values.items) == 1


def _same_blob(stage: Node) -> Iterator[Diagnostic]:
    """Outputs that would write the same blob in all tasks of a stage."""
    each = stage.get("for_each")
    if each is None or _is_one_item(each.get("list")):
        return
    outputs = [(each.get("files"), each.get("path")) for each in stage.sequence("outputs")]
    for each in stage.sequence("output_files"):
        url = each.get("destination", "container", "container_url")
        if url is None or url.template is None:
            outputs.append((each.get("file_pattern"), each.get("destination", "container", "path")))
    for files, path in outputs:
        if files is None or files.text is None or _WILDCARD.search(files.text):
            continue
        if path is None or "{{" not in (path.text or "{{"):
            yield Diagnostic(
                "same-blob",
                "all tasks of the stage would write the same blob",
                where=(path or files).where,
                fix='Write `path: "{{ task.id }}/"`, or remove `for_each` if one task is enough.',
            )
