"""The steps after the tasks: download results, then delete what this spec created; ``destroy``."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from batchspec.diagnostics import Diagnostic, SpecError
from batchspec.plan.actions import (
    DeleteContainers,
    DeleteJob,
    DeletePool,
    DeleteSchedule,
    DownloadResults,
    ReleaseContainer,
)
from batchspec.plan.identity import digest
from batchspec.plan.lazy import Mapped
from batchspec.plan.managed_identity import has_identity, uses_control_plane
from batchspec.plan.metadata import SPEC, WorkSet, may_delete, others, users
from batchspec.plan.observed import JobFacts, Observed, Receipt, Stream
from batchspec.plan.outputs import Outputs
from batchspec.plan.plan import Gate, Plan, Step, Verb
from batchspec.plan.receipt import receipt_name, source_files
from batchspec.plan.rules.other_runs import (
    other_deletions,
    other_run,
    other_schedule,
    pool_in_use,
)
from batchspec.plan.rules.run import results_missing
from batchspec.spec import Cleanup, PoolKind, Result, Spec, When

_GATES = {When.ALWAYS: Gate.END, When.ON_SUCCESS: Gate.SUCCESS, When.ASK: Gate.ASK}


def results_digest(spec: Spec) -> str:
    """A digest of the `results` of a spec: the blobs to download, and their folders."""
    return digest(
        tuple(
            (
                spec.container_id(result.container),
                result.match,
                os.path.relpath(result.to, spec.path.parent),
                result.flat,
                result.overwrite,
            )
            for result in spec.results
        )
    )


def results_safe(spec: Spec, observed: Observed, works: Stream[str] | None) -> bool:
    """Whether the results of the last job are on this disk, unchanged.

    ``works`` are the digests of the work of all tasks of the run: results of an earlier version are
    not needed. ``None`` if they are not known: all results are needed.
    """
    if not spec.results:
        return True
    receipt, newest = observed.receipt, observed.jobs[-1] if observed.jobs else None
    if receipt is None or newest is None:
        return False
    return (
        receipt.job.lower() == receipt_name(newest.id, newest.created).lower()
        and not _needed(receipt.missing, receipt.missing_works, works)
        and (not results_changed(spec, receipt) or _deleted(spec, observed))
    )


def _needed(files: int, numbers: Sequence[int], works: Stream[str] | None) -> int:
    """How many of these files are of these works. ``numbers`` are the known works of the files."""
    if not files or works is None:
        return files
    return files - WorkSet(works).others(numbers)


def results_changed(spec: Spec, receipt: Receipt) -> bool:
    """Whether the receipt was written for other `results` than those of the spec."""
    return receipt.entries not in {"", results_digest(spec)}


def _deleted(spec: Spec, observed: Observed) -> bool:
    """Whether a container of results was deleted, so that nothing can be downloaded again."""
    return any(not observed.containers[result.container].exists for result in spec.results)


def results_lost(spec: Spec, observed: Observed, works: Stream[str]) -> bool:
    """Whether results are neither on this disk nor in the account.

    ``works`` are the digests of the work of all tasks of the run: results of an earlier version are
    not needed.
    """
    if results_safe(spec, observed, works):
        return False
    receipt = observed.receipt
    if receipt is not None and _needed(receipt.lost, receipt.lost_works, works):
        return True
    return _deleted(spec, observed)


def result_steps(
    spec: Spec,
    observed: Observed,
    job: str,
    after: tuple[str, ...],
    *,
    since: datetime | None = None,
    works: Stream[str] | None = None,
    complete: bool = True,
) -> Iterator[Step]:
    """A download for each entry of ``results``; one after the other, because they share a receipt.

    ``since`` is the creation time of the first kept task; ``None`` means that of the job. ``works``
    are the digests of the work of all tasks of the run, ``None`` if they are not known. Unless the
    results are ``complete``, more may follow.
    """
    entries = results_digest(spec)
    for number, result in enumerate(spec.results):
        container = spec.container_id(result.container)
        step_id = f"results:{result.container}" + (f":{number}" if number else "")
        yield Step(
            step_id,
            DownloadResults(
                container,
                result.to,
                job,
                result.match,
                result.flat,
                result.overwrite,
                since,
                Mapped(observed.containers[result.container].files, lambda file: file.blob),
                works=works,
                # The receipt of all downloads is complete with the last one.
                complete=complete and number == len(spec.results) - 1,
                entries=entries,
                sources=source_files(spec, observed),
            ),
            Verb.DOWNLOAD,
            f"results from {container}",
            "verified before anything is deleted",
            after,
            0,
        )
        after = (step_id,)


def verified(step: Step, expected: Outputs | None) -> Step:
    """A download that first checks whether the tasks have written their outputs."""
    assert isinstance(step.action, DownloadResults)
    return replace(step, action=replace(step.action, outputs=expected))


def cleanup_steps(
    spec: Spec, observed: Observed, job: str, after: tuple[str, ...], *, idle: bool
) -> Iterator[Step]:
    """The deletions at the end: the pool before the containers that its nodes read from.

    ``idle``: the plan has no other steps, so only what exists is deleted.
    """
    pool_rule = spec.cleanup.pool if _own_pool(spec, observed, idle=idle) else When.NEVER
    pool_step = f"cleanup:pool:{spec.pool.id}"
    if pool_rule is not When.NEVER:
        yield Step(
            pool_step,
            DeletePool(spec.pool.id, uses_control_plane(spec, observed.pool)),
            Verb.DELETE,
            f"pool {spec.pool.id}",
            _why(pool_rule) if spec.place("cleanup.pool") else f"{_why(pool_rule)}, the default",
            after,
            gate=_GATES[pool_rule],
        )
        after_pool = (*after, pool_step)
    else:
        after_pool = after
    yield from _containers(spec, observed, after_pool, idle=idle)
    rule = spec.cleanup.job
    if rule is When.NEVER:
        return
    for name in _jobs(spec, observed, job, idle=idle):
        yield Step(
            f"cleanup:job:{name}",
            DeleteJob(name),
            Verb.DELETE,
            f"job {name}",
            _why(rule),
            after,
            gate=_GATES[rule],
        )


def late_cleanup(spec: Spec, observed: Observed, job: str) -> tuple[Step, ...]:
    """The clean-up of a finished run whose results are on the disk, if it was interrupted before.

    The clean-up was interrupted if a deletion without a question remains. Otherwise the user has
    answered the questions of ``ask`` with no, and is not asked again.
    """
    steps = tuple(cleanup_steps(spec, observed, job, (), idle=True))
    return steps if any(step.gate is not Gate.ASK for step in steps) else ()


def staying(spec: Spec, observed: Observed, job: str) -> tuple[Step, ...]:
    """The deletions that ``cleanup`` does not request, of resources that this spec creates."""
    rules = spec.cleanup

    def opposite(rule: When) -> When:
        return When.ALWAYS if rule is When.NEVER else When.NEVER

    opposites = Cleanup(opposite(rules.containers), opposite(rules.job), opposite(rules.pool))
    return tuple(cleanup_steps(replace(spec, cleanup=opposites), observed, job, (), idle=False))


def nodes_stay(spec: Spec) -> bool:
    """Whether the nodes of a pool that this spec creates exist until a client deletes the pool."""
    scales = spec.pool.properties.get("enableAutoScale") is True
    return spec.pool.kind is PoolKind.OWN and spec.cleanup.pool is When.NEVER and not scales


def _own_pool(spec: Spec, observed: Observed, *, idle: bool) -> bool:
    """Whether a pool that this spec created exists at the end."""
    if spec.pool.kind is not PoolKind.OWN:
        return False
    if observed.pool is None or observed.pool.state == "deleting":
        return not idle
    return observed.pool.metadata.get("batchspec:spec") == spec.name


def _jobs(spec: Spec, observed: Observed, job: str, *, idle: bool) -> Iterator[str]:
    """All jobs of the run, the latest last."""
    there = {found.id: found for found in observed.jobs}
    for found in there.values():
        ours = found.metadata.get("batchspec:spec") == spec.name
        if ours and found.id != job and found.state != "deleting":
            yield found.id
    if job not in there:
        if not idle:
            yield job
    elif there[job].metadata.get("batchspec:spec") == spec.name:
        yield job


def _containers(
    spec: Spec, observed: Observed, after: tuple[str, ...], *, idle: bool
) -> Iterator[Step]:
    rule = spec.cleanup.containers
    ours = tuple(
        container.id
        for key, container in spec.containers.items()
        if not container.existing and _made_here(observed, key, spec.name, idle=idle)
    )
    if rule is When.NEVER or not ours:
        return
    read = {spec.container_id(key) for key in spec.pool.start_containers}
    yield Step(
        "cleanup:containers",
        DeleteContainers(ours, spec.name, not read.isdisjoint(ours)),
        Verb.DELETE,
        containers_subject(ours),
        _why(rule),
        after,
        len(ours),
        _GATES[rule],
    )


def containers_subject(names: Sequence[str]) -> str:
    """The subject of a step about these containers."""
    return f"containers {', '.join(names)}" if len(names) > 1 else f"container {names[0]}"


def _made_here(observed: Observed, key: str, name: str, *, idle: bool) -> bool:
    """Whether a container is used by this spec alone, or will be created by it."""
    metadata = observed.containers[key].metadata
    return (not idle) if metadata is None else may_delete(metadata, name)


def _why(rule: When) -> str:
    return {
        When.ALWAYS: "cleanup: always",
        When.ON_SUCCESS: "cleanup: on_success",
        When.ASK: "cleanup: ask",
    }[rule]


def build_destroy(spec: Spec, observed: Observed, *, force: bool) -> Plan:
    """Delete schedule, jobs, pool, then containers, each only if this spec created it.

    The schedule is deleted first with its jobs, so that it creates no more jobs. The other jobs
    follow, so that no task runs while the pool is deleted. The pool is deleted before the
    containers that its nodes read. Without ``force``, a pool on which tasks of another spec have
    not ended is kept with these containers.

    Raises:
        SpecError: results have not been downloaded, and ``force`` is not set.
    """
    steps: list[Step] = []
    kept: list[Step] = []
    pool = observed.pool
    user = observed.pool_user if pool is not None and _created(pool.metadata, spec) else None
    if force:
        user = None
    for step in _steps(spec, observed, user, force=force):
        (steps if step.action is not None else kept).append(step)
    missing = _not_downloaded(spec, observed)
    if steps and missing and not force:
        raise SpecError(*results_missing(spec, observed, missing), *_others(spec, observed, steps))
    return Plan(
        account=observed.account,
        name=spec.name,
        description=spec.description,
        digest=spec.digest,
        steps=tuple(steps),
        kept=tuple(kept),
        findings=(
            *(_others(spec, observed, steps) if steps else ()),
            *(pool_in_use(pool.id, user) if pool is not None and user is not None else ()),
        ),
        fingerprint=digest(spec.digest, tuple((step.id, step.verb) for step in steps)),
    )


def _created(metadata: Mapping[str, str], spec: Spec) -> bool:
    """Whether a spec created the pool, job or schedule with this metadata."""
    return metadata.get(SPEC) == spec.name


_CREATED = "created by this spec"
_NOT_CREATED = "not created by this spec"


def _others(spec: Spec, observed: Observed, steps: Sequence[Step]) -> Iterator[Diagnostic]:
    """Runs of the same name that were applied from another place."""
    active = (*other_run(spec, observed), *other_schedule(spec, observed))
    yield from active
    if not active:
        yield from other_deletions(spec, observed, steps)


def _used_by(names: tuple[str, ...]) -> str:
    """The other specs that use a container that is not deleted."""
    if not names:
        return "marked `existing`"
    if len(names) == 1:
        return f"also used by spec {names[0]}"
    return f"also used by specs {', '.join(names)}"


def _steps(spec: Spec, observed: Observed, user: JobFacts | None, *, force: bool) -> Iterator[Step]:
    """The resources to delete and to keep; ``user`` is a job of another spec that needs the
    pool."""
    work = tuple(_work(spec, observed))
    yield from work
    before = tuple(step.id for step in work if step.action is not None)
    if observed.pool is not None:
        pool_id, subject = f"pool:{observed.pool.id}", f"pool {observed.pool.id}"
        if not _created(observed.pool.metadata, spec):
            yield Step(pool_id, None, Verb.KEEP, subject, _NOT_CREATED)
        elif user is not None:
            yield Step(pool_id, None, Verb.KEEP, subject, f"used by job {user.id}")
        else:
            action = DeletePool(observed.pool.id, has_identity(observed.pool), force)
            yield Step(pool_id, action, Verb.DELETE, subject, _CREATED, before)
            before = (*before, pool_id)
    for pool in observed.former_pools:
        yield Step(
            f"pool:{pool.id}",
            DeletePool(pool.id, has_identity(pool), force),
            Verb.DELETE,
            f"pool {pool.id}",
            "created by an earlier version of this spec",
            before,
        )
    before = (*before, *(f"pool:{pool.id}" for pool in observed.former_pools))
    ours = []
    for key, container in spec.containers.items():
        metadata = observed.containers[key].metadata
        if metadata is None:
            continue
        step_id, subject = f"container:{key}", f"container {container.id}"
        if user is not None and key in spec.pool.start_containers:
            reason = f"read by nodes of pool {spec.pool.id}"
            yield Step(step_id, None, Verb.KEEP, subject, reason)
        elif not container.existing and may_delete(metadata, spec.name):
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
        if _created(schedule.metadata, spec):
            reason = f"{_CREATED}; its jobs are deleted with it"
            yield Step(step_id, DeleteSchedule(schedule.id), Verb.DELETE, subject, reason)
        else:
            yield Step(step_id, None, Verb.KEEP, subject, _NOT_CREATED)
    for job in observed.jobs:
        if schedule is not None and job.id == schedule.recent_job:
            continue
        step_id, subject = f"job:{job.id}", f"job {job.id}"
        if _created(job.metadata, spec):
            yield Step(step_id, DeleteJob(job.id), Verb.DELETE, subject, _CREATED)
        else:
            yield Step(step_id, None, Verb.KEEP, subject, _NOT_CREATED)


def _not_downloaded(spec: Spec, observed: Observed) -> list[Result]:
    """The results that would be lost."""
    if not observed.jobs or results_safe(spec, observed, None):
        return []
    if spec.job.schedule is None and not observed.tasks:
        return []
    return [result for result in spec.results if observed.containers[result.container].exists]
