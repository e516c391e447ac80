"""The recorded attempts at one run: apply, retry, attach, until its tasks are done."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from batchspec.apply.events import Outcome
from batchspec.plan.plan import Verb
from batchspec.render.page.trace import Trace
from batchspec.render.report import Phase, Report, StepState


@dataclass(frozen=True, slots=True)
class Attempt:
    """A recorded run of a command; ``id`` is what ``report --run`` takes."""

    id: str
    trace: Trace


def last_run(newest_first: Iterable[Attempt]) -> tuple[Attempt, ...]:
    """The attempts at the last run that had tasks, oldest first; read no further than needed.

    An attempt that did all of its work ends a run, and so does the deletion of its job by another
    command. Where no record has tasks, it is the newest record.
    """
    found: list[Attempt] = []
    newest: Attempt | None = None
    for attempt in newest_first:
        newest = newest or attempt
        report = attempt.trace.report
        if not _had_tasks(report):
            if found and _deleted_job(report):
                break
            continue
        if found and (
            report.outcome is Outcome.DONE or report.target != found[-1].trace.report.target
        ):
            break
        found.append(attempt)
    if not found:
        return () if newest is None else (newest,)
    return tuple(reversed(found))


def together(attempts: Sequence[Attempt]) -> Report:
    """The report of a run: as its last attempt ended, with the times and sizes of all."""
    reports = [attempt.trace.report for attempt in attempts]
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
    """Whether tasks were submitted or waited for, or would have been."""
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
