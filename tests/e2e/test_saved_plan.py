"""A saved plan is applied as it was shown, or refused with the facts that changed."""

from __future__ import annotations

import json
import shutil
import stat

from tests.e2e.conftest import Workplace


def test_a_saved_plan_is_carried_out(place: Workplace) -> None:
    file = place.folder / "topn.plan"
    part = place.folder / ".topn.plan.part"
    part.touch(mode=0o644)
    done = place.run("plan", place.spec, "--var", "top=2", "--out", file)
    assert done.code == 0, done.text
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert ": new" in file.read_text(), "the reasons are in it"
    assert f"Apply it with: batchspec apply {file}" in done.err
    wrong = place.run("validate", file)
    assert wrong.code == 2
    assert "[saved-plan]" in wrong.err
    assert "1 error" not in wrong.err, "what no spec would have is not listed"
    done = place.run("apply", file)
    assert done.code == 0, done.text
    lines = (place.results / "lighthouse.txt.top.txt").read_text().splitlines()
    assert sum(not line.startswith("#") for line in lines) == 2


def test_a_stale_plan_says_what_moved_and_sends_nothing(place: Workplace) -> None:
    file = place.folder / "topn.plan"
    assert place.run("plan", place.spec, "--out", file).code == 0
    (place.folder / "specs" / "data" / "lighthouse.txt").write_text("other\n")
    done = place.run("apply", file)
    assert done.code == 5, done.text
    assert "the files for input changed" in done.err
    assert "lighthouse.txt: " in done.err
    assert " bytes -> 6 bytes" in done.err
    assert not place.results.exists()
    assert json.loads(place.run("status", place.spec, "--format", "json").out)["job"] is None


def test_a_plan_is_stale_when_the_account_moved(place: Workplace) -> None:
    file = place.folder / "topn.plan"
    assert place.run("plan", place.spec, "--out", file).code == 0
    assert place.run("apply", place.spec).code == 0
    done = place.run("apply", file)
    assert done.code == 5, done.text
    assert "pool topn" in done.err
    assert "the jobs of topn" in done.err


def test_a_plan_is_stale_when_none_can_be_made_any_more(place: Workplace) -> None:
    file = place.folder / "topn.plan"
    assert place.run("plan", place.spec, "--out", file).code == 0
    shutil.rmtree(place.folder / "specs" / "data")
    done = place.run("apply", file)
    assert done.code == 5, done.text
    assert "the plan is stale" in done.err
    assert "matches no file" in done.err


def test_what_was_wished_for_is_saved_and_nothing_is_added(place: Workplace) -> None:
    file = place.folder / "topn.plan"
    wish = ("--target-step", "container:input")
    assert place.run("plan", place.spec, *wish, "--out", file).code == 0
    for more in (("--rerun",), ("--replace", "job"), wish):
        refused = place.run("apply", file, *more)
        assert refused.code == 2, refused.text
        assert more[0] in refused.err
    done = place.run("apply", file)
    assert done.code == 0, done.text
    assert json.loads(place.run("status", place.spec, "--format", "json").out)["job"] is None
    assert place.run("apply", file).code == 5, "the container is there now"


def test_no_secret_is_saved_and_it_has_to_be_given_again(place: Workplace) -> None:
    place.edit("  top: {type", "  word: {type: string, secret: true}\n  top: {type")
    place.edit("env: {", "env: {W: '{{ word }}', ")
    file = place.folder / "topn.plan"
    assert place.run("plan", place.spec, "--var", "word=Xyzzy42", "--out", file).code == 0
    assert "Xyzzy42" not in file.read_text()
    missing = place.run("apply", file)
    assert missing.code == 2
    assert "word" in missing.err
    assert place.run("apply", file, "--var", "top=9", "--var", "word=Xyzzy42").code == 2
    done = place.run("apply", file, "--var", "word=Xyzzy42")
    assert done.code == 0, done.text
    assert "Xyzzy42" not in done.text
