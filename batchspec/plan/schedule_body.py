"""The job schedule as Create Job Schedule takes it, and what it says that would not last."""

from __future__ import annotations

from collections.abc import Iterator

from batchspec.diagnostics import Diagnostic
from batchspec.plan.digest import digest
from batchspec.plan.findings.catalogue import finding
from batchspec.plan.first_task import MANAGER
from batchspec.plan.job_body import properties
from batchspec.plan.lifetime import UNTIL, is_endless
from batchspec.plan.observed import Observed
from batchspec.plan.pool_body import DIGEST, SPEC, START, metadata_of, without_size
from batchspec.plan.provenance import AT, BY, ORIGIN, provenance
from batchspec.spec import BlobUrl, Record, Spec, Text, Value

POOL = "batchspec:pool"
"""The schedule's metadata that tells whether the pool that lives as long as it is as it should."""


def schedule_body(spec: Spec, observed: Observed, pool: Record, manager: Record) -> Record:
    """The body of Create Job Schedule; ``pool`` is that of Create Pool.

    A job ends by itself when its tasks are completed, unless the spec says otherwise: one that goes
    on would keep the next from being made.
    """
    jobs = properties(spec, observed, pool).with_(id=None, **{MANAGER: manager})
    if "onAllTasksComplete" not in jobs:
        jobs = jobs.with_(onAllTasksComplete="terminatejob")
    jobs = jobs.with_(metadata=(*_pairs(jobs), Record(name=SPEC, value=spec.name)))
    schedule = spec.job.schedule or Record()
    made = digest(Record(schedule=schedule, jobs=_lasting(jobs)))
    ours = {SPEC: spec.name, DIGEST: made, POOL: _pool_digest(spec, jobs)}
    given = _pairs(spec.job.schedule_properties)
    body = Record(id=spec.job.id, schedule=schedule, jobSpecification=jobs)
    return body.with_(
        displayName=spec.job.schedule_properties.get("displayName"),
        metadata=(
            *given,
            *(Record(name=k, value=v) for k, v in ours.items() if v),
            *provenance(observed),
        ),
    )


def _pairs(body: Record) -> tuple[Value, ...]:
    given = body.get("metadata")
    return given if isinstance(given, tuple) else ()


def _auto_pool(jobs: Record) -> tuple[Record, Record] | None:
    """The auto pool's specification, and the pool in it."""
    info = jobs["poolInfo"]
    auto = info.get("autoPoolSpecification") if isinstance(info, Record) else None
    pool = auto.get("pool") if isinstance(auto, Record) else None
    return (auto, pool) if isinstance(auto, Record) and isinstance(pool, Record) else None


def _lasting(jobs: Record) -> Record:
    """The jobs without what changes at every plan: who plans, when, and how long nodes can read."""
    if (found := _auto_pool(jobs)) is None:
        return jobs
    auto, pool = found
    moving = {UNTIL, BY, AT, ORIGIN}
    pairs = (p for p in _pairs(pool) if isinstance(p, Record) and p.get("name") not in moving)
    pool = pool.with_(metadata=tuple(pairs))
    return jobs.with_(poolInfo=Record(autoPoolSpecification=auto.with_(pool=pool)))


def _pool_digest(spec: Spec, jobs: Record) -> str:
    """What the pool that lives as long as the schedule is made from; empty where there is none."""
    found = _auto_pool(jobs)
    if found is None or spec.pool.auto.get("poolLifetimeOption") != "jobschedule":
        return ""
    auto, pool = found
    starts = metadata_of(pool)[START]
    return digest(auto.with_(pool=without_size(pool).with_(metadata=None)), starts)


def endless(spec: Spec, *bodies: Record) -> Diagnostic | None:
    """That a schedule has no end, while addresses in these bodies are signed: a signature has one.

    ``bodies`` are all that the nodes of its jobs are sent.
    """
    schedule = spec.job.schedule
    if schedule is None or not is_endless(schedule):
        return None
    urls = {url.container for body in bodies for url in _urls(body) if url.permissions}
    if not urls:
        return None
    names = ", ".join(f"container {name}" for name in sorted(urls))
    return finding(
        "endless-schedule",
        "the schedule has no end, and its jobs are handed addresses that are signed until one",
        detail=f"Signed: {names}.",
        where=spec.place("job.schedule"),
    )


def _urls(value: Value) -> Iterator[BlobUrl]:
    """Every blob URL in a value."""
    match value:
        case BlobUrl():
            yield value
        case Text():
            yield from value.urls()
        case Record():
            for item in value.values():
                yield from _urls(item)
        case tuple():
            for item in value:
                yield from _urls(item)
