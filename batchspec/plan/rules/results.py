"""Whether results can come to lie where they shall, and among what."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from batchspec.diagnostics import Diagnostic
from batchspec.plan.actions import DownloadResults
from batchspec.plan.plan import Step
from batchspec.plan.rules.catalogue import finding
from batchspec.plan.rules.context import RuleContext


def results(scene: RuleContext, steps: Sequence[Step]) -> Iterator[Diagnostic]:
    """The folders of results that cannot be written to, and those that hold other files."""
    fetched = {step.action.container for step in steps if isinstance(step.action, DownloadResults)}
    if not fetched:
        return
    yield from _unwritable(scene)
    for result in scene.spec.results:
        if result.to not in scene.observed.occupied:
            continue
        if scene.spec.container_id(result.container) in fetched:
            risk = "may be written over" if result.overwrite else "keep their places"
            yield finding(
                "results-folder-used",
                f"the results go to {result.to.name}/, which holds other files; they {risk}",
                where=result.where,
            )


def _unwritable(scene: RuleContext) -> Iterator[Diagnostic]:
    """At the result that goes there; that of the receipt at the first."""
    places = {result.to: result.where for result in reversed(scene.spec.results)}
    for folder, why in scene.observed.unwritable.items():
        yield finding(
            "results-unwritable",
            f"the results cannot be written to {os.fspath(folder)}: {why}",
            where=places.get(folder, scene.spec.results[0].where),
        )
