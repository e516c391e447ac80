"""Whether results would come to lie among files that are none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from batchspec.plan.actions import DownloadResults
from batchspec.plan.findings.catalogue import finding
from batchspec.plan.findings.scene import Scene
from batchspec.plan.plan import Step
from batchspec.problems import Problem


def results(scene: Scene, steps: Sequence[Step]) -> Iterator[Problem]:
    """The folders of results that hold other files."""
    fetched = {step.action.container for step in steps if isinstance(step.action, DownloadResults)}
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
