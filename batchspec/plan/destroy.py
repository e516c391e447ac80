"""The plan that deletes what a spec made in the account, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator

from batchspec.diagnostics import Diagnostic, SpecError
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
from batchspec.plan.rules.catalogue import finding
from batchspec.plan.rules.run import active_elsewhere
from batchspec.spec import Spec


def build_destroy(spec: Spec, observed: Observed, *, force: bool) -> Plan:
    """What is to be deleted: schedule, jobs, pool, then containers, each only if it is ours.

    A schedule goes first, and its jobs with it, so that no other comes; then jobs, so that no task
    runs while the pool goes; the pool before the containers that its nodes read from.

    Raises:
        SpecError: results are in the account that are not on this disk, and not ``force``.
    """
    steps: list[Step] = []
    kept: list[Step] = []
    for step in _steps(spec, observed):
        (steps if step.action is not None else kept).append(step)
    missing = _unfetched(spec, observed)
    if steps and missing is not None and not force:
        raise SpecError(missing, *active_elsewhere(spec, observed))
    return Plan(
        account=observed.account,
        name=spec.name,
        description=spec.description,
        digest=spec.digest,
        steps=tuple(steps),
        kept=tuple(kept),
        findings=tuple(active_elsewhere(spec, observed)) if steps else (),
        fingerprint=digest(spec.digest, tuple((step.id, step.verb) for step in steps)),
    )


_NOT_OURS = "this spec did not make it"


def _used_by(names: tuple[str, ...]) -> str:
    """Which other specs use a container that is not deleted."""
    if not names:
        return "it is marked `existing`"
    if len(names) == 1:
        return f"the spec {names[0]} uses it"
    return f"the specs {', '.join(names)} use it"


def _steps(spec: Spec, observed: Observed) -> Iterator[Step]:
    work = tuple(_work(spec, observed))
    yield from work
    before = tuple(step.id for step in work if step.action is not None)
    if observed.pool is not None:
        pool_id, subject = f"pool:{observed.pool.id}", f"pool {observed.pool.id}"
        if observed.pool.metadata.get("batchspec:spec") == spec.name:
            action = DeletePool(observed.pool.id)
            yield Step(pool_id, action, Verb.DELETE, subject, "this spec made it", before)
            before = (*before, pool_id)
        else:
            yield Step(pool_id, None, Verb.KEEP, subject, _NOT_OURS)
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
            reason = f"{used}; only the record that this spec uses it is removed"
            yield Step(step_id, release, Verb.UPDATE, subject, reason, before)
        else:
            yield Step(step_id, None, Verb.KEEP, subject, _NOT_OURS)
    if ours:
        yield Step(
            "containers",
            DeleteContainers(tuple(ours), spec.name),
            Verb.DELETE,
            containers_subject(ours),
            "this spec made them" if len(ours) > 1 else "this spec made it",
            before,
            len(ours),
        )


def _work(spec: Spec, observed: Observed) -> Iterator[Step]:
    """The schedule and the jobs, but those that a schedule takes with it."""
    schedule = observed.schedule
    if schedule is not None:
        step_id, subject = f"schedule:{schedule.id}", f"schedule {schedule.id}"
        if schedule.metadata.get("batchspec:spec") == spec.name:
            reason = "this spec made it; its jobs go with it"
            yield Step(step_id, DeleteSchedule(schedule.id), Verb.DELETE, subject, reason)
        else:
            yield Step(step_id, None, Verb.KEEP, subject, _NOT_OURS)
    for job in observed.jobs:
        if schedule is not None and job.id == schedule.recent_job:
            continue
        step_id, subject = f"job:{job.id}", f"job {job.id}"
        if job.metadata.get("batchspec:spec") == spec.name:
            yield Step(step_id, DeleteJob(job.id), Verb.DELETE, subject, "this spec made it")
        else:
            yield Step(step_id, None, Verb.KEEP, subject, _NOT_OURS)


def _unfetched(spec: Spec, observed: Observed) -> Diagnostic | None:
    """The problem that results would be lost, if they would."""
    if not observed.jobs or results_safe(spec, observed):
        return None
    there = [r for r in spec.results if observed.containers[r.container].exists]
    if not there or (spec.job.schedule is None and not observed.tasks):
        return None
    verb = "apply" if spec.job.schedule is None else "download"
    return finding(
        "results-missing",
        "results in the account are not on this disk yet",
        detail=", ".join(f"container {spec.container_id(r.container)}" for r in there),
        where=there[0].where,
        fix=f"`batchspec {verb}` fetches them; `--force` deletes them all the same.",
    )
