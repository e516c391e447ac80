"""What is said of every finding of one code, whatever it is about."""

from __future__ import annotations

from dataclasses import dataclass

from batchspec.diagnostics import Severity

ERROR, QUESTION = Severity.ERROR, Severity.QUESTION
WARNING, NOTE = Severity.WARNING, Severity.NOTE


@dataclass(frozen=True, slots=True)
class Rule:
    """One code: how much it weighs, what it is called, why it matters, how to mend it.

    An ``ERROR`` stops the plan, and nothing is sent. A ``QUESTION`` is asked before anything is
    sent. A ``WARNING`` and a ``NOTE`` are shown with the plan.
    """

    code: str
    severity: Severity
    title: str
    why: str
    mend: str


@dataclass(frozen=True, slots=True)
class RuleGroup:
    """Kinds that are about one thing; ``about`` is a sentence on it."""

    title: str
    about: str
    kinds: tuple[Rule, ...]
