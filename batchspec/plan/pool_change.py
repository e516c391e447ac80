"""What there is to change about a pool that this spec made: what, how, and what it takes.

The digests in its metadata say whether the spec has changed since; the properties say in what. What
differs while the digests are equal was changed by somebody else, and is drift.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from batchspec.plan.changes import POOL, How
from batchspec.plan.diff import Difference, differences
from batchspec.plan.observed import PoolFacts
from batchspec.plan.pool_body import (
    DIGEST,
    MACHINE,
    START,
    metadata_of,
    own_metadata,
    without_size,
)
from batchspec.spec import Record

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
    START: (How.REBOOT, "what its nodes start with has changed"),
    MACHINE: (How.EMPTY, "the spec has changed in what the account does not show"),
}
"""What a digest tells that no property shows: the content of files, what was taken out."""


@dataclass(frozen=True, slots=True)
class PoolChange:
    """How a pool is to be changed (``NOW``, ``REBOOT`` or ``REPLACE``), and why.

    ``patch`` has the properties to update; none for one that is to be replaced.
    """

    how: How
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
    order = list(How)
    found.sort(key=lambda d: -order.index(POOL[d.property]))
    hows = {POOL[difference.property] for difference in found}
    reasons = [difference.words for difference in found]
    for name, (how, reason) in _UNSEEN.items():
        if facts.metadata.get(name) != wanted[name] and how not in hows:
            hows.add(how)
            reasons.append(reason)
    return _change(body, facts, hows, reasons, lasting=any(map(_stays, found)))


def _change(
    body: Record, facts: PoolFacts, hows: set[How], reasons: list[str], *, lasting: bool
) -> PoolChange:
    """How all of it can be had. ``lasting``: something that no update takes away is to go."""
    why, empty = _joined(reasons), _is_empty(facts)
    if How.EMPTY in hows and not empty:
        return PoolChange(How.REPLACE, f"{why}; a pool that has nodes cannot change that")
    if lasting:
        return PoolChange(How.REPLACE, f"{why}; no update takes that away")
    patch = Record({key: body.get(key, _DEFAULTS.get(key)) for key in _patched(body, hows)})
    if How.REBOOT in hows and not empty:
        return PoolChange(How.REBOOT, f"{why}; its nodes restart", patch)
    if hows & {How.REBOOT, How.EMPTY}:
        return PoolChange(How.NOW, f"{why}; it has no node now", patch)
    return PoolChange(How.NOW, why, patch)


def drift(body: Record, facts: PoolFacts) -> tuple[Difference, ...]:
    """In what a pool made from the same spec is another now: somebody has changed it."""
    if facts.metadata.get(DIGEST) != metadata_of(body)[DIGEST]:
        return ()
    return (
        *visible(body, facts),
        *_left_out(body, facts),
        *_added(body, facts),
        *_ours(body, facts),
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


def _ours(body: Record, facts: PoolFacts) -> Iterator[Difference]:
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
        if how not in {How.REBOOT, How.EMPTY} or key in body or found in {None, ()}:
            continue
        if default is None or any(differences(Record({key: default}), facts.properties)):
            yield Difference(key, default, found)


def _stays(difference: Difference) -> bool:
    """Whether an update cannot take away what is to go."""
    return difference.wanted is None and difference.path == difference.property


def _patched(body: Record, hows: Iterable[How]) -> Iterator[str]:
    """The properties of an update: all of a class where one of it changes.

    The metadata say what it was made from, and until when its nodes can read their files; these
    are signed along with it.
    """
    for key, how in POOL.items():
        given = key in body or key in _DEFAULTS
        if (how in hows and given) or (key in body and key in {"startTask", "metadata"}):
            yield key


def _is_empty(facts: PoolFacts) -> bool:
    """Whether the pool has no node, and none is on its way."""
    nodes = (facts.dedicated, facts.spot, facts.target_dedicated, facts.target_spot)
    return not any(nodes) and facts.allocation.lower() == "steady"


def _joined(reasons: list[str]) -> str:
    shown, more = reasons[:3], len(reasons) - 3
    return "; ".join([*shown, *([f"{more} more"] if more > 0 else [])])
