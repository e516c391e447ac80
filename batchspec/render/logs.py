"""The output of tasks, redacted while it streams, and the messages of `logs`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from batchspec.apply.events import TaskFailed
from batchspec.diagnostics import Diagnostic, Severity, redact
from batchspec.observe import TaskOutput, Unstartable
from batchspec.plan.failures import cause_of
from batchspec.plan.observed import TaskFacts
from batchspec.render import units
from batchspec.render.output import Style, clean, flat

_LONGEST = 1 << 16
"""A longer line, in bytes, is passed on before it ends."""


@dataclass(slots=True)
class OutputRedactor:
    """Removes secrets from a stream of bytes, line by line.

    A line is kept until it is complete, so that a secret is never split. For a terminal (``shown``)
    control characters are removed, too.
    """

    shown: bool
    _partial: bytes = b""

    def __call__(self, data: bytes) -> bytes:
        """The complete lines so far."""
        whole, newline, rest = (self._partial + data).rpartition(b"\n")
        if len(rest) > _LONGEST:
            whole, newline, rest = whole + newline + rest, b"", b""
        self._partial = rest
        return self._clean(whole + newline)

    def end(self) -> bytes:
        """The last line, if it does not end with a newline."""
        rest, self._partial = self._partial, b""
        return self._clean(rest)

    def _clean(self, data: bytes) -> bytes:
        if not data:
            return b""
        if self.shown:
            return clean(data.decode("utf-8", "replace")).encode()
        return redact(data.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")


_COLORS = (36, 33, 32, 35, 34, 96, 93, 92, 95, 94)
"""The colours of prefixes by the order of the tasks: the terminal's, without red."""
_LONGEST_PREFIX = 32


@dataclass(slots=True)
class PrefixedOutput:
    """Lines of many tasks, each with the id of its task before it, without secrets.

    Only complete lines are returned, so that lines of tasks never mix. For a terminal, see
    :class:`OutputRedactor`; with ``color``, each task has one of ten colours.
    """

    shown: bool
    color: bool
    _files: dict[tuple[str, str], OutputRedactor] = field(default_factory=dict)
    _tasks: dict[str, int] = field(default_factory=dict)
    _width: int = 0

    def __call__(self, output: TaskOutput) -> bytes:
        """The lines that are complete now."""
        key = output.task, output.name
        redactor = self._files.setdefault(key, OutputRedactor(self.shown))
        data = redactor(output.data) if output.data else self._files.pop(key).end()
        if not data:
            return b""
        prefix = self._prefix(output.task)
        lines = data.removesuffix(b"\n").split(b"\n")
        return b"".join(prefix + line + b"\n" for line in lines)

    def _prefix(self, task: str) -> bytes:
        number = self._tasks.setdefault(task, len(self._tasks))
        self._width = max(self._width, min(len(task), _LONGEST_PREFIX))
        text = f"{flat(task):<{self._width}} | "
        if self.color:
            text = f"\x1b[{_COLORS[number % len(_COLORS)]}m{text}\x1b[0m"
        return text.encode()


def task_line(task: TaskFacts, *, color: bool = False) -> str:
    """A line of the list of tasks: state, id, cause."""
    style = Style(color)
    if task.succeeded:
        return f"{style('create', 'succeeded')}  {flat(task.id)}"
    if task.succeeded is False:
        cause = f"  {_cause(task)}"
        return f"{style('error', 'failed')}     {flat(task.id)}{style('dim', cause)}"
    return f"{flat(task.state):<9}  {flat(task.id)}"


def _cause(task: TaskFacts) -> str:
    return flat(cause_of(task))


def list_notes(count: int, show: str) -> Iterator[str]:
    """The line after the list; ``show`` is the command that shows the output of a task."""
    if count:
        yield f"Show one with: {flat(show)}"
    else:
        yield "No task has started yet."


def unredacted_note(secrets: Sequence[str]) -> str:
    """The note that these secret parameters, which have no value, are not redacted."""
    values = " and ".join(f"BATCHSPEC_VAR_{name.upper()}" for name in secrets)
    names = units.listed([f"`{name}`" for name in secrets])
    kind = "secret" if len(secrets) == 1 else "secrets"
    return f"note: output is not searched for the {kind} {names}; to redact it, set {values}"


def waiting_note(task: str) -> str:
    """The note while `-f` waits for a task to start."""
    return f"{flat(task)} has not started yet; waiting for it"


def empty_note(subject: str, name: str, *, other: str) -> str:
    """The note that a file is empty; ``other`` is an option that shows another one."""
    return f"{flat(name)} of {flat(subject)} is empty" + (f"; try {other}" if other else "")


def stored_note(subject: str, node: str) -> str:
    """The note that the stored output is that of another node with the same failure."""
    return f"{flat(subject)} failed in the same way as on node {flat(node)}; its output follows"


def recorded_note(failure: TaskFailed) -> str:
    """The note that only the end of stderr of a task is left, in the record of a run."""
    return (
        f"{flat(failure.task)} was deleted; the end of its stderr in the record of the run follows"
    )


def not_started(task: str) -> Diagnostic:
    """A note: the task has no output because it has not started."""
    return Diagnostic(
        "not-started",
        f"{task} has not started yet and has no output",
        fix="`-f` waits until it starts.",
        severity=Severity.NOTE,
    )


def none_started(pattern: str) -> Diagnostic:
    """A note: tasks match a pattern, and none of them has started."""
    return Diagnostic(
        "not-started",
        f"no task that matches {pattern!r} has started",
        fix="`batchspec status SPEC --tasks active` lists the tasks that wait.",
        severity=Severity.NOTE,
    )


def no_match(pattern: str) -> Diagnostic:
    """An error: no task matches a pattern."""
    return Diagnostic(
        "no-such-task",
        f"no task matches {pattern!r}",
        fix="`batchspec logs SPEC` lists the tasks that have started.",
    )


def never_starts(task: str, why: Unstartable) -> Diagnostic:
    """A note: the task has no output and can no longer start."""
    if why.failed:
        reason = f"the task {why.failed!r}, which it depends on, failed"
        fix = (
            f"`batchspec logs SPEC {why.failed}` shows why; `batchspec retry` runs the failed task"
            " again, and then this one."
        )
    else:
        reason = f"its job {why.job!r} has ended"
        fix = "`batchspec apply` runs the task in a new job."
    return Diagnostic(
        "not-started",
        f"{task} has not started and can no longer start: {reason}",
        fix=fix,
        severity=Severity.NOTE,
    )


def no_output(subject: str, name: str, *, kept: bool | None) -> Diagnostic:
    """An error: the output cannot be read.

    ``kept``: whether the spec stores it in a container; ``None`` if that is not possible.
    """
    where = {
        True: "it is neither on the node nor in the container for logs",
        False: "it is not on the node, and the spec does not store logs",
        None: "it is not on the node",
    }
    hints = {
        True: "Set `cleanup.containers: never` to keep the logs after the next run.",
        False: "Set `logs: true` in a stage to store the output of its tasks.",
        None: "",
    }
    summary = f"there is no {name} of {subject}"
    return Diagnostic("no-output", summary, detail=where[kept], fix=hints[kept])
