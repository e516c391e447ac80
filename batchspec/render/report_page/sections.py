"""The sections of the page, each with its tables and places for charts. Texts are escaped here."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from html import escape

from batchspec.apply.events import NodeFailed, Waiting
from batchspec.diagnostics import Diagnostic
from batchspec.frozen import frozen
from batchspec.plan import Verb
from batchspec.plan.failures import NODE_CAUSES
from batchspec.plan.observed import AccountNames
from batchspec.pricing import NodeKind, Price, Unknown
from batchspec.render import units
from batchspec.render.failures import CAUSES
from batchspec.render.json_lines import NodeRow, moment
from batchspec.render.output import NodeIds, clean, flat, json_text
from batchspec.render.report import Report, StepReport, StepState, price_of
from batchspec.render.report_page.history import (
    Attempt,
    CauseTotals,
    NodeUse,
    RunHistory,
    SizeUse,
    StageTotals,
    TaskTotals,
    deleted_job,
    seconds_of,
    use_by_size,
)
from batchspec.render.run_text import (
    account_line,
    first_sentence,
    node_cause,
    node_state_text,
    outcome_text,
    phrase,
    skipped_text,
    stage_lines,
    tail_lines,
    task_cause,
    task_parts,
)


@frozen
class Cell:
    """A cell of a table: its text, a style class, and the full text of a shortened one."""

    text: str
    kind: str = ""
    title: str = ""


def table(
    caption: str, heads: Sequence[str], rows: Iterable[Sequence[str | Cell]]
) -> Iterator[str]:
    """A table that scrolls sideways if it is too wide; empty without rows.

    Columns whose name starts with ``#`` contain numbers. The first column names the row.
    """
    lines = [_row(row, heads) for row in rows]
    if not lines:
        return
    label = escape(caption)
    yield f'<div class="scroll" role="region" aria-label="{label}" tabindex="0"><table>'
    yield f"<caption>{label}</caption>\n<thead><tr>"
    for head in heads:
        kind = ' class="number"' if head.startswith("#") else ""
        yield f'<th scope="col"{kind}>{escape(head.removeprefix("#"))}</th>'
    yield "</tr></thead>\n<tbody>"
    yield from lines
    yield "</tbody></table></div>"


def _row(row: Sequence[str | Cell], heads: Sequence[str]) -> str:
    cells = []
    for number, (value, head) in enumerate(zip(row, heads, strict=True)):
        cell = value if isinstance(value, Cell) else Cell(value)
        kinds = [*(["number"] if head.startswith("#") else []), *([cell.kind] if cell.kind else [])]
        kind = f' class="{" ".join(kinds)}"' if kinds else ""
        title = f' title="{escape(cell.title)}"' if cell.title else ""
        name = 'th scope="row"' if number == 0 else "td"
        cells.append(f"<{name}{kind}{title}>{escape(cell.text)}</{name[:2]}>")
    return f"<tr>{''.join(cells)}</tr>"


def folded(title: str, lines: Iterable[str], *, opened: bool = False) -> Iterator[str]:
    """A part that is shown on request; no part if it is empty."""
    body = list(lines)
    if body:
        yield f"<details{' open' if opened else ''}><summary>{escape(title)}</summary>"
        yield from body
        yield "</details>"


def definitions(values: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Names with their texts; names without a text are omitted."""
    yield "<dl>"
    for name, text in values:
        if text:
            yield f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>"
    yield "</dl>"


def command(text: str) -> str:
    """A command that can be copied."""
    return f'<code class="command">{escape(clean(text))}</code>'


def output(text: str) -> Iterator[str]:
    """The last lines of an output; no element if it is empty."""
    lines = [line.removeprefix("  | ").removeprefix("  |") for line in tail_lines(text)]
    if lines:
        yield f'<pre class="output">{escape(chr(10).join(lines))}</pre>'


def listing(text: str) -> str:
    """A text with unchanged lines."""
    return f"<pre>{escape(clean(text).rstrip())}</pre>"


def chart(key: str, label: str) -> str:
    """The place of a chart, which the scripts draw; without scripts it is not shown."""
    return (
        f'<figure class="chart" id="{key}-chart" data-label="{escape(label)}" hidden></figure>'
        '<noscript><p class="dim">The chart needs scripts; the table below does not.</p></noscript>'
    )


_MOMENTS = 12
"""The number of rows of the table beside the chart of concurrency."""
_MOST_NODES = 200
"""The maximum number of nodes in a table; the others are counted."""


def facts(report: Report) -> Iterator[str]:
    """The account, times and totals of the run."""
    account = AccountNames(report.target, report.batch, report.storage)
    moved = ((report.uploaded, "up"), (report.downloaded, "down"))
    yield from definitions(
        (
            ("account", account_line(account)),
            ("started", moment(report.began) if report.began else ""),
            ("duration", units.duration(report.seconds)),
            ("exit code", str(int(report.exit))),
            ("tasks", ", ".join(task_parts(asdict(report.tasks), over=report.job_over))),
            ("stages", "; ".join(stage_lines(report.stages, over=report.job_over))),
            ("data", ", ".join(f"{units.size(count)} {way}" for count, way in moved if count)),
            ("node-hours", f"{sum(report.node_hours.values()):,.3f}" if report.node_hours else ""),
            ("cost" if report.target != "local" else "cost on Azure", _cost(report)),
            (
                "time",
                ", ".join(
                    f"{phase.value} {units.duration(took)}" for phase, took in report.phases.items()
                ),
            ),
        )
    )


def _cost(report: Report) -> str:
    return _amount(report) if report.prices is not None and report.node_hours else ""


def attempts(found: Sequence[Attempt]) -> Iterator[str]:
    """The attempts, if there are several."""
    if len(found) < 2:
        return
    yield from table(
        "Attempts",
        ("attempt", "run id", "started", "#duration", "ended", "#exit code"),
        (
            (
                str(number),
                flat(attempt.id),
                moment(report.began) if report.began else "",
                units.duration(report.seconds),
                outcome_text(report.outcome, report.seconds),
                str(int(report.exit)),
            )
            for number, attempt in enumerate(found, start=1)
            for report in (attempt.timeline.report,)
        ),
    )


def notices(found: Sequence[Attempt], ids: NodeIds) -> Iterator[str]:
    """Problems, causes of waits and resources left in the account; the last attempt is first."""
    for number, attempt in reversed(list(enumerate(found, start=1))):
        report = attempt.timeline.report
        suffix = f" of attempt {number}" if len(found) > 1 else ""
        known = {problem.summary for problem in report.problems}
        lines = [
            *(_problem(ids.problem(problem)) for problem in report.problems),
            *(_wait(ids.waiting(wait)) for wait in report.waits if wait.summary not in known),
        ]
        if number == len(found):
            if number > 1 and deleted_job(report):
                text = f"attempt {number} deleted the job; its tasks are shown as they were then"
                yield f'<p class="notice note"><b>note</b> {text}</p>'
            yield from lines
            yield from _left(report)
        else:
            yield from folded(f"Problems{suffix}", lines)


def _problem(problem: Diagnostic) -> str:
    more = [clean(text) for text in (problem.detail, problem.fix) if text]
    rest = "".join(f"<br>{escape(text)}" for text in more)
    level = problem.severity.value
    return f'<p class="notice {level}"><b>{level}</b> {escape(flat(problem.summary))}{rest}</p>'


def _wait(wait: Waiting) -> str:
    more = "".join(f"<br>{escape(clean(text))}" for text in (wait.detail, wait.action) if text)
    head = f"<b>{escape(wait.code)}</b> {escape(flat(wait.summary))}"
    return f'<p class="notice warning">{head}{more}</p>'


def _left(report: Report) -> Iterator[str]:
    if report.left:
        subjects = ", ".join(map(flat, report.left))
        yield f'<p class="notice note"><b>left in the account</b> {escape(subjects)}</p>'


def failures(history: RunHistory, totals: TaskTotals, ids: NodeIds) -> Iterator[str]:
    """The failures by cause, each with an output and the command that runs its tasks again."""
    found = sorted(totals.causes.items(), key=lambda item: -item[1].count)
    for cause, group in found:
        if group.count:
            yield from _cause(cause, group, history, ids)
    again = [f"{flat(cause)}: {group.superseded:,}" for cause, group in found if group.superseded]
    if again:
        yield f'<p class="dim">Failed and run again since: {escape(", ".join(again))}</p>'
    # Without the facts about the tasks, the events name the first failures.
    last = history.attempts[-1].timeline.report
    if not found:
        for task in last.failures:
            yield f"<h3>{escape(flat(f'{task.task}: {task_cause(task)}'))}</h3>"
            yield from output(task.stderr)
        more = last.tasks.failed - len(last.failures)
        if last.failures and more > 0:
            yield f"<p>... and {more:,} more</p>"
    for attempt in reversed(history.attempts):
        for node in attempt.timeline.report.nodes:
            yield from _node_failure(node, ids)


def _cause(cause: str, group: CauseTotals, history: RunHistory, ids: NodeIds) -> Iterator[str]:
    known = CAUSES.get(cause, "")
    title = f"{flat(cause)}: {units.counted(group.count, 'task')}"
    yield f"<h3>{escape(f'{title}, {known}' if known else title)}</h3>"
    if group.message and not cause.startswith("exit-"):
        yield f"<p>{escape(ids(first_sentence(group.message)))}</p>"
    more = group.count - len(group.ids)
    names = ", ".join(map(flat, group.ids)) + (f", and {more:,} more" if more else "")
    yield f"<p>{escape(names)}</p>"
    sample = next((task for task in group.ids if history.outputs.get(task)), None)
    if sample is not None:
        yield f'<p class="dim">The last lines of stderr.txt of {escape(flat(sample))}:</p>'
        yield from output(history.outputs[sample])
    if cause not in NODE_CAUSES:
        last = history.attempts[-1].timeline.report
        kept = history.retries and not deleted_job(last)
        words = ("retry", "--cause", cause) if kept else ("apply",)
        yield f"<p>Run them again: {command(history.command(*words))}</p>"


def _node_failure(node: NodeFailed, ids: NodeIds) -> Iterator[str]:
    yield f"<h3>{escape(f'node {flat(ids(node.node))}: {ids(node_cause(node))}')}</h3>"
    yield from output(node.stderr)


def _ordered(totals: TaskTotals, report: Report) -> list[tuple[str, StageTotals]]:
    """The stages in the order of the spec, if it is known."""
    known = list(report.stages)
    return sorted(
        totals.stages.items(),
        key=lambda item: (known.index(item[0]) if item[0] in known else len(known), item[0]),
    )


def _quantile(stage: StageTotals, share: float) -> str:
    return units.duration(stage.quantile(share)) if stage.durations else ""


def stages(totals: TaskTotals, report: Report) -> Iterator[str]:
    """The tasks of each stage by state, and their durations."""
    yield from table(
        "Tasks of each stage",
        (
            "stage",
            "#tasks",
            "#succeeded",
            "#failed",
            "#not ended",
            "#run again",
            "#retries",
            "#median",
            "#95 %",
            "#longest",
            "#sum",
        ),
        (
            (
                flat(name) or "(none)",
                f"{stage.total:,}",
                f"{stage.states['succeeded']:,}",
                Cell(f"{stage.states['failed']:,}", "failed" if stage.states["failed"] else ""),
                f"{stage.states['active'] + stage.states['running']:,}",
                f"{stage.superseded:,}",
                f"{stage.retries:,}",
                *(_quantile(stage, share) for share in (0.5, 0.95, 1.0)),
                units.duration(sum(stage.durations)) if stage.durations else "",
            )
            for name, stage in _ordered(totals, report)
        ),
    )


def timeline(history: RunHistory, totals: TaskTotals, ids: NodeIds) -> Iterator[str]:
    """The tasks of each node over time; the table has the sums of each node."""
    if not totals.nodes:
        return
    yield chart("timeline", "Tasks over time, a row for each node")
    start = history.began
    used = sorted(totals.nodes.items(), key=lambda item: item[1].first)
    rows = (
        (
            Cell(ids(flat(name)), "", flat(name)),
            f"{use.tasks:,}",
            f"{use.failed:,}",
            units.duration(use.first - start),
            units.duration(use.last - start),
            units.duration(use.busy),
        )
        for name, use in used[:_MOST_NODES]
    )
    heads = ("node", "#tasks", "#failed", "#first start", "#last end", "#time of tasks")
    lines = [*table("Tasks of each node", heads, rows), *_more(len(used))]
    yield from folded("Tasks of each node as a table", lines)


def _more(nodes: int) -> Iterator[str]:
    if nodes > _MOST_NODES:
        yield f"<p>... and {nodes - _MOST_NODES:,} more nodes</p>"


def concurrency(history: RunHistory, totals: TaskTotals) -> Iterator[str]:
    """The number of tasks that ran and waited at the same time."""
    start = history.began
    created, started, ended = map(sorted, (totals.created, totals.started, totals.ended))
    waited = sorted(totals.waited)
    points = any(attempt.timeline.points for attempt in history.attempts)
    if not started and not points:
        return
    yield chart("concurrency", "Running and waiting tasks over time")
    if not started:
        return
    first, last = min(created[:1] + started[:1]), max(started[-1:] + ended[-1:])
    moments = [first + (last - first) * part / _MOMENTS for part in range(_MOMENTS + 1)]
    rows = (
        (
            units.duration(at - start),
            f"{bisect_right(started, at) - bisect_right(ended, at):,}",
            f"{max(bisect_right(created, at) - bisect_right(waited, at), 0):,}",
            f"{bisect_right(ended, at):,}",
        )
        for at in moments
    )
    heads = ("time since the start", "#running", "#waiting", "#ended")
    lines = table("Running and waiting tasks", heads, rows)
    yield from folded("Running and waiting tasks as a table", lines)


def durations(totals: TaskTotals) -> Iterator[str]:
    """The distribution of the durations, and the tasks that took much longer than the others."""
    if not any(stage.durations for stage in totals.stages.values()):
        return
    yield chart("durations", "Number of tasks by duration")
    outliers = [
        (flat(task), flat(name), units.duration(took), units.duration(stage.quantile(0.5)))
        for name, stage in sorted(totals.stages.items())
        for took, task in stage.outliers()
    ]
    heads = ("task", "stage", "#duration", "#median of the stage")
    yield from table("Tasks that took much longer than the others", heads, outliers)
    shares = (0.0, 0.25, 0.5, 0.75, 0.95, 1.0)
    rows = (
        (flat(name) or "(none)", *(_quantile(stage, share) for share in shares))
        for name, stage in sorted(totals.stages.items())
    )
    columns = ("stage", "#shortest", "#25 %", "#median", "#75 %", "#95 %", "#longest")
    lines = table("Durations of each stage", columns, rows)
    yield from folded("Durations of each stage as a table", lines)


def tasks(totals: TaskTotals) -> Iterator[str]:
    """The place of the table of tasks, which the scripts fill."""
    if totals.stages:
        yield '<div id="tasks-table" hidden></div>'
        yield '<noscript><p class="dim">The table needs scripts. Without them, use'
        yield "<code>batchspec report --format csv</code>.</p></noscript>"


def _hours_and_cost(history: RunHistory, totals: TaskTotals, report: Report) -> Iterator[str]:
    """The node-hours and the cost by VM size, with a total and the method of measurement."""
    use = use_by_size(history.nodes, totals.nodes)
    if not use and not report.node_hours:
        return
    keys = dict.fromkeys((*report.node_hours, *use))
    rows = [(*_size_row(key, report), *_use_cells(use.get(key))) for key in keys]
    if len(rows) > 1 and report.node_hours:
        total = f"{sum(report.node_hours.values()):,.3f}"
        together = SizeUse(sum(e.nodes for e in use.values()), sum(e.busy for e in use.values()))
        rows.append(("total", "", total, "", _amount(report), *_use_cells(together)))
    heads = (
        "VM size",
        "kind",
        "#node-hours",
        "#price per hour",
        "#cost",
        "#nodes",
        "#hours of tasks",
    )
    yield from table("Node-hours and cost by VM size", heads, rows)
    yield f'<p class="dim">{escape(_how_measured(report, left=("", "") in use))}</p>'


def _size_row(key: tuple[str, str], report: Report) -> tuple[str, str, str, str, str]:
    size, kind = key
    hours = report.node_hours.get(key)
    price = None if report.prices is None else price_of(key, report.prices)
    return (
        flat(size) or "not known",
        {"dedicated": "dedicated", "spot": "Spot"}.get(kind, ""),
        "not known" if hours is None else f"{hours:,.3f}",
        "not known" if price is None else units.price(price.per_hour, price.currency),
        "not known"
        if hours is None or price is None
        else units.money(hours * price.per_hour, price.currency),
    )


def _use_cells(use: SizeUse | None) -> tuple[str, str]:
    return ("", "") if use is None else (f"{use.nodes:,}", f"{use.busy:,.3f}")


def _amount(report: Report) -> str:
    return "not known" if report.cost is None else units.money(report.cost, report.currency)


def _how_measured(report: Report, *, left: bool) -> str:
    texts = ["Node-hours are counted while batchspec watches the run, on the service's clock."]
    if report.release_hours:
        texts.append(
            f"They include {report.release_hours:,.3f} for the expected release of the nodes after"
            " the job."
        )
    if left:
        texts.append("The VM size of nodes that left the pool before the end is not recorded.")
    if report.prices is None:
        texts.append("Without a `cost` section in the spec, no prices are read.")
    else:
        found = [report.prices.of(NodeKind(kind)) for _, kind in report.node_hours]
        known = dict.fromkeys(each.source for each in found if isinstance(each, Price))
        missing = dict.fromkeys(each.reason for each in found if isinstance(each, Unknown))
        texts += [f"Prices: {flat('; '.join([*known, *missing]))}."] if found else []
        if report.target == "local":
            texts.append("The cost is that of the same nodes on Azure; this run cost nothing.")
    return " ".join(texts)


def nodes(history: RunHistory, totals: TaskTotals, report: Report, ids: NodeIds) -> Iterator[str]:
    """The node-hours and cost by VM size, and the nodes with their start tasks."""
    yield from _hours_and_cost(history, totals, report)
    rows = [_node_row(node, totals.nodes.get(node.id), ids) for node in history.nodes]
    heads = (
        "node",
        "pool",
        "state",
        "VM size",
        "kind",
        "allocated",
        "last start",
        "#start task",
        "#exit code",
        "#tasks",
    )
    lines = [*table("Nodes", heads, rows[:_MOST_NODES]), *_more(len(rows))]
    yield from folded(f"Nodes and start tasks ({len(rows):,})", lines, opened=len(rows) <= 8)


def _node_row(node: NodeRow, use: NodeUse | None, ids: NodeIds) -> tuple[str | Cell, ...]:
    begin, end = seconds_of(node.start_task_started), seconds_of(node.start_task_ended)
    took = units.duration(end - begin) if begin is not None and end is not None else ""
    failed = node.exit_code not in (None, 0)
    return (
        Cell(ids(flat(node.id)), "", flat(node.id)),
        flat(node.pool),
        node_state_text(node.state),
        flat(node.vm_size),
        "dedicated" if node.dedicated else "Spot",
        node.allocated,
        node.booted,
        took or ("not ended" if node.start_task_started else ""),
        Cell("" if node.exit_code is None else str(node.exit_code), "failed" if failed else ""),
        f"{use.tasks:,}" if use else "0",
    )


def steps(found: Sequence[Attempt]) -> Iterator[str]:
    """The steps of each attempt with the transferred files, the newest attempt first."""
    if any(attempt.timeline.spans for attempt in found):
        yield chart("steps", "Steps over time")
    for number, attempt in reversed(list(enumerate(found, start=1))):
        timeline = attempt.timeline
        names = {step.step: phrase(step.verb, step.subject) for step in timeline.report.steps}
        begun = {span.step: span.begin for span in timeline.spans}
        caption = f"Steps of attempt {number}" if len(found) > 1 else "Steps"
        heads = ("step", "state", "#start", "#time", "#items", "#size", "#rate", "note")
        rows = (_step_row(step, names, begun) for step in timeline.report.steps)
        yield from table(caption, heads, rows)


def _step_row(
    step: StepReport, names: dict[str, str], begun: dict[str, float]
) -> tuple[str | Cell, ...]:
    skipped = step.state is StepState.SKIPPED
    note = skipped_text(step.note, names) if skipped else step.note
    moves = step.verb in {Verb.UPLOAD, Verb.DOWNLOAD} and step.size and step.seconds
    return (
        names[step.step],
        Cell(step.state.value, step.state.value),
        units.duration(begun[step.step]) if step.step in begun else "",
        "" if skipped else units.duration(step.seconds),
        f"{step.items:,}",
        units.size(step.size) if step.size else "",
        units.byte_rate(step.size / step.seconds) if moves else "",
        flat(note),
    )


def applied(history: RunHistory) -> Iterator[str]:
    """The spec, its parameters and the plan of each attempt, the newest first."""
    for number, attempt in reversed(list(enumerate(history.attempts, start=1))):
        found = history.applied.get(attempt.id)
        if found is None:
            continue
        suffix = f" of attempt {number}" if len(history.attempts) > 1 else ""
        parameters = [(name, _value(value)) for name, value in found.parameters.items()]
        if parameters:
            caption = f"Parameters{suffix}"
            yield from folded(caption, table(caption, ("parameter", "value"), parameters))
        if found.plan:
            yield from folded(f"Plan{suffix}", [listing(found.plan)])
        if found.spec:
            name = flat(found.path)
            yield from folded(f"Spec{suffix}: {name}", [listing(found.spec)])


def _value(value: object) -> str:
    text = value if isinstance(value, str) else json_text(value)
    return flat(text) or json.dumps(text)
