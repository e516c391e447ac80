"""Results of an earlier version on this disk, if everything else is up to date."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from batchspec.plan import Plan, build_plan
from batchspec.plan.actions import DownloadResults, SubmitTasks
from batchspec.plan.cleanup import results_digest
from batchspec.plan.observed import ContainerFacts, Receipt
from batchspec.plan.receipt import receipt_name
from tests.plan.situation import situation

FINISHED = {
    "containers": {"output": {}},
    "jobs": [{"id": "demo", "state": "completed", "tasks": {"count": ["done"] * 3}}],
}
OTHER = 0xABC


def planned(
    folder: Path,
    works: Sequence[int],
    lost: Sequence[int] = (),
    *,
    removed: bool = False,
    exists: bool = True,
) -> Plan:
    """The plan with results of ``works`` and of one current task on disk; ``lost`` are missing."""
    with situation(FINISHED, folder) as found:
        observed = found.observed
        assert observed.tasks is not None
        work = int(next(iter(observed.tasks.works())), 16)
        (job,) = observed.jobs
        name = receipt_name(job.id, job.created)
        number = 1 + len(works) + len(lost)
        files = [(f"{work:016x}", folder / "results" / "now.out")]
        names = ["0.out", "1.out", "sub/2.out", "3.out"]
        files += [
            (f"{n:016x}", folder / "results" / name) for n, name in zip(works, names, strict=False)
        ]
        receipt = Receipt(
            name, number, len(lost), len(lost), (work, *works), lost, lost, paths=files
        )
        if removed:
            receipt = replace(receipt, lost_works=(work,), missing_works=(work,))
        output = {"output": ContainerFacts({"batchspec_spec": "demo"} if exists else None)}
        containers = {**observed.containers, **output}
        return build_plan(found.spec, replace(observed, receipt=receipt, containers=containers))


@pytest.mark.parametrize(
    ("works", "reason"),
    [
        ((), "up to date"),
        (
            (OTHER,),
            "up to date; 1 file remains on this disk from an earlier version: 0.out in RESULTS",
        ),
        (
            (OTHER, 7, 8, 9),
            "up to date; 4 files remain on this disk from an earlier version: 0.out, 1.out,"
            " sub/2.out, ... in RESULTS",
        ),
    ],
)
def test_superseded_results_are_reported_although_nothing_is_downloaded(
    works: tuple[int, ...], reason: str, tmp_path: Path
) -> None:
    plan = planned(tmp_path, works)
    (results,) = (step for step in plan.kept if step.id == "results")
    expected = reason.replace("RESULTS", str(tmp_path / "results"))
    assert (results.reason, results.items) == (expected, 1)


@pytest.mark.parametrize("exists", [True, False])
def test_nothing_runs_again_for_a_lost_result_of_an_earlier_version(
    tmp_path: Path, *, exists: bool
) -> None:
    """Whether the container still exists makes no difference."""
    plan = planned(tmp_path, (), (OTHER,), exists=exists)
    assert not any(isinstance(s.action, SubmitTasks | DownloadResults) for s in plan.steps)
    (results,) = (step for step in plan.kept if step.id == "results")
    assert (results.reason, results.items) == ("up to date", 1)
    plan = planned(tmp_path, (), (OTHER,), removed=True, exists=exists)
    assert any(isinstance(step.action, SubmitTasks) for step in plan.steps)


@pytest.mark.parametrize(
    ("same", "exists", "downloads", "reason"),
    [
        (True, True, 0, "up to date"),
        (False, True, 1, ""),
        (False, False, 0, "up to date; downloaded for earlier `results`, and the container is"),
    ],
)
def test_other_results_in_the_spec_are_downloaded(
    same: bool, exists: bool, downloads: int, reason: str, tmp_path: Path
) -> None:
    """The receipt was written for another folder or pattern: it does not cover these results."""
    case = FINISHED if exists else {**FINISHED, "containers": {}}
    with situation(case, tmp_path) as found:
        (job,) = found.observed.jobs
        entries = results_digest(found.spec) if same else "0" * 16
        receipt = Receipt(receipt_name(job.id, job.created), 3, 0, entries=entries)
        plan = build_plan(found.spec, replace(found.observed, receipt=receipt))
    steps = [step for step in plan.steps if isinstance(step.action, DownloadResults)]
    assert len(steps) == downloads
    assert not any(isinstance(step.action, SubmitTasks) for step in plan.steps)
    assert "".join(s.reason for s in plan.kept if s.id == "results").startswith(reason)


def test_the_digest_of_results_contains_folder_and_pattern(tmp_path: Path) -> None:
    with situation(FINISHED, tmp_path) as found:
        (result,) = found.spec.results
        others = (
            replace(result, to=tmp_path / "other"),
            replace(result, match=("*.txt",)),
            replace(result, flat=True),
        )
        specs = [found.spec, *(replace(found.spec, results=(one,)) for one in others)]
        assert len({results_digest(spec) for spec in specs}) == len(specs)


def test_only_the_last_download_completes_the_receipt(tmp_path: Path) -> None:
    with situation(FINISHED, tmp_path) as found:
        spec = replace(found.spec, results=found.spec.results * 2)
        plan = build_plan(spec, found.observed)
    downloads = [s.action for s in plan.steps if isinstance(s.action, DownloadResults)]
    assert [action.complete for action in downloads] == [False, True]
