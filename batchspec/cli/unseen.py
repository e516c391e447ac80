"""The findings that nobody has seen yet when a run begins: those of a plan that was not shown."""

from __future__ import annotations

from collections.abc import Iterator

from batchspec.cli.options import ProgressKind
from batchspec.diagnostics import Diagnostic, Severity
from batchspec.plan.plan import Plan


def unseen(plan: Plan, progress: ProgressKind) -> Iterator[Diagnostic]:
    """What the stream of a run has to begin with. To be quiet is not to speak of notes."""
    if progress in {ProgressKind.JSON, ProgressKind.QUIET}:
        for finding in plan.findings:
            if progress is ProgressKind.JSON or finding.severity is not Severity.NOTE:
                yield finding
