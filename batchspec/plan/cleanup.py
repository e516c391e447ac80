"""The steps after the tasks: download results, then delete what this spec created."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from batchspec.plan.actions import DeleteContainers, DeleteJob, DeletePool, DownloadResults
from batchspec.plan.lazy import Mapped
from batchspec.plan.metadata import may_delete
from batchspec.plan.observed import Observed, Stream
from batchspec.plan.plan import Gate, Step, Verb
from batchspec.plan.receipt import receipt_name
from batchspec.spec import PoolKind, Spec, When

_GATES = {When.ALWAYS: Gate.END, When.ON_SUCCESS: Gate.SUCCESS, When.ASK: Gate.ASK}


def results_safe(spec: Spec, observed: Observed) -> bool:
    """Whether the results of the last job are on this disk, every one as it arrived."""
    if not spec.results:
        return True
    receipt, newest = observed.receipt, observed.jobs[-1] if observed.jobs else None
    if receipt is None or newest is None:
        return False
    return (
        receipt.job.lower() == receipt_name(newest.id, newest.created).lower()
        and not receipt.missing
    )


def results_lost(spec: Spec, observed: Observed) -> bool:
    """Whether results are neither on this disk nor in the account any more."""
    if results_safe(spec, observed):
        return False
    if observed.receipt is not None and observed.receipt.lost:
        return True
    return any(not observed.containers[result.container].exists for result in spec.results)


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
    """A download for each entry of ``results``; one after the other, since they share a receipt.

    ``since`` is when the first task that is kept was created; ``None``: the job was. ``works`` are
    the digests of the work of all tasks of the run, ``None`` where they are not known. Unless they
    are ``complete``, more results may come.
    """
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
                complete=complete,
            ),
            Verb.DOWNLOAD,
            f"results from {container}",
            "verified before anything is deleted",
            after,
            0,
        )
        after = (step_id,)


def cleanup_steps(
    spec: Spec, observed: Observed, job: str, after: tuple[str, ...], *, idle: bool
) -> Iterator[Step]:
    """What is deleted at the end: the pool before the containers that its nodes read from.

    ``idle`` says that the plan has no other steps: then it asks no questions.
    """
    pool_rule = spec.cleanup.pool if _own_pool(spec, observed, idle=idle) else When.NEVER
    pool_step = f"cleanup:pool:{spec.pool.id}"
    if pool_rule is not When.NEVER and not (idle and pool_rule is When.ASK):
        yield Step(
            pool_step,
            DeletePool(spec.pool.id),
            Verb.DELETE,
            f"pool {spec.pool.id}",
            _why(pool_rule),
            after,
            gate=_GATES[pool_rule],
        )
        after_pool = (*after, pool_step)
    else:
        after_pool = after
    yield from _containers(spec, observed, after_pool, idle=idle)
    rule = spec.cleanup.job
    if rule is When.NEVER or (idle and rule is When.ASK):
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


def _own_pool(spec: Spec, observed: Observed, *, idle: bool) -> bool:
    """Whether there is a pool at the end that this spec made."""
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
    if rule is When.NEVER or not ours or (idle and rule is When.ASK):
        return
    yield Step(
        "cleanup:containers",
        DeleteContainers(ours, spec.name),
        Verb.DELETE,
        containers_subject(ours),
        _why(rule),
        after,
        len(ours),
        _GATES[rule],
    )


def containers_subject(names: Sequence[str]) -> str:
    """What a step about these containers is about."""
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
