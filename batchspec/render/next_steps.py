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
        "attach": "watches it, fetches the results and cleans up",
        "status": "looks how far it is",
    },
    Outcome.SCHEDULED: {
        "status": "says how it is, and when the next job comes",
        "attach": "watches its newest job",
        "destroy": "deletes it with its jobs and all else",
    },
    Outcome.TASKS_FAILED: {
        "failures": "shows them by cause",
        "retry": "runs them again",
    },
    Outcome.TIME_LIMIT: {
        "apply": "runs the rest",
        "failures": "shows what failed",
    },
}


_JOB_GONE: Mapping[str, str] = {
    "report": "writes down what happened, as a page",
    "apply": "runs all of it again",
}
"""What is left to do about failed tasks when clean-up has deleted their job."""


_ANOTHER_COMES: Mapping[str, str] = {
    "failures": "shows them by cause",
    "status": "says when the next job comes, which does the work",
}
"""What there is to do about failed tasks of a schedule."""


def next_commands(report: Report, again: str, *, scheduled: bool = False) -> Mapping[str, str]:
    """What can be done after such a run: verbs of the command line, and what they do.

    ``again`` is the verb that goes on with what was begun. ``scheduled``: its jobs are made by a
    schedule.
    """
    match report.outcome:
        case Outcome.INTERRUPTED:
            return {again: "goes on from there", "status": "looks how far it is"}
        case Outcome.FAILED:
            why = {"failures": "shows what failed on the nodes"} if report.nodes else {}
            return {**why, again: "resumes after you have fixed it"}
        case Outcome.TASKS_FAILED | Outcome.TIME_LIMIT if scheduled:
            return _ANOTHER_COMES
        case Outcome.TASKS_FAILED | Outcome.TIME_LIMIT if _job_gone(report):
            return _JOB_GONE
    return _NEXT.get(report.outcome, {})


def _job_gone(report: Report) -> bool:
    return any(
        step.verb == Verb.DELETE and step.subject.startswith("job ")
        for step in report.steps
        if step.state is StepState.DONE
    )


def plan_saved(path: Path) -> str:
    """What is said of a plan that was saved."""
    return f"The plan is saved. Carry it out with: batchspec apply {flat(shlex.quote(str(path)))}"


def stopping() -> Diagnostic:
    """What is said at the first Ctrl-C."""
    return Diagnostic(
        "stopping",
        "stopping when what is in flight is done; nothing is deleted",
        fix="Ctrl-C once more stops at once.",
        severity=Severity.NOTE,
    )


def record_unwritable(why: str) -> Diagnostic:
    """That the record of the run cannot be written; the run itself goes on."""
    return Diagnostic(
        "unrecorded",
        f"the record of this run cannot be written: {why}",
        fix="The run goes on; `batchspec report` will not know of it.",
        severity=Severity.WARNING,
    )


_SHOWN = 5


def files_written(
    spec: str, files: Sequence[Path], *, containers: bool, color: bool = False
) -> str:
    """The files that were written, and the commands for the spec among them.

    ``containers`` says that tasks run in containers, which needs more of this machine.
    """
    style = Style(color)
    lines = [f"{style('create', '+')} {flat(str(file))}" for file in files]
    lines += ["", "Next:", f"  {style('bold', f'batchspec plan {flat(spec)}')}   what it would do"]
    lines.append(f"  {style('bold', f'batchspec apply {flat(spec)}')}  do it, on this machine")
    if containers:
        lines += ["", "On this machine, tasks in containers need Docker or Podman."]
    return "\n".join(lines)


def files_exist(files: Sequence[Path]) -> Diagnostic:
    """That files are there already."""
    names = [str(file) for file in files[:_SHOWN]]
    more = len(files) - len(names)
    return Diagnostic(
        "file-exists",
        f"{units.counted(len(files), 'file')} would be overwritten; nothing was written",
        detail="\n".join([*names, *([f"... and {more} more"] if more else [])]),
        fix="Name another folder: batchspec init FOLDER",
    )


def folder_unwritable(folder: Path, why: str) -> Diagnostic:
    """That the folder cannot be written to."""
    return Diagnostic("unwritable-folder", f"{folder} cannot be written to: {why}")
