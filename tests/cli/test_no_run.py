"""Before the first run, every command gives the same reason, and a documented exit code."""

from __future__ import annotations

import json

from tests.cli.conftest import Workplace

MISSING = "the account has no job of the spec 'topn'"


def test_the_commands_agree_on_a_spec_without_a_run(near: Workplace) -> None:
    for words in ("attach", "download", "logs", "logs x", "retry", "stop x"):
        verb, *more = words.split()
        done = near.run(verb, near.spec, *more)
        assert (verb, done.code) == (verb, 2), done.text
        assert done.err.splitlines()[-2:] == [
            f"error: {MISSING} [no-run]",
            f"  fix: `batchspec apply {near.spec}` creates one.",
        ]
    for verb, words in (
        ("failures", MISSING.removeprefix("the ")),
        ("stop", f"Nothing to stop: {MISSING}."),
        ("status", "job    does not exist"),
        ("destroy", "Nothing to delete"),
    ):
        done = near.run(verb, near.spec)
        assert (verb, done.code) == (verb, 0), done.text
        assert words in done.out
    assert json.loads(near.run("failures", near.spec, "--format", "json").out)["job"] is None
    assert json.loads(near.run("status", near.spec, "--format", "json").out)["job"] is None
