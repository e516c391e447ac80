"""The causes of failed tasks and nodes, which `failures` prints and `retry --cause` accepts."""

from __future__ import annotations

import re
from functools import partial

from batchspec.cli.error_codes.model import ErrorCode, ErrorGroup

_cause = partial(ErrorCode, severity="cause")
_READ = "Read its output with `batchspec logs SPEC TASK --stderr`"
_RETRY = "then run it again with `batchspec retry`."

FAILURES = ErrorGroup(
    "Failed tasks",
    (
        _cause(
            "exit-N",
            "The command of the task ended with the exit code N",
            "Every exit code but 0 is a failure, unless `exit_codes` of the stage gives it another"
            " meaning.",
            f"{_READ}, fix the cause, {_RETRY}",
        ),
        _cause(
            "timeout",
            "The task reached a time limit",
            "`max_wall_clock_time` of the stage or of the job is over.",
            f"Increase the limit or make the task shorter, {_RETRY}",
        ),
        _cause(
            "upload",
            "An output file of the task could not be uploaded",
            "The exit code does not matter: outputs are part of the work.",
            "`batchspec failures` shows the message of the service, and the file.",
        ),
        _cause(
            "preempted",
            "The node of the task was preempted, and the task did not run again",
            "Azure takes Spot nodes back when it needs the capacity.",
            "Run it again with `batchspec retry`, or use dedicated nodes.",
        ),
        _cause(
            "job-ended",
            "The job was terminated while the task ran",
            "A user stopped the run, a failed task ended the job, or another client did.",
            "`batchspec status` shows the reason; `batchspec retry` runs the task again.",
        ),
        _cause(
            "ended",
            "The task was terminated by request",
            "`batchspec stop SPEC TASK` or another client ended it; the job continued.",
            "`batchspec failures` shows the recorded reason; `batchspec retry` runs it again.",
        ),
        _cause(
            "start-task",
            "The start task of nodes failed",
            "Nodes whose start task failed run no tasks.",
            "Read its output with `batchspec logs SPEC --start-task NODE`, fix"
            " `pool.start_task`, and apply the spec again.",
        ),
        _cause(
            "start-task-running",
            "The start task of nodes had not ended at the time limit of the job",
            "Nodes run no tasks before their start task has ended.",
            "Fix `pool.start_task` or increase `job.max_wall_clock_time`, and apply the spec"
            " again.",
        ),
        _cause(
            "preparation-task",
            "The job preparation task of nodes failed",
            "Nodes whose preparation task failed run no tasks of the job.",
            "Fix `job.prepare`, and apply the spec again.",
        ),
        _cause(
            "unusable",
            "The service cannot use the nodes",
            "A node did not start, or lost its connection to the service.",
            "`batchspec failures` shows the errors of the nodes. Fix the cause in the pool, and"
            " apply the spec again.",
        ),
        _cause(
            "command-program-not-found",
            "The program of the command is not on the node",
            "Nothing installs it there, or its path is wrong.",
            "Install it in `pool.start_task`, upload it with `resources`, or fix the command.",
        ),
        _cause(
            "blob-not-found",
            "A resource file of the task does not exist in the container",
            "It was deleted or renamed, or was never written.",
            "Upload it or fix its path, then run the task again with `batchspec retry`.",
        ),
        _cause(
            "unknown",
            "The task failed, and the service reports no cause",
            "There is neither an exit code nor an error.",
            f"{_READ}, {_RETRY}",
        ),
    ),
)

_EXIT = re.compile(r"exit-(-?[0-9]+)")
_GROUP = re.compile(r":(?:[0-9a-f]+|other)$")
_SHELL = {
    126: ("The program cannot be executed", "It is not executable, or not for this system."),
    127: ("The program was not found", "The shell did not find it in PATH."),
}
_SIGNALS = {
    6: "SIGABRT: the program aborted itself",
    9: "SIGKILL: often the system ended it because the node had no memory left",
    11: "SIGSEGV: the program accessed invalid memory",
    15: "SIGTERM: another process asked it to end",
}
_FIRST_SIGNAL, _LAST_SIGNAL = 129, 192
"""The exit code of a shell after a signal is 128 and the signal's number."""


def failure_code(cause: str) -> ErrorCode | None:
    """The explanation of an exit code or of a group of a cause, such as ``exit-1:3f2a9c``."""
    cause = _GROUP.sub("", cause.lower())
    known = {each.code.lower(): each for each in FAILURES.codes}
    match = _EXIT.fullmatch(cause)
    if match is None:
        return known.get(cause)
    number = int(match[1])
    general = known["exit-n"]
    title = f"The command of the task ended with the exit code {number}"
    why = general.why
    if number in _SHELL:
        meaning, why = _SHELL[number]
        title = f"{title}: {meaning[:1].lower()}{meaning[1:]}"
    elif _FIRST_SIGNAL <= number <= _LAST_SIGNAL:
        signal = number - _FIRST_SIGNAL + 1
        text = _SIGNALS.get(signal, "`man 7 signal` lists the signals")
        why = f"On Linux it usually means that signal {signal} ended a program ({text})."
    return _cause(cause, title, why, general.fix)
