"""The plan that deletes what a spec created in the account, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator

from batchspec.diagnostics import SpecError
from batchspec.plan.actions import (
    DeleteContainers,
    DeleteJob,
    DeletePool,
    DeleteSchedule,
    ReleaseContainer,
)
from batchspec.plan.cleanup import containers_subject, results_safe
from batchspec.plan.digest import digest
from batchspec.plan.metadata import may_delete, others, users
from batchspec.plan.observed import Observed
from batchspec.plan.plan import Plan, Step, Verb
from batchspec.plan.rules.run import other_run, results_missing
from batchspec.spec import Result, Spec


def build_destroy(spec: Spec, observed: Observed, *, force: bool) -> Plan:
    """Delete schedule, jobs, pool, then containers, each only if this spec created it.

    The schedule is deleted first with its jobs, so that it creates no more; then jobs, so that no
    task runs while the pool is deleted; the pool before the containers that its nodes read.

    Raises:
        SpecError: results have not been downloaded, and not ``force``.
    """
    steps: list[Step] = []
    kept: list[Step] = []
    for step in _steps(spec, observed):
        (steps if step.action is not None else kept).append(step)
    missing = _not_downloaded(spec, observed)
    if steps and missing and not force:
        raise SpecError(*results_missing(spec, missing), *other_run(spec, observed))
    return Plan(
        account=observed.account,
        name=spec.name,
        description=spec.description,
        digest=spec.digest,
        steps=tuple(steps),
        kept=tuple(kept),
        findings=tuple(other_run(spec, observed)) if steps else (),
        fingerprint=digest(spec.digest, tuple((step.id, step.verb) for step in steps)),
    )


_CREATED = "created by this spec"
_NOT_CREATED = "not created by this spec"


def _used_by(names: tuple[str, ...]) -> str:
    """Which other specs use a container that is not deleted."""
    if not names:
        return "marked `existing`"
    if len(names) == 1:
        return f"also used by spec {names[0]}"
    return f"also used by specs {', '.join(names)}"


def _steps(spec: Spec, observed: Observed) -> Iterator[Step]:
    work = tuple(_work(spec, observed))
    yield from work
    before = tuple(step.id for step in work if step.action is not None)
    if observed.pool is not None:
        pool_id, subject = f"pool:{observed.pool.id}", f"pool {observed.pool.id}"
        if observed.pool.metadata.get("batchspec:spec") == spec.name:
            action = DeletePool(observed.pool.id)
            yield Step(pool_id, action, Verb.DELETE, subject, _CREATED, before)
            before = (*before, pool_id)
        else:
            yield Step(pool_id, None, Verb.KEEP, subject, _NOT_CREATED)
    ours = []
    for key, container in spec.containers.items():
        metadata = observed.containers[key].metadata
        if metadata is None:
            continue
        step_id, subject = f"container:{key}", f"container {container.id}"
        if not container.existing and may_delete(metadata, spec.name):
            ours.append(container.id)
        elif spec.name in users(metadata):
            release = ReleaseContainer(container.id, spec.name)
            used = _used_by(others(metadata, spec.name))
            reason = f"{used}; removes this spec from its users"
            yield Step(step_id, release, Verb.UPDATE, subject, reason, before)
        else:
            yield Step(step_id, None, Verb.KEEP, subject, _NOT_CREATED)
    if ours:
        yield Step(
            "containers",
            DeleteContainers(tuple(ours), spec.name),
            Verb.DELETE,
            containers_subject(ours),
            _CREATED,
            before,
            len(ours),
        )


def _work(spec: Spec, observed: Observed) -> Iterator[Step]:
    """The schedule, and the jobs that are not deleted with it."""
    schedule = observed.schedule
    if schedule is not None:
        step_id, subject = f"schedule:{schedule.id}", f"schedule {schedule.id}"
        if schedule.metadata.get("batchspec:spec") == spec.name:
            reason = f"{_CREATED}; its jobs are deleted with it"
            yield Step(step_id, DeleteSchedule(schedule.id), Verb.DELETE, subject, reason)
        else:
            yield Step(step_id, None, Verb.KEEP, subject, _NOT_CREATED)
    for job in observed.jobs:
        if schedule is not None and job.id == schedule.recent_job:
            continue
        step_id, subject = f"job:{job.id}", f"job {job.id}"
        if job.metadata.get("batchspec:spec") == spec.name:
            yield Step(step_id, DeleteJob(job.id), Verb.DELETE, subject, _CREATED)
        else:
            yield Step(step_id, None, Verb.KEEP, subject, _NOT_CREATED)


def _not_downloaded(spec: Spec, observed: Observed) -> list[Result]:
    """The results that would be lost."""
    if not observed.jobs or results_safe(spec, observed):
        return []
    if spec.job.schedule is None and not observed.tasks:
        return []
    return [result for result in spec.results if observed.containers[result.container].exists]
