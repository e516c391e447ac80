"""The version of the run in the account, compared with the spec: whose results are downloaded.

For the commands that submit nothing. The results of two versions are never downloaded together:
either those of the tasks of the spec, or, with the user's consent, those of the run in the account.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from batchspec.diagnostics import Diagnostic
from batchspec.plan.metadata import VERSION, scope_is_whole, version
from batchspec.plan.observed import JobFacts, Observed, Stream
from batchspec.plan.outputs import Outputs, outputs
from batchspec.plan.pool import runs_windows
from batchspec.plan.rules.run import not_submitted, other_version, outputs_lost, version_unknown
from batchspec.plan.task_sets import TaskSets, build_task_sets
from batchspec.spec import Spec


@dataclass(frozen=True, slots=True)
class RunVersion:
    """Whose results are downloaded.

    ``works`` are the digests of the work of these tasks, ``None`` if they are not known. ``since``
    is when the first of them was created. ``outputs`` is what they promise, ``None`` if the files
    of the spec are not known or the run is of another version. ``succeeded``: all of them have
    succeeded. ``complete``: none of them is still to run. ``findings`` report a run that
    is not that of the spec.
    """

    works: Stream[str] | None
    since: datetime
    outputs: Outputs | None = None
    succeeded: bool = False
    complete: bool = True
    findings: tuple[Diagnostic, ...] = ()


def run_version(spec: Spec, observed: Observed, job: JobFacts, *, files: bool) -> RunVersion:
    """Compare the run with the newest job ``job`` with the spec.

    ``files``: the files of the spec were read; without them, tasks cannot be compared.
    """
    if spec.job.schedule is not None:
        # Its jobs write to the same containers one after the other, so everything counts.
        return RunVersion(None, datetime.min.replace(tzinfo=UTC))
    since = _since(observed)
    submitted = observed.tasks.works() if observed.tasks is not None else None
    if not files:
        return RunVersion(submitted, since, findings=tuple(version_unknown(spec, observed, job)))
    windows = runs_windows(spec, observed)
    sets = build_task_sets(spec, observed, windows=windows)
    new = _not_submitted(sets)
    if new and job.metadata.get(VERSION) != version(spec, observed):
        if _is_other(sets, new):
            found = tuple(other_version(spec, observed, job))
            return RunVersion(submitted, since, findings=found)
        found = tuple(not_submitted(spec, new))
        return RunVersion(sets.works, sets.since or since, complete=False, findings=found)
    promised = outputs(spec, observed, sets.since, windows=windows)
    return RunVersion(
        sets.works,
        sets.since or since,
        promised,
        _has_succeeded(sets),
        # The next run must not take the receipt for a complete one.
        complete=not sets.lost,
        findings=tuple(outputs_lost(spec, sets.lost)),
    )


def _since(observed: Observed) -> datetime:
    """When the first task whose results count was created, according to the jobs."""
    whole = [job.created for job in observed.jobs if scope_is_whole(job)]
    return max(whole, default=min(job.created for job in observed.jobs))


def _not_submitted(sets: TaskSets) -> int:
    """How many tasks of the spec were never submitted with their present work."""
    return sum(len(stage.submit) - stage.again - stage.lost for stage in sets.stages)


def _is_other(sets: TaskSets, new: int) -> bool:
    """Whether tasks have changed, or no task of the spec was submitted."""
    changed = any(stage.changed for stage in sets.stages)
    return changed or new == sum(stage.total for stage in sets.stages)


def _has_succeeded(sets: TaskSets) -> bool:
    """Whether all tasks have succeeded, those whose outputs are gone included."""
    return all(stage.done + stage.lost == stage.total for stage in sets.stages)
