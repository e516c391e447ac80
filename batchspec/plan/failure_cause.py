"""Why a task failed: one word to group and retry by, and the significant line of a message.

The words are part of the command line: ``exit-7``, ``timeout``, ``upload``, ``preempted``,
``start-task``, ``preparation-task``, ``unusable``, ``job-ended``; otherwise the service's failure
code (``command-program-not-found``).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping

from batchspec.plan.metadata import why_stopped
from batchspec.plan.observed import JobFacts, TaskFacts

START_TASK = "start-task"
"""The cause of nodes that take no tasks; a task does not fail by it, but waits."""
START_TASK_UNFINISHED = "start-task-running"
"""The cause of nodes whose start task still ran when the time limit of the job passed."""
UNUSABLE = "unusable"
"""The cause of nodes that the service cannot use, whatever their start tasks did."""
PREPARATION_TASK = "preparation-task"
"""The cause of nodes that take no tasks of a job, since its preparation task failed on them."""
NODE_CAUSES = frozenset({START_TASK, START_TASK_UNFINISHED, UNUSABLE, PREPARATION_TASK})
"""The causes of nodes; all others are of tasks."""
BLOCKED = "DependenciesFailed"
"""Why apply ends a job in which no task can start any more."""
UNPREPARED = "PreparationFailed"
"""Why apply ends a job whose preparation task failed on every node."""
_TIMED_OUT = -1073741510
"""0xC000013A, the documented exit code of a task that ran into its wall-clock limit."""
AT_LIMIT = frozenset({"MaxWallClockTimeExpiry", "TimeLimit"})
"""Why a job ended whose time was over; the second is what apply says when it ends one."""


def cause_of(task: TaskFacts, job: JobFacts | None = None) -> str:
    """The cause of a failed task of ``job``."""
    code = task.code or ""
    if code.startswith("FileUpload"):
        return "upload"
    if code == "TaskEnded" or task.exit_code == _TIMED_OUT:
        return _ended(task, job)
    if "preempt" in code.lower():
        return "preempted"
    if code in {"", "FailureExitCode"}:
        return "unknown" if task.exit_code is None else f"exit-{task.exit_code}"
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", code).lower()


def _ended(task: TaskFacts, job: JobFacts | None) -> str:
    """The task was ended: at its own time limit, with its job, or by a user.

    Only the service's message distinguishes these; on Linux the exit code does not.
    """
    if task.exit_code == _TIMED_OUT or "wall clock" in (task.message or "").lower():
        return "timeout"
    if job is not None and why_stopped(job.metadata, task.id):
        return "ended"
    reason = job.terminate_reason if job is not None else None
    if reason in AT_LIMIT:
        return "timeout"
    return "ended" if reason in {None, "AllTasksComplete"} else "job-ended"


_LONGEST_LINE = 200
"""Characters of a line that are compared and shown."""
_SHORTEST_NAME = 4
"""Characters; shorter words are in too many others to be masked as names."""
_NOISE = re.compile(
    r"""\s+at\s            # a frame of a Java or JavaScript stack trace
    | \s+File\s"           # one of a Python traceback
    | \s*\.\.\.\s\d+\smore # Java, too
    | \s*\|?\s*[~^]+       # what points at a column of the line before
    | \s*Traceback\s
    | \s*note:\s           # what Rust and GCC add
    | \s*exit\sstatus\s\d+$
    """,
    re.VERBOSE,
)
"""A line that says where it happened, or that it happened, and not what."""
_TIME = r"\b\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d)?(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?)?"
_MASKS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s'\"<>)\]]+", re.IGNORECASE), "<url>"),
    (re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", re.IGNORECASE), "<id>"),
    (re.compile(_TIME), "<time>"),
    (re.compile(r"\b\d\d?:\d\d(?::\d\d(?:[.,]\d+)?)\b"), "<time>"),
    (re.compile(r"(?<![\w])[A-Za-z]:\\[^\s'\"<>|:,;)\]]+"), "<path>"),
    (re.compile(r"(?<![\w<])(?:~|\.{1,2})?/[^\s'\"<>|:,;)\]]+"), "<path>"),
    (re.compile(r"(?<![\w<./-])[\w.-]+(?:/[\w.-]+)+"), "<path>"),
    (re.compile(r"\btvm[a-z]*-[\w-]+"), "<node>"),
    (re.compile(r"\b0x[0-9a-f]+\b", re.IGNORECASE), "<n>"),
    (re.compile(r"\b(?=[a-f]*\d)(?=\d*[a-f])[0-9a-f]{7,}\b", re.IGNORECASE), "<id>"),
    (re.compile(r"(?<![A-Za-z<])[-+]?\d+(?:[.,]\d+)*(?:e[-+]?\d+)?", re.IGNORECASE), "<n>"),
    (re.compile(r"\d+"), "<n>"),
)


def last_line(text: str) -> str:
    """The last line that says what went wrong; empty if there is none.

    Stack frames, carets and closing remarks are passed over. If there is nothing else, it is the
    last line that is not blank.
    """
    lines = [line for line in text.splitlines() if line.strip()]
    for line in reversed(lines):
        if not _NOISE.match(line) and any(character.isalpha() for character in line):
            return line.strip()
    return lines[-1].strip() if lines else ""


def signature(text: str, *names: str) -> str:
    """The last significant line of ``text`` without numbers, paths, ids, and times.

    ``names`` are words that vary as well, such as the ids of a task and its node, and
    :func:`distinctive_parts`.
    """
    line = last_line(text)[: 2 * _LONGEST_LINE]
    for pattern, mask in _MASKS[:6]:
        line = pattern.sub(mask, line)
    for name in sorted(set(names), key=len, reverse=True):
        if len(name) >= _SHORTEST_NAME:
            line = re.sub(rf"(?<![\w<]){re.escape(name)}(?![\w>])", "<id>", line)
    for pattern, mask in _MASKS[6:]:
        line = pattern.sub(mask, line)
    line = re.sub(r"(<\w+>)(?:[-_.]?\1)+", r"\1", line)
    return line[:_LONGEST_LINE].strip()


def distinctive_parts(ids: Iterable[str]) -> Mapping[str, tuple[str, ...]]:
    """For each id its parts between ``-`` and ``_`` that no other of these ids has.

    An id has the name of what its task is about (``count-lighthouse-3f2a``), which the program
    writes as well; what several ids have in common is a word like any other.
    """
    parts = {name: [part for part in re.split(r"[-_]", name) if part] for name in ids}
    if len(parts) < 2:
        return dict.fromkeys(parts, ())
    counts = Counter(part for found in parts.values() for part in set(found))
    return {
        name: tuple(part for part in found if counts[part] == 1) for name, found in parts.items()
    }
