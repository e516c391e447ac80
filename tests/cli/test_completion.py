"""Shell completion: names from the spec and its records, within a time limit, and no errors."""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path

import pytest

from batchspec.account import NodeRecord
from batchspec.api import recorded_runs
from batchspec.api.recorded_names import (
    TimeLimit,
    recorded_causes,
    recorded_nodes,
    recorded_outcomes,
    recorded_steps,
    recorded_tasks,
)
from batchspec.apply.events import (
    Event,
    FailedTasks,
    FailuresSeen,
    LongestSeen,
    NodeFailed,
    Outcome,
    RunEnded,
    RunningTask,
    Stamped,
    StepStarted,
    TaskFailed,
)
from batchspec.cli import completion
from tests.cli.conftest import Inside, Workplace
from tests.cli.test_run_record import AT, JOB, a_record, a_task, stream

SPEC = """\
version: 1
name: topn
parameters: {top: {default: 3}, token: {secret: true}}
containers: {input: {}, output: {}}
tasks: {count: {command: "echo {{ nothing"}, merge: }
"""
"""An incomplete spec."""
NO_LIMIT = TimeLimit(lambda: 0.0, 1.0)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workplace:
    """A folder with a spec, and a command line without a time limit; no service."""
    monkeypatch.setattr(completion, "_SECONDS", float("inf"))
    (tmp_path / "s.yaml").write_text(SPEC, encoding="utf-8")
    return Inside(tmp_path, tmp_path / "home", {"NO_COLOR": "1", "COLUMNS": "100"})


def complete(desk: Workplace, line: str, shell: str = "bash") -> list[str]:
    """The values that are offered at the end of a command line."""
    words = ["batchspec", *line.split(" ")]
    asked = {
        "COMP_WORDS": " ".join(words),
        "COMP_CWORD": str(len(words) - 1),
        "_TYPER_COMPLETE_ARGS": " ".join(words),
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        "_BATCHSPEC_COMPLETE": f"complete_{shell}",
    }
    desk.environ.update(asked)
    done = desk.run()
    assert done.err == ""
    return done.out.split("\n")[:-1] if done.out.strip() else []


async def nodes() -> AsyncIterator[NodeRecord]:
    yield NodeRecord("tvmps_1", "idle")


async def record(folder: Path) -> None:
    """Two runs: a task failed in the first and succeeded in the second, which is in progress."""
    first = a_record(folder)
    await first.save_tasks(JOB, AT, stream(a_task(1, exit_code=7), a_task(2, exit_code=3)))
    await first.save_nodes("pool-a", AT, nodes())
    first.folder(Stamped(2, AT, RunEnded(Outcome.TASKS_FAILED, 1.0, 3)))
    first.folder.close()
    second = a_record(folder, second=1)
    await second.save_tasks(JOB, AT, stream(a_task(1)))
    events: list[Event] = [
        StepStarted("tasks:count", "submit", "tasks of count"),
        StepStarted("job:topn:done", "wait", "tasks of topn"),
        LongestSeen("topn", tuple(RunningTask(f"count-{n:06}", "n", 1.0) for n in (2, 5, 9))),
        TaskFailed("topn", "count-000009", 9, "", ""),
        FailuresSeen("topn", (FailedTasks("exit-9", 1, "count-000009"),)),
        NodeFailed("pool-a", "tvmps_failed", "starttaskfailed", 1),
    ]
    for number, event in enumerate(events, 2):
        second.folder(Stamped(number, AT, event))
    second.folder.close()


async def test_completion_uses_the_recorded_file_names(desk: Workplace) -> None:
    await record(desk.folder)
    runs = desk.folder / ".batchspec" / "topn" / "runs"
    found = [(task.id, task.state, task.cause) for task in recorded_tasks(runs, NO_LIMIT)]
    assert found == [
        ("count-000001", "succeeded", ""),
        ("count-000009", "failed", ""),
        ("count-000002", "started", ""),
        ("count-000005", "started", ""),
        ("count-000009", "started", ""),
        ("count-000001", "failed", "exit-7"),
        ("count-000002", "failed", "exit-3"),
    ]
    assert [*dict.fromkeys(recorded_causes(runs, NO_LIMIT))] == ["exit-9", "exit-7", "exit-3"]
    assert [*recorded_nodes(runs, NO_LIMIT)] == ["tvmps_failed", "tvmps_1"]
    assert [*recorded_steps(runs, NO_LIMIT)] == ["tasks:count", "job:topn:done"]
    assert [outcome for _, outcome in recorded_outcomes(runs)] == ["", "tasks failed"]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("retry s.yaml --task ", "count-000009"),
        ("retry s.yaml --task count-000009 --task ", ""),
        ("retry s.yaml --cause ", "exit-9 exit-7 exit-3"),
        ("retry s.yaml --cause exit-7 --cause exit-", "exit-9 exit-3"),
        ("logs s.yaml ", "count-000001 count-000009 count-000002 count-000005"),
        ("logs s.yaml count-000009 count-", "count-000001 count-000002 count-000005"),
        ("stop s.yaml count-000002 ", "count-000001 count-000009 count-000005"),
        ("logs s.yaml --start-task tvmps_f", "tvmps_failed"),
        ("report s.yaml --run ", "20260102T030406.000000Z 20260102T030405.000000Z"),
        ("apply s.yaml --target-step ", "tasks:count tasks:merge job:topn:done"),
        ("plan s.yaml --var to", "top= token="),
        ("ls s.yaml ", "input output count-000001 count-000009 count-000002 count-000005"),
        ("cat s.yaml out", "output"),
        ("import --pool ", "pool-a"),
        ("import --job ", "topn"),
    ],
)
async def test_names_of_the_spec_and_its_records_are_offered(
    desk: Workplace, line: str, expected: str
) -> None:
    await record(desk.folder)
    assert complete(desk, line) == expected.split()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("ret", "retry"),
        ("--debug ret", "retry"),
        ("local sto", "stop"),
        ("retry s.yaml --cau", "--cause"),
        ("retry s.yaml --cause x --ta", "--task --target"),
        ("apply s.yaml --progress j", "json"),
        ("init --template s", "sweep"),
    ],
)
def test_commands_options_and_choices_are_offered(
    desk: Workplace, line: str, expected: str
) -> None:
    assert complete(desk, line) == expected.split()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
@pytest.mark.parametrize(
    "line",
    [
        "nonsense x",
        "local nonsense x",
        "retry nowhere.yaml --cause ",
        "retry s.yaml too many ",
        "retry s.yaml --nonsense ",
        "report . --run ",
        "logs /dev/stdin ",
        "apply s.yaml --progress wrong --task ",
        "logs 's.yaml ",
    ],
)
def test_a_wrong_line_prints_no_error(desk: Workplace, line: str, shell: str) -> None:
    # With "_files", zsh offers files. Other shells offer files if there is no answer.
    assert complete(desk, line, shell) in ([], ["_files"])


async def test_shells_that_show_descriptions_get_stage_and_state(desk: Workplace) -> None:
    await record(desk.folder)
    assert complete(desk, "logs s.yaml ", "fish") == [
        "count-000001\tcount succeeded",
        "count-000009\tfailed",
        "count-000002\tstarted",
        "count-000005\tstarted",
    ]
    assert '"count-000001":"count succeeded"' in " ".join(complete(desk, "logs s.yaml ", "zsh"))


async def test_a_spec_without_a_name_uses_the_records_next_to_it(desk: Workplace) -> None:
    await record(desk.folder)
    (desk.folder / "s.yaml").write_text("tasks: {", encoding="utf-8")
    assert complete(desk, "retry s.yaml --task ") == ["count-000009"]


async def test_a_name_that_leads_out_of_the_folder_is_ignored(desk: Workplace) -> None:
    other = desk.folder / "other" / "runs" / "1" / "events.jsonl"
    other.parent.mkdir(parents=True)
    other.write_text('{"type":"task_failed","task":"a"}\n', encoding="utf-8")
    (desk.folder / ".batchspec").mkdir()
    for name in ("../other", str(desk.folder / "other")):
        (desk.folder / "s.yaml").write_text(f"name: {name}\n", encoding="utf-8")
        assert complete(desk, "report s.yaml --run ") == []


async def test_damaged_records_are_skipped(desk: Workplace) -> None:
    await record(desk.folder)
    runs = desk.folder / ".batchspec" / "topn" / "runs"
    for path in runs.glob("*/tasks/*.gz"):
        path.write_bytes(path.read_bytes()[:30])
    for path in runs.glob("*/events.jsonl"):
        path.write_text('{"type":"task_failed","task":3}\n["task_failed"]\n"task_failed\n\n')
    assert complete(desk, "retry s.yaml --task ") == []
    assert complete(desk, "report s.yaml --run ") == [
        "20260102T030406.000000Z",
        "20260102T030405.000000Z",
    ]


async def test_reading_ends_at_the_time_limit(desk: Workplace) -> None:
    record = a_record(desk.folder)
    await record.save_tasks(JOB, AT, stream(*(a_task(number) for number in range(2_000))))
    record.folder.close()
    ticks = count()
    limit = TimeLimit(lambda: float(next(ticks)), 3.0)
    found = list(recorded_tasks(desk.folder / ".batchspec" / "topn" / "runs", limit))
    assert 0 < len(found) < 1_000


async def test_a_record_without_line_breaks_is_read_in_parts(desk: Workplace) -> None:
    await record(desk.folder)
    runs = desk.folder / ".batchspec" / "topn" / "runs"
    for path in (*runs.glob("*/tasks/*.gz"), *runs.glob("*/nodes/*.gz")):
        path.unlink()
    for path in runs.glob("*/events.jsonl"):
        path.write_text("x" * 1_000_000, encoding="utf-8")
    ticks = count()
    assert list(recorded_tasks(runs, TimeLimit(lambda: float(next(ticks)), 0.0))) == []
    # Each list of events ends after its first part.
    assert next(ticks) == 2 * len(recorded_runs(runs))


async def test_at_most_500_values_are_offered(desk: Workplace) -> None:
    record = a_record(desk.folder)
    await record.save_tasks(JOB, AT, stream(*(a_task(number) for number in range(700))))
    record.folder.close()
    assert len(complete(desk, "logs s.yaml count-0")) == 500
    assert len(complete(desk, "logs s.yaml count-0006")) == 100


async def test_a_name_cannot_write_to_the_terminal(desk: Workplace) -> None:
    events = desk.folder / ".batchspec" / "topn" / "runs" / "1" / "events.jsonl"
    events.parent.mkdir(parents=True)
    events.write_text('{"type":"task_failed","task":"a\\u001b[2J"}\n', encoding="utf-8")
    assert complete(desk, "logs s.yaml ") == []


async def test_zsh_gets_no_backslash_of_a_record(desk: Workplace) -> None:
    """Its script evaluates the answer; a backslash in it would end the quoting of ``$``."""
    run = desk.folder / ".batchspec" / "topn" / "runs" / "1"
    (run / "tasks").mkdir(parents=True)
    (run / "events.jsonl").touch()
    row = {"id": "count-000001", "state": "failed", "stage": "count", "cause": "a\\$(b)\n\\`c`"}
    line = json.dumps(row, separators=(",", ":")).encode()
    (run / "tasks" / "topn.0.jsonl.gz").write_bytes(gzip.compress(line))
    (offered,) = complete(desk, "retry s.yaml --task ", "zsh")
    assert offered == '_arguments \'*: :(("count-000001":"count a \\$(b)  \\`c\\`"))\''
    assert complete(desk, "retry s.yaml --cause ", "zsh") == ["_files"]


async def test_bash_completes_with_the_script(desk: Workplace) -> None:
    """The function that the script defines, as bash calls it."""
    bash = shutil.which("bash")
    assert bash is not None
    await record(desk.folder)
    program = Path(sys.executable).with_name("batchspec")
    # Its answer does not depend on the time limit of another process.
    script = f"""
    PATH={program.parent}:$PATH
    eval "$(_BATCHSPEC_COMPLETE=source_bash batchspec)"
    COMP_WORDS=(batchspec report s.yaml --run "") COMP_CWORD=4
    _batchspec_completion batchspec
    echo "${{COMPREPLY[*]}}"
    """
    done = subprocess.run(
        [bash, "--norc", "-c", script],
        cwd=desk.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("20260102T030406.000000Z 20260102T030405.000000Z\n", "")
