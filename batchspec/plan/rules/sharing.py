"""Containers that other specs use as well."""

from __future__ import annotations

from collections.abc import Iterator

from batchspec.diagnostics import Diagnostic
from batchspec.plan.metadata import others
from batchspec.plan.rules.catalogue import finding
from batchspec.plan.rules.context import RuleContext


def shared(scene: RuleContext) -> Iterator[Diagnostic]:
    """Each container whose metadata record other specs than this one."""
    spec = scene.spec
    fetched = {result.container for result in spec.results}
    for key, container in spec.containers.items():
        metadata = scene.observed.containers[key].metadata
        names = others(metadata or {}, spec.name)
        if not names:
            continue
        who = "the spec" if len(names) == 1 else "the specs"
        detail = "Clean-up and `batchspec destroy` leave it."
        if key in fetched:
            detail = f"Blobs of theirs may be among the results. {detail}"
        yield finding(
            "shared-container",
            f"the container {container.id!r} is used by {who} {', '.join(names)} as well",
            detail=detail,
            where=container.where,
        )
