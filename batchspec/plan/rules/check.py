"""All checks: what stands in the way of a plan, and what there is to know about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

from batchspec.diagnostics import Diagnostic, Severity
from batchspec.plan.actions import DeleteContainers, DeleteJob, DeletePool, DownloadResults
from batchspec.plan.plan import Step
from batchspec.plan.rules.access import earlier, handed_in, signing
from batchspec.plan.rules.account import quotas
from batchspec.plan.rules.context import RuleContext
from batchspec.plan.rules.files import landing, left_out
from batchspec.plan.rules.image import machine, size
from batchspec.plan.rules.money import pool_cost, retries
from batchspec.plan.rules.packages import missing_packages
from batchspec.plan.rules.pool import nodes, start
from batchspec.plan.rules.requests import requests
from batchspec.plan.rules.results import results
from batchspec.plan.rules.sharing import shared
from batchspec.plan.rules.stage import fit, many, times
from batchspec.plan.task_sets import TaskSets

Check: TypeAlias = Callable[[RuleContext], Iterator[Diagnostic]]
CHECKS: tuple[Check, ...] = (
    machine,
    size,
    nodes,
    start,
    fit,
    times,
    requests,
    landing,
    left_out,
    signing,
    handed_in,
    missing_packages,
    pool_cost,
    retries,
    shared,
)
"""What can be said before it is known what there is to do."""
_AFTERWARDS = DeletePool | DeleteJob | DeleteContainers | DownloadResults


def in_the_way(scene: RuleContext) -> Iterator[Diagnostic]:
    """The errors: with any of them nothing is sent."""
    return (found for found in _all(scene) if found.severity is Severity.ERROR)


def worth_knowing(
    scene: RuleContext, steps: Sequence[Step], work: TaskSets | None = None
) -> Iterator[Diagnostic]:
    """What does not stop these steps; ``work`` is what is left to do, where there is a job.

    Where all is done but to fetch and to clean up, there is no more to be said about the run.
    """
    if not all(isinstance(step.action, _AFTERWARDS) for step in steps):
        yield from (found for found in _all(scene) if found.severity is not Severity.ERROR)
    if work is not None:
        yield from earlier(scene, work)
        yield from many(scene, work)
    yield from quotas(scene, steps)
    yield from results(scene, steps)


def _all(scene: RuleContext) -> Iterator[Diagnostic]:
    for check in CHECKS:
        yield from check(scene)
