"""The image of the nodes: its properties in the pool, and whether it is Windows."""

from __future__ import annotations

from batchspec.diagnostics import Diagnostics
from batchspec.plan.observed import Observed
from batchspec.plan.rules.image import resolve_image
from batchspec.spec import Pool, Record, Spec


def with_image(pool: Pool, observed: Observed, problems: Diagnostics) -> Record:
    """The properties of a pool with the image of its alias, from the list of supported images."""
    body = pool.properties
    if pool.image is None:
        return body
    found = resolve_image(pool.image, observed.images, observed.now, problems, body.get("vmSize"))
    machine = body.get("virtualMachineConfiguration")
    spelled = machine if isinstance(machine, Record) else Record()
    return body.with_(virtualMachineConfiguration=Record({**found, **spelled}))


def runs_windows(spec: Spec, observed: Observed) -> bool:
    """Whether the nodes run Windows: according to the spec, otherwise to the existing pool."""
    if spec.pool.windows is not None:
        return spec.pool.windows
    machine = observed.pool.properties.get("virtualMachineConfiguration") if observed.pool else None
    agent = machine.get("nodeAgentSKUId") if isinstance(machine, Record) else None
    return isinstance(agent, str) and "windows" in agent.lower()
