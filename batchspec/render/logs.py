"""What tasks wrote, on its way to the screen; and the list of those that wrote something."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from batchspec.diagnostics import Diagnostic, Severity, redact
from batchspec.plan.failure_cause import cause_of
from batchspec.plan.observed import TaskFacts
from batchspec.render.output import clean, flat
from batchspec.render.style import Style

_LONGEST = 1 << 16
"""A line that grows longer than this many bytes is passed on before it ends."""


@dataclass(slots=True)
class Lines:
    """Bytes in, bytes out, line by line and without secrets.

    A line is held until it is whole, so that no signature comes in two halves. For a terminal
    (``shown``) what it would obey is taken out, too; else everything but secrets stays as it is.
    """

    shown: bool
    _held: bytes = b""

    def __call__(self, data: bytes) -> bytes:
        """What can be passed on now."""
        whole, newline, rest = (self._held + data).rpartition(b"\n")
        if len(rest) > _LONGEST:
            whole, newline, rest = whole + newline + rest, b"", b""
        self._held = rest
        return self._clean(whole + newline)

    def end(self) -> bytes:
        """The last line, if it has no end of its own."""
        rest, self._held = self._held, b""
        return self._clean(rest)

    def _clean(self, data: bytes) -> bytes:
        if not data:
            return b""
        if self.shown:
            return clean(data.decode("utf-8", "replace")).encode()
        return redact(data.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")


def task_line(task: TaskFacts, *, color: bool = False) -> str:
    """A task of the list: how it is with it, and its id."""
    style = Style(color)
    if task.succeeded:
        return f"{style('create', 'succeeded')}  {flat(task.id)}"
    if task.succeeded is False:
        cause = f"  {_cause(task)}"
        return f"{style('error', 'failed')}     {flat(task.id)}{style('dim', cause)}"
    return f"{flat(task.state):<9}  {flat(task.id)}"


def _cause(task: TaskFacts) -> str:
    return flat(cause_of(task))


def list_notes(count: int, spec: str) -> Iterator[str]:
    """What is said after the list."""
    if count:
        yield f"Show one with: batchspec logs {flat(spec)} TASK"
    else:
        yield "No task has started yet."


def waiting_note(task: str) -> str:
    """That a task that is followed has not started."""
    return f"{flat(task)} has not started yet; waiting for it"


def empty_note(subject: str, name: str, *, other: str) -> str:
    """That there is a file, and nothing in it; ``other`` is an option that shows more."""
    return f"{flat(name)} of {flat(subject)} is empty" + (f"; try {other}" if other else "")


def stored_note(subject: str, node: str) -> str:
    """That the output of another node is shown, since both failed alike and one was stored."""
    return f"{flat(subject)} failed like that of {flat(node)}, whose output follows"


def not_started(task: str) -> Diagnostic:
    """That a task has written nothing since it has not started."""
    return Diagnostic(
        "not-started",
        f"{task} has not started yet, so it has written nothing",
        fix="`-f` waits for it.",
        severity=Severity.NOTE,
    )


def no_output(subject: str, name: str, *, kept: bool | None) -> Diagnostic:
    """That what was written cannot be read any more.

    ``kept`` says whether the service keeps it in a container; ``None`` where it never does.
    """
    where = {
        True: "it is neither on the node any more nor in the container for logs",
        False: "it is not on the node any more, and the spec keeps no logs",
        None: "it is not on the node",
    }
    hints = {
        True: "`cleanup.containers: never` would have kept the logs.",
        False: "`logs: true` in a stage keeps what its tasks write.",
        None: "",
    }
    summary = f"there is no {name} of {subject}"
    return Diagnostic("no-output", summary, detail=where[kept], fix=hints[kept])


def no_run(name: str, *, scheduled: bool = False) -> Diagnostic:
    """That nothing of this spec is in the account; of a schedule, that there is no job yet."""
    if scheduled:
        return Diagnostic(
            "no-run",
            f"there is no job of the schedule {name} in the account",
            fix="`batchspec status` says when the next one comes.",
        )
    return Diagnostic(
        "no-run",
        f"there is no job of {name} in the account",
        fix="`batchspec apply` starts one.",
    )
