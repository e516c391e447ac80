"""The document: its security policy, its scripts and styles, and the order of its sections."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator
from functools import cache
from html import escape
from pathlib import Path

from batchspec.render.output import NodeIds, flat
from batchspec.render.report_page import sections
from batchspec.render.report_page.attempts import combined_report
from batchspec.render.report_page.history import RunHistory
from batchspec.render.report_page.payload import pack_tasks, page_json
from batchspec.render.run_text import outcome_text

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
