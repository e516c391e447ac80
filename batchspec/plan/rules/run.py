"""Another active run of the same name, applied from elsewhere: a question before anything is sent.

The same work from elsewhere (a colleague's checkout, CI) joins the job without a question.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping

from batchspec.diagnostics import Diagnostic
from batchspec.plan.metadata import (
    ORIGIN,
    SPEC,
    VERSION,
    Provenance,
    from_elsewhere,
    read_provenance,
    version,
)
from batchspec.plan.observed import JobFacts, Observed, TaskFacts
from batchspec.plan.rules.catalogue import finding
from batchspec.plan.task_sets import TaskSets, newest_open
from batchspec.spec import Spec

_JOIN = re.compile(r"-join-[0-9a-f]{14}$", re.IGNORECASE)
"""The end of the id of a task that only links stages (:mod:`batchspec.plan.needs`)."""
_STATES = ("succeeded", "failed", "running", "waiting")


def other_run(spec: Spec, observed: Observed, work: TaskSets) -> Iterator[Diagnostic]:
    """The question whether to work on the open job of another run, if there is one.

    The job is another run's if it was applied from elsewhere for another version of the spec, and
    has tasks that this spec does not have, or may still get some.
    """
    job = _job_from_elsewhere(spec, observed)
    if job is None or job.metadata.get(VERSION) == version(spec, observed):
        return
    states = _states(observed, job)
    ours = 0
    if work.open_job is not None:
        ours = sum(len(stage.here) - len(stage.submit) for stage in work.stages)
    filled = job.properties.get("onAllTasksComplete") == "terminatejob"
    if not filled or not states or states.total() > ours:
        yield _question(spec, observed, job, states)


def active_elsewhere(spec: Spec, observed: Observed) -> Iterator[Diagnostic]:
    """The question whether to delete the open job of a run that was applied from elsewhere."""
    job = _job_from_elsewhere(spec, observed)
    if job is not None:
        yield _question(spec, observed, job, _states(observed, job))


def created_meanwhile(kind: str, name: str, found: Mapping[str, str]) -> Diagnostic:
    """That another run created a pool or a job while this one was about to."""
    made = read_provenance(found)
    return finding(
        "other-run",
        f"another run has created the {kind} {name!r} in the meantime: {_who(made, '')}",
        fix="Give this spec another `name` to keep the runs apart. `batchspec plan` shows what"
        " this spec would change.",
    )


def _job_from_elsewhere(spec: Spec, observed: Observed) -> JobFacts | None:
    """The open job of a spec of this name, if it was applied from another place."""
    job = newest_open(observed)
    if job is None or job.metadata.get(SPEC) != spec.name:
        return None
    return job if from_elsewhere(job.metadata, {ORIGIN: observed.origin.id}) else None


def _states(observed: Observed, job: JobFacts) -> Counter[str]:
    """How many tasks of a job are in each state; those that only link stages are left out."""
    counts: Counter[str] = Counter()
    index = observed.tasks
    for name, where, succeeded in index.ends() if index is not None else ():
        if where == job.id and not _JOIN.search(name):
            assert index is not None
            facts = index.versions(name)[0][1] if succeeded is None else None
            counts[_state(succeeded, facts)] += 1
    return counts


def _state(succeeded: bool | None, facts: TaskFacts | None) -> str:
    if succeeded is not None:
        return "succeeded" if succeeded else "failed"
    return "waiting" if facts is None or facts.state == "active" else "running"


def _question(spec: Spec, observed: Observed, job: JobFacts, states: Counter[str]) -> Diagnostic:
    made = read_provenance(job.metadata)
    tasks = ", ".join(f"{states[state]} {state}" for state in _STATES if states[state])
    number = "1 task" if states.total() == 1 else f"{states.total()} tasks"
    what = f"job {job.id} has {number}: {tasks}" if states else f"job {job.id} has no tasks yet"
    return finding(
        "other-run",
        f"another run of {spec.name!r} is active: {_who(made, observed.origin.by)}",
        detail=what,
        where=spec.place("name"),
    )


def _who(made: Provenance, here: str) -> str:
    """Who applied a run, from where, and when."""
    by = made.by or "another client"
    host = made.by.rpartition("@")[2]
    place = " from another folder of this host" if host == here.rpartition("@")[2] != "" else ""
    when = f" at {made.at:%Y-%m-%d %H:%M} UTC" if made.at is not None else ""
    return f"applied by {by}{place}{when}"
