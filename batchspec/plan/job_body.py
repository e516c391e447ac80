"""The job as Create Job takes it, and the digest of what of it cannot be changed any more."""

from __future__ import annotations

from batchspec.plan.changes import JOB, How
from batchspec.plan.definition import KEEPS
from batchspec.plan.digest import content_digest, digest
from batchspec.plan.observed import JobFacts, Observed
from batchspec.plan.pool_body import DIGEST, SPEC, without_size
from batchspec.plan.provenance import VERSION, provenance, version
from batchspec.plan.tasks import with_resources
from batchspec.plan.work import Work
from batchspec.spec import PoolKind, Record, Spec, Value

SCOPE = "batchspec:scope"
"""The job's metadata that says whether it holds the ``whole`` run, or the ``rest`` of one."""


KEPT = "batchspec:kept"
"""The job's metadata with how many tasks of the run have succeeded in earlier jobs."""


def job_body(spec: Spec, observed: Observed, work: Work, pool: Record) -> Record:
    """The body of Create Job; ``pool`` is that of Create Pool.

    ``onAllTasksComplete`` is left to a later step: a job that is made with it and has no task yet
    ends at once.
    """
    body = properties(spec, observed, pool)
    given = body.get("metadata")
    kept = sum(stage.before for stage in work.stages)
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
        ),
    )


def kept_before(job: JobFacts) -> int:
    """How many tasks of the run have succeeded in jobs before this one, as it records."""
    recorded = job.metadata.get(KEPT, "")
    return int(recorded) if recorded.isdecimal() else 0


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
        key: _plain(key, value)
        for key, value in body.items()
        if JOB.get(key) is How.REPLACE and key != "id"
    }
    return digest(Record(fixed), contents)


def _plain(key: str, value: Value) -> Value:
    """A property less what is no reason for another job: how large an auto pool is, who made it."""
    if key != "poolInfo" or not isinstance(value, Record):
        return value
    auto = value.get("autoPoolSpecification")
    pool = auto.get("pool") if isinstance(auto, Record) else None
    if not isinstance(auto, Record) or not isinstance(pool, Record):
        return value
    return Record(autoPoolSpecification=auto.with_(pool=without_size(pool).with_(metadata=None)))
