"""Golden plans: a folder of situations, each with its printed plan.

``BATCHSPEC_ACCEPT=1`` rewrites them; a changed plan is reviewed like code.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from batchspec.diagnostics import Severity, SpecError, UsageError
from batchspec.plan import (
    Part,
    Plan,
    PlanOptions,
    Selection,
    build_attach,
    build_destroy,
    build_download,
    build_plan,
    check_offline,
    detached,
    has_retries,
)
from batchspec.render import diagnostics_text, nothing_failed, plan_text
from tests.plan.situation import Situation, read_case, situation

CASES = sorted((Path(__file__).parent / "cases").glob("*.yaml"))


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_the_plan_of_a_situation(path: Path, tmp_path: Path, monkeypatch: object) -> None:
    golden = path.with_suffix(".plan.txt")
    case = read_case(path)
    found = f"{case['about']}\n\n{planned(case, tmp_path)}\n".replace(f"{tmp_path}/", "")
    if os.environ.get("BATCHSPEC_ACCEPT"):
        golden.write_text(found, encoding="utf-8")
    assert found == golden.read_text(encoding="utf-8")


def planned(case: object, folder: Path) -> str:
    """The printed plan, or the problems that prevent it."""
    assert isinstance(case, dict)
    given = case.get("options", {})
    parts = frozenset(map(Part, given.get("replace", ())))
    options = PlanOptions(given.get("rerun", False), parts, given.get("step", ""))
    try:
        with situation(case, folder) as found:
            command, files = case.get("command", "plan"), given.get("files", True)
            plan, again = (made(command, found, options, files=files) for _ in range(2))
            assert plan.fingerprint == again.fingerprint, "the same situation, the same plan"
            if command == "retry" and not has_retries(found.spec, plan):
                return nothing_failed(found.spec.name, apply="batchspec apply demo.yaml")
            return plan_text(plan, width=100, here=folder)
    except (SpecError, UsageError) as error:
        return diagnostics_text(error.problems)


def made(command: str, found: Situation, options: PlanOptions, *, files: bool = True) -> Plan:
    spec, observed = found.spec, found.observed
    match command:
        case "attach":
            return build_attach(spec, observed, len(observed.tasks or ()), files=files)
        case "download":
            return build_download(spec, observed, files=files)
        case "destroy":
            return build_destroy(spec, observed, force=False)
        case "retry":
            jobs = {job.id: job for job in observed.jobs}
            only = Selection(jobs=jobs, nodes=found.failed_nodes)
            return build_plan(spec, observed, only=only)
        case "detach":
            return detached(build_plan(spec, observed, options=options), spec)
    return build_plan(spec, observed, options=options)


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_offline_errors_are_reported_in_every_account(path: Path, tmp_path: Path) -> None:
    """``validate`` reports no error that a plan does not report."""
    case = read_case(path)
    if case.get("command", "plan") != "plan" or "options" in case:
        return
    offline: set[tuple[str, object]] = set()
    reported: set[tuple[str, object]] = set()
    try:
        with situation(case, tmp_path) as found:
            spec, observed = found.spec, found.observed
            files = {key: facts.files for key, facts in observed.containers.items()}
            offline = {
                (problem.code, problem.where)
                for problem in check_offline(spec, files, observed.now)
                if problem.severity is Severity.ERROR and problem.code not in BY_STATE_OF_THE_JOB
            }
            build_plan(spec, observed)
    except SpecError as error:
        reported = {(problem.code, problem.where) for problem in error.problems}
    assert offline <= reported


BY_STATE_OF_THE_JOB = {"no-such-task", "image-ended"}
"""Errors that a plan does not report if another client has added a task to an open job, or if the
run has ended and needs no pool."""


def test_there_are_cases() -> None:
    assert len(CASES) >= 100
