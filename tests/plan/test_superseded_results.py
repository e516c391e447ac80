"""Results of an earlier version on this disk, when everything else is up to date."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from batchspec.plan.actions import SubmitTasks
from batchspec.plan.build import build
from batchspec.plan.observed import ContainerFacts, Receipt
from batchspec.plan.plan import Plan
from batchspec.plan.receipt import receipt_name
from tests.plan.situation import situation

FINISHED = {
    "containers": {"output": {}},
    "jobs": [{"id": "demo", "state": "completed", "tasks": {"count": ["done"] * 3}}],
}
OTHER = 0xABC


def planned(
    folder: Path, works: Sequence[int], lost: Sequence[int] = (), *, removed: bool = False
) -> Plan:
    """The plan with these works on the disk, beside that of one task, and these lost."""
    with situation(FINISHED, folder) as found:
        observed = found.observed
        assert observed.tasks is not None
        work = int(next(iter(observed.tasks.works())), 16)
        (job,) = observed.jobs
        name = receipt_name(job.id, job.created)
        number = 1 + len(works) + len(lost)
        receipt = Receipt(name, number, len(lost), len(lost), (work, *works), lost)
        if removed:
            receipt = replace(receipt, lost_works=(work,))
        output = {"output": ContainerFacts({"batchspec_spec": "demo"})}
        containers = {**observed.containers, **output}
        return build(found.spec, replace(observed, receipt=receipt, containers=containers))


@pytest.mark.parametrize(
    ("works", "reason"),
    [
        ((), "up to date"),
        ((OTHER,), "up to date; 1 file remains on this disk from an earlier version"),
        ((OTHER, 7), "up to date; 2 files remain on this disk from an earlier version"),
    ],
)
def test_they_are_reported_although_nothing_is_downloaded(
    works: tuple[int, ...], reason: str, tmp_path: Path
) -> None:
    plan = planned(tmp_path, works)
    (results,) = (step for step in plan.kept if step.id == "results")
    assert (results.reason, results.items) == (reason, 1)


def test_nothing_runs_again_for_a_lost_result_of_an_earlier_version(tmp_path: Path) -> None:
    plan = planned(tmp_path, (), (OTHER,))
    assert not any(isinstance(step.action, SubmitTasks) for step in plan.steps)
    plan = planned(tmp_path, (), (OTHER,), removed=True)
    assert any(isinstance(step.action, SubmitTasks) for step in plan.steps)
