"""The summary after a run, and the commands that follow a run, a saved plan or a new spec."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from batchspec.apply.events import Outcome
from batchspec.diagnostics import Diagnostic, Severity
from batchspec.plan import Verb
from batchspec.render import units
from batchspec.render.diagnostics import cell_width
from batchspec.render.output import NodeIds, Style, clean, flat, json_text, wrap
from batchspec.render.questions import left_lines
from batchspec.render.report import Report, StepState, report_json
from batchspec.render.run_text import (
    outcome_text,
    schedule_text,
    stage_lines,
    task_cause,
    task_parts,
)


def summary_text(
    report: Report,
    *,
    destroy: str = "",
    commands: Mapping[str, str] | None = None,
    color: bool = False,
    width: int = 80,
    cost: str = "",
) -> str:
    """The outcome, numbers and next commands of a run, and its ``cost`` if it is known.

    ``destroy`` is the command that deletes the remaining resources. ``commands`` are useful next
    commands, each with its effect.
    """
    style = Style(color)
    lines = [*_head(report, style), *_facts(report, width)]
    if cost:
        lines += _row("cost", cost, width)
    if report.left:
        lines += ["", "Left in the account:"]
        lines += [f"  {line}" for line in left_lines(report.left, target=report.target)]
        if destroy:
            lines.append(f"  Delete with: {style('bold', clean(destroy))}")
    if commands:
        lines += ["", "Next:"]
        column = max(cell_width(command) for command in commands)
        for command, does in commands.items():
            gap = " " * (column - cell_width(command) + 2)
            lines.append(f"  {style('bold', clean(command))}{gap}{clean(does)}")
    return "\n".join(lines)


def _head(report: Report, style: Style) -> Iterator[str]:
    style_name = "create" if report.good else "error"
    name = f"{flat(report.name)}: " if report.name else ""
    yield style("bold", name) + style(style_name, outcome_text(report.outcome, report.seconds))


def _facts(report: Report, width: int) -> Iterator[str]:
    if report.steps:
        yield from _row("steps", _steps(report), width)
    if report.tasks.total or report.tasks.failed:
        yield from _row("tasks", _tasks(report), width)
    for line in stage_lines(report.stages, over=report.job_over):
        yield from _row("", line, width)
    for wait in map(NodeIds().waiting, report.waits):
        yield from _row("waits" if report.outcome is None else "cause", flat(wait.summary), width)
    if report.schedule is not None:
        yield from _row("jobs", schedule_text(report.schedule), width)
    moved = (("up", report.uploaded), ("down", report.downloaded))
    data = ", ".join(f"{units.size(count)} {way}" for way, count in moved if count)
    if data:
        yield from _row("data", data, width)
    if report.phases:
        phases = [f"{name} {units.duration(took)}" for name, took in report.phases.items()]
        yield from _row("time", ", ".join(phases), width)


def summary_line(report: Report) -> str:
    """A run in one line: its name, its outcome, its tasks, and the first error or cause."""
    name = f"{report.name}: " if report.name else ""
    parts = [f"{name}{outcome_text(report.outcome, report.seconds)}"]
    if report.tasks.total or report.tasks.failed:
        parts.append(f"tasks: {_tasks(report)}")
    errors = [each.summary for each in report.problems if each.severity is Severity.ERROR]
    failed = [f"{each.task}: {task_cause(each)}" for each in report.failures]
    causes = [wait.summary for wait in report.waits]
    if not report.good:
        parts += [NodeIds()(text) for text in (*errors, *causes, *failed)[:1]]
    if report.cost is not None and report.node_hours:
        where = " on Azure" if report.target == "local" else ""
        parts.append(f"cost{where}: {units.money(report.cost, report.currency)}")
    return flat("; ".join(parts))


def notification_text(report: Report) -> str:
    """The summary of a run as JSON for a notification: the report, and ``text``, a line of it."""
    return json_text({"text": summary_line(report), **report_json(report)}, indent=2) + "\n"


def _row(name: str, text: str, width: int) -> Iterator[str]:
    yield from wrap(text, width, first=f"  {name:<6} ", rest=" " * 9)


def _steps(report: Report) -> str:
    labels = {
        StepState.DONE: "done",
        StepState.FAILED: "failed",
        StepState.SKIPPED: "not run",
        StepState.RUNNING: "not finished",
    }
    counts = {state: sum(step.state is state for step in report.steps) for state in labels}
    return ", ".join(
        f"{counts[state]:,} {label}" for state, label in labels.items() if counts[state]
    )


def _tasks(report: Report) -> str:
    return ", ".join(task_parts(asdict(report.tasks), over=report.job_over))


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


_WITHOUT_FAILURES: Mapping[str, Mapping[str, str]] = {
    "tasks-left": {
        "apply": "runs the remaining tasks",
        "retry": "runs only the failed tasks",
    },
    "output-missing": {
        "logs": "shows what a task wrote",
        "apply": "reruns the tasks whose outputs are missing",
    },
}
"""The commands, by the code of a problem, after a run in which no task failed."""


_NEXT_JOB: Mapping[str, str] = {
    "failures": "shows the failed tasks by cause",
    "status": "shows when the next job runs",
}
"""The commands after failed tasks of a job schedule."""


def next_commands(report: Report, again: str, *, scheduled: bool = False) -> Mapping[str, str]:
    """The useful commands after a run: verbs with their options, and their effects.

    ``again`` is the command that resumes the run. ``scheduled``: a job schedule creates its jobs.
    """
    match report.outcome:
        case Outcome.INTERRUPTED:
            return {again: "resumes", "status": "shows the progress"}
        case Outcome.FAILED | Outcome.TIME_LIMIT if (
            report.nodes or report.outcome is Outcome.FAILED
        ):
            failures = {"failures": "shows the output of the failed nodes"} if report.nodes else {}
            return {**failures, again: "resumes after the cause is fixed"}
        case Outcome.TASKS_FAILED | Outcome.TIME_LIMIT if scheduled:
            return _NEXT_JOB
        case Outcome.TASKS_FAILED | Outcome.TIME_LIMIT if _job_deleted(report):
            return _JOB_DELETED
        case Outcome.TASKS_FAILED if not report.tasks.failed:
            codes = {problem.code for problem in report.problems}
            found = (commands for code, commands in _WITHOUT_FAILURES.items() if code in codes)
            return next(found, _NEXT[Outcome.TASKS_FAILED])
    return _NEXT.get(report.outcome, {})


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
        fix="Press Ctrl-C again to stop immediately.",
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


def command_not_notified(why: str, output: str) -> Diagnostic:
    """A warning: the command of ``notify`` did not succeed; ``output`` are its last lines."""
    return Diagnostic(
        "notify-command-failed",
        f"the command of `notify` {why}",
        detail=output,
        fix="The run is not affected. The command receives the summary on its standard input.",
        severity=Severity.WARNING,
    )


def webhook_not_notified(receiver: str, why: str) -> Diagnostic:
    """A warning: the webhook of ``notify`` did not receive the summary."""
    return Diagnostic(
        "webhook-failed",
        f"{receiver} did not accept the summary of the run: {why}",
        fix="The run is not affected. Check the URL and the headers of `notify.webhook`.",
        severity=Severity.WARNING,
    )


def not_notified() -> Diagnostic:
    """A warning: the notification was interrupted."""
    return Diagnostic(
        "notify-interrupted",
        "the run has ended, and its notification was interrupted",
        fix="The summary may not have been sent.",
        severity=Severity.WARNING,
    )


_SHOWN = 5


def spec_imported(spec: Path, *, values_missing: bool) -> str:
    """The next step for a spec that `import` wrote."""
    path = flat(shlex.quote(str(spec)))
    values = " --var NAME=VALUE" if values_missing else ""
    return f"{path} was written. Read its comments, then run `batchspec plan {path}{values}`."


def files_written(
    spec: str, files: Sequence[Path], *, containers: bool, color: bool = False
) -> str:
    """The files that `init` wrote, and the commands for the spec among them.

    ``containers``: tasks run in containers, which need Docker or Podman on this machine.
    """
    style, path = Style(color), flat(shlex.quote(spec))
    lines = [f"{style('create', '+')} {flat(str(file))}" for file in files]
    lines += [
        "",
        "Next:",
        f"  {style('bold', f'batchspec plan {path}')}   shows what apply would do",
    ]
    lines.append(f"  {style('bold', f'batchspec apply {path}')}  runs it on this machine")
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
    return Diagnostic(
        "unwritable-folder",
        f"{folder} cannot be written to: {why}",
        fix="Choose another folder, or make this one writable.",
    )
