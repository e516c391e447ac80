"""Limits of requests, command lines and single tasks.

:class:`TaskLimits` finds everything that can be wrong in a single task of a stage.
"""

from __future__ import annotations

import json
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
from batchspec.plan.rules.image import runs_windows
from batchspec.plan.rules.references import prefixes_of_tasks, reserved_id, special_ids
from batchspec.plan.rules.rule import ERROR, Finding, RuleContext, RuleGroup
from batchspec.plan.task_template import Draft
from batchspec.plan.tasks import Task, filler
from batchspec.spec import (
    PoolKind,
    Record,
    Shell,
    Spec,
    Stage,
    Template,
    Text,
    Value,
    task_findings,
    too_many_slots,
    varying_members,
)

REQUESTS = RuleGroup("Sizes", "Limits of requests to the service and of command lines.")

MAX_REQUEST = 1_000_000
"""Bytes; the service accepts requests of up to 1 MB (Create Task Collection)."""

CMD_LINE = 8191
"""Characters that cmd.exe accepts ("Command prompt line string limitation")."""

PROGRAM_LINE = 32_767
"""Characters that CreateProcess accepts."""

SH_ARGUMENT = 131_071
"""Bytes of one argument on Linux (MAX_ARG_STRLEN less the NUL): the whole of ``sh -c``."""

_SIGNATURE = 300
"""The approximate length of a signature, which is added to a URL at submission."""


def size_of(value: Value) -> int:
    """The approximate size of a value as JSON in bytes, signatures included."""
    # The most frequent types come first, because it is slow to match other types with `Record()`.
    match value:
        case str():
            return len(value) + 2 if value.isascii() else len(json.dumps(value))
        case tuple():
            return sum([1 + size_of(item) for item in value])
        case Record():
            return sum([len(key) + 6 + size_of(item) for key, item in value.items()])
        case Text():
            urls = sum(1 for _ in value.urls())
            return size_of(value.shown) + urls * _SIGNATURE
        case None | bool() | int() | float():
            return 8
    return _SIGNATURE


@REQUESTS.check(
    "request-too-large",
    ERROR,
    title="The pool or the job exceeds the size of a request",
    why="The service accepts requests of up to 1 MB, signatures included.",
    fix="Move long values to a file, and pass the file as a resource.",
)
def request_too_large(context: RuleContext) -> Iterator[Finding]:
    """A body of Create Pool or Create Job that is larger than the limit."""
    spec = context.spec
    for subject, body, where in (
        ("pool", context.body, spec.pool.where),
        ("job", spec.job.properties, spec.job.where),
    ):
        size = size_of(body)
        if size > MAX_REQUEST:
            yield Finding(
                f"the request for the {subject} has {size:,} bytes; the limit is {MAX_REQUEST:,}",
                where,
            )


@REQUESTS.rule(
    "task-too-large",
    ERROR,
    title="A task exceeds the size of a request",
    why="The service accepts requests of up to 1 MB, signatures included.",
    fix="Use smaller groups, or name containers as `resources`.",
)
def task_too_large(task: str, body: Record, where: Place) -> Iterator[Finding]:
    """A body of Create Task that is larger than the limit."""
    size = size_of(body)
    if size > MAX_REQUEST:
        yield Finding(
            f"the request for task {task} has {size:,} bytes; the limit is {MAX_REQUEST:,}", where
        )


@REQUESTS.check(
    "command-too-long",
    ERROR,
    title="A command is longer than the shell accepts",
    why="Linux accepts 131,071 bytes in one argument; `cmd` accepts a line of 8,191 characters.",
    fix="Move long values to a file, and name the file in the command.",
)
def command_too_long(context: RuleContext) -> Iterator[Finding]:
    """Commands of the start task and of the special tasks of a job."""
    windows = runs_windows(context.spec, context.observed)
    longest = PROGRAM_LINE if windows else SH_ARGUMENT
    start = context.body.record("startTask").get("commandLine")
    yield from long_command("the start task", start, longest, context.at_pool("start_task"))
    for key, name, *keys in (
        ("jobManagerTask", "the job manager task", "job_manager_task"),
        ("jobPreparationTask", "the job preparation task", "prepare", "job_preparation_task"),
        ("jobReleaseTask", "the job release task", "release", "job_release_task"),
    ):
        command = context.spec.job.properties.record(key).get("commandLine")
        yield from long_command(name, command, longest, context.at_job(*keys))


def long_command(subject: str, command: Value, longest: int, where: Place) -> Iterator[Finding]:
    """A command that is longer than the shell accepts, for :data:`command_too_long`."""
    length = size_of(command)
    if length > longest:
        yield Finding(
            f"the command of {subject} has {length:,} characters; the limit is {longest:,}", where
        )


_NAMES = 4096
"""An upper bound of the bytes of the id and the display name of a task."""
_QUOTED = 20
"""An upper bound of the characters of a command line for one character of its identity, with two
levels of quotes."""
_ESCAPED = 12
"""The largest number of characters that JSON needs for a character outside ASCII."""


def command_room(like: Record, longest: int) -> int:
    """The length up to which commands are certainly short enough, see :func:`has_room`.

    ``like`` is the body of one task; other tasks differ from it in commands and names only.
    ``longest`` is the number of characters that the shell accepts.
    """
    command = like["commandLine"]
    urls = size_of(command) if isinstance(command, Text) else 0
    return max(0, min(longest - urls, MAX_REQUEST - size_of(like) - _NAMES) // _QUOTED)


def room_for_strings(like: Record) -> int:
    """The number of bytes that the command and other strings of a task can certainly have.

    ``like`` is the body of one task; other tasks differ from it in these strings only. Its size
    includes its own strings, so the result is too small rather than too large.
    """
    return max(0, MAX_REQUEST - size_of(like) - _NAMES)


def has_room(identity: str, room: int) -> bool:
    """Whether the command with this identity (``Text.identity``) is certainly short enough."""
    return len(identity) * (1 if identity.isascii() else _ESCAPED) <= room


_GENERATED = re.compile(r"-[0-9a-f]{14}$")


@frozen
class TaskLimits:
    """The limits of a stage's tasks.

    ``command`` is the maximum length of a command line. ``slots`` is the template of the slots if
    tasks differ in them, otherwise ``None``; ``max_slots`` is the number of slots of a node.
    ``varies`` are the members of the body whose values differ between tasks. ``mixed``: named
    files, whose position in the spec is ``files``, may conflict with other files of a task.
    ``windows``: file names ignore case. ``reserved`` are the ids of special tasks of the job;
    ``reserves_generated``: one of them may be a generated id.
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
    reserves_generated: bool
    prefixes: Callable[[Record], Iterator[Diagnostic]] | None

    def room_for_command(self, like: Task) -> int:
        """The result of :func:`command_room` for tasks like this one, which has no errors.

        0 if tasks of the stage can have other errors.
        """
        if self.slots or self.varies or self.mixed or self.prefixes is not None:
            return 0
        if self.reserves_generated:
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
        """Whether a task certainly has no errors except about its size.

        The first task must have no errors, and :attr:`vary` must be false.
        """
        if len(draft.command) > self.command:
            return False
        if draft.own is not None:
            return draft.own.lower() not in self.reserved
        return not self.reserves_generated

    def errors(self, task: Task) -> Iterator[Diagnostic]:
        """The errors of a task."""
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
    reserved = special_ids(spec)
    return TaskLimits(
        stage,
        _longest_command(stage, windows=windows),
        slots if created and isinstance(slots, Template) else None,
        most if isinstance(most, int) else 1,
        varying_members(stage),
        _is_mixed(stage, stage.body.get("resourceFiles"), windows=windows),
        spec.place(f"{at}.resource_files", f"{at}.resources") or stage.where,
        windows,
        reserved,
        any(map(_GENERATED.search, reserved)),
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
