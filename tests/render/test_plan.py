"""A plan as text, JSON and markdown."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace

import pytest

from batchspec.diagnostics import Diagnostic, Place, Severity
from batchspec.plan import Verb
from batchspec.render import plan_json, plan_markdown, plan_text
from batchspec.render.diagnostics import cell_width
from batchspec.render.output import ASCII
from batchspec.render.plan import plan_summary
from tests.render import golden
from tests.render.plans import HERE, PLANS

each = pytest.mark.parametrize("name", PLANS)


@each
def test_text(name: str) -> None:
    golden.check(f"plan.{name}.txt", plan_text(PLANS[name], here=HERE))


@each
def test_markdown(name: str) -> None:
    golden.check(f"plan.{name}.md", plan_markdown(PLANS[name], here=HERE))


@pytest.mark.parametrize("name", ["fresh", "changed"])
def test_verbose_shows_the_requests(name: str) -> None:
    text = plan_text(PLANS[name], width=100, verbose=True, here=HERE)
    golden.check(f"plan.{name}.verbose.txt", text)
    assert "hush" not in text


@each
def test_the_first_line_names_the_account(name: str) -> None:
    plan = PLANS[name]
    first = plan_text(plan).splitlines()[0]
    for part in (plan.account.target, plan.account.batch, plan.account.storage):
        assert part in first


@each
@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_no_line_of_a_step_is_too_long(name: str, width: int) -> None:
    plan = replace(PLANS[name], findings=())
    lines = plan_text(plan, width=width, here=HERE).splitlines()
    # The account's addresses and a name of 64 characters are not broken.
    lines = [line for line in lines[1:] if "third-pool" not in line]
    assert max((cell_width(line) for line in lines), default=0) <= width


def test_a_command_can_replace_the_text_for_nothing_to_do() -> None:
    empty = replace(PLANS["fresh"], steps=())
    assert plan_text(empty, nothing="Nothing to delete.").splitlines()[-1] == "Nothing to delete."
    assert plan_text(PLANS["fresh"], nothing="Nothing.") == plan_text(PLANS["fresh"])


@each
def test_color_adds_only_escape_sequences(name: str) -> None:
    plain = plan_text(PLANS[name], verbose=True)
    colored = plan_text(PLANS[name], color=True, verbose=True)
    assert colored != plain
    assert re.sub(r"\x1b\[[\d;]*m", "", colored) == plain


def test_ascii() -> None:
    assert plan_text(PLANS["fresh"], symbols=ASCII).isascii()


@each
def test_json(name: str) -> None:
    plan = PLANS[name]
    seen = json.loads(plan_json(plan))
    assert seen["version"] == 1
    assert seen["target"] == plan.account.target
    assert seen["spec"] == {"name": plan.name, "digest": plan.digest}
    assert seen["fingerprint"] == plan.fingerprint
    assert [step["id"] for step in seen["steps"]] == [s.id for s in (*plan.steps, *plan.kept)]
    assert seen["counts"] == Counter(step["verb"] for step in seen["steps"])
    for step in seen["steps"]:
        assert set(step) >= {"id", "action", "verb", "reason", "after", "items"}
        assert step["verb"] in set(Verb)
        assert (step["action"] is None) == (step["verb"] == "keep")
    for finding in seen["findings"]:
        assert set(finding) >= {"code", "severity", "message", "where"}


def test_exact_json_of_one_plan() -> None:
    golden.check("plan.changed.json", plan_json(PLANS["changed"]))


def test_summaries() -> None:
    assert plan_summary(PLANS["fresh"]) == (
        "Plan: 3 to create, 1 to update, 1 to upload, 1 to submit, 2 to wait for, 1 to download, "
        "3 to delete; 1 kept."
    )
    assert plan_summary(PLANS["nothing"]).startswith("Nothing to do")


def test_markdown_shows_backticks_as_code() -> None:
    finding = Diagnostic("c", "use `a_b|c` or *d*", fix="an odd ` one", severity=Severity.NOTE)
    text = plan_markdown(replace(PLANS["nothing"], findings=(finding,)))
    assert r"use `a_b\|c` or \*d\*" in text
    assert r"an odd \` one" in text


def test_markdown_shows_each_line_of_a_detail_separately() -> None:
    where = Place("a.yaml", 3, 5)
    finding = Diagnostic("c", "changed", "vmSize: a -> b\nstartTask: x -> y", where, "Mend it.")
    text = plan_markdown(replace(PLANS["nothing"], findings=(finding,)))
    assert "- **error** `c`: changed (`a.yaml:3:5`)\n" in text
    assert "  <br>vmSize: a -> b\n  <br>startTask: x -> y\n  <br>*Hint:* Mend it.\n" in text
