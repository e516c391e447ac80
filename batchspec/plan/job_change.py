"""What there is to change about an open job: what can be, what takes another job, and why."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from batchspec.plan.changes import JOB, How
from batchspec.plan.diff import Difference, differences
from batchspec.plan.job_body import fixed_digest, properties
from batchspec.plan.observed import JobFacts, Observed
from batchspec.plan.pool_body import DIGEST, SPEC, metadata_of, own_metadata
from batchspec.plan.provenance import VERSION
from batchspec.spec import Record, Spec, Value

_DEFAULTS = Record(
    priority=0,
    maxParallelTasks=-1,
    allowTaskPreemption=False,
    constraints=Record(maxTaskRetryCount=0),
    usesTaskDependencies=False,
    onTaskFailure="noaction",
)
"""What the service takes for what a spec leaves out (``BatchJobCreateOptions``)."""

_CONTENT = "what its nodes are prepared with has changed"
_SIZE = "poolInfo.autoPoolSpecification."


@dataclass(frozen=True, slots=True)
class JobChange:
    """``patch`` is what can be changed in place, ``reason`` why, both empty where nothing can.

    ``next`` are words on what only the next job will have.
    """

    patch: Record
    reason: str
    next: tuple[str, ...] = ()


def why_another(spec: Spec, observed: Observed, pool: Record, job: JobFacts) -> str:
    """Why an open job cannot be what the spec says now; empty if it can.

    A job that this spec did not make is left alone.
    """
    body = properties(spec, observed, pool)
    made_from = job.metadata.get(DIGEST)
    ours = job.metadata.get(SPEC) == spec.name
    if not ours or made_from is None or made_from == fixed_digest(spec, observed, body):
        return ""
    return "; ".join(_words(body, job, How.REPLACE)) or _CONTENT


def job_change(body: Record, job: JobFacts) -> JobChange:
    """What is to be changed about an open job that may stay; ``body`` is that of Create Job."""
    found = [d for d in job_differences(body, job.properties) if JOB[d.property] is How.NOW]
    found = [d for d in found if d.property not in {"onAllTasksComplete", "metadata"}]
    patch = {d.property: _whole(d.property, body) for d in found}
    reasons = [difference.words for difference in found]
    wanted, there = own_metadata(metadata_of(body)), own_metadata(job.metadata)
    for name in dict.fromkeys((*wanted, *there)):
        if wanted.get(name) != there.get(name):
            reasons.append(Difference(f"metadata.{name}", wanted.get(name), there.get(name)).words)
            patch["metadata"] = body["metadata"]
    made = job.metadata.get(VERSION)
    if made is not None and made != metadata_of(body)[VERSION]:
        reasons = reasons or ["the spec has changed since it was applied"]
        patch["metadata"] = body["metadata"]
    return JobChange(
        Record(patch),
        "; ".join(reasons),
        tuple(_words(body, job, How.NEXT)),
    )


def _words(body: Record, job: JobFacts, how: How) -> Iterator[str]:
    for difference in job_differences(body, job.properties):
        if _how(difference) is how:
            yield difference.words


def _how(difference: Difference) -> How:
    path = difference.path.removeprefix(f"{_SIZE}pool.")
    sizes = path != difference.path and path.startswith(("target", "enableAuto", "autoScale"))
    return How.NEXT if sizes else JOB[difference.property]


def job_differences(body: Record, there: Record) -> Iterator[Difference]:
    """Every property in which a job is not what the body says, what it leaves out included.

    ``there`` is Get Job's body, or the job specification of a schedule.
    """
    wanted = {key: _whole(key, body) for key in JOB if key in body or key in _DEFAULTS}
    for key in ("id", "metadata", "onAllTasksComplete"):
        wanted.pop(key, None)
    for difference in differences(Record(wanted), there):
        left_out = difference.found is None and _is_default(difference)
        if not left_out and not difference.path.endswith(".pool.metadata"):
            yield difference
    for key in ("jobManagerTask", "jobPreparationTask", "jobReleaseTask"):
        if key not in body and there.get(key) is not None:
            yield Difference(key, None, there[key])
    env = "commonEnvironmentSettings"
    if env not in body and there.get(env):
        yield Difference(env, None, there[env])


def _whole(key: str, body: Record) -> Value:
    """A property with the defaults of what is left out in it."""
    given, default = body.get(key), _DEFAULTS.get(key)
    if isinstance(default, Record):
        return Record({**default, **(given if isinstance(given, Record) else {})})
    return default if given is None else given


def _is_default(difference: Difference) -> bool:
    value: Value = _DEFAULTS
    for part in difference.path.split("."):
        value = value.get(part) if isinstance(value, Record) else None
    return value == difference.wanted
