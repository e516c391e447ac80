"""The plan as plain text: which account, the steps with their reasons, findings, a summary."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

from batchspec.plan.plan import Gate, Plan, Step, Verb
from batchspec.plan.target import PART
from batchspec.render import units
from batchspec.render.glyphs import UNICODE, Glyphs
from batchspec.render.ink import Ink
from batchspec.render.problems import cell_width, problem_text
from batchspec.render.sink import flat
from batchspec.render.wire import request_lines
from batchspec.render.words import account_line, gate_words, quantity

COUNTED = {
    Verb.CREATE: "to create",
    Verb.UPDATE: "to update",
    Verb.RESIZE: "to resize",
    Verb.TERMINATE: "to terminate",
    Verb.REPLACE: "to replace",
    Verb.UPLOAD: "to upload",
    Verb.SUBMIT: "to submit",
    Verb.WAIT: "to wait for",
    Verb.DOWNLOAD: "to download",
    Verb.DELETE: "to delete",
}
"""How the summary counts the steps of a verb."""

STYLES = {
    Verb.CREATE: "create",
    Verb.UPDATE: "change",
    Verb.RESIZE: "change",
    Verb.TERMINATE: "delete",
    Verb.REPLACE: "delete",
    Verb.DELETE: "delete",
    Verb.UPLOAD: "move",
    Verb.SUBMIT: "move",
    Verb.WAIT: "dim",
    Verb.DOWNLOAD: "move",
    Verb.KEEP: "keep",
}

_LEAST_REASON = 16
"""Columns that a reason gets at least."""


def plan_text(
    plan: Plan,
    *,
    color: bool = False,
    width: int = 80,
    glyphs: Glyphs = UNICODE,
    verbose: bool = False,
    here: Path | None = None,
    nothing: str = "",
) -> str:
    """The plan, to be read from top to bottom at ``width`` columns.

    ``verbose`` adds below each step what it waits for and the requests it will send. ``here`` is
    the folder that paths are shown relative to. ``nothing`` is what to say of a plan without steps.
    """
    ink = Ink(color)
    lines = [ink("bold", account_line(plan.account)), *_title(plan, ink, width)]
    rows = _Rows(plan, ink, glyphs, width, here)
    if plan.steps:
        lines.append("")
        for number, step in enumerate(plan.steps, 1):
            lines += rows.lines(step, str(number))
            if verbose:
                lines += _more(step, ink)
    if plan.kept:
        lines.append("")
        for step in plan.kept:
            lines += rows.lines(step, "")
    for finding in plan.findings:
        lines += ["", problem_text(finding, color=color, width=width)]
    words = (plan.empty and nothing) or plan_summary(plan)
    summary = textwrap.wrap(words, width, subsequent_indent="  ")
    lines += ["", *(ink("bold", line) for line in summary)]
    lines += textwrap.wrap(_questions(plan.steps), width)
    return "\n".join(lines)


def plan_summary(plan: Plan) -> str:
    """One line: ``Plan: 3 to create, 2 to upload; 1 kept.`` or that there is nothing to do."""
    if plan.empty and any(finding.code == PART for finding in plan.findings):
        return "Nothing to do here: it is there, as the spec says."
    if plan.empty and plan.scheduled:
        return "Nothing to do: the schedule is as the spec says."
    if plan.empty:
        return "Nothing to do: all that the spec asks for is there and done."
    counts = plan.counts
    todo = ", ".join(f"{counts[verb]} {words}" for verb, words in COUNTED.items() if verb in counts)
    kept = f"; {len(plan.kept)} kept" if plan.kept else ""
    return f"Plan: {todo}{kept}."


def _title(plan: Plan, ink: Ink, width: int) -> Iterator[str]:
    first, *rest = [line.strip() for line in plan.description.strip().splitlines()] or [""]
    name = flat(plan.name)
    for number, line in enumerate([first, *rest]):
        head = f"{name}: " if number == 0 and line else name if number == 0 else ""
        text = textwrap.fill(
            head + flat(line), width, subsequent_indent="  ", initial_indent="" if head else "  "
        )
        yield ink("bold", name) + text[len(name) :] if head else text


def _questions(steps: Sequence[Step]) -> str:
    asked = [flat(step.subject) for step in steps if step.gate is Gate.ASK]
    if not asked:
        return ""
    kept = "it is kept" if len(asked) == 1 else "they are kept"
    return (
        f"At the end it asks before it deletes {units.listed(asked)}. -y answers yes, after a"
        f" failure for the pool alone; without a terminal {kept}."
    )


def _more(step: Step, ink: Ink) -> Iterator[str]:
    if step.after:
        yield ink("dim", f"         after {', '.join(flat(name) for name in step.after)}")
    if step.action is not None:
        for line in request_lines(step.action):
            yield ink("dim", f"         {line}")


class _Rows:
    """Lays out the steps in columns: number, glyph, verb, subject with its size, reason."""

    def __init__(self, plan: Plan, ink: Ink, glyphs: Glyphs, width: int, here: Path | None) -> None:
        steps = (*plan.steps, *plan.kept)
        self._ink, self._glyphs, self._here, self._width = ink, glyphs, here, width
        self._digits = len(str(len(plan.steps))) if plan.steps else 0
        self._glyph = max((len(glyphs.verbs[step.verb]) for step in steps), default=1)
        self._verb = max((len(step.verb) for step in steps), default=1)
        self._start = self._digits + self._glyph + self._verb + 5
        room = max(width * 2 // 5, 20)
        fitting = [w for step in steps if (w := cell_width(self._subject(step))) <= room]
        self._subjects = max(fitting, default=room)
        self._reasons = self._start + self._subjects + 2
        self._beside = width - self._reasons >= _LEAST_REASON
        if not self._beside:
            self._reasons = self._start + 2

    def lines(self, step: Step, number: str) -> Iterator[str]:
        """One step; a reason that is too long goes on below its own beginning.

        Where there is no room for a column of reasons, each stands below its step.
        """
        ink = self._ink
        style = STYLES[step.verb]
        glyph = f"{self._glyphs.verbs[step.verb]:>{self._glyph}}"
        head = f" {number:>{self._digits}} {ink(style, glyph)} {ink(style, step.verb.value)}"
        head += " " * (self._verb - len(step.verb) + 2)
        subject, *more = self._wrapped(self._subject(step), self._start) or [""]
        reason = self._wrapped(self._reason(step), self._reasons)
        gap = self._subjects - cell_width(subject) + 2
        beside = bool(reason) and self._beside and gap >= 2 and not more
        first = " " * gap + ink("dim", reason.pop(0)) if beside else ""
        yield (head + subject + first).rstrip()
        for line in more:
            yield " " * self._start + line
        for line in reason:
            yield " " * self._reasons + ink("dim", line)

    def _wrapped(self, text: str, column: int) -> list[str]:
        """A text from a column to the end of the line, and on below."""
        return textwrap.wrap(
            text,
            max(self._width - column, _LEAST_REASON),
            break_long_words=False,
            break_on_hyphens=False,
        )

    def _subject(self, step: Step) -> str:
        much = quantity(step, self._here)
        return flat(step.subject) + (f" ({much})" if much else "")

    @staticmethod
    def _reason(step: Step) -> str:
        when = gate_words(step.gate)
        return "; ".join(part for part in (flat(step.reason), when) if part)
