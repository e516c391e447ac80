"""The steps for the pool: make, keep, resize or replace it, and wait for its nodes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from batchspec.plan.actions import CreatePool, ReplacePool, ResizePool, UpdatePool, WaitForPool
from batchspec.plan.diff import Difference, differences
from batchspec.plan.digest import content_digest, digest
from batchspec.plan.images import resolve_image
from batchspec.plan.lifetime import UNTIL, runs_out, sas_lifetime
from batchspec.plan.observed import Observed, PoolFacts
from batchspec.plan.plan import Step, Verb
from batchspec.plan.tasks import with_resources
from batchspec.problems import Problem, Problems
from batchspec.spec.model import Pool, PoolKind, Spec
from batchspec.spec.values import Record, Value

_TARGETS = ("targetDedicatedNodes", "targetLowPriorityNodes")


@dataclass(frozen=True, slots=True)
class PoolPlan:
    """The body of the pool as it should be, and the steps that get there.

    ``nodes`` is how many nodes a fixed pool has, 0 where the service decides.
    """

    body: Record
    nodes: int
    steps: tuple[Step, ...]
    kept: tuple[Step, ...]


def pool_body(spec: Spec, observed: Observed, problems: Problems) -> Record:
    """The pool as Create Pool takes it: image resolved, start task's files named, owner noted."""
    pool = spec.pool
    body = pool.properties
    if pool.image is not None:
        found = resolve_image(pool.image, observed.images, observed.now, problems)
        machine = body.get("virtualMachineConfiguration")
        spelled = machine if isinstance(machine, Record) else Record()
        body = body.with_(virtualMachineConfiguration=Record({**found, **spelled}))
    start = body.get("startTask")
    if isinstance(start, Record) and pool.start_containers:
        start = with_resources(start, spec, observed, pool.start_containers)
        body = body.with_(startTask=start)
    return _owned(spec, observed, body)


def _owned(spec: Spec, observed: Observed, body: Record) -> Record:
    content = [content_digest(observed.containers[key].files) for key in spec.pool.start_containers]
    given = body.get("metadata")
    return body.with_(
        metadata=(
            *(given if isinstance(given, tuple) else ()),
            Record(name="batchspec:spec", value=spec.name),
            Record(name="batchspec:digest", value=digest(_without_size(body), tuple(content))),
            Record(name=UNTIL, value=(observed.now + sas_lifetime(spec)).isoformat()),
        )
    )


def _without_size(body: Record) -> Record:
    """The body less its number of nodes: a resize is not another pool."""
    return Record({key: value for key, value in body.items() if key not in _TARGETS})


def pool_steps(spec: Spec, observed: Observed, body: Record, problems: Problems) -> PoolPlan:
    """What there is to do about the pool, given that tasks are to run on it."""
    match spec.pool.kind:
        case PoolKind.JOB:
            return PoolPlan(body, 0, (), ())
        case PoolKind.EXISTING:
            return _existing(spec.pool, observed.pool, body, problems)
        case PoolKind.OWN:
            return _own(spec, observed, body, problems)


def _existing(pool: Pool, facts: PoolFacts | None, body: Record, problems: Problems) -> PoolPlan:
    if facts is None or facts.state == "deleting":
        problems.add(
            Problem(
                "missing-pool",
                f"the pool {pool.id!r} is marked `existing`, but is not in the account",
                where=pool.where,
                hint="Name a pool that is there, or describe one so that it is made.",
            )
        )
    kept = Step(f"pool:{pool.id}", None, Verb.KEEP, f"pool {pool.id}", "it is not ours to change")
    return PoolPlan(body, 0, (_wait(pool, 0, ()),), (kept,))


def _own(spec: Spec, observed: Observed, body: Record, problems: Problems) -> PoolPlan:
    pool, facts, sas = spec.pool, observed.pool, sas_lifetime(spec)
    step_id, subject = f"pool:{pool.id}", f"pool {pool.id}"
    uploads = tuple(f"upload:{key}" for key in pool.start_containers)
    nodes = _nodes(body)
    if facts is None or facts.state == "deleting":
        why = "it is not there yet" if facts is None else "the one that is there is being deleted"
        step = Step(
            step_id, CreatePool(pool.id, body, sas), Verb.CREATE, subject, why, uploads, nodes
        )
        return PoolPlan(body, nodes, (step, _wait(pool, nodes, (step_id,))), ())
    found = tuple(_differences(body, facts))
    if facts.metadata.get("batchspec:spec") != spec.name:
        if found:
            problems.add(_foreign(pool, facts, found))
        kept = Step(step_id, None, Verb.KEEP, subject, "it is there, and equal, made by another")
        return PoolPlan(body, nodes, (_wait(pool, nodes, ()),), (kept,))
    if _digest(body) != facts.metadata.get("batchspec:digest"):
        reason = "; ".join(d.words for d in found[:3]) or "what its nodes start with has changed"
        action = ReplacePool(pool.id, body, sas)
        step = Step(step_id, action, Verb.REPLACE, subject, reason, uploads, nodes)
        return PoolPlan(body, nodes, (step, _wait(pool, nodes, (step_id,))), ())
    return _as_it_is(spec, observed, facts, body)


def _as_it_is(spec: Spec, observed: Observed, facts: PoolFacts, body: Record) -> PoolPlan:
    """The pool is what it should be; its size may have been changed, its signatures be old."""
    pool, nodes = spec.pool, _nodes(body)
    step_id, subject = f"pool:{pool.id}", f"pool {pool.id}"
    steps: list[Step] = []
    runs_out_at = runs_out(facts, spec, observed.now)
    if runs_out_at is not None:
        patch = Record(startTask=body["startTask"], metadata=body["metadata"])
        reason = f"nodes that start after {runs_out_at:%Y-%m-%d %H:%M} could not read their files"
        action = UpdatePool(pool.id, patch, sas_lifetime(spec))
        uploads = tuple(f"upload:{key}" for key in pool.start_containers)
        steps.append(Step(f"{step_id}:sign", action, Verb.UPDATE, subject, reason, uploads))
    wanted = tuple(_number(body.get(key)) for key in _TARGETS)
    there = (facts.target_dedicated, facts.target_spot)
    kept: tuple[Step, ...] = ()
    if body.get("enableAutoScale") or wanted == there:
        kept = (
            Step(step_id, None, Verb.KEEP, subject, "it is there, as the spec says", (), nodes),
        )
    else:
        reason = f"it has {_sizes(there)}, the spec says {_sizes(wanted)}"
        resize = ResizePool(pool.id, *wanted)
        after = tuple(step.id for step in steps)
        steps.append(Step(step_id, resize, Verb.RESIZE, subject, reason, after, sum(wanted)))
    ready = _wait(pool, nodes, tuple(step.id for step in steps))
    return PoolPlan(body, nodes, (*steps, ready), kept)


def _wait(pool: Pool, nodes: int, after: tuple[str, ...]) -> Step:
    return Step(
        f"pool:{pool.id}:ready",
        WaitForPool(pool.id, nodes),
        Verb.WAIT,
        f"nodes of {pool.id}",
        "tasks run on nodes whose start task has succeeded",
        after,
        nodes,
    )


def _differences(body: Record, facts: PoolFacts) -> Iterator[Difference]:
    return differences(_without_size(body), facts.properties)


def _digest(body: Record) -> Value:
    metadata = body["metadata"]
    assert isinstance(metadata, tuple)
    named = (item for item in metadata if isinstance(item, Record))
    return next(item["value"] for item in named if item["name"] == "batchspec:digest")


def _nodes(body: Record) -> int:
    return sum(_number(body.get(key)) for key in _TARGETS)


def _number(value: Value) -> int:
    return value if isinstance(value, int) else 0


def _sizes(targets: tuple[int, ...]) -> str:
    dedicated, spot = targets
    return f"{dedicated} dedicated and {spot} spot nodes" if spot else f"{dedicated} nodes"


def _foreign(pool: Pool, facts: PoolFacts, found: tuple[Difference, ...]) -> Problem:
    return Problem(
        "pool-differs",
        f"a pool {facts.id!r} is there that this spec did not make, and it differs",
        detail="\n".join(difference.words for difference in found),
        where=pool.where,
        hint=f"Use it as it is (`pool: {{existing: {facts.id}}}`), or give yours another `id`.",
    )
