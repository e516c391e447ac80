"""The state of a run: stages, failures, tasks; with `--watch` until the end."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest

from batchspec.api import NoNotices, RunOptions, TaskState, watch_status
from batchspec.cli.commands.status import status
from batchspec.diagnostics import Diagnostic, UsageError
from batchspec.exit_codes import Exit
from batchspec.render import Status, TaskRow, task_rows_text
from tests.cli.conftest import Workplace


def test_stages_and_failures_by_cause(mixed: Workplace) -> None:
    text = mixed.run("status", mixed.spec).out
    assert "bad: 3 of 3 done, 3 failed" in text
    assert "failed 3 exit-7 (bad-0 and 2 more)" in text
    found = json.loads(mixed.run("status", mixed.spec, "--format", "json").out)
    assert found["failures"][0] == {"cause": "exit-7", "count": 3, "task": "bad-0"}
    assert found["stages"]["good"] == {
        "total": 2,
        "active": 0,
        "running": 0,
        "succeeded": 2,
        "failed": 0,
        "rate": None,
        "left": None,
    }


def test_tasks_in_a_state(mixed: Workplace) -> None:
    failed = mixed.run("status", mixed.spec, "--tasks", "failed").out.splitlines()
    assert len(failed) == 6
    (slow,) = [line for line in failed if " slow " in line]
    assert slow.endswith("timeout")
    text = mixed.run("status", mixed.spec, "--tasks", "succeeded", "--format", "json").out
    tasks = json.loads(text)["tasks"]
    assert [(task["id"], task["state"], task["stage"]) for task in tasks] == [
        ("good-0", "succeeded", "good"),
        ("good-1", "succeeded", "good"),
    ]
    none = mixed.run("status", mixed.spec, "--tasks", "running")
    assert (none.code, none.out, none.err) == (0, "", "no task is running\n")


@pytest.mark.parametrize(
    ("state", "note"),
    [
        (TaskState.ACTIVE, "no task is active\n"),
        (TaskState.RUNNING, "no task is running\n"),
        (TaskState.SUCCEEDED, "no task has succeeded\n"),
        (TaskState.FAILED, "no task has failed\n"),
        (TaskState.ALL, "the run has no tasks\n"),
    ],
)
async def test_a_state_without_tasks(
    state: TaskState, note: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def none(*_: object) -> AsyncIterator[TaskRow]:
        for row in ():
            yield row

    monkeypatch.setattr("batchspec.api.list_tasks", none)
    assert await status(Path("run.yaml"), tasks=state) == Exit.DONE
    assert capsys.readouterr() == ("", note)


async def test_a_watch_that_cannot_start_prints_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def refused(*_: object) -> AsyncIterator[Status]:
        raise UsageError(Diagnostic("no-run", "no run"))
        yield

    monkeypatch.setattr("batchspec.api.watch_status", refused)
    monkeypatch.setattr("batchspec.render.is_live", lambda *_: True)
    with pytest.raises(UsageError):
        await status(Path("run.yaml"), watch=True)
    assert capsys.readouterr().out == ""


async def test_a_watch_ends_when_the_job_is_deleted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    jobs = iter([None, "j", "j", None])

    async def state(*_: object) -> SimpleNamespace:
        return SimpleNamespace(job=next(jobs), job_state="active", tasks=None)

    async def pause(_: float) -> None:
        pass

    monkeypatch.setattr("batchspec.api.status._status", state)
    monkeypatch.setattr("batchspec.api.status.load_spec", lambda *_, **__: None)
    monkeypatch.setattr("batchspec.api.status.open_target", lambda *_: nullcontext())
    options = RunOptions(tmp_path / "run.yaml", {}, (), None, {})
    found = [status.job async for status in watch_status(options, NoNotices(), pause)]
    assert found == [None, "j", "j", None]


def test_a_task_that_ran_again() -> None:
    rows = [TaskRow("a", "failed", retries=1), TaskRow("b", "failed", retries=2)]
    assert list(task_rows_text(rows)) == ["failed     a  1 retry", "failed     b  2 retries"]


def test_a_finished_run_is_watched_once(mixed: Workplace) -> None:
    once = mixed.run("status", mixed.spec)
    watched = mixed.run("status", mixed.spec, "--watch")
    assert (watched.code, watched.out.strip()) == (0, once.out.strip())
    (line,) = mixed.run("status", mixed.spec, "--watch", "--format", "json").out.splitlines()
    assert json.loads(line)["job"]["state"] == "completed"
