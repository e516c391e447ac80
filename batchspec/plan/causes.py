"""Why a task failed, as one word: what failed tasks are grouped by and retried by.

The words are part of the command line: ``exit-7``, ``timeout``, ``upload``, ``preempted``,
``start-task``, ``preparation-task``, ``unusable``, ``job-ended``; else the service's own failure
code (``command-program-not-found``).
"""

from __future__ import annotations

import re

from batchspec.plan.observed import JobFacts, TaskFacts

START_TASK = "start-task"
"""The cause of nodes that take no tasks; a task does not fail by it, but waits."""
UNUSABLE = "unusable"
"""The cause of nodes that the service cannot use, whatever their start tasks did."""
PREPARATION_TASK = "preparation-task"
"""The cause of nodes that take no tasks of a job, since its preparation task failed on them."""
NODE_CAUSES = frozenset({START_TASK, UNUSABLE, PREPARATION_TASK})
"""The causes of nodes; all others are of tasks."""

_TIMED_OUT = -1073741510
"""0xC000013A, the documented exit code of a task that ran into its wall-clock limit."""

_AT_LIMIT = frozenset({"MaxWallClockTimeExpiry", "TimeLimit"})
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
    """The task was ended: at its own limit, with its job, or by somebody.

    The service tells these apart in its message alone, and on Linux not by the exit code.
    """
    if task.exit_code == _TIMED_OUT or "wall clock" in (task.message or "").lower():
        return "timeout"
    reason = job.terminate_reason if job is not None else None
    if reason in _AT_LIMIT:
        return "timeout"
    return "ended" if reason in {None, "AllTasksComplete"} else "job-ended"
