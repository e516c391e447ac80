"""The pool: the body of Create Pool, its differences from an existing pool, and the steps for the
pool and its number of nodes.

Digests in the metadata of the pool show whether the spec has changed; the properties show what has
changed. If properties differ although the digests are equal, another client changed the pool
(drift).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field

from batchspec.diagnostics import Diagnostics, abridged, counted
from batchspec.frozen import frozen
from batchspec.plan.actions import (
    CreatePool,
    ReplacePool,
    ResizePool,
    ScalePool,
    UpdatePool,
    WaitForPool,
)
from batchspec.plan.changes import POOL, ChangeMethod, Difference, differences
from batchspec.plan.identity import content_digest, digest
from batchspec.plan.ingredients import PARTS, changed_parts, named_changes, parts_of_pool
from batchspec.plan.managed_identity import authorized, caseless_identity, has_identity
from batchspec.plan.metadata import (
    DIGEST,
    MACHINE,
    SPEC,
    START,
    UNTIL,
    metadata_differences,
    metadata_of,
    provenance,
)
from batchspec.plan.observed import START_TASK_RUNNING, UNHEALTHY, Observed, PoolFacts
from batchspec.plan.plan import Step, Verb
from batchspec.plan.rules.account import missing_pool, pool_differs, pool_drift
from batchspec.plan.rules.image import with_image
from batchspec.plan.rules.sas import runs_out, sas_lifetime
from batchspec.plan.rules.signed_urls import with_variables_of
from batchspec.plan.tasks import with_resources
from batchspec.spec import Pool, PoolKind, Record, ScaleRange, Spec, scale_range


def pool_body(spec: Spec, observed: Observed, problems: Diagnostics) -> Record:
    """The body of Create Pool; adds an error to ``problems`` if the account lacks the image."""
    pool = spec.pool
    body = with_image(pool, observed, problems)
    start = body.get("startTask")
    if isinstance(start, Record) and pool.start_containers:
        start = with_resources(start, spec, observed, pool.start_containers)
        body = body.with_(startTask=start)
    body = _with_metadata(spec, observed, authorized(body, spec.storage_identity))
    return with_variables_of(body, "startTask")


def _with_metadata(spec: Spec, observed: Observed, body: Record) -> Record:
    content = tuple(
        content_digest(observed.containers[key].files) for key in spec.pool.start_containers
    )
    lifetime = sas_lifetime(spec, observed.now)
    until = [Record(name=UNTIL, value=(observed.now + lifetime).isoformat())] if lifetime else []
    parts = parts_of_pool(spec, observed)
    return body.with_(
        metadata=(
            *body.array("metadata"),
            Record(name=SPEC, value=spec.name),
            Record(name=DIGEST, value=digest(caseless_identity(without_size(body)), content)),
            Record(name=START, value=digest(_part(body, ChangeMethod.REBOOT), content)),
            Record(name=MACHINE, value=digest(caseless_identity(_part(body, ChangeMethod.EMPTY)))),
            *until,
            *provenance(observed),
            *([Record(name=PARTS, value=parts)] if parts else []),
        )
    )


def without_size(body: Record) -> Record:
    """The body without the properties of the pool's size, which a resize changes."""
    return Record(
        {key: value for key, value in body.items() if POOL.get(key) is not ChangeMethod.SIZE}
    )


def _part(body: Record, how: ChangeMethod) -> Record:
    return Record({key: value for key, value in body.items() if POOL.get(key) is how})


_DEFAULTS = Record(
    taskSlotsPerNode=1,
    enableInterNodeCommunication=False,
    taskSchedulingPolicy=Record(nodeFillType="spread"),
    applicationPackageReferences=(),
)
"""The values in an update for properties that the spec omits. An update cannot unset others."""
_WITHIN: Mapping[str, Record] = {
    "startTask": Record(
        maxTaskRetryCount=0,
        waitForSuccess=True,
        userIdentity=Record(autoUser=Record(scope="pool", elevationLevel="nonadmin")),
    ),
    "virtualMachineConfiguration": Record(
        containerConfiguration=None,
        dataDisks=None,
        diskEncryptionConfiguration=None,
        extensions=None,
        licenseType=None,
    ),
}
"""The values of members that the spec omits.

The service returns all members of a start task. It sets members of a machine that are not listed
here to its own values.
"""
_UNSEEN = {
    START: (ChangeMethod.REBOOT, "its start task or its files have changed"),
    MACHINE: (ChangeMethod.EMPTY, "properties changed that the service does not return"),
}
"""Changes that only a digest shows: the content of files, and removed properties."""


@frozen
class PoolChange:
    """The way in which a pool changes (``NOW``, ``REBOOT`` or ``REPLACE``), and the reason.

    ``patch`` contains the properties to update; it is empty if the pool is replaced.
    """

    how: ChangeMethod
    reason: str
    patch: Record = field(default_factory=Record)


def pool_change(body: Record, facts: PoolFacts) -> PoolChange | None:
    """The change that brings a pool up to date with the spec; ``None`` if it is up to date.

    The size is not compared; a resize changes it.
    """
    wanted = metadata_of(body)
    if facts.metadata.get(DIGEST) == wanted[DIGEST]:
        return None
    found = [*visible(body, facts), *_left_out(body, facts)]
    order = list(ChangeMethod)
    found.sort(key=lambda d: -order.index(POOL[d.property]))
    hows = {POOL[difference.property] for difference in found}
    reasons = [difference.words for difference in found]
    for name, (how, reason) in _UNSEEN.items():
        if facts.metadata.get(name) != wanted[name] and how not in hows:
            hows.add(how)
            changes = named_changes(changed_parts(facts.metadata, wanted)) if name == START else ""
            reasons.append(f"{reason}: {changes}" if changes else reason)
    return _change(body, facts, hows, reasons, lasting=any(map(_stays, found)))


def _change(
    body: Record, facts: PoolFacts, hows: set[ChangeMethod], reasons: list[str], *, lasting: bool
) -> PoolChange:
    """The change of the pool that covers all differences.

    ``lasting``: the spec no longer sets a property that an update cannot remove.
    """
    why, empty = abridged(reasons, 3, "; "), _is_empty(facts)
    if ChangeMethod.EMPTY in hows and not empty:
        return PoolChange(ChangeMethod.REPLACE, f"{why}; a pool with nodes cannot change this")
    if lasting:
        return PoolChange(ChangeMethod.REPLACE, f"{why}; an update cannot remove it")
    patch = Record({key: body.get(key, _DEFAULTS.get(key)) for key in _patched(body, hows)})
    if ChangeMethod.REBOOT in hows and _all_starting(facts):
        return PoolChange(
            ChangeMethod.REPLACE,
            f"{why}; its nodes still run the previous start task and cannot restart",
        )
    if ChangeMethod.REBOOT in hows and not empty:
        return PoolChange(ChangeMethod.REBOOT, f"{why}; its nodes restart", patch)
    if hows & {ChangeMethod.REBOOT, ChangeMethod.EMPTY}:
        return PoolChange(ChangeMethod.NOW, f"{why}; it has no nodes now", patch)
    return PoolChange(ChangeMethod.NOW, why, patch)


def _all_starting(facts: PoolFacts) -> bool:
    """Whether the start task runs or has failed on every node, so that no task runs.

    The service refuses to restart a node whose start task runs; a failed node can be restarted.
    """
    states = facts.node_states
    starting = states.get(START_TASK_RUNNING, 0)
    return starting > 0 and sum(states.values()) == starting + sum(
        states.get(state, 0) for state in UNHEALTHY
    )


def drift(body: Record, facts: PoolFacts) -> tuple[Difference, ...]:
    """The properties that another client changed in a pool with the same digest."""
    if facts.metadata.get(DIGEST) != metadata_of(body)[DIGEST]:
        return ()
    return (
        *visible(body, facts),
        *_left_out(body, facts),
        *_added(body, facts),
        *_own_changes(body, facts),
    )


def _added(body: Record, facts: PoolFacts) -> Iterator[Difference]:
    """Differences in members that the spec omits, in properties that it sets."""
    for key, defaults in _WITHIN.items():
        wanted, found = body.get(key), facts.properties.get(key)
        if not isinstance(wanted, Record) or not isinstance(found, Record):
            continue
        for name, value in found.items():
            known = name in defaults or key == "startTask"
            if name in wanted or value in {None, (), False} or not known:
                continue
            default = Record({name: defaults.get(name)})
            if any(differences(Record({name: value}), default)):
                yield Difference(f"{key}.{name}", None, value)


def _own_changes(body: Record, facts: PoolFacts) -> Iterator[Difference]:
    """Differences in the metadata of batchspec that are equal in every plan of a spec."""
    wanted = metadata_of(body)
    for name in (START, MACHINE):
        if facts.metadata.get(name) != wanted[name]:
            yield Difference(f"metadata.{name}", wanted[name], facts.metadata.get(name))


def visible(body: Record, facts: PoolFacts) -> Iterator[Difference]:
    """The properties in which the pool differs from the body, without its size."""
    yield from differences(without_size(body), facts.properties)
    yield from metadata_differences(body, facts.metadata)


def _left_out(body: Record, facts: PoolFacts) -> Iterator[Difference]:
    """Properties that the pool has and the spec no longer sets."""
    for key, how in POOL.items():
        found, default = facts.properties.get(key), _DEFAULTS.get(key)
        if (
            how not in {ChangeMethod.REBOOT, ChangeMethod.EMPTY}
            or key in body
            or found in {None, ()}
        ):
            continue
        if default is None or any(differences(Record({key: default}), facts.properties)):
            yield Difference(key, default, found)


def _stays(difference: Difference) -> bool:
    """Whether an update cannot remove a property."""
    return difference.wanted is None and difference.path == difference.property


def _patched(body: Record, hows: Iterable[ChangeMethod]) -> Iterator[str]:
    """The properties of an update: all properties with the same change method if one changes.

    The start task and the metadata are always included. The URLs of the start task are signed
    again; the metadata contains their expiry and the digests of the properties.
    """
    for key, how in POOL.items():
        given = key in body or key in _DEFAULTS
        if (how in hows and given) or (key in body and key in {"startTask", "metadata"}):
            yield key


def _is_empty(facts: PoolFacts) -> bool:
    """Whether the pool has no nodes and allocates none."""
    nodes = (facts.dedicated, facts.spot, facts.target_dedicated, facts.target_spot)
    return not any(nodes) and facts.allocation.lower() == "steady"


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


def _own_pool(
    spec: Spec, observed: Observed, body: Record, problems: Diagnostics, *, replaced: bool
) -> tuple[Step, ...]:
    pool, facts, sas = spec.pool, observed.pool, sas_lifetime(spec, observed.now)
    step_id, subject = f"pool:{pool.id}", f"pool {pool.id}"
    uploads = _uploads(spec)
    nodes = sum(target_size(body))
    if facts is None or facts.state == "deleting":
        why = "new" if facts is None else "new; the existing pool is being deleted"
        create = CreatePool(pool.id, body, sas, "identity" in body)
        step = Step(step_id, create, Verb.CREATE, subject, why + release(body), uploads, nodes)
        return (step, _wait(pool, nodes, (step_id,)))
    if facts.metadata.get(SPEC) != spec.name:
        found = tuple(differences(without_size(body), facts.properties))
        if found or replaced:
            problems.extend(pool_differs(pool, facts, found))
        owner = facts.metadata.get(SPEC)
        created = f"spec {owner}" if owner else "another client"
        reason = f"up to date; created by {created}"
        size = existing_size(facts)
        if not (facts.scales or body.get("enableAutoScale") is True or size == target_size(body)):
            # Only its owner resizes it.
            nodes = sum(size)
            reason = f"created by {created}, with {_sizes(size)} instead of"
            reason += f" {_sizes(target_size(body))}"
        return (_wait(pool, nodes, ()), _keep(pool, reason, nodes))
    change = pool_change(body, facts)
    if replaced:
        change = PoolChange(ChangeMethod.REPLACE, "requested by --replace pool")
    if change is not None and change.how is ChangeMethod.REPLACE:
        action = ReplacePool(pool.id, body, sas, "identity" in body, has_identity(facts))
        step = Step(step_id, action, Verb.REPLACE, subject, change.reason, uploads, nodes)
        return (step, _wait(pool, nodes, (step_id,)))
    changed = drift(body, facts)
    problems.extend(pool_drift(pool, changed))
    steps = tuple(_in_place(spec, observed, facts, body, change))
    ready = _wait(pool, nodes, tuple(step.id for step in steps))
    if steps:
        return (*steps, ready)
    return (ready, _keep(pool, "changed by another client" if changed else "up to date", nodes))


def _uploads(spec: Spec) -> tuple[str, ...]:
    """The ids of the steps that upload the files and packages with which nodes start."""
    packages = (f"package:{name}" for name in spec.packages)
    return (*(f"upload:{key}" for key in spec.pool.start_containers), *packages)


def _in_place(
    spec: Spec, observed: Observed, facts: PoolFacts, body: Record, change: PoolChange | None
) -> Iterator[Step]:
    """Changes of a pool in place: properties, expiring signatures, size."""
    pool, sas = spec.pool, sas_lifetime(spec, observed.now)
    step_id, subject = f"pool:{pool.id}", f"pool {pool.id}"
    uploads = _uploads(spec)
    until = runs_out(facts, spec, observed.now)
    before: tuple[str, ...] = ()
    arm = "identity" in body or has_identity(facts)
    if change is not None:
        restart = change.how is ChangeMethod.REBOOT
        action = UpdatePool(pool.id, change.patch, sas, restart=restart, control_plane=arm)
        yield Step(step_id, action, Verb.UPDATE, subject, change.reason, uploads)
        before = (step_id,)
    elif until is not None:
        patch = Record(startTask=body["startTask"], metadata=body["metadata"])
        reason = f"signed URLs of its start task expire on {until:%Y-%m-%d %H:%M} UTC"
        before = (f"{step_id}:sign",)
        action = UpdatePool(pool.id, patch, sas, control_plane=arm)
        yield Step(before[0], action, Verb.UPDATE, subject, reason, uploads)
    yield from size_steps(pool, facts, body, before)


def _wait(pool: Pool, nodes: int, after: tuple[str, ...]) -> Step:
    reason, action = "tasks need a node whose start task succeeded", WaitForPool(pool.id, nodes)
    step_id, subject = f"pool:{pool.id}:ready", f"nodes of {pool.id}"
    return Step(step_id, action, Verb.WAIT, subject, reason, after, nodes)


def _keep(pool: Pool, reason: str, nodes: int = 1) -> Step:
    return Step(f"pool:{pool.id}", None, Verb.KEEP, f"pool {pool.id}", reason, (), nodes)


_FORMULA = ("autoScaleFormula", "autoScaleEvaluationInterval")


def size_steps(
    pool: Pool, facts: PoolFacts, body: Record, before: tuple[str, ...]
) -> Iterator[Step]:
    """Changes of the number of nodes or the autoscale formula, or from one of them to the other."""
    subject, arm = f"pool {pool.id}", has_identity(facts)
    scales = facts.properties.get("enableAutoScale") is True
    if body.get("enableAutoScale") is True:
        wanted = Record({key: body[key] for key in _FORMULA if key in body})
        found = [] if not scales else list(differences(wanted, facts.properties))
        if scales and not found:
            return
        resized = f"{_sizes(existing_size(facts))} -> autoscale{release(body)}"
        reason = "; ".join(d.words for d in found) or resized
        formula, interval = map(body.string, _FORMULA)
        action = ScalePool(pool.id, formula, interval, arm)
        yield Step(_next(pool, before, "scale"), action, Verb.RESIZE, subject, reason, before)
        return
    targets = target_size(body)
    if scales:
        name = _next(pool, before, "scale")
        action = ScalePool(pool.id, None, control_plane=arm)
        yield Step(name, action, Verb.RESIZE, subject, "disable autoscale", before)
        before = (name,)
    if scales or targets != existing_size(facts) or facts.shortfall:
        reason = f"{'autoscale' if scales else _sizes(existing_size(facts))} -> {_sizes(targets)}"
        if targets == existing_size(facts) and not scales:
            # After a failed resize, the service tries again only on request.
            reason = f"{facts.nodes} of {facts.target} nodes allocated: {facts.shortfall}"
        dedicated, spot = targets
        resize = ResizePool(pool.id, dedicated, spot, body.string("resizeTimeout"), arm)
        name = _next(pool, before, "size")
        yield Step(name, resize, Verb.RESIZE, subject, reason, before, sum(targets))


def _next(pool: Pool, before: tuple[str, ...], what: str) -> str:
    """The id of a step for the pool; the first one has no suffix."""
    return f"pool:{pool.id}:{what}" if before else f"pool:{pool.id}"


def target_size(body: Record) -> tuple[int, int]:
    """The target numbers of dedicated and Spot nodes of a pool with this body while it has tasks.

    For a pool that scales, they are known only if its formula keeps all nodes until the work ends.
    """
    if (found := released_nodes(body)) is not None:
        return found.most, found.most_spot
    return body.number("targetDedicatedNodes"), body.number("targetLowPriorityNodes")


def existing_size(facts: PoolFacts) -> tuple[int, int]:
    """The current target numbers of dedicated and Spot nodes of a pool."""
    return facts.target_dedicated, facts.target_spot


def released_nodes(body: Record) -> ScaleRange | None:
    """The nodes of a pool whose formula keeps all of them until the work ends; otherwise ``None``.

    It is the formula that batchspec writes for a pool of fixed size whose nodes the service
    releases.
    """
    found = scale_range(body.string("autoScaleFormula") or "")
    return found if found is not None and found.fixed else None


def release(body: Record) -> str:
    """The part of a reason about the release of nodes; empty if the service releases none."""
    found = released_nodes(body)
    if found is None:
        return ""
    idle = counted(int(found.idle.total_seconds() // 60), "minute")
    return f"; the service releases its nodes after {idle} without tasks"


def _sizes(targets: tuple[int, int]) -> str:
    dedicated, spot = targets
    if spot:
        return f"{dedicated:,} dedicated and {spot:,} Spot nodes"
    return counted(dedicated, "node")
