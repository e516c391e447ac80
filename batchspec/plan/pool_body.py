"""The body of Create Pool, and what differs between it and an existing pool.

Digests in the pool's metadata show whether the spec has changed; the properties show in what. A
difference while the digests are equal is drift: another client changed the pool.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from batchspec.diagnostics import Diagnostics
from batchspec.plan.changes import POOL, ChangeMethod, Difference, differences
from batchspec.plan.digest import content_digest, digest
from batchspec.plan.images import resolve_image
from batchspec.plan.metadata import (
    DIGEST,
    MACHINE,
    SPEC,
    START,
    UNTIL,
    metadata_of,
    own_metadata,
    provenance,
)
from batchspec.plan.observed import Observed, PoolFacts
from batchspec.plan.sas_lifetime import sas_lifetime
from batchspec.plan.tasks import with_resources
from batchspec.spec import Record, Spec


def pool_body(spec: Spec, observed: Observed, problems: Diagnostics) -> Record:
    """The body of Create Pool; a problem is added where the account has no such image."""
    pool = spec.pool
    body = pool.properties
    if pool.image is not None:
        found = resolve_image(
            pool.image, observed.images, observed.now, problems, body.get("vmSize")
        )
        machine = body.get("virtualMachineConfiguration")
        spelled = machine if isinstance(machine, Record) else Record()
        body = body.with_(virtualMachineConfiguration=Record({**found, **spelled}))
    start = body.get("startTask")
    if isinstance(start, Record) and pool.start_containers:
        start = with_resources(start, spec, observed, pool.start_containers)
        body = body.with_(startTask=start)
    return _with_metadata(spec, observed, body)


def _with_metadata(spec: Spec, observed: Observed, body: Record) -> Record:
    content = tuple(
        content_digest(observed.containers[key].files) for key in spec.pool.start_containers
    )
    given, lifetime = body.get("metadata"), sas_lifetime(spec, observed.now)
    return body.with_(
        metadata=(
            *(given if isinstance(given, tuple) else ()),
            Record(name=SPEC, value=spec.name),
            Record(name=DIGEST, value=digest(without_size(body), content)),
            Record(name=START, value=digest(_part(body, ChangeMethod.REBOOT), content)),
            Record(name=MACHINE, value=digest(_part(body, ChangeMethod.EMPTY))),
            Record(name=UNTIL, value=(observed.now + lifetime).isoformat()),
            *provenance(observed),
        )
    )


def runs_windows(spec: Spec, observed: Observed) -> bool:
    """Whether the nodes run Windows: what the spec says, else what the pool that is there is."""
    if spec.pool.windows is not None:
        return spec.pool.windows
    machine = observed.pool.properties.get("virtualMachineConfiguration") if observed.pool else None
    agent = machine.get("nodeAgentSKUId") if isinstance(machine, Record) else None
    return isinstance(agent, str) and "windows" in agent.lower()


def without_size(body: Record) -> Record:
    """The body less what says how many nodes it has: a resize is not another pool."""
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
"""What a spec that leaves it out wants, as an update says it. Other properties can only be set."""
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
"""Members of properties that the service does not fill in, or fills in with these values.

All members of a start task are listed or unset; of a machine, the service fills in others as well.
"""
_UNSEEN = {
    START: (ChangeMethod.REBOOT, "what its nodes start with has changed"),
    MACHINE: (ChangeMethod.EMPTY, "the spec has changed in what the account does not show"),
}
"""Changes that only a digest shows: content of files, removed properties."""


@dataclass(frozen=True, slots=True)
class PoolChange:
    """How a pool is to be changed (``NOW``, ``REBOOT`` or ``REPLACE``), and why.

    ``patch`` has the properties to update; none for one that is to be replaced.
    """

    how: ChangeMethod
    reason: str
    patch: Record = field(default_factory=Record)


def pool_change(body: Record, facts: PoolFacts) -> PoolChange | None:
    """What makes the pool what the spec says now; ``None`` if it was made from the same.

    Its size is left out of account: that is the affair of a resize.
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
            reasons.append(reason)
    return _change(body, facts, hows, reasons, lasting=any(map(_stays, found)))


def _change(
    body: Record, facts: PoolFacts, hows: set[ChangeMethod], reasons: list[str], *, lasting: bool
) -> PoolChange:
    """How all of it can be had. ``lasting``: something that no update takes away is to go."""
    why, empty = _summary(reasons), _is_empty(facts)
    if ChangeMethod.EMPTY in hows and not empty:
        return PoolChange(ChangeMethod.REPLACE, f"{why}; a pool that has nodes cannot change that")
    if lasting:
        return PoolChange(ChangeMethod.REPLACE, f"{why}; no update takes that away")
    patch = Record({key: body.get(key, _DEFAULTS.get(key)) for key in _patched(body, hows)})
    if ChangeMethod.REBOOT in hows and not empty:
        return PoolChange(ChangeMethod.REBOOT, f"{why}; its nodes restart", patch)
    if hows & {ChangeMethod.REBOOT, ChangeMethod.EMPTY}:
        return PoolChange(ChangeMethod.NOW, f"{why}; it has no node now", patch)
    return PoolChange(ChangeMethod.NOW, why, patch)


def drift(body: Record, facts: PoolFacts) -> tuple[Difference, ...]:
    """What another client changed in a pool with the same digest."""
    if facts.metadata.get(DIGEST) != metadata_of(body)[DIGEST]:
        return ()
    return (
        *visible(body, facts),
        *_left_out(body, facts),
        *_added(body, facts),
        *_own_changes(body, facts),
    )


def _added(body: Record, facts: PoolFacts) -> Iterator[Difference]:
    """What the pool has within properties of which the spec gives only a part."""
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
    """The metadata of batchspec that are the same at every plan."""
    wanted = metadata_of(body)
    for name in (START, MACHINE):
        if facts.metadata.get(name) != wanted[name]:
            yield Difference(f"metadata.{name}", wanted[name], facts.metadata.get(name))


def visible(body: Record, facts: PoolFacts) -> Iterator[Difference]:
    """Every property but its size in which the pool is not what the body says."""
    yield from differences(without_size(body), facts.properties)
    wanted, there = own_metadata(metadata_of(body)), own_metadata(facts.metadata)
    for name in dict.fromkeys((*wanted, *there)):
        if wanted.get(name) != there.get(name):
            yield Difference(f"metadata.{name}", wanted.get(name), there.get(name))


def _left_out(body: Record, facts: PoolFacts) -> Iterator[Difference]:
    """What the pool has and the spec says nothing of any more."""
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
    """Whether an update cannot take away what is to go."""
    return difference.wanted is None and difference.path == difference.property


def _patched(body: Record, hows: Iterable[ChangeMethod]) -> Iterator[str]:
    """The properties of an update: all of a class where one of it changes.

    The metadata say what it was made from, and until when its nodes can read their files; these
    are signed along with it.
    """
    for key, how in POOL.items():
        given = key in body or key in _DEFAULTS
        if (how in hows and given) or (key in body and key in {"startTask", "metadata"}):
            yield key


def _is_empty(facts: PoolFacts) -> bool:
    """Whether the pool has no nodes and allocates none."""
    nodes = (facts.dedicated, facts.spot, facts.target_dedicated, facts.target_spot)
    return not any(nodes) and facts.allocation.lower() == "steady"


def _summary(reasons: list[str]) -> str:
    shown, more = reasons[:3], len(reasons) - 3
    return "; ".join([*shown, *([f"{more} more"] if more > 0 else [])])
