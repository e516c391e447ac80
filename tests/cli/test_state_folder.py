"""A folder ``.batchspec`` that cannot be used: each command works without it or names it."""

from __future__ import annotations

import pytest

from tests.e2e.conftest import Workplace

SPEC = """\
version: 1
name: quick
containers:
  in: {id: quick-in, upload: [topn.yaml]}
  out: {id: quick-out}
pool: {vm_size: standard_d2s_v5, nodes: 1, image: ubuntu-24.04}
job: {max_wall_clock_time: 10m}
tasks:
  make:
    command: echo made > made.txt
    outputs: [{files: made.txt, container: out}]
results: [{container: out, to: results}]
"""
KEPT = "the list of downloaded results cannot be kept in "


@pytest.mark.parametrize("what", ["file", "directory in place of the list", "unreadable"])
def test_commands_with_an_unusable_folder(place: Workplace, what: str) -> None:
    place.spec.write_text(SPEC, encoding="utf-8")
    state = place.spec.parent / ".batchspec"
    if what == "file":
        state.touch()
    elif what == "unreadable":
        # As a folder that belongs to another user; root can read all of them.
        state.symlink_to(state.name)
    else:
        (state / "quick" / "results.jsonl").mkdir(parents=True)
    plan = place.run("plan", place.spec)
    assert plan.code == 2, plan.err
    assert KEPT in plan.err
    assert "results-unwritable" in plan.err
    codes = {
        words: place.run(*words[:1], place.spec, *words[1:]).code
        for words in (
            ("validate",),
            ("status",),
            ("failures",),
            ("logs",),
            ("report",),
            ("destroy", "-y"),
        )
    }
    assert 1 not in codes.values(), codes
    assert codes["validate",] == codes["destroy", "-y"] == 0
    if what == "file":
        log = place.run("--debug", "status", place.spec)
        assert log.code == 4
        assert "the log of requests cannot be written: " in log.err
