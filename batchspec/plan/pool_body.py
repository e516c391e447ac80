"""The pool as Create Pool takes it: image resolved, start task's files named, owner noted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from batchspec.diagnostics import Diagnostics
from batchspec.plan.changes import POOL, How
from batchspec.plan.digest import content_digest, digest
from batchspec.plan.images import resolve_image
from batchspec.plan.lifetime import UNTIL, sas_lifetime
from batchspec.plan.observed import Observed
from batchspec.plan.provenance import provenance
from batchspec.plan.tasks import with_resources
from batchspec.spec import Record, Spec, Value

SPEC = "batchspec:spec"
"""The metadata that says which spec made a pool or a job."""
DIGEST = "batchspec:digest"
"""The metadata that tells whether a pool or a job was made from what the spec says now."""
START = "batchspec:start"
"""The pool's metadata that tells whether its nodes start with what the spec says now."""

MACHINE = "batchspec:machine"
"""The pool's metadata that tells the same of what only a pool without nodes could be changed in."""

_OURS = "batchspec:"


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
    return _owned(spec, observed, body)


def _owned(spec: Spec, observed: Observed, body: Record) -> Record:
    content = tuple(
        content_digest(observed.containers[key].files) for key in spec.pool.start_containers
    )
    given, lifetime = body.get("metadata"), sas_lifetime(spec, observed.now)
    return body.with_(
        metadata=(
            *(given if isinstance(given, tuple) else ()),
            Record(name=SPEC, value=spec.name),
            Record(name=DIGEST, value=digest(without_size(body), content)),
            Record(name=START, value=digest(_part(body, How.REBOOT), content)),
            Record(name=MACHINE, value=digest(_part(body, How.EMPTY))),
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
    return Record({key: value for key, value in body.items() if POOL.get(key) is not How.SIZE})


def _part(body: Record, how: How) -> Record:
    return Record({key: value for key, value in body.items() if POOL.get(key) is how})


def metadata_of(body: Record) -> Mapping[str, Value]:
    """The name and value pairs of a body."""
    given = body.get("metadata")
    pairs = given if isinstance(given, tuple) else ()
    return {str(pair["name"]): pair["value"] for pair in _records(pairs)}


def own_metadata(metadata: Mapping[str, Value]) -> Record:
    """Those of the pairs that a user has given: ours left out."""
    return Record({name: value for name, value in metadata.items() if not name.startswith(_OURS)})


def _records(values: tuple[Value, ...]) -> Iterator[Record]:
    return (value for value in values if isinstance(value, Record))
