"""Commands in messages can be pasted: they contain the spec and the options that the user gave."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest
from typer.utils import get_params_from_function

from batchspec.api import RunOptions, Target, load_spec
from batchspec.apply.events import Noticed, RunEnded, StepFailed, Waiting
from batchspec.cli.console import ConsoleNotices
from batchspec.cli.main import app
from batchspec.cli.options import variables_of
from batchspec.cli.resume_command import _OPTIONS, completed, completed_event, select
from batchspec.diagnostics import Diagnostic
from tests.cli.test_init import Inside

SPEC = """\
version: 1
name: topn
parameters:
  top: {default: 5}
  token: {type: string, secret: true}
pool: {vm_size: standard_d2s_v5, nodes: 1, image: ubuntu-24.04}
job: {max_wall_clock_time: 10m}
tasks:
  hello:
    command: echo {{ top }}
    env: {TOKEN: "{{ token }}"}
"""


@pytest.fixture(autouse=True)
def _nothing_selected() -> Iterator[None]:
    yield
    select(None)


def options(path: Path, *variables: str, target: Target | None = None, **env: str) -> RunOptions:
    return RunOptions(path, variables_of(variables), (Path("more values.yaml"),), target, env)


def loaded(options: RunOptions) -> None:
    load_spec(options, on_loaded=ConsoleNotices(options).loaded)


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "topn.yaml"
    path.write_text(SPEC, encoding="utf-8")
    (tmp_path / "more values.yaml").write_text("top: 4\n", encoding="utf-8")
    return path


def test_a_command_gets_the_spec_and_the_options(
    spec: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(spec.parent)
    given = ("top=7", "token=secret-value")
    loaded(options(Path("topn.yaml"), *given, target=Target.AZURE))

    text = completed("`batchspec failures` shows it; `batchspec logs --start-task NODE` more.")

    added = "--target azure --var-file 'more values.yaml' --var top=7 --var token=..."
    assert text == (
        f"`batchspec failures topn.yaml {added}` shows it; "
        f"`batchspec logs topn.yaml --start-task NODE {added}` more."
    )


def test_commands_that_need_a_secret_ask_for_one_that_is_missing(spec: Path) -> None:
    loaded(RunOptions(spec, {}, (), None, {}))

    assert completed("`batchspec retry`").endswith("yaml --var token=...`")
    assert "token" not in completed("`batchspec status`")


def test_options_that_a_command_does_not_accept_are_left_out() -> None:
    select(options(Path("a b.yaml"), "x=1", target=Target.LOCAL))

    assert completed("`batchspec list --orphans`") == "`batchspec list --orphans --target local`"
    assert completed("`batchspec init FOLDER`") == "`batchspec init FOLDER`"
    assert "--target" not in completed("`batchspec report`")


def test_a_target_of_the_environment_is_not_repeated() -> None:
    select(options(Path("a.yaml"), target=Target.AZURE, BATCHSPEC_TARGET="azure"))

    assert "--target" not in completed("`batchspec status`")


def test_values_are_not_repeated_before_the_secrets_are_known() -> None:
    select(options(Path("a.yaml"), "token=secret-value"))

    assert completed("`batchspec destroy`").endswith("--var token=...`")


def test_a_complete_command_is_not_changed() -> None:
    select(options(Path("a b.yaml"), "x=1"))

    once = completed("`batchspec retry --cause exit-7` and `batchspec plan SPEC --out FILE`")

    assert once.count("'a b.yaml'") == 2
    assert "SPEC" not in once
    assert completed(once) == once


def test_without_a_spec_nothing_is_added() -> None:
    assert completed("`batchspec status`") == "`batchspec status`"


@pytest.mark.parametrize(
    "event",
    [
        Waiting("start-task-failed", "pool p", "it failed", action="`batchspec retry`"),
        Noticed(Diagnostic("tasks-left", "some are left", fix="`batchspec retry`")),
        StepFailed("pool:p", "wait", "pool p", 1.0, Diagnostic("x", "y", fix="`batchspec retry`")),
    ],
)
def test_events_of_a_run_have_complete_commands(event: Any) -> None:
    select(options(Path("a.yaml")))

    assert "`batchspec retry a.yaml --var-file" in repr(completed_event(event))


def test_other_events_are_not_changed() -> None:
    ended = RunEnded("done", 1.0, 0, (str(datetime.now(UTC)),))  # type: ignore[arg-type]

    assert completed_event(ended) is ended


def test_the_accepted_options_are_those_of_the_commands() -> None:
    for name, accepted in _OPTIONS.items():
        function = cast("Callable[..., Any]", app.functions[name])
        parameters = {*get_params_from_function(function)}
        parameters |= {"spec"} & {name.rstrip("s") for name in parameters}
        assert accepted == parameters & {"spec", "variables", "target"}, name


def test_an_error_on_the_terminal_can_be_pasted(tmp_path: Path, spec: Path) -> None:
    """An error before the account is used, shown by the outermost function."""
    place = Inside(tmp_path, tmp_path / "home", {"NO_COLOR": "1", "COLUMNS": "100"})

    done = place.run("report", "topn.yaml", "--var", "top=3", "--var", "token=secret-value")

    assert done.code == 2
    assert "`batchspec apply topn.yaml --var top=3 --var token=...`" in done.err
