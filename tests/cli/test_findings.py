"""Findings without a printed plan: in a JSON stream, in a quiet run, and without any plan."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from batchspec.cli.commands.plan import plan
from batchspec.cli.console import show_plan_errors
from batchspec.cli.execute import unshown_findings
from batchspec.cli.options import Format, ProgressKind
from batchspec.diagnostics import Place, SpecError
from batchspec.plan import RULES
from batchspec.plan.rules.rule import Finding
from tests.e2e.conftest import Workplace
from tests.render.plans import PLANS

WHERE = Place("a.yaml", 3, 5, "  x: 1")
FOUND = (
    RULES["pool-kept"].report(Finding("a warning")),
    RULES["pool-needs-client"].report(Finding("a note")),
)


@pytest.mark.parametrize(
    ("progress", "expected"),
    [
        (ProgressKind.JSON, ["pool-kept", "pool-needs-client"]),
        (ProgressKind.QUIET, ["pool-kept"]),
        (ProgressKind.PLAIN, []),
        (ProgressKind.AUTO, []),
    ],
)
def test_a_run_that_shows_no_plan_reports_its_findings(
    progress: ProgressKind, expected: list[str]
) -> None:
    it = replace(PLANS["fresh"], findings=FOUND)
    assert [problem.code for problem in unshown_findings(it, progress)] == expected


def test_a_refusal_is_in_the_form_that_was_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    problem = RULES["no-nodes"].report(Finding("the pool has no nodes", WHERE))
    show_plan_errors(Path("a.yaml"), [problem], Format.MARKDOWN)
    text = capsys.readouterr().out
    assert text.startswith("### batchspec plan: `a.yaml`\n")
    assert "- **error** `no-nodes`: the pool has no nodes (`a.yaml:3:5`)\n" in text
    show_plan_errors(Path("a.yaml"), [problem], Format.JSON)
    (found,) = json.loads(capsys.readouterr().out)["problems"]
    assert (found["code"], found["where"]["line"]) == ("no-nodes", 3)
    show_plan_errors(Path("a.yaml"), [problem], Format.TEXT)
    assert capsys.readouterr().out == ""


async def test_errors_of_a_plan_are_printed_as_markdown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("version: 1\nnmae: a\n")
    with pytest.raises(SpecError):
        await plan(path, output_format=Format.MARKDOWN)
    assert "**error** `unknown-key`" in capsys.readouterr().out


def test_findings_are_printed_in_every_format(near: Workplace) -> None:
    near.edit("  pool: ask\n", "")
    near.edit("  nodes: 3 ", "  nodes: {scale: {min: 1, max: 3}} ")
    near.results.mkdir()
    (near.results / "notes.txt").write_text("mine\n")
    warnings = {"pool-kept", "results-folder-used"}
    near.edit(" {{ top }}\n", " {{ top }} {{ containers.output.write_url }}\n")
    codes = {*warnings, "secret-in-command"}
    planned = near.run("plan", near.spec, "--format", "json")
    findings = json.loads(planned.out)["findings"]
    assert {found["code"] for found in findings} == codes
    kept = next(found for found in findings if found["code"] == "pool-kept")
    lines = near.spec.read_text("utf-8").splitlines()
    assert lines[kept["where"]["line"] - 1].startswith("  nodes: ")
    text = near.run("plan", near.spec, "--format", "markdown").out
    assert all(f"**warning** `{code}`" in text for code in warnings)
    applied = near.run("apply", near.spec, "--progress", "json")
    events = [json.loads(line) for line in applied.out.splitlines()]
    began = next(n for n, event in enumerate(events) if event["type"] == "run_started")
    noticed = [event["problem"]["code"] for event in events[:began] if event["type"] == "noticed"]
    assert (applied.code, set(noticed)) == (0, codes)
    again = near.run("plan", near.spec)
    assert "results-folder-used" not in again.out, "what lies there are results now"
