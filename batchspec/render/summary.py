"""The summary after a run: outcome, tasks, times, what is left, and the next commands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from batchspec.render import units
from batchspec.render.diagnostics import cell_width
from batchspec.render.event_text import outcome_text, schedule_text, stage_lines
from batchspec.render.output import clean, flat, wrap
from batchspec.render.questions import left_lines
from batchspec.render.report import Report, StepState
from batchspec.render.style import Style


def summary_text(
    report: Report,
    *,
    destroy: str = "",
    commands: Mapping[str, str] | None = None,
    color: bool = False,
    width: int = 80,
) -> str:
    """The outcome, numbers and next commands of a run.

    ``destroy`` is the command that deletes what is left. ``commands`` are the useful next commands,
    each with what it does.
    """
    style = Style(color)
    lines = [*_head(report, style), *_facts(report, width)]
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
    for line in stage_lines(report.stages):
        yield from _row("", line, width)
    for wait in report.waits:
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
    tasks = report.tasks
    counts = (
        (tasks.succeeded, "succeeded"),
        (tasks.failed, "failed"),
        (tasks.running, "running"),
        (tasks.active, "waiting"),
    )
    return ", ".join(f"{count:,} {word}" for count, word in counts if count)
