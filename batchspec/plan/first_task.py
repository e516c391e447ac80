"""The task that each job of a schedule begins with: the one of the spec, as a job manager task."""

from __future__ import annotations

from batchspec.diagnostics import Diagnostics
from batchspec.plan.findings.catalogue import finding
from batchspec.plan.observed import Observed
from batchspec.plan.stamps import unstamped
from batchspec.plan.tasks import expand
from batchspec.spec import Record, Spec

MANAGER = "jobManagerTask"
"""The property of a job."""


def manager_task(
    spec: Spec, observed: Observed, *, windows: bool, problems: Diagnostics
) -> Record | None:
    """The job manager task of a schedule's jobs; a problem is added where there is no such one.

    What the spec spells out is taken as it is. Otherwise it is the task of its one stage, with the
    id that says what it computes. Then the job does not end with it, but with the last task: what
    it adds is waited for; and it shares its node, as any task does.
    """
    given = spec.job.properties.get(MANAGER)
    if isinstance(given, Record):
        return given
    (stage,) = spec.stages
    tasks = expand(spec, stage, observed, windows=windows)
    first = next(iter(tasks), None)
    if first is None or len(tasks) != 1:
        count = f"{len(tasks):,}"
        summary = f"each job of a schedule begins with one task, and {stage.name} has {count}"
        problems.add(finding("one-task", summary, where=stage.where))
        return None
    # The schedule records what it was made from: marks and stamps add nothing, and would make every
    # change of the work a change of these properties.
    shown = stage.body.get("displayName")
    return first.body.with_(
        displayName=shown if isinstance(shown, str) else None,
        outputFiles=unstamped(first.body.get("outputFiles")),
        killJobOnCompletion=False,
        runExclusive=False,
    )
