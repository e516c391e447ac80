"""The plan as GitHub-flavoured markdown: a comment that says what a change of the spec would do."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from batchspec.diagnostics import Diagnostic, Place
from batchspec.plan.plan import Plan, Step
from batchspec.render.glyphs import UNICODE
from batchspec.render.plan.text import plan_summary
from batchspec.render.problems import tally
from batchspec.render.sink import clean, flat
from batchspec.render.words import gate_words, phrase, quantity


def plan_markdown(plan: Plan, *, here: Path | None = None) -> str:
    """The plan as markdown; ``here`` is the folder that paths are shown relative to."""
    account = plan.account
    lines = [
        f"### batchspec plan: {_text(plan.name)}",
        "",
        f"**{_text(account.target)}**"
        f" · Batch {_code(account.batch)} · Storage {_code(account.storage)}",
        "",
        f"**{plan_summary(plan)}**",
    ]
    if plan.findings:
        lines += ["", *_findings(plan.findings)]
    if plan.steps:
        lines += ["", *_table(plan.steps, here)]
    if plan.kept:
        title = f"<summary>{len(plan.kept)} kept as they are</summary>"
        lines += ["", "<details>", title, "", *_table(plan.kept, here), "", "</details>"]
    lines += ["", f"<sub>spec {_code(plan.digest[:12])} · account and files "]
    lines[-1] += f"{_code(plan.fingerprint[:12])}</sub>"
    return "\n".join(lines)


def refusal_markdown(spec: str, problems: Sequence[Diagnostic]) -> str:
    """That nothing is planned for a spec, and why; ``spec`` is its path."""
    title = f"### batchspec plan: {_code(spec)}"
    said = "**No plan: it cannot be carried out as it is written.**"
    return "\n".join([title, "", said, "", *_findings(problems)])


def _table(steps: Sequence[Step], here: Path | None) -> Iterator[str]:
    yield "| | step | how much | why |"
    yield "|---|---|---|---|"
    for step in steps:
        why = "; ".join(part for part in (step.reason, gate_words(step.gate)) if part)
        cells = [
            _code(UNICODE.verbs[step.verb]),
            _text(phrase(step.verb, step.subject)),
            _text(quantity(step, here)),
            _prose(why),
        ]
        yield f"| {' | '.join(cells)} |"


def _findings(findings: Sequence[Diagnostic]) -> Iterator[str]:
    yield f"**Findings: {tally(findings)}**"
    yield ""
    for finding in findings:
        summary = _prose(finding.summary)
        yield f"- **{finding.severity}** {_code(finding.code)}: {summary}{_place(finding.where)}"
        for line in finding.detail.splitlines():
            yield f"  <br>{_prose(line)}"
        if finding.fix:
            yield f"  <br>*Hint:* {_prose(finding.fix)}"


def _place(where: Place | None) -> str:
    return "" if where is None else f" ({_code(f'{where.file}:{where.line}:{where.column}')})"


_SPECIAL = re.compile(r"([\\`*\[\]<|~$&]|(?<!\w)_|_(?!\w))")
"""What markdown would take for itself in the middle of a line; ``_`` only at the edge of a word."""


def _text(text: str) -> str:
    """A text that markdown leaves as it is, on one line, also in the cell of a table."""
    return _escaped(flat(text))


def _escaped(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", text)


def _prose(text: str) -> str:
    """A sentence of ours, in which what stands between backticks is code."""
    parts = flat(text).split("`")
    if len(parts) % 2 == 0:
        return _text(text)
    return "".join(_code(part) if at % 2 else _escaped(part) for at, part in enumerate(parts))


def _code(text: str) -> str:
    """A text as code; the fence is longer than any run of backticks in it."""
    text = " ".join(clean(text).split()).replace("|", "\\|")
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * (longest + 1)
    pad = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{pad}{text}{pad}{fence}"
