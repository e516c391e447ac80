"""The limits of a stage's tasks: everything that can be wrong in a single task."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from batchspec.diagnostics import Diagnostic, Place
from batchspec.frozen import frozen
from batchspec.plan.observed import Observed
from batchspec.plan.rules.files import (
    NodeFile,
    bad_file_path,
    conflict,
    leaves_directory,
    named_files,
    node_path,
    same_file,
)
from batchspec.plan.rules.references import prefixes_of_tasks, reserved_id, special_ids
from batchspec.plan.rules.requests import (
    CMD_LINE,
    PROGRAM_LINE,
    SH_ARGUMENT,
    command_room,
    command_too_long,
    long_command,
    task_too_large,
)
from batchspec.plan.task_template import Draft
from batchspec.plan.tasks import Task, filler
from batchspec.spec import (
    PoolKind,
    Record,
    Shell,
    Spec,
    Stage,
    Template,
    Value,
    json_string,
    task_findings,
    too_many_slots,
    varying_members,
)

_GENERATED = re.compile(r"-[0-9a-f]{14}$")


@frozen
class TaskLimits:
    """The limits of a stage's tasks.

    ``command`` is the longest command line. ``slots`` is the template of slots that differ between
    tasks, and ``max_slots`` how many a node has; ``None`` if there is nothing to check. ``mixed``
    tasks have files of their own besides others, which are specified at ``files``; ``windows``
    ignores case in file names. ``reserved`` are the ids of special tasks of the job.
    ``prefixes`` checks prefixes of blobs that differ between tasks.
    """

    stage: Stage
    command: int
    slots: Template | None
    max_slots: int
    varies: frozenset[str]
    mixed: bool
    files: Place
    windows: bool
    reserved: Mapping[str, str]
    prefixes: Callable[[Record], Iterator[Diagnostic]] | None

    def room_for_command(self, like: Task) -> int:
        """The room for commands of tasks like this one, which has no errors (``command_room``).

        0 if something else can be wrong in a task of the stage.
        """
        if self.slots or self.varies or self.mixed or self.prefixes is not None:
            return 0
        if self._reserves_generated:
            return 0
        return command_room(like.body, self.command)

    @property
    def vary(self) -> bool:
        """Whether limits depend on more than the size and the id of a task."""
        body = self.stage.body
        files = (body.get("resourceFiles"), body.get("multiInstanceSettings"))
        return (
            self.slots is not None
            or bool(self.varies)
            or self.prefixes is not None
            or filler(files, windows=self.windows) is not None
        )

    def allow(self, draft: Draft) -> bool:
        """Whether a task certainly has no errors but in its size.

        That is so if the first task has none and :attr:`vary` is false.
        """
        if len(json_string(draft.command)) > self.command:
            return False
        if draft.own is not None:
            return draft.own.lower() not in self.reserved
        return not self._reserves_generated

    @property
    def _reserves_generated(self) -> bool:
        return any(map(_GENERATED.search, self.reserved))

    def errors(self, task: Task) -> Iterator[Diagnostic]:
        """What is wrong with a task."""
        where = self.stage.where
        yield from task_too_large(task.id, task.body, where)
        command = long_command(f"task {task.id}", task.body["commandLine"], self.command, where)
        yield from map(command_too_long.report, command)
        yield from self._slots(task)
        if self.varies:
            for found in task_findings(task.body, self.stage, self.varies):
                yield replace(found, detail=f"In task {task.id}.")
        yield from leaves_directory(task, where)
        if self.prefixes is not None:
            yield from self.prefixes(task.body)
        yield from bad_file_path(task, where, windows=self.windows)
        if (special := self.reserved.get(task.id.lower())) is not None:
            at = self.stage.id.where if self.stage.id is not None else where
            yield from reserved_id(task.id, special, at)
        if self.mixed:
            yield from self._same_file(task)

    def _slots(self, task: Task) -> Iterator[Diagnostic]:
        slots = task.body.get("requiredSlots") if self.slots else None
        if self.slots is not None and isinstance(slots, int) and slots > self.max_slots:
            where = self.slots.kind.where if self.slots.kind else self.slots.where
            yield too_many_slots(slots, self.max_slots, where, f"task {task.id}")

    def _same_file(self, task: Task) -> Iterator[Diagnostic]:
        seen: dict[str, NodeFile] = {}
        for file in named_files(task.body):
            before = seen.setdefault(node_path(file, windows=self.windows), file)
            if before.content != file.content:
                yield same_file.report(conflict(f"task {task.id}", before, file, self.files))


def limits_of(spec: Spec, stage: Stage, observed: Observed, *, windows: bool) -> TaskLimits:
    """The limits of a stage's tasks on the nodes of the spec's pool."""
    slots, most = stage.body.get("requiredSlots"), spec.pool.properties.get("taskSlotsPerNode")
    created = spec.pool.kind is not PoolKind.EXISTING
    at = f"tasks.{stage.name}"
    return TaskLimits(
        stage,
        _longest_command(stage, windows=windows),
        slots if created and isinstance(slots, Template) else None,
        most if isinstance(most, int) else 1,
        varying_members(stage),
        _is_mixed(stage, stage.body.get("resourceFiles"), windows=windows),
        spec.place(f"{at}.resource_files", f"{at}.resources") or stage.where,
        windows,
        special_ids(spec),
        prefixes_of_tasks(spec, stage, observed),
    )


def _is_mixed(stage: Stage, files: Value, *, windows: bool) -> bool:
    """Whether named files may conflict with other files of a single task."""
    return files is not None and (
        stage.resources is None or filler(files, windows=windows) is not None
    )


def _longest_command(stage: Stage, *, windows: bool) -> int:
    if not windows:
        return SH_ARGUMENT
    by_cmd = stage.command.template and stage.command.shell is Shell.DEFAULT
    return CMD_LINE if by_cmd else PROGRAM_LINE
