"""Errors of the command line are diagnostics that name the command, instead of typer's messages."""

from __future__ import annotations

import pytest

from batchspec.cli.main import app
from batchspec.diagnostics import UsageError


@pytest.mark.parametrize(
    ("line", "summary", "fix"),
    [
        ("frob", "`batchspec` has no command `frob`", "See `batchspec --help`."),
        ("aply", "`batchspec` has no command `aply`", "Did you mean `apply`?"),
        ("local strat", "`batchspec local` has no command `strat`", "Did you mean `start`?"),
        ("--nope", "`batchspec` has no option `--nope`", "See `batchspec --help`."),
        (
            "list --frmat json",
            "`batchspec list` has no option `--frmat`",
            "Did you mean `--format`?",
        ),
        ("plan", "`SPEC` is missing", "See `batchspec plan --help`."),
        (
            "plan a b",
            "unexpected argument for `batchspec plan`: `b`",
            "See `batchspec plan --help`.",
        ),
        (
            "plan a b c",
            "unexpected arguments for `batchspec plan`: `b`, `c`",
            "See `batchspec plan --help`.",
        ),
        ("plan x --var", "`--var` needs a value", "See `batchspec plan --help`."),
        ("apply x --yes=3", "`--yes` takes no value", "See `batchspec apply --help`."),
        (
            "plan x --format jsn",
            "`--format` must be `text`, `json` or `markdown`, not `jsn`",
            "Did you mean `json`?",
        ),
        (
            "apply x --replace foo --replace pool",
            "`--replace` must be `pool` or `job`, not `foo`",
            "See `batchspec apply --help`.",
        ),
        (
            "local start --port x",
            "`--port` must be a whole number, not `x`",
            "See `batchspec local start --help`.",
        ),
        (
            "local start --speed fast",
            "`--speed` must be a number, not `fast`",
            "See `batchspec local start --help`.",
        ),
        (
            "local start --port -1",
            "`--port` must be at least 0, not `-1`",
            "See `batchspec local start --help`.",
        ),
        (
            "local start --port 65536",
            "`--port` must be at most 65535, not `65536`",
            "See `batchspec local start --help`.",
        ),
    ],
)
def test_message_and_fix(line: str, summary: str, fix: str) -> None:
    assert usage_error(line) == (summary, fix)


def test_a_value_from_the_environment_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BATCHSPEC_TARGET", "azur")
    assert usage_error("plan x") == (
        "`--target` (from `BATCHSPEC_TARGET` in the environment) must be `local` or `azure`, "
        "not `azur`",
        "Did you mean `azure`?",
    )


def usage_error(line: str) -> tuple[str, str]:
    """The summary and the fix that a command line results in."""
    with pytest.raises(UsageError) as caught:
        app(line.split(), prog_name="batchspec", standalone_mode=False)
    (diagnostic,) = caught.value.problems
    assert diagnostic.code == "command-line"
    return diagnostic.summary, diagnostic.fix
