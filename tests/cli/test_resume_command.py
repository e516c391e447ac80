"""The command that resumes an interrupted run leaves out the options that have taken effect."""

from __future__ import annotations

from pathlib import Path

import pytest

from batchspec.cli.resume_command import always_resume_with, resume_apply, resume_retry
from batchspec.plan import Part, PlanOptions, Selection, Step, build_plan
from tests.plan.situation import situation

SUCCEEDED = {
    "containers": {"application": {"as_uploaded": True}, "input": {"as_uploaded": True}},
    "pool": {},
    "jobs": [{"id": "demo", "state": "completed", "tasks": {"count": ["done"] * 3}}],
}
OPEN = {**SUCCEEDED, "jobs": [{"id": "demo", "tasks": {"count": ["done", "running", "failed"]}}]}
FAILED = {
    **SUCCEEDED,
    "jobs": [{"id": "demo", "state": "completed", "tasks": {"count": ["done", "failed", "done"]}}],
}

NEW_JOB = PlanOptions(replace=frozenset({Part.JOB}))
NEW_POOL = PlanOptions(replace=frozenset({Part.POOL}))


def done_until(steps: tuple[Step, ...], step_id: str) -> tuple[Step, ...]:
    """The steps to ``step_id``, included."""
    ids = [step.id for step in steps]
    return steps[: ids.index(step_id) + 1]


@pytest.mark.parametrize(
    ("case", "options", "reached", "command"),
    [
        (SUCCEEDED, PlanOptions(rerun=True), "pool:demo:ready", "apply --rerun"),
        (SUCCEEDED, PlanOptions(rerun=True), "job:demo-r2", "apply"),
        (
            OPEN,
            NEW_JOB,
            "pool:demo:ready",
            "apply --replace job",
        ),
        (OPEN, NEW_JOB, "job:demo-r2", "apply"),
        (OPEN, NEW_POOL, "pool:demo", "apply"),
        (OPEN, PlanOptions(True, frozenset(Part)), "pool:demo", "apply --rerun --replace job"),
        (OPEN, PlanOptions(True, frozenset(Part)), "job:demo-r2", "apply"),
    ],
)
def test_apply(
    case: dict[str, object], options: PlanOptions, reached: str, command: str, tmp_path: Path
) -> None:
    with situation(case, tmp_path) as found:
        steps = build_plan(found.spec, found.observed, options=options).steps
        assert " ".join(resume_apply(options, detach=False)(done_until(steps, reached))) == command


def test_options_that_every_command_needs_are_kept() -> None:
    options = PlanOptions(step="job:demo")
    again = resume_apply(options, detach=True)
    assert again([]) == ("apply", "--target-step", "job:demo", "--detach")
    assert always_resume_with("destroy", "--force")([]) == ("destroy", "--force")


def test_retry_and_then_attach(tmp_path: Path) -> None:
    with situation(FAILED, tmp_path) as found:
        plan = build_plan(found.spec, found.observed, only=Selection(frozenset({"unknown"})))
    again = resume_retry(plan, ["unknown"], [])
    assert again(()) == ("retry", "--cause", "unknown")
    assert again(done_until(plan.steps, "tasks:count")) == ("retry", "--cause", "unknown")
    assert again(done_until(plan.steps, "job:demo-r2:close")) == ("attach",)
