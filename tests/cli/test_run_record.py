"""The facts about tasks and nodes in the folder of a run: written, read, private, bounded."""

from __future__ import annotations

import gzip
import stat
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from batchspec.account import NodeRecord, TaskRecord
from batchspec.api import RecordFiles, RunFolder, read_lines, runs_folder
from batchspec.apply.events import NodeFailed, RunStarted, Stamped, TaskFailed
from batchspec.diagnostics import ServiceError
from batchspec.plan.observed import JobFacts, Marks, TaskFacts
from batchspec.render import NodeRow, TaskRow, read_head, read_nodes, read_tasks
from batchspec.spec import Record
from tests.apply.fake import refused

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
JOB = JobFacts("topn", "completed", AT, Record(), {}, ended=AT, terminate_reason="AllTasksComplete")


def a_task(number: int, *, exit_code: int = 0, message: str = "") -> TaskRecord:
    failed = exit_code != 0
    facts = TaskFacts(
        f"count-{number:06}",
        "completed",
        not failed,
        exit_code,
        "FailureExitCode" if failed else None,
        message or None,
        f"tvmps_{number % 16:064x}_d",
        1 if failed else 0,
        Marks(f"{number:014x}", "", "0" * 14, "count"),
        AT,
    )
    ended = AT + timedelta(seconds=3 + number % 7)
    return TaskRecord(facts, f"count book-{number}.txt", "usererror" if failed else "", AT, ended)


async def stream(*items: TaskRecord) -> AsyncIterator[TaskRecord]:
    for item in items:
        yield item


def a_record(folder: Path, *, second: int = 0, jobs: tuple[JobFacts, ...] = ()) -> RecordFiles:
    def fail(error: OSError) -> None:
        raise AssertionError(error)

    runs = runs_folder(folder / "s.yaml", "topn")
    run = RunFolder(runs, AT + timedelta(seconds=second), fail)
    run(Stamped(1, AT, RunStarted("topn", "local", "b", "s", 1)))
    return RecordFiles(run, jobs)


def rows_of(record: RecordFiles, kind: str) -> list[TaskRow | NodeRow]:
    rows: list[TaskRow | NodeRow] = []
    for path in sorted(record.folder.path.glob(f"{kind}/*")):
        with read_lines(path) as lines:
            head = read_head(next(lines))
            assert head is not None
            assert head.kind == kind
            rows += read_tasks(head.id, lines) if kind == "tasks" else read_nodes(head, lines)
    return rows


async def test_tasks_are_read_as_they_were_written(tmp_path: Path) -> None:
    record = a_record(tmp_path)
    missing = await record.save_tasks(
        JOB, AT, stream(a_task(1), a_task(2, exit_code=4, message="http://x/y?sig=abc"))
    )
    assert missing == ["count-000002"]
    good, bad = rows_of(record, "tasks")
    assert isinstance(good, TaskRow)
    assert isinstance(bad, TaskRow)
    assert good == TaskRow(
        id="count-000001",
        state="succeeded",
        job="topn",
        name="count book-1.txt",
        stage="count",
        item=f"{1:014x}",
        exit_code=0,
        node=f"tvmps_{1:064x}_d",
        created="2026-01-02T03:04:05.000Z",
        started="2026-01-02T03:04:05.000Z",
        ended="2026-01-02T03:04:09.000Z",
    )
    assert (bad.state, bad.cause, bad.exit_code, bad.retries) == ("failed", "exit-4", 4, 1)
    assert bad.message == "http://x/y?sig=***"
    (path,) = record.folder.path.glob("tasks/*")
    assert path.name == "topn.0001.jsonl.gz"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


async def test_nodes_are_read_as_they_were_written(tmp_path: Path) -> None:
    async def nodes() -> AsyncIterator[NodeRecord]:
        yield NodeRecord("n1", "idle", "standard_d2s_v5", True, AT, AT, AT, AT, AT, 0)
        yield NodeRecord("n2", "starttaskfailed", dedicated=False, exit_code=9, message="no")

    record = a_record(tmp_path)
    await record.save_nodes("topn", AT, nodes())
    first, second = rows_of(record, "nodes")
    assert isinstance(first, NodeRow)
    assert (first.pool, first.vm_size, first.dedicated) == ("topn", "standard_d2s_v5", True)
    assert first.start_task_ended == "2026-01-02T03:04:05.000Z"
    assert isinstance(second, NodeRow)
    assert (second.dedicated, second.exit_code, second.message) == (False, 9, "no")


async def test_one_task_of_each_cause_is_named_unless_its_output_is_known(tmp_path: Path) -> None:
    record = a_record(tmp_path)
    record.folder(Stamped(2, AT, TaskFailed("topn", "count-000001", 1, "", "", "no\n")))
    tasks = [a_task(number, exit_code=1 + number % 3) for number in range(9)]
    assert await record.save_tasks(JOB, AT, stream(*tasks)) == ["count-000000", "count-000002"]
    record.save_output("count-000000", "x ?sig=abc\n")
    kept = record.folder.path / "failed" / "count-000000.stderr.txt"
    assert kept.read_text(encoding="utf-8") == "x ?sig=***\n"


async def test_the_output_of_an_id_that_is_a_path_stays_in_the_folder(tmp_path: Path) -> None:
    record = a_record(tmp_path)
    record.save_output("../../../task", "no")
    record.folder(Stamped(2, AT, NodeFailed("p", "../../../node", "unusable", 1, "", "no")))
    failed = record.folder.path / "failed"
    assert {path.parent for path in tmp_path.rglob("*.stderr.txt")} == {failed}


async def test_an_error_leaves_no_part_of_a_file(tmp_path: Path) -> None:
    async def broken() -> AsyncIterator[TaskRecord]:
        yield a_task(1)
        raise refused()

    record = a_record(tmp_path)
    with pytest.raises(ServiceError):
        await record.save_tasks(JOB, AT, broken())
    assert list((record.folder.path / "tasks").iterdir()) == []


async def test_jobs_of_earlier_records_are_known(tmp_path: Path) -> None:
    first = a_record(tmp_path)
    await first.save_tasks(JOB, AT, stream(a_task(1)))
    active = JobFacts("topn-r2", "active", AT, Record(), {})
    await first.save_tasks(active, AT, stream(a_task(2)))
    elsewhere, outside = replace(JOB, id="elsewhere"), replace(JOB, id="../x")
    created_again = replace(JOB, created=AT + timedelta(seconds=1))
    second = a_record(tmp_path, second=1, jobs=(JOB, active, elsewhere, outside))
    assert second.earlier_jobs == ["elsewhere", "../x"]
    assert second.is_complete(JOB)
    assert not second.is_complete(created_again)
    assert not second.is_complete(active)
    assert not second.is_complete(elsewhere)
    assert not second.is_complete(outside)


async def test_a_damaged_file_is_read_up_to_the_damage(tmp_path: Path) -> None:
    record = a_record(tmp_path)
    await record.save_tasks(JOB, AT, stream(*map(a_task, range(2000))))
    (path,) = record.folder.path.glob("tasks/*")
    path.write_bytes(path.read_bytes()[:-3000])
    assert 0 < len(rows_of(record, "tasks")) < 2000
    with gzip.open(path, "wt") as file:
        file.write(
            '{"kind":"tasks","id":"topn","at":""}\n[1]\n{"id":7,"state":"x"}\nno\n{"id":"a"}\n'
        )
        file.write('{"id":"b","state":"active","future":1}\n')
    assert rows_of(record, "tasks") == [TaskRow("b", "active", "topn")]


async def test_an_id_that_is_a_path_stays_in_the_folder(tmp_path: Path) -> None:
    record = a_record(tmp_path)
    job = JobFacts("../../../evil", "active", AT, Record(), {})
    await record.save_tasks(job, AT, stream(a_task(1)))
    assert [path.name for path in record.folder.path.glob("tasks/*")] == ["~.0001.jsonl.gz"]


async def test_a_full_disk_ends_the_record(tmp_path: Path) -> None:
    errors: list[OSError] = []
    runs = runs_folder(tmp_path / "s.yaml", "topn")
    record = RecordFiles(RunFolder(runs, AT, errors.append))
    record.folder(Stamped(1, AT, RunStarted("topn", "local", "b", "s", 1)))
    (record.folder.path / "tasks").write_text("in the way")
    assert await record.save_tasks(JOB, AT, stream(a_task(1, exit_code=1))) == []
    assert await record.save_tasks(JOB, AT, stream(a_task(1, exit_code=1))) == ()
    record.save_output("count-000001", "no")
    assert len(errors) == 1
