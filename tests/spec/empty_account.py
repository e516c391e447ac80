"""Plans a spec for an account with nothing in it, for the tools that generate specs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from batchspec.catalog import images
from batchspec.diagnostics import Diagnostics
from batchspec.observe import Spool, scan
from batchspec.plan import build_plan, check_offline
from batchspec.plan.items import items
from batchspec.plan.observed import (
    AccountNames,
    ContainerFacts,
    Observed,
    PoolFacts,
    SupportedImage,
)
from batchspec.spec import PoolKind, Record, Rows, Spec, read_rows

NOW = datetime(2026, 3, 1, tzinfo=UTC)

IMAGES = tuple(
    SupportedImage(
        image.publisher,
        image.offer,
        image.sku,
        image.agent,
        "windows" in image.agent,
        True,
        image.capabilities,
    )
    for image in images.IMAGES
)
"""The images of the account."""

POOL = PoolFacts("shared", "active", "steady", Record(), {}, 1, 0, 1, 0)
"""The pool that specs with ``existing`` use."""


def plan(spec: Spec, *, on_tasks: Callable[[int], None] = lambda _: None) -> None:
    """Validate and plan a spec for an account with nothing in it.

    ``on_tasks`` gets the number of its tasks before they are created.
    """
    problems = Diagnostics()
    with Spool() as spool:
        scan(spec.containers.values(), spool, problems)
        problems.raise_if_any()
        files = {key: spool.files(key) for key in spec.containers}
        problems.extend(check_offline(spec, files, NOW))
        problems.raise_if_any()
        rows = {
            stage.name: read_rows(stage.for_each.path, stage.for_each.where)
            for stage in spec.stages
            if isinstance(stage.for_each, Rows)
        }
        containers = {
            key: ContainerFacts({} if container.existing else None, files[key])
            for key, container in spec.containers.items()
        }
        existing = spec.pool.kind is PoolKind.EXISTING
        account = AccountNames("local", "batch", "storage")
        observed = Observed(
            account, NOW, containers, POOL if existing else None, images=IMAGES, rows=rows
        )
        on_tasks(sum(len(items(spec, stage, observed)) for stage in spec.stages))
        built = build_plan(spec, observed)
        for step in built.steps:
            repr(step.action)
