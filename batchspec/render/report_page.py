"""The report of recorded runs as an HTML page with two SVG charts. Every text in it is escaped."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from html import escape
from pathlib import Path

from batchspec.apply import events
from batchspec.apply.events import NodeFailed, Outcome, Stamped, TaskFailed, Waiting
from batchspec.diagnostics import Diagnostic
from batchspec.plan import Verb
from batchspec.plan.observed import AccountNames
from batchspec.render import units
from batchspec.render.output import NodeIds, clean, flat
from batchspec.render.progress.json_stream import moment
from batchspec.render.report import Phase, Report, StepReport, StepState, Tally
from batchspec.render.run_text import (
    account_line,
    node_cause,
    outcome_text,
    phrase,
    skipped_text,
    stage_lines,
    tail_lines,
    task_cause,
    task_parts,
)

POINTS = 400
"""The largest number of points of a curve."""


@dataclass(frozen=True, slots=True)
class Span:
    """When a step ran, in seconds since the start of the run."""

    step: str
    begin: float
    end: float


@dataclass(frozen=True, slots=True)
class Point:
    """The tasks of the run at a moment: succeeded, failed, running, waiting."""

    at: float
    succeeded: int
    failed: int
    running: int
    active: int

    @property
    def total(self) -> int:
        """All tasks at that moment."""
        return self.succeeded + self.failed + self.running + self.active


@dataclass(frozen=True, slots=True)
class Timeline:
    """A run: its report, the times of its steps, and its tasks over time."""

    report: Report
    spans: tuple[Span, ...]
    points: tuple[Point, ...]


def build_timeline(stamped: Iterable[Stamped]) -> Timeline:
    """The timeline of a stream of events, which is read once."""
    tally = Tally()
    begun: dict[str, float] = {}
    spans: list[Span] = []
    points: list[Point] = []
    began = None
    seconds = 0.0
    for each in stamped:
        tally(each)
        began = began or each.at
        seconds = (each.at - began).total_seconds()
        match each.event:
            case events.StepStarted(step):
                begun[step] = seconds
            case events.StepDone(step) | events.StepFailed(step) | events.StepSkipped(step) if (
                step in begun
            ):
                spans.append(Span(step, begun.pop(step), seconds))
            case events.TasksSeen(_, _, active, running, succeeded, failed):
                points.append(Point(seconds, succeeded, failed, running, active))
    spans += [Span(step, begin, seconds) for step, begin in begun.items()]
    return Timeline(tally.report(), tuple(sorted(spans, key=lambda s: s.begin)), _thinned(points))


def _thinned(points: list[Point]) -> tuple[Point, ...]:
    """At most :data:`POINTS` points, evenly spaced, and the last one."""
    every = max(1, -(-len(points) // POINTS))
    kept = points[::every]
    return tuple(kept if not points or kept[-1] is points[-1] else [*kept, points[-1]])


@dataclass(frozen=True, slots=True)
class Attempt:
    """A recorded run of a command; ``id`` is what ``report --run`` takes."""

    id: str
    timeline: Timeline


def last_run(newest_first: Iterable[Attempt]) -> tuple[Attempt, ...]:
    """The attempts of the last run that had tasks, oldest first; reads no more than needed.

    A completed attempt ends a run, and so does the deletion of its job by another command. If no
    record has tasks, the result is the newest record.
    """
    found: list[Attempt] = []
    newest: Attempt | None = None
    for attempt in newest_first:
        newest = newest or attempt
        report = attempt.timeline.report
        if not _had_tasks(report):
            if found and _deleted_job(report):
                break
            continue
        if found and (
            report.outcome is Outcome.DONE or report.target != found[-1].timeline.report.target
        ):
            break
        found.append(attempt)
    if not found:
        return () if newest is None else (newest,)
    return tuple(reversed(found))


def combined_report(attempts: Sequence[Attempt]) -> Report:
    """The report of the last attempt, with the times and sizes of all attempts."""
    reports = [attempt.timeline.report for attempt in attempts]
    phases: dict[Phase, float] = {}
    for report in reports:
        for phase, seconds in report.phases.items():
            phases[phase] = phases.get(phase, 0.0) + seconds
    return replace(
        reports[-1],
        began=reports[0].began,
        seconds=sum(report.seconds for report in reports),
        phases=phases,
        uploaded=sum(report.uploaded for report in reports),
        downloaded=sum(report.downloaded for report in reports),
    )


def _had_tasks(report: Report) -> bool:
    """Whether the run submitted or waited for tasks, or had such a step."""
    return any(
        step.verb == Verb.SUBMIT or (step.verb == Verb.WAIT and step.subject.startswith("tasks"))
        for step in report.steps
    )


def _deleted_job(report: Report) -> bool:
    return any(
        step.verb == Verb.DELETE
        and step.state is StepState.DONE
        and step.subject.startswith(("job ", "schedule "))
        for step in report.steps
    )


_STYLE = Path(__file__).with_name("report_page.css")


def page_html(attempts: Sequence[Attempt]) -> str:
    """The report of a run as a page without scripts and external files.

    ``attempts`` are those of the run, oldest first, at least one.
    """
    return "\n".join(_page(attempts)) + "\n"


def _page(attempts: Sequence[Attempt]) -> Iterator[str]:
    report = combined_report(attempts)
    name = escape(flat(report.name) or "run")
    yield '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>{name}: batchspec report</title>"
    yield f"<style>\n{_STYLE.read_text(encoding='utf-8').strip()}\n</style>\n</head>\n<body>"
    good = "good" if report.good else "bad"
    outcome = escape(outcome_text(report.outcome, report.seconds))
    yield f'<h1>{name}</h1>\n<p class="outcome {good}">{outcome}</p>'
    yield from _facts(report)
    if len(attempts) > 1:
        yield from _section("Attempts", _attempts(attempts))
    for number, attempt in reversed(list(enumerate(attempts, start=1))):
        # The newest attempt is first because it has the result of the run.
        suffix = f" (attempt {number})" if len(attempts) > 1 else ""
        yield from _attempt(attempt.timeline, suffix)
    yield "</body>\n</html>"


def _attempt(timeline: Timeline, suffix: str) -> Iterator[str]:
    """The sections of one attempt; ``suffix`` is part of their titles."""
    report, ids = timeline.report, NodeIds()
    ids.add(node.node for node in report.nodes)
    yield from _section(f"Tasks{suffix}", tasks_chart(timeline.points, report.seconds))
    steps = {step.step: step for step in report.steps}
    chart = steps_chart(timeline.spans, steps, report.seconds)
    yield from _section(f"Timeline{suffix}", chart)
    yield from _section(f"Failed tasks{suffix}", _failures(report, ids))
    yield from _section(f"Failed nodes{suffix}", (_node(node, ids) for node in report.nodes))
    yield from _section(f"Problems{suffix}", map(_problem, map(ids.problem, report.problems)))
    yield from _section(f"Waits{suffix}", map(_wait, map(ids.waiting, report.waits)))
    yield from _section(f"Left in the account{suffix}", _left(report))
    yield from _section(f"Steps{suffix}", _steps(report.steps))


def _attempts(attempts: Sequence[Attempt]) -> Iterator[str]:
    yield "<table>\n<thead><tr><th>attempt</th><th>run id</th><th>started</th><th>duration</th>"
    yield "<th>ended</th><th>exit code</th></tr></thead>\n<tbody>"
    for number, attempt in enumerate(attempts, start=1):
        report = attempt.timeline.report
        cells = (
            str(number),
            escape(flat(attempt.id)),
            moment(report.began) if report.began else "",
            units.duration(report.seconds),
            escape(outcome_text(report.outcome, report.seconds)),
            str(int(report.exit)),
        )
        yield f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
    yield "</tbody>\n</table>"


def _section(title: str, body: Iterable[str]) -> Iterator[str]:
    """A section of the page; nothing for an empty body."""
    lines = list(body)
    if lines:
        yield f"<section>\n<h2>{escape(title)}</h2>"
        yield from lines
        yield "</section>"


def _facts(report: Report) -> Iterator[str]:
    account = AccountNames(report.target, report.batch, report.storage)
    moved = ((report.uploaded, "up"), (report.downloaded, "down"))
    facts = {
        "account": account_line(account),
        "started": moment(report.began) if report.began else "",
        "duration": units.duration(report.seconds),
        "exit code": str(int(report.exit)),
        "tasks": ", ".join(task_parts(asdict(report.tasks), over=report.job_over)),
        "stages": "; ".join(stage_lines(report.stages, over=report.job_over)),
        "data": ", ".join(f"{units.size(count)} {way}" for count, way in moved if count),
        "time": ", ".join(
            f"{phase.value} {units.duration(took)}" for phase, took in report.phases.items()
        ),
    }
    yield "<dl>"
    for name, text in facts.items():
        if text:
            yield f"<dt>{name}</dt><dd>{escape(text)}</dd>"
    yield "</dl>"


def _failures(report: Report, ids: NodeIds) -> Iterator[str]:
    yield from (_task(task, ids) for task in report.failures)
    more = report.tasks.failed - len(report.failures)
    if report.failures and more > 0:
        yield f"<p>... and {more:,} more</p>"


def _task(task: TaskFailed, ids: NodeIds) -> str:
    node = f" on {ids(task.node)}" if task.node else ""
    head = f"{flat(task.task)}: {flat(task_cause(task))}{flat(node)}"
    return _details(head, task.stderr)


def _node(node: NodeFailed, ids: NodeIds) -> str:
    return _details(f"{flat(ids(node.node))}: {ids(node_cause(node))}", node.stderr)


def _details(head: str, text: str) -> str:
    lines = [line.removeprefix("  | ").removeprefix("  |") for line in tail_lines(text)]
    if not lines:
        return f"<p>{escape(head)}</p>"
    body = escape("\n".join(lines))
    return f"<details><summary>{escape(head)}</summary><pre>{body}</pre></details>"


def _problem(problem: Diagnostic) -> str:
    more = [clean(text) for text in (problem.detail, problem.fix) if text]
    rest = "".join(f"<br>{escape(text)}" for text in more)
    level = problem.severity.value
    return f'<p class="{level}"><b>{level}</b> {escape(flat(problem.summary))}{rest}</p>'


def _wait(wait: Waiting) -> str:
    more = "".join(f"<br>{escape(clean(text))}" for text in (wait.detail, wait.action) if text)
    return f'<p class="warning"><b>{escape(wait.code)}</b> {escape(flat(wait.summary))}{more}</p>'


def _left(report: Report) -> Iterator[str]:
    if report.left:
        yield "<ul>"
        yield from (f"<li>{escape(flat(subject))}</li>" for subject in report.left)
        yield "</ul>"


def _steps(steps: Iterable[StepReport]) -> Iterator[str]:
    steps = tuple(steps)
    names = {step.step: phrase(step.verb, step.subject) for step in steps}
    rows = [_row(step, names) for step in steps]
    if rows:
        yield "<table>\n<thead><tr><th>step</th><th>state</th><th>time</th><th>items</th>"
        yield "<th>size</th><th>note</th></tr></thead>\n<tbody>"
        yield from rows
        yield "</tbody>\n</table>"


def _row(step: StepReport, names: Mapping[str, str]) -> str:
    skipped = step.state is StepState.SKIPPED
    note = skipped_text(step.note, names) if skipped else step.note
    cells = (
        units.duration(step.seconds),
        f"{step.items:,}",
        units.size(step.size) if step.size else "",
        escape(flat(note)),
    )
    name, state = escape(phrase(step.verb, step.subject)), step.state.value
    rest = "".join(f"<td>{cell}</td>" for cell in cells)
    return f'<tr><td>{name}</td><td class="{state}">{state}</td>{rest}</tr>'


WIDTH = 900
_LABEL = 300
_ROW = 22
_HEIGHT = 180
_TICKS = 5


def steps_chart(
    spans: Sequence[Span], steps: Mapping[str, StepReport], seconds: float
) -> Iterator[str]:
    """A bar for each step from its start to its end."""
    height = _ROW * len(spans) + 24
    room = WIDTH - _LABEL
    scale = room / seconds if seconds > 0 else 0.0
    yield f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="Timeline of the steps">'
    for tick in range(_TICKS + 1):
        at = seconds * tick / _TICKS
        x = _LABEL + room * tick / _TICKS
        yield f'<line class="grid" x1="{x:.1f}" y1="0" x2="{x:.1f}" y2="{height - 20}"/>'
        yield _tick(x, height - 4, "end" if tick == _TICKS else "middle", units.duration(at))
    for row, span in enumerate(spans):
        step = steps.get(span.step)
        y = row * _ROW
        name = phrase(step.verb, step.subject) if step else flat(span.step)
        state = step.state.value if step else "running"
        width = max((span.end - span.begin) * scale, 1.5)
        took = units.duration(span.end - span.begin)
        yield f'<text class="name" x="{_LABEL - 8}" y="{y + 15}">{escape(_short(name))}</text>'
        yield (
            f'<rect class="bar {state}" x="{_LABEL + span.begin * scale:.1f}" y="{y + 4}"'
            f' width="{width:.1f}" height="{_ROW - 8}" rx="2">'
            f"<title>{escape(name)}: {took}</title></rect>"
        )
    yield "</svg>"


def _tick(x: float, y: int, anchor: str, label: str) -> str:
    return f'<text class="tick" x="{x:.1f}" y="{y}" text-anchor="{anchor}">{label}</text>'


def _short(name: str) -> str:
    return name if len(name) <= 44 else f"{name[:43]}…"


def tasks_chart(points: Sequence[Point], seconds: float) -> Iterator[str]:
    """The tasks over time, as stacked areas: succeeded, failed, running, waiting."""
    most = max((point.total for point in points), default=0)
    if most == 0 or seconds <= 0:
        return
    yield f'<svg viewBox="0 0 {WIDTH} {_HEIGHT + 24}" role="img" aria-label="Tasks over time">'
    layers: tuple[tuple[str, Callable[[Point], int]], ...] = (
        ("active", lambda p: p.total),
        ("running", lambda p: p.succeeded + p.failed + p.running),
        ("failed", lambda p: p.succeeded + p.failed),
        ("done", lambda p: p.succeeded),
    )
    for name, height in layers:
        path = _area([(p.at / seconds, height(p) / most) for p in points])
        yield f'<path class="area {name}" d="{path}"/>'
    for tick in range(_TICKS + 1):
        x = WIDTH * tick / _TICKS
        anchor = "start" if tick == 0 else "end" if tick == _TICKS else "middle"
        yield _tick(x, _HEIGHT + 18, anchor, units.duration(seconds * tick / _TICKS))
    yield _tick(WIDTH, 12, "end", f"{most:,}")
    yield "</svg>"


def _area(points: Sequence[tuple[float, float]]) -> str:
    """A closed stepped path: a count is drawn until the next one."""
    first = points[0][0] * WIDTH
    path = [f"M{first:.1f} {_HEIGHT}"]
    for x, y in points:
        path.append(f"H{x * WIDTH:.1f}V{_HEIGHT * (1 - y):.1f}")
    return "".join([*path, f"H{WIDTH}V{_HEIGHT}Z"])
