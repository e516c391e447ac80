"""The steps for the pool: make, keep, change, resize or replace it, and wait for its nodes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from batchspec.diagnostics import Diagnostic, Diagnostics
from batchspec.plan.actions import (
    CreatePool,
    ReplacePool,
    ResizePool,
    RestartNodes,
    ScalePool,
    UpdatePool,
    WaitForPool,
)
from batchspec.plan.changes import ChangeMethod, Difference, differences
from batchspec.plan.metadata import SPEC
from batchspec.plan.observed import Observed, PoolFacts
from batchspec.plan.plan import Step, Verb
from batchspec.plan.pool_body import PoolChange, drift, pool_change, without_size
from batchspec.plan.rules.catalogue import finding
from batchspec.plan.sas_lifetime import runs_out, sas_lifetime
from batchspec.spec import Pool, PoolKind, Record, Spec, Value

_TARGETS = ("targetDedicatedNodes", "targetLowPriorityNodes")
_FORMULA = ("autoScaleFormula", "autoScaleEvaluationInterval")


@dataclass(frozen=True, slots=True)
class PoolPlan:
    """The steps about the pool that are to be done, and those that keep what is there."""

    steps: tuple[Step, ...]
    kept: tuple[Step, ...] = ()


def pool_steps(
    spec: Spec, observed: Observed, body: Record, problems: Diagnostics, *, anew: bool = False
) -> PoolPlan:
    """What there is to do about the pool, given that tasks are to run on it.

    ``anew`` replaces it in any case, if this spec made it.
    """
    match spec.pool.kind:
        case PoolKind.JOB:
            return PoolPlan(())
        case PoolKind.EXISTING:
            return _existing(spec.pool, observed.pool, problems)
        case PoolKind.OWN:
            return _own(spec, observed, body, problems, anew=anew)


def with_restart(
    pool: str, plan: PoolPlan, failed: tuple[str, ...], unprepared: tuple[str, ...]
) -> PoolPlan:
    """The plan with a restart of nodes, unless all nodes restart or are replaced.

    ``failed`` are those whose start task failed. ``unprepared`` are those on which the preparation
    task of the job failed: the service starts no task of the job there, and runs the preparation
    task again after a restart (``BatchJobPreparationTask.rerun_on_node_reboot_after_success``: it
    always runs again unless it succeeded).
    """
    nodes = tuple(dict.fromkeys((*failed, *unprepared)))
    if not nodes:
        return plan
    if any(isinstance(s.action, CreatePool | ReplacePool) for s in plan.steps) or any(
        isinstance(s.action, UpdatePool) and s.action.restart for s in plan.steps
    ):
        return plan
    counts = ((len(failed), "start task"), (len(unprepared), "preparation task"))
    causes = ", ".join(f"{task} failed on {number:,}" for number, task in counts if number)
    restart = Step(
        f"pool:{pool}:restart",
        RestartNodes(pool, nodes),
        Verb.UPDATE,
        f"pool {pool}",
        f"restart nodes: {causes}",
        tuple(step.id for step in plan.steps if not isinstance(step.action, WaitForPool)),
        len(nodes),
    )
    steps = tuple(
        replace(step, after=(*step.after, restart.id))
        if isinstance(step.action, WaitForPool)
        else step
        for step in plan.steps
    )
    return replace(plan, steps=(restart, *steps))


def pool_drift(spec: Spec, observed: Observed, body: Record) -> Iterator[Diagnostic]:
    """What another client has changed about the pool of a run that has nothing left to do."""
    facts = observed.pool
    if spec.pool.kind is not PoolKind.OWN or facts is None or facts.state == "deleting":
        return
    if facts.metadata.get(SPEC) == spec.name and (changed := drift(body, facts)):
        yield _drifted(spec.pool, changed)


def _existing(pool: Pool, facts: PoolFacts | None, problems: Diagnostics) -> PoolPlan:
    if facts is None or facts.state == "deleting":
        problems.add(
            finding(
                "missing-pool",
                f"the pool {pool.id!r} is marked `existing`, but is not in the account",
                where=pool.where,
                fix="Name a pool that is there, or describe one so that it is made.",
            )
        )
    return PoolPlan((_wait(pool, 0, ()),), (_keep(pool, "it is not ours to change"),))


def _own(
    spec: Spec, observed: Observed, body: Record, problems: Diagnostics, *, anew: bool
) -> PoolPlan:
    pool, facts, sas = spec.pool, observed.pool, sas_lifetime(spec, observed.now)
    step_id, subject = f"pool:{pool.id}", f"pool {pool.id}"
    uploads = tuple(f"upload:{key}" for key in pool.start_containers)
    nodes = _nodes(body)
    if facts is None or facts.state == "deleting":
        why = "it is not there yet" if facts is None else "the one that is there is being deleted"
        step = Step(
            step_id, CreatePool(pool.id, body, sas), Verb.CREATE, subject, why, uploads, nodes
        )
        return PoolPlan((step, _wait(pool, nodes, (step_id,))))
    if facts.metadata.get(SPEC) != spec.name:
        found = tuple(differences(without_size(body), facts.properties))
        if found or anew:
            problems.add(_foreign(pool, facts, found))
        kept = _keep(pool, "it is there, and equal, made by another", nodes)
        return PoolPlan((_wait(pool, nodes, ()),), (kept,))
    change = pool_change(body, facts)
    if anew:
        change = PoolChange(ChangeMethod.REPLACE, "as asked for (--replace pool)")
    if change is not None and change.how is ChangeMethod.REPLACE:
        action = ReplacePool(pool.id, body, sas)
        step = Step(step_id, action, Verb.REPLACE, subject, change.reason, uploads, nodes)
        return PoolPlan((step, _wait(pool, nodes, (step_id,))))
    changed = drift(body, facts)
    if changed:
        problems.add(_drifted(pool, changed))
    why = "it is there, as somebody has changed it" if changed else "it is there, as the spec says"
    steps = tuple(_in_place(spec, observed, facts, body, change))
    ready = _wait(pool, nodes, tuple(step.id for step in steps))
    return PoolPlan((*steps, ready), () if steps else (_keep(pool, why, nodes),))


def _in_place(
    spec: Spec, observed: Observed, facts: PoolFacts, body: Record, change: PoolChange | None
) -> Iterator[Step]:
    """What is changed about a pool that stays: properties, old signatures, its size."""
    pool, sas = spec.pool, sas_lifetime(spec, observed.now)
    step_id, subject = f"pool:{pool.id}", f"pool {pool.id}"
    uploads = tuple(f"upload:{key}" for key in pool.start_containers)
    until = runs_out(facts, spec, observed.now)
    before: tuple[str, ...] = ()
    if change is not None:
        action = UpdatePool(pool.id, change.patch, sas, restart=change.how is ChangeMethod.REBOOT)
        yield Step(step_id, action, Verb.UPDATE, subject, change.reason, uploads)
        before = (step_id,)
    elif until is not None:
        patch = Record(startTask=body["startTask"], metadata=body["metadata"])
        reason = f"nodes that start after {until:%Y-%m-%d %H:%M} could not read their files"
        before = (f"{step_id}:sign",)
        yield Step(
            before[0], UpdatePool(pool.id, patch, sas), Verb.UPDATE, subject, reason, uploads
        )
    yield from _size(pool, facts, body, before)


def _size(pool: Pool, facts: PoolFacts, body: Record, before: tuple[str, ...]) -> Iterator[Step]:
    """Another number of nodes, another formula for it, or from the one to the other."""
    subject = f"pool {pool.id}"
    scales = facts.properties.get("enableAutoScale") is True
    if body.get("enableAutoScale") is True:
        wanted = Record({key: body[key] for key in _FORMULA if key in body})
        found = [] if not scales else list(differences(wanted, facts.properties))
        if scales and not found:
            return
        reason = "; ".join(d.words for d in found) or (
            f"it has {_sizes(_there(facts))}, the spec says that it scales itself"
        )
        action = ScalePool(pool.id, *(_text(body.get(key)) for key in _FORMULA))
        yield Step(_next(pool, before, "scale"), action, Verb.RESIZE, subject, reason, before)
        return
    targets = _targets(body)
    if scales:
        reason = f"it scales itself, the spec says {_sizes(targets)}"
        name = _next(pool, before, "scale")
        yield Step(name, ScalePool(pool.id, None), Verb.RESIZE, subject, reason, before)
        before = (name,)
    if scales or targets != _there(facts) or facts.shortfall:
        reason = f"it has {_sizes(_there(facts))}, the spec says {_sizes(targets)}"
        if targets == _there(facts) and not scales:
            # The service tries again only when it is asked to.
            reason = f"it got {facts.nodes} of {facts.target} nodes: {facts.shortfall}"
        dedicated, spot = targets
        resize = ResizePool(pool.id, dedicated, spot, _text(body.get("resizeTimeout")))
        name = _next(pool, before, "size")
        yield Step(name, resize, Verb.RESIZE, subject, reason, before, sum(targets))


def _next(pool: Pool, before: tuple[str, ...], what: str) -> str:
    """The id of a step about the pool: its first one has the pool's own."""
    return f"pool:{pool.id}:{what}" if before else f"pool:{pool.id}"


def _targets(body: Record) -> tuple[int, int]:
    dedicated, spot = (_number(body.get(key)) for key in _TARGETS)
    return dedicated, spot


def _there(facts: PoolFacts) -> tuple[int, int]:
    return facts.target_dedicated, facts.target_spot


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


def _keep(pool: Pool, reason: str, nodes: int = 1) -> Step:
    return Step(f"pool:{pool.id}", None, Verb.KEEP, f"pool {pool.id}", reason, (), nodes)


def _nodes(body: Record) -> int:
    return sum(_targets(body))


def _number(value: Value) -> int:
    return value if isinstance(value, int) else 0


def _text(value: Value) -> str | None:
    return value if isinstance(value, str) else None


def _sizes(targets: tuple[int, int]) -> str:
    dedicated, spot = targets
    return f"{dedicated} dedicated and {spot} spot nodes" if spot else f"{dedicated} nodes"


def _foreign(pool: Pool, facts: PoolFacts, found: tuple[Difference, ...]) -> Diagnostic:
    how = "and it differs" if found else "and only its maker may replace it"
    return finding(
        "pool-differs",
        f"a pool {facts.id!r} is there that this spec did not make, {how}",
        detail="\n".join(difference.words for difference in found),
        where=pool.where,
        fix=f"Use it as it is (`pool: {{existing: {facts.id}}}`), or give yours another `id`.",
    )


def _drifted(pool: Pool, found: tuple[Difference, ...]) -> Diagnostic:
    return finding(
        "pool-drift",
        f"somebody has changed the pool {pool.id!r} since this spec made it; it stays so",
        detail="\n".join(difference.words for difference in found),
        where=pool.where,
        fix="`--replace pool` makes it anew, as the spec says.",
    )
