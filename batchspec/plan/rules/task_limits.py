"""What one task may be: what a request, a shell and a node have room for; no file leaves its place.

What is written out in a spec was looked at when it was read; this is what shows in a task alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

from batchspec.diagnostics import Diagnostic, Place
from batchspec.plan.rules.files import NodeFile, place, same_file, spelled
from batchspec.plan.rules.request_size import CMD_LINE, PROGRAM_LINE, REQUEST, SH_ARGUMENT, size_of
from batchspec.plan.tasks import Task, filler
from batchspec.spec import PoolKind, Record, Shell, Spec, Stage, Template, too_many_slots


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a stage's tasks.

    ``command`` is the longest command line. ``slots`` is the template of the slots that differ from
    task to task, and ``most`` how many a node has; ``None`` where nothing is left to look at.
    ``mixed`` says that a task has files of its own beside others, which are written at ``files``;
    case does not count in their names where they are ``folded``.
    """

    stage: Stage
    command: int
    slots: Template | None
    most: int
    mixed: bool
    files: Place | None
    folded: bool

    def fault(self, task: Task) -> Diagnostic | None:
        """The first thing that is wrong with a task, if anything is."""
        return (
            self._request(task)
            or self._command(task)
            or self._slots(task)
            or self._leaves(task)
            or (self._same_file(task) if self.mixed else None)
        )

    def _request(self, task: Task) -> Diagnostic | None:
        size = size_of(task.body)
        if size <= REQUEST:
            return None
        return Diagnostic(
            "task-too-large",
            f"task {task.id} would be a request of {size:,} bytes; at most {REQUEST:,} go",
            where=self.stage.where,
            fix="Take smaller groups, or name containers as `resources`.",
        )

    def _command(self, task: Task) -> Diagnostic | None:
        length = size_of(task.body["commandLine"])
        if length <= self.command:
            return None
        return Diagnostic(
            "command-too-long",
            f"the command of task {task.id} has {length:,} characters; at most {self.command:,} go",
            where=self.stage.where,
            fix="Put what is long into a file, and name the file in the command.",
        )

    def _slots(self, task: Task) -> Diagnostic | None:
        taken = task.body.get("requiredSlots") if self.slots else None
        if self.slots is None or not isinstance(taken, int) or taken <= self.most:
            return None
        where = self.slots.kind.where if self.slots.kind else self.slots.where
        return too_many_slots(taken, self.most, where, f"task {task.id}")

    def _leaves(self, task: Task) -> Diagnostic | None:
        files = task.body.get("resourceFiles")
        for file in files if isinstance(files, tuple) else ():
            path = file.get("filePath") if isinstance(file, Record) else None
            if isinstance(path, str) and _leaves(path):
                return Diagnostic(
                    "leaves-directory",
                    f"the file {path!r} of task {task.id} would leave its working directory",
                    where=self.stage.where,
                    fix="No path may start with `/` or hold `..`.",
                )
        return None

    def _same_file(self, task: Task) -> Diagnostic | None:
        seen: dict[str, NodeFile] = {}
        for file in spelled(task.body.get("resourceFiles")):
            before = seen.setdefault(place(file, folded=self.folded), file)
            if before.content != file.content:
                return same_file(f"task {task.id}", before, file, self.files)
        return None


def limits(spec: Spec, stage: Stage, *, windows: bool) -> Limits:
    """The limits of a stage's tasks on the nodes of the spec's pool."""
    slots, most = stage.body.get("requiredSlots"), spec.pool.properties.get("taskSlotsPerNode")
    ours = spec.pool.kind is not PoolKind.EXISTING
    at = f"tasks.{stage.name}"
    return Limits(
        stage,
        _longest(stage, windows=windows),
        slots if ours and isinstance(slots, Template) else None,
        most if isinstance(most, int) else 1,
        _mixed(stage, windows=windows),
        spec.place(f"{at}.resource_files", f"{at}.resources") or stage.where,
        windows,
    )


def _mixed(stage: Stage, *, windows: bool) -> bool:
    """Whether the files that are spelled out may be in the way of others of one task alone."""
    own = stage.body.get("resourceFiles")
    return own is not None and (stage.resources is None or filler(own, windows=windows) is not None)


def _longest(stage: Stage, *, windows: bool) -> int:
    if not windows:
        return SH_ARGUMENT
    by_cmd = stage.command.template and stage.command.shell is Shell.DEFAULT
    return CMD_LINE if by_cmd else PROGRAM_LINE


def _leaves(path: str) -> bool:
    parts = PurePosixPath(path.replace("\\", "/"))
    return not parts.name or parts.is_absolute() or ".." in parts.parts
