"""A rule of the planner: a check together with its code, severity, title, reason and fix."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, ParamSpec

from batchspec.diagnostics import Diagnostic, Place, Severity
from batchspec.plan.rules.context import RuleContext

ERROR, QUESTION = Severity.ERROR, Severity.QUESTION
WARNING, NOTE = Severity.WARNING, Severity.NOTE

P = ParamSpec("P")


@dataclass(frozen=True, slots=True)
class Finding:
    """One violation of a rule: what happened, where, and a more specific fix than the rule's."""

    summary: str
    where: Place | None = None
    detail: str = ""
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Rule(Generic[P]):
    """A check with its metadata; calling it returns the diagnostics of all violations.

    An ``ERROR`` stops the plan, and nothing is sent. A ``QUESTION`` needs the user's consent before
    anything is sent. A ``WARNING`` and a ``NOTE`` are shown with the plan.
    """

    code: str
    severity: Severity
    title: str
    why: str
    fix: str
    check: Callable[P, Iterable[Finding]]

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Iterator[Diagnostic]:
        """The diagnostics of this rule; the arguments are those of the check."""
        return map(self.report, self.check(*args, **kwargs))

    def report(self, found: Finding) -> Diagnostic:
        """The diagnostic of a violation, with the rule's fix unless it has a more specific one."""
        fix = found.fix or self.fix
        return Diagnostic(self.code, found.summary, found.detail, found.where, fix, self.severity)


@dataclass(frozen=True, slots=True)
class RuleGroup:
    """Rules about one subject, in the order of ``docs/findings.md``.

    ``checks`` are those of the ``rules`` that need nothing but the context: every plan runs them.
    """

    title: str
    about: str
    rules: list[Rule[Any]] = field(default_factory=list)
    checks: list[Rule[[RuleContext]]] = field(default_factory=list)

    def rule(
        self, code: str, severity: Severity, *, title: str, why: str, fix: str
    ) -> Callable[[Callable[P, Iterable[Finding]]], Rule[P]]:
        """Add a rule that its caller runs, with arguments of its own."""

        def add(check: Callable[P, Iterable[Finding]]) -> Rule[P]:
            rule = Rule(code, severity, title, why, fix, check)
            self.rules.append(rule)
            return rule

        return add

    def check(
        self, code: str, severity: Severity, *, title: str, why: str, fix: str
    ) -> Callable[[Callable[[RuleContext], Iterable[Finding]]], Rule[[RuleContext]]]:
        """Add a rule that every plan runs."""

        def add(check: Callable[[RuleContext], Iterable[Finding]]) -> Rule[[RuleContext]]:
            rule = Rule(code, severity, title, why, fix, check)
            self.rules.append(rule)
            self.checks.append(rule)
            return rule

        return add

    def describe(self, code: str, severity: Severity, title: str, why: str, fix: str) -> None:
        """Add the metadata of a rule that is checked in ``spec``, or while tasks are created."""
        self.rules.append(Rule(code, severity, title, why, fix, _checked_elsewhere))


def _checked_elsewhere() -> Iterable[Finding]:
    return ()
