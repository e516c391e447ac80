"""The number of nodes of a pool: what the spec asks for, what it is, and the steps between them."""

from __future__ import annotations

from collections.abc import Iterator

from batchspec.diagnostics import counted
from batchspec.plan.actions import ResizePool, ScalePool
from batchspec.plan.changes import differences
from batchspec.plan.managed_identity import has_identity
from batchspec.plan.observed import PoolFacts
from batchspec.plan.plan import Step, Verb
from batchspec.spec import Pool, Record, ScaleRange, Value, scale_range

_TARGETS = ("targetDedicatedNodes", "targetLowPriorityNodes")
_FORMULA = ("autoScaleFormula", "autoScaleEvaluationInterval")


def size_steps(
    pool: Pool, facts: PoolFacts, body: Record, before: tuple[str, ...]
) -> Iterator[Step]:
    """Changes of the number of nodes, of the autoscale formula, or from one to the other."""
    subject, arm = f"pool {pool.id}", has_identity(facts)
    scales = facts.properties.get("enableAutoScale") is True
    if body.get("enableAutoScale") is True:
        wanted = Record({key: body[key] for key in _FORMULA if key in body})
        found = [] if not scales else list(differences(wanted, facts.properties))
        if scales and not found:
            return
        resized = f"{_sizes(existing_size(facts))} -> autoscale{release(body)}"
        reason = "; ".join(d.words for d in found) or resized
        formula, interval = (_text(body.get(key)) for key in _FORMULA)
        action = ScalePool(pool.id, formula, interval, arm)
        yield Step(_next(pool, before, "scale"), action, Verb.RESIZE, subject, reason, before)
        return
    targets = target_size(body)
    if scales:
        reason = f"autoscale -> {_sizes(targets)}"
        name = _next(pool, before, "scale")
        action = ScalePool(pool.id, None, control_plane=arm)
        yield Step(name, action, Verb.RESIZE, subject, reason, before)
        before = (name,)
    if scales or targets != existing_size(facts) or facts.shortfall:
        reason = f"{'autoscale' if scales else _sizes(existing_size(facts))} -> {_sizes(targets)}"
        if targets == existing_size(facts) and not scales:
            # After a failed resize the service tries again only on request.
            reason = f"{facts.nodes} of {facts.target} nodes allocated: {facts.shortfall}"
        dedicated, spot = targets
        resize = ResizePool(pool.id, dedicated, spot, _text(body.get("resizeTimeout")), arm)
        name = _next(pool, before, "size")
        yield Step(name, resize, Verb.RESIZE, subject, reason, before, sum(targets))


def _next(pool: Pool, before: tuple[str, ...], what: str) -> str:
    """The id of a step for the pool; the first one has no suffix."""
    return f"pool:{pool.id}:{what}" if before else f"pool:{pool.id}"


def target_size(body: Record) -> tuple[int, int]:
    """How many dedicated and Spot nodes a pool with this body is to have while it has tasks."""
    if (found := held(body)) is not None:
        return found.most, found.most_spot
    dedicated, spot = (_number(body.get(key)) for key in _TARGETS)
    return dedicated, spot


def existing_size(facts: PoolFacts) -> tuple[int, int]:
    """How many dedicated and Spot nodes a pool is to have now."""
    return facts.target_dedicated, facts.target_spot


def held(body: Record) -> ScaleRange | None:
    """The nodes of a pool that ends with its work, which its formula holds until then."""
    formula = body.get("autoScaleFormula")
    found = scale_range(formula) if isinstance(formula, str) else None
    return found if found is not None and found.held else None


def release(body: Record) -> str:
    """How the service ends a pool with this body, if batchspec has chosen it."""
    found = held(body)
    if found is None:
        return ""
    idle = counted(int(found.idle.total_seconds() // 60), "minute")
    return f"; the service releases its nodes after {idle} without tasks"


def _number(value: Value) -> int:
    return value if isinstance(value, int) else 0


def _text(value: Value) -> str | None:
    return value if isinstance(value, str) else None


def _sizes(targets: tuple[int, int]) -> str:
    dedicated, spot = targets
    if spot:
        return f"{dedicated:,} dedicated and {spot:,} Spot nodes"
    return counted(dedicated, "node")
