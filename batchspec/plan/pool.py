"""The steps for the pool: create, keep, update, resize or replace it, and wait for its nodes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

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
from batchspec.plan.changes import ChangeMethod, differences
from batchspec.plan.metadata import SPEC
from batchspec.plan.observed import Observed, PoolFacts
from batchspec.plan.plan import Step, Verb
from batchspec.plan.pool_body import PoolChange, drift, pool_change, without_size
from batchspec.plan.rules.account import missing_pool, pool_differs, pool_drift
from batchspec.plan.sas_lifetime import runs_out, sas_lifetime
from batchspec.spec import Pool, PoolKind, Record, Spec, Value

_TARGETS = ("targetDedicatedNodes", "targetLowPriorityNodes")
_FORMULA = ("autoScaleFormula", "autoScaleEvaluationInterval")


def pool_steps(
    spec: Spec, observed: Observed, body: Record, problems: Diagnostics, *, replace: bool = False
) -> tuple[Step, ...]:
    """The steps for the pool of the tasks; ``replace`` creates it again if this spec owns it."""
    match spec.pool.kind:
        case PoolKind.JOB:
            return ()
        case PoolKind.EXISTING:
            if observed.pool is None or observed.pool.state == "deleting":
                problems.extend(missing_pool(spec.pool))
            return (_wait(spec.pool, 0, ()), _keep(spec.pool, "marked `existing`"))
        case PoolKind.OWN:
            return _own_pool(spec, observed, body, problems, replaced=replace)


def with_restart(
    pool: str, steps: tuple[Step, ...], failed: tuple[str, ...], unprepared: tuple[str, ...]
) -> tuple[Step, ...]:
    """The steps with a restart of nodes, unless all nodes restart or are replaced.

    The start task failed on ``failed`` nodes. The preparation task of the job failed on
    ``unprepared`` ones: the service starts no task of the job there, and runs the preparation task
    again after a restart (``BatchJobPreparationTask.rerun_on_node_reboot_after_success``: it always
    runs again unless it succeeded).
    """
    nodes = tuple(dict.fromkeys((*failed, *unprepared)))
    if not nodes:
        return steps
    actions = [step.action for step in steps]
    if any(isinstance(action, CreatePool | ReplacePool) for action in actions) or any(
        isinstance(action, UpdatePool) and action.restart for action in actions
    ):
        return steps
    counts = ((len(failed), "start task"), (len(unprepared), "preparation task"))
    causes = ", ".join(f"{task} failed on {number:,}" for number, task in counts if number)
    restart = Step(
        f"pool:{pool}:restart",
        RestartNodes(pool, nodes),
        Verb.UPDATE,
        f"pool {pool}",
        f"restart nodes: {causes}",
        tuple(step.id for step in steps if not isinstance(step.action, WaitForPool)),
        len(nodes),
    )
    return (
        restart,
        *(
            replace(step, after=(*step.after, restart.id))
            if isinstance(step.action, WaitForPool)
            else step
            for step in steps
        ),
    )


def unused_pool_drift(spec: Spec, observed: Observed, body: Record) -> Iterator[Diagnostic]:
    """What another client changed in the pool of a run that has no tasks left."""
    facts = observed.pool
    if spec.pool.kind is not PoolKind.OWN or facts is None or facts.state == "deleting":
        return
    if facts.metadata.get(SPEC) == spec.name:
        yield from pool_drift(spec.pool, drift(body, facts))


def _own_pool(
    spec: Spec, observed: Observed, body: Record, problems: Diagnostics, *, replaced: bool
) -> tuple[Step, ...]:
    pool, facts, sas = spec.pool, observed.pool, sas_lifetime(spec, observed.now)
    step_id, subject = f"pool:{pool.id}", f"pool {pool.id}"
    uploads = tuple(f"upload:{key}" for key in pool.start_containers)
    nodes = sum(_targets(body))
    if facts is None or facts.state == "deleting":
        why = "new" if facts is None else "new; the existing pool is being deleted"
        create = CreatePool(pool.id, body, sas)
        step = Step(step_id, create, Verb.CREATE, subject, why, uploads, nodes)
        return (step, _wait(pool, nodes, (step_id,)))
    if facts.metadata.get(SPEC) != spec.name:
        found = tuple(differences(without_size(body), facts.properties))
        if found or replaced:
            problems.extend(pool_differs(pool, found))
        owner = facts.metadata.get(SPEC)
        created = f"spec {owner}" if owner else "another client"
        kept = _keep(pool, f"up to date; created by {created}", nodes)
        return (_wait(pool, nodes, ()), kept)
    change = pool_change(body, facts)
    if replaced:
        change = PoolChange(ChangeMethod.REPLACE, "requested by --replace pool")
    if change is not None and change.how is ChangeMethod.REPLACE:
        action = ReplacePool(pool.id, body, sas)
        step = Step(step_id, action, Verb.REPLACE, subject, change.reason, uploads, nodes)
        return (step, _wait(pool, nodes, (step_id,)))
    changed = drift(body, facts)
    problems.extend(pool_drift(pool, changed))
    steps = tuple(_in_place(spec, observed, facts, body, change))
    ready = _wait(pool, nodes, tuple(step.id for step in steps))
    if steps:
        return (*steps, ready)
    return (ready, _keep(pool, "changed by another client" if changed else "up to date", nodes))


def _in_place(
    spec: Spec, observed: Observed, facts: PoolFacts, body: Record, change: PoolChange | None
) -> Iterator[Step]:
    """Changes of a pool in place: properties, expiring signatures, size."""
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
        reason = f"signed URLs of its start task expire on {until:%Y-%m-%d %H:%M} UTC"
        before = (f"{step_id}:sign",)
        yield Step(
            before[0], UpdatePool(pool.id, patch, sas), Verb.UPDATE, subject, reason, uploads
        )
    yield from _size(pool, facts, body, before)


def _size(pool: Pool, facts: PoolFacts, body: Record, before: tuple[str, ...]) -> Iterator[Step]:
    """Changes of the number of nodes, of the autoscale formula, or from one to the other."""
    subject = f"pool {pool.id}"
    scales = facts.properties.get("enableAutoScale") is True
    if body.get("enableAutoScale") is True:
        wanted = Record({key: body[key] for key in _FORMULA if key in body})
        found = [] if not scales else list(differences(wanted, facts.properties))
        if scales and not found:
            return
        reason = "; ".join(d.words for d in found) or (f"{_sizes(_existing(facts))} -> autoscale")
        action = ScalePool(pool.id, *(_text(body.get(key)) for key in _FORMULA))
        yield Step(_next(pool, before, "scale"), action, Verb.RESIZE, subject, reason, before)
        return
    targets = _targets(body)
    if scales:
        reason = f"autoscale -> {_sizes(targets)}"
        name = _next(pool, before, "scale")
        yield Step(name, ScalePool(pool.id, None), Verb.RESIZE, subject, reason, before)
        before = (name,)
    if scales or targets != _existing(facts) or facts.shortfall:
        reason = f"{'autoscale' if scales else _sizes(_existing(facts))} -> {_sizes(targets)}"
        if targets == _existing(facts) and not scales:
            # After a failed resize the service tries again only on request.
            reason = f"{facts.nodes} of {facts.target} nodes allocated: {facts.shortfall}"
        dedicated, spot = targets
        resize = ResizePool(pool.id, dedicated, spot, _text(body.get("resizeTimeout")))
        name = _next(pool, before, "size")
        yield Step(name, resize, Verb.RESIZE, subject, reason, before, sum(targets))


def _next(pool: Pool, before: tuple[str, ...], what: str) -> str:
    """The id of a step for the pool; the first one has no suffix."""
    return f"pool:{pool.id}:{what}" if before else f"pool:{pool.id}"


def _targets(body: Record) -> tuple[int, int]:
    dedicated, spot = (_number(body.get(key)) for key in _TARGETS)
    return dedicated, spot


def _existing(facts: PoolFacts) -> tuple[int, int]:
    return facts.target_dedicated, facts.target_spot


def _wait(pool: Pool, nodes: int, after: tuple[str, ...]) -> Step:
    return Step(
        f"pool:{pool.id}:ready",
        WaitForPool(pool.id, nodes),
        Verb.WAIT,
        f"nodes of {pool.id}",
        "tasks need a node whose start task succeeded",
        after,
        nodes,
    )


def _keep(pool: Pool, reason: str, nodes: int = 1) -> Step:
    return Step(f"pool:{pool.id}", None, Verb.KEEP, f"pool {pool.id}", reason, (), nodes)


def _number(value: Value) -> int:
    return value if isinstance(value, int) else 0


def _text(value: Value) -> str | None:
    return value if isinstance(value, str) else None


def _sizes(targets: tuple[int, int]) -> str:
    dedicated, spot = targets
    if spot:
        return f"{dedicated} dedicated and {spot} Spot nodes"
    return "1 node" if dedicated == 1 else f"{dedicated} nodes"
