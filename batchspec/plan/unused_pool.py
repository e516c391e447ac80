"""The pool of a finished run: what happens to it although no task is left to run.

Nodes cost money while they exist. A smaller size therefore takes effect at once, and so does an
autoscale formula. Everything else waits until tasks run again, and the plan shows it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from batchspec.diagnostics import Diagnostic
from batchspec.plan.actions import DeletePool
from batchspec.plan.metadata import SPEC
from batchspec.plan.observed import Observed, PoolFacts
from batchspec.plan.plan import Step, Verb
from batchspec.plan.pool import drift, existing_size, pool_change, size_steps, target_size
from batchspec.plan.rules.account import pool_drift
from batchspec.spec import PoolKind, Record, Spec


def unused_pool_drift(spec: Spec, observed: Observed, body: Record) -> Iterator[Diagnostic]:
    """What another client changed in the pool; ``body`` is that of Create Pool."""
    facts = _own_pool(spec, observed)
    if facts is not None:
        yield from pool_drift(spec.pool, drift(body, facts))


def unused_pool_steps(
    spec: Spec, observed: Observed, body: Record, steps: Sequence[Step]
) -> Iterator[Step]:
    """A step that decreases the pool, and one that keeps what changes when tasks run again.

    ``steps`` are the others of the plan: a pool that is deleted is not changed.
    """
    facts = _own_pool(spec, observed)
    if facts is None or any(isinstance(step.action, DeletePool) for step in steps):
        return
    change = pool_change(body, facts)
    later = [] if change is None else [change.reason]
    sizes = tuple(size_steps(spec.pool, facts, body, ()))
    if body.get("enableAutoScale") is True or _is_smaller(body, facts):
        yield from sizes
    elif facts.scales or target_size(body) != existing_size(facts):
        later += [step.reason for step in sizes]
    if later:
        reason = f"changes when tasks run again: {'; '.join(later)}"
        pool_id = spec.pool.id
        yield Step(f"pool:{pool_id}:later", None, Verb.KEEP, f"pool {pool_id}", reason)


def _is_smaller(body: Record, facts: PoolFacts) -> bool:
    """Whether the spec has fewer nodes than the pool is to have, and more of no kind."""
    wanted, there = target_size(body), existing_size(facts)
    return wanted != there and all(one <= other for one, other in zip(wanted, there, strict=True))


def _own_pool(spec: Spec, observed: Observed) -> PoolFacts | None:
    """The pool, if this spec created it and it is not being deleted."""
    facts = observed.pool
    if spec.pool.kind is not PoolKind.OWN or facts is None or facts.state == "deleting":
        return None
    return facts if facts.metadata.get(SPEC) == spec.name else None
