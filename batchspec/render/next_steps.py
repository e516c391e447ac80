"""The commands that follow a run, a saved plan or a new spec, and what each of them does."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from batchspec.apply.events import Outcome
from batchspec.diagnostics import Diagnostic, Severity
from batchspec.plan.plan import Verb
from batchspec.render import units
from batchspec.render.output import flat
from batchspec.render.report import Report, StepState
from batchspec.render.style import Style

_NEXT: Mapping[Outcome | None, Mapping[str, str]] = {
    Outcome.DETACHED: {
        "attach": "watches the run, downloads the results and cleans up",
        "status": "shows the progress",
    },
    Outcome.SCHEDULED: {
        "status": "shows the job schedule and the time of its next job",
        "attach": "watches its newest job",
        "destroy": "deletes the job schedule, its jobs and everything else",
    },
    Outcome.TASKS_FAILED: {
        "failures": "shows the failed tasks by cause",
        "retry": "runs the failed tasks again",
    },
    Outcome.TIME_LIMIT: {
        "apply": "runs the remaining tasks",
        "failures": "shows the failed tasks by cause",
    },
}


_JOB_DELETED: Mapping[str, str] = {
    "report": "writes a page with the failed tasks",
    "apply": "runs all tasks again",
}
"""The commands after failed tasks whose job was deleted by clean-up."""


_NEXT_JOB: Mapping[str, str] = {
    "failures": "shows the failed tasks by cause",
    "status": "shows when the next job runs",
}
"""The commands after failed tasks of a job schedule."""


def next_commands(report: Report, again: str, *, scheduled: bool = False) -> Mapping[str, str]:
    """The useful commands after a run: verbs of the command line, and what they do.

    ``again`` is the verb that resumes the run. ``scheduled``: a job schedule creates its jobs.
    """
    match report.outcome:
        case Outcome.INTERRUPTED:
            return {again: "resumes", "status": "shows the progress"}
        case Outcome.FAILED:
            failures = {"failures": "shows the output of the failed nodes"} if report.nodes else {}
            return {**failures, again: "resumes after the cause is fixed"}
        case Outcome.TASKS_FAILED | Outcome.TIME_LIMIT if scheduled:
            return _NEXT_JOB
        case Outcome.TASKS_FAILED | Outcome.TIME_LIMIT if _job_deleted(report):
            return _JOB_DELETED
        case Outcome.TASKS_FAILED if not report.tasks.failed and _has_tasks_left(report):
            return {"apply": "runs the tasks that are left", "retry": "runs only those that failed"}
    return _NEXT.get(report.outcome, {})


def _has_tasks_left(report: Report) -> bool:
    return any(problem.code == "tasks-left" for problem in report.problems)


def _job_deleted(report: Report) -> bool:
    return any(
        step.verb == Verb.DELETE and step.subject.startswith("job ")
        for step in report.steps
        if step.state is StepState.DONE
    )


def plan_saved(path: Path) -> str:
    """The message after a plan was saved."""
    return f"Plan saved. Apply it with: batchspec apply {flat(shlex.quote(str(path)))}"


def stopping() -> Diagnostic:
    """The note after the first Ctrl-C."""
    return Diagnostic(
        "stopping",
        "stopping after the requests in progress; nothing is deleted",
        fix="Press Ctrl-C again to stop at once.",
        severity=Severity.NOTE,
    )


def record_unwritable(why: str) -> Diagnostic:
    """A warning: the record of the run cannot be written; the run continues."""
    return Diagnostic(
        "unrecorded",
        f"the record of this run cannot be written: {why}",
        fix="The run continues, but `batchspec report` cannot show it.",
        severity=Severity.WARNING,
    )


_SHOWN = 5


def files_written(
    spec: str, files: Sequence[Path], *, containers: bool, color: bool = False
) -> str:
    """The files that `init` wrote, and the commands for the spec among them.

    ``containers``: tasks run in containers, which need Docker or Podman on this machine.
    """
    style = Style(color)
    lines = [f"{style('create', '+')} {flat(str(file))}" for file in files]
    lines += [
        "",
        "Next:",
        f"  {style('bold', f'batchspec plan {flat(spec)}')}   shows what apply would do",
    ]
    lines.append(f"  {style('bold', f'batchspec apply {flat(spec)}')}  runs it on this machine")
    if containers:
        lines += ["", "Tasks in containers need Docker or Podman on this machine."]
    return "\n".join(lines)


def files_exist(files: Sequence[Path]) -> Diagnostic:
    """An error: files exist already."""
    names = [str(file) for file in files[:_SHOWN]]
    more = len(files) - len(names)
    return Diagnostic(
        "file-exists",
        f"{units.counted(len(files), 'file')} would be overwritten; nothing was written",
        detail="\n".join([*names, *([f"... and {more:,} more"] if more else [])]),
        fix="Choose another folder: batchspec init FOLDER",
    )


def folder_unwritable(folder: Path, why: str) -> Diagnostic:
    """An error: the folder cannot be written to."""
    return Diagnostic("unwritable-folder", f"{folder} cannot be written to: {why}")
