"""Before the first run, every command gives the same reason, and a documented exit code."""

from __future__ import annotations

import json
import re

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


def test_only_commands_that_record_a_run_need_the_value_of_a_secret(near: Workplace) -> None:
    text = near.spec.read_text(encoding="utf-8")
    declared = "\nparameters:\n  tok: {type: string, secret: true}\n"
    near.spec.write_text(re.sub(r"\nparameters:.*\n", declared, text), encoding="utf-8")
    codes = {"stop": 0, "destroy": 0, "status": 0, "failures": 0, "plan": 0}
    # These commands find no job: the error after the error of the secret.
    codes |= {"logs": 2, "attach": 2, "download": 2, "retry": 2, "apply": 2}
    note = "note: output is not searched for the secret `tok`; to redact it, set BATCHSPEC_VAR_TOK"
    for verb, code in codes.items():
        done = near.run(verb, near.spec)
        assert (verb, done.code) == (verb, code), done.text
        assert ("the secret parameter `tok` has no value" in done.err) == (
            verb in {"apply", "attach", "retry"}
        )
        assert (note in done.err) == (verb in {"logs", "failures", "status"})
