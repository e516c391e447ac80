"""The report of a run over all its attempts, as one HTML page.

In: a :class:`RunHistory`. Out: the page as text, complete in itself: its scripts and its plotting
library are in it, and its content security policy lets no request leave it. Everything that a
chart shows is in a table, too, which needs no script. Every text is escaped, or inserted by the
scripts as text.

Not here: files of a run (``api``), and the fold of its events (``render.report``).
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
from collections.abc import Iterable, Iterator
from functools import cache
from html import escape
from pathlib import Path

from batchspec.render.json_lines import TaskRow
from batchspec.render.output import NodeIds, clean, clean_json, flat
from batchspec.render.report_page import sections
from batchspec.render.report_page.history import (
    Applied,
    Attempt,
    NodeUse,
    RunHistory,
    TaskFile,
    TaskTotals,
    build_timeline,
    combined_report,
    last_run,
    merged_nodes,
    seconds_of,
)
from batchspec.render.run_text import outcome_text, phrase

__all__ = [
    "Applied",
    "Attempt",
    "RunHistory",
    "TaskFile",
    "build_timeline",
    "last_run",
    "merged_nodes",
    "page_html",
]

TASK = "@TASK@"
"""The placeholder for the id of a task in a command. The id may contain the name of any file."""
_LONGEST_TEXT = 500
"""The maximum number of characters of a message of the service."""
_LISTS = ("stages", "states", "causes", "nodes", "jobs", "codes", "messages")


class _Indexed:
    """Texts that many rows share, each by its index."""

    def __init__(self) -> None:
        self._index: dict[str, int] = {}

    def __call__(self, text: str) -> int:
        return self._index.setdefault(text, len(self._index))

    @property
    def texts(self) -> list[str]:
        """The texts in the order of their index."""
        return [_plain(text)[:_LONGEST_TEXT] for text in self._index]


def _plain(text: str) -> str:
    return text if text.isprintable() else flat(text)


def pack_tasks(history: RunHistory) -> tuple[str, TaskTotals]:
    """All executions as JSON, compressed and in base64, and their totals, in one pass.

    ``rows`` are lists of: id, name, stage, state, exit code, cause, node, job, created, started,
    ended (milliseconds since the run began), retries, requeued, superseded, code, message. Shared
    texts are indexes into the lists after ``rows``.
    """
    totals, start = TaskTotals(history.job_ends()), history.began
    lists = {name: _Indexed() for name in _LISTS}
    buffer = io.BytesIO()
    with (
        gzip.GzipFile(filename="", mode="wb", fileobj=buffer, compresslevel=6, mtime=0) as packed,
        io.TextIOWrapper(packed, encoding="ascii") as text,
    ):
        text.write('{"rows":[')
        separator = "\n"
        for row, superseded in history.tasks():
            totals.add(row, superseded=superseded)
            values = list(_values(row, lists, start, superseded=superseded))
            text.write(separator + json.dumps(values, separators=(",", ":")))
            separator = ",\n"
        rest = {name: texts.texts for name, texts in lists.items()}
        text.write("]," + json.dumps(rest)[1:])
    return base64.b64encode(buffer.getvalue()).decode("ascii"), totals


def _values(
    row: TaskRow, lists: dict[str, _Indexed], start: float, *, superseded: bool
) -> Iterator[object]:
    yield row.id
    yield _plain(row.name)
    yield lists["stages"](row.stage)
    yield lists["states"](row.state)
    yield row.exit_code
    yield lists["causes"](row.cause)
    yield lists["nodes"](row.node)
    yield lists["jobs"](row.job)
    for at in (row.created, row.started, row.ended):
        seconds = seconds_of(at)
        yield None if seconds is None else round((seconds - start) * 1000)
    yield row.retries
    yield row.requeued
    yield int(superseded)
    yield lists["codes"](row.code)
    yield lists["messages"](row.message)


def page_json(history: RunHistory, totals: TaskTotals, ids: NodeIds) -> str:
    """All other data of the scripts; times are in seconds since the run began."""
    start = history.began
    nodes: list[dict[str, object]] = [
        {
            "id": flat(node.id),
            "label": ids(flat(node.id)),
            "pool": flat(node.pool),
            "allocated": _since(node.allocated, start),
            "seen": _since(node.at, start),
            "start": _since(node.start_task_started, start),
            "started": _since(node.start_task_ended, start),
            "failed": node.exit_code not in (None, 0),
        }
        for node in history.nodes
    ]
    # For nodes that left the pool before they were read, only the tasks are known.
    listed = {node.id for node in history.nodes}
    nodes += [
        _known_by_tasks(name, use, start, ids)
        for name, use in totals.nodes.items()
        if name not in listed
    ]
    values = {
        "began": start,
        "attempts": [_attempt_json(attempt, start) for attempt in history.attempts],
        "nodes": nodes,
        "jobs": {job: round(end - start, 3) for job, end in totals.job_ends.items()},
        "logs": history.command("logs", TASK, "--stderr"),
        "outputs": {task: clean(text) for task, text in history.outputs.items()},
    }
    # A script element ends at the first "</script", whatever the quotes.
    return json.dumps(clean_json(values), separators=(",", ":")).replace("<", "\\u003c")


def _known_by_tasks(name: str, use: NodeUse, start: float, ids: NodeIds) -> dict[str, object]:
    return {
        "id": flat(name),
        "label": ids(flat(name)),
        "pool": "",
        "allocated": use.first - start,
        "seen": use.last - start,
        "start": None,
        "started": None,
        "failed": False,
    }


def _since(at: str, start: float) -> float | None:
    seconds = seconds_of(at)
    return None if seconds is None else round(seconds - start, 3)


def _attempt_json(attempt: Attempt, start: float) -> dict[str, object]:
    timeline, report = attempt.timeline, attempt.timeline.report
    offset = (report.began.timestamp() if report.began else start) - start
    steps = {step.step: step for step in report.steps}
    return {
        "id": flat(attempt.id),
        "begin": round(offset, 3),
        "end": round(offset + report.seconds, 3),
        "points": [
            [round(offset + point.at, 3), point.running, point.active] for point in timeline.points
        ],
        "steps": [
            [
                phrase(steps[span.step].verb, steps[span.step].subject),
                steps[span.step].state.value,
                round(offset + span.begin, 3),
                round(offset + span.end, 3),
            ]
            for span in timeline.spans
            if span.step in steps
        ],
    }


_ASSETS = Path(__file__).with_name("assets")
_SCRIPTS = ("uPlot.iife.min.js", "data.js", "charts.js", "table.js", "page.js")
_STYLES = ("uPlot.min.css", "page.css")

_SUMMARY = {
    "failures": "Failures",
    "stages": "Stages",
    "timeline": "Timeline",
    "concurrency": "Concurrency",
    "durations": "Durations",
    "tasks": "Tasks",
    "nodes": "Nodes and cost",
    "steps": "Steps and transfers",
    "applied": "Spec and plan",
}
"""The sections that the list of contents names, by id."""


def page_html(history: RunHistory) -> str:
    """The report of a run."""
    return "\n".join(_page(history)) + "\n"


def _page(history: RunHistory) -> Iterator[str]:
    packed, totals = pack_tasks(history)
    ids = NodeIds()
    ids.add(sorted({node.id for node in history.nodes} | set(totals.nodes)))
    report = combined_report(history.attempts)
    name = escape(flat(report.name) or "run")
    script, style = _joined(_SCRIPTS), _joined(_STYLES)
    yield '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">'
    yield f'<meta http-equiv="Content-Security-Policy" content="{_policy(script, style)}">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>{name}: batchspec report</title>"
    yield f"<style>{style}</style>\n</head>\n<body>"
    good = "good" if report.good else "bad"
    outcome = escape(outcome_text(report.outcome, report.seconds))
    bodies = {
        "failures": sections.failures(history, totals, ids),
        "stages": sections.stages(totals, report),
        "timeline": sections.timeline(history, totals, ids),
        "concurrency": sections.concurrency(history, totals),
        "durations": sections.durations(totals),
        "tasks": sections.tasks(totals),
        "nodes": sections.nodes(history, totals, report, ids),
        "steps": sections.steps(history.attempts),
        "applied": sections.applied(history),
    }
    filled = {key: lines for key, body in bodies.items() if (lines := list(body))}
    yield f'<header>\n<h1>{name}</h1>\n<p class="outcome {good}">{outcome}</p>'
    yield from sections.facts(report)
    yield from sections.attempts(history.attempts)
    yield '<nav aria-label="Contents"><ul>'
    yield from (f'<li><a href="#{key}">{_SUMMARY[key]}</a></li>' for key in filled)
    yield "</ul></nav>\n</header>\n<main>"
    yield from sections.notices(history.attempts, ids)
    for key, lines in filled.items():
        yield from _section(key, lines)
    yield "</main>"
    yield f'<script type="application/json" id="run">{page_json(history, totals, ids)}</script>'
    yield f'<script type="application/octet-stream" id="packed">{packed}</script>'
    yield f"<script>{script}</script>\n</body>\n</html>"


def _section(key: str, lines: Iterable[str]) -> Iterator[str]:
    yield f'<section id="{key}" aria-labelledby="{key}-title">'
    yield f'<h2 id="{key}-title">{_SUMMARY[key]}</h2>'
    yield from lines
    yield "</section>"


@cache
def _joined(names: tuple[str, ...]) -> str:
    """The content of a script or style element."""
    return "\n".join((_ASSETS / name).read_text(encoding="utf-8").strip() for name in names)


def _policy(script: str, style: str) -> str:
    """The content security policy: these scripts and styles, and nothing from elsewhere."""
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src '{_digest(script)}'",
            f"style-src '{_digest(style)}'",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )


def _digest(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"sha256-{digest}"
