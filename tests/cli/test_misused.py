"""What is typed wrong is told in the words of the project, and not of a library."""

from __future__ import annotations

import pytest
from typer.exceptions import TyperException

from batchspec.cli.app import app
from batchspec.cli.misused import misused


@pytest.mark.parametrize(
    ("line", "summary", "fix"),
    [
        ("frob", "`batchspec` has no command `frob`", "See `batchspec --help`."),
        ("aply", "`batchspec` has no command `aply`", "Did you mean `apply`?"),
        (
            "list --frmat json",
            "`batchspec list` has no option `--frmat`",
            "Did you mean `--format`?",
        ),
        ("plan", "`SPEC` is missing", "See `batchspec plan --help`."),
        ("plan a b", "`batchspec plan` has no use for `b`", "See `batchspec plan --help`."),
        ("plan x --var", "`--var` needs a value", "See `batchspec --help`."),
        ("apply x --yes=3", "`--yes` takes no value", "See `batchspec --help`."),
        (
            "plan x --format jsn",
            "`--format` is `text`, `json` or `markdown`, not `jsn`",
            "Did you mean `json`?",
        ),
        (
            "apply x --replace foo --replace pool",
            "`--replace` is `pool` or `job`, not `foo`",
            "See `batchspec apply --help`.",
        ),
        (
            "local start --port x",
            "`--port` takes a whole number, not `x`",
            "See `batchspec local start --help`.",
        ),
        (
            "local start --port -1",
            "`--port` is at least 0, not `-1`",
            "See `batchspec local start --help`.",
        ),
    ],
)
def test_words(line: str, summary: str, fix: str) -> None:
    assert told(line) == (summary, fix)


def test_where_a_value_comes_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BATCHSPEC_TARGET", "azur")
    assert told("plan x") == (
        "`--target` (of the environment: `BATCHSPEC_TARGET`) is `local` or `azure`, not `azur`",
        "Did you mean `azure`?",
    )


def told(line: str) -> tuple[str, str]:
    with pytest.raises(TyperException) as caught:
        app(line.split(), prog_name="batchspec", standalone_mode=False)
    (problem,) = misused(caught.value).problems
    assert problem.code == "command-line"
    return problem.summary, problem.fix
