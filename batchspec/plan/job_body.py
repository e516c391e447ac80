"""The body of Create Job, and what differs between it and an open job."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from batchspec.plan.changes import JOB, ChangeMethod, Difference, differences
from batchspec.plan.digest import content_digest, digest
from batchspec.plan.metadata import (
    DIGEST,
    KEEPS,
    KEPT,
    SCOPE,
    SPEC,
    STAGES,
    VERSION,
    metadata_of,
    own_metadata,
    provenance,
    version,
)
from batchspec.plan.observed import JobFacts, Observed
from batchspec.plan.pool_body import without_size
from batchspec.plan.stage_counts import recorded, stage_totals
from batchspec.plan.task_sets import TaskSets
from batchspec.plan.tasks import with_resources
from batchspec.spec import PoolKind, Record, Spec, Value


def job_body(spec: Spec, observed: Observed, work: TaskSets, pool: Record) -> Record:
    """The body of Create Job; ``pool`` is that of Create Pool.

    ``onAllTasksComplete`` is left to a later step: a job that is made with it and has no task yet
    ends at once.
    """
    body = properties(spec, observed, pool)
    given = body.get("metadata")
    kept = sum(stage.before for stage in work.stages)
    stages = recorded(stage_totals(work.stages))
    return body.with_(
        id=work.job,
        onAllTasksComplete="noaction",
        metadata=(
            *(given if isinstance(given, tuple) else ()),
            Record(name=SPEC, value=spec.name),
            Record(name=DIGEST, value=fixed_digest(spec, observed, body)),
            Record(name=SCOPE, value="whole" if work.whole else "rest"),
            Record(name=VERSION, value=version(spec, observed)),
            *provenance(observed),
            *([Record(name=KEEPS, value=work.keeps)] if work.keeps else []),
            *([Record(name=KEPT, value=str(kept))] if kept else []),
            *([Record(name=STAGES, value=stages)] if stages else []),
        ),
    )


def properties(spec: Spec, observed: Observed, pool: Record) -> Record:
    """What the spec says of the job, with the pool it runs on and the files of its tasks."""
    body = spec.job.properties.with_(poolInfo=_pool_info(spec, pool))
    for key, containers in (
        ("jobPreparationTask", spec.job.prepare_containers),
        ("jobReleaseTask", spec.job.release_containers),
    ):
        task = body.get(key)
        if isinstance(task, Record) and containers:
            body = body.with_(**{key: with_resources(task, spec, observed, containers)})
    return body


def _pool_info(spec: Spec, pool: Record) -> Record:
    if spec.pool.kind is not PoolKind.JOB:
        return Record(poolId=spec.pool.id)
    # An auto pool gets its id from the service.
    unnamed = Record({key: value for key, value in pool.items() if key != "id"})
    return Record(autoPoolSpecification=Record({**spec.pool.auto, "pool": unnamed}))


def fixed_digest(spec: Spec, observed: Observed, body: Record) -> str:
    """A digest of what a job cannot be given any more once it is there.

    What its nodes are prepared with is part of it: a node is prepared once. So is what the nodes of
    an auto pool start with.
    """
    around = (*spec.job.prepare_containers, *spec.job.release_containers)
    if spec.pool.kind is PoolKind.JOB:
        around = (*around, *spec.pool.start_containers)
    contents = tuple(content_digest(observed.containers[key].files) for key in around)
    fixed = {
        key: _comparable(key, value)
        for key, value in body.items()
        if JOB.get(key) is ChangeMethod.REPLACE and key != "id"
    }
    return digest(Record(fixed), contents)


def _comparable(key: str, value: Value) -> Value:
    """A property less what is no reason for another job: how large an auto pool is, who made it."""
    if key != "poolInfo" or not isinstance(value, Record):
        return value
    auto = value.get("autoPoolSpecification")
    pool = auto.get("pool") if isinstance(auto, Record) else None
    if not isinstance(auto, Record) or not isinstance(pool, Record):
        return value
    return Record(autoPoolSpecification=auto.with_(pool=without_size(pool).with_(metadata=None)))


_DEFAULTS = Record(
    priority=0,
    maxParallelTasks=-1,
    allowTaskPreemption=False,
    constraints=Record(maxTaskRetryCount=0),
    usesTaskDependencies=False,
    onTaskFailure="noaction",
)
"""What the service takes for what a spec leaves out (``BatchJobCreateOptions``)."""
_PREPARATION_CHANGED = "what its nodes are prepared with has changed"
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
    return "; ".join(_texts(body, job, ChangeMethod.REPLACE)) or _PREPARATION_CHANGED


def job_change(body: Record, job: JobFacts) -> JobChange:
    """What is to be changed about an open job that may stay; ``body`` is that of Create Job."""
    found = [
        d for d in job_differences(body, job.properties) if JOB[d.property] is ChangeMethod.NOW
    ]
    found = [d for d in found if d.property not in {"onAllTasksComplete", "metadata"}]
    patch = {d.property: _with_defaults(d.property, body) for d in found}
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
        tuple(_texts(body, job, ChangeMethod.NEXT)),
    )


def _texts(body: Record, job: JobFacts, how: ChangeMethod) -> Iterator[str]:
    for difference in job_differences(body, job.properties):
        if _method(difference) is how:
            yield difference.words


def _method(difference: Difference) -> ChangeMethod:
    path = difference.path.removeprefix(f"{_SIZE}pool.")
    sizes = path != difference.path and path.startswith(("target", "enableAuto", "autoScale"))
    return ChangeMethod.NEXT if sizes else JOB[difference.property]


def job_differences(body: Record, there: Record) -> Iterator[Difference]:
    """Every property in which a job is not what the body says, what it leaves out included.

    ``there`` is Get Job's body, or the job specification of a schedule.
    """
    wanted = {key: _with_defaults(key, body) for key in JOB if key in body or key in _DEFAULTS}
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


def _with_defaults(key: str, body: Record) -> Value:
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
