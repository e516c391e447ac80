"""Damaged records and files: the service works without them, or names the damaged file."""

from __future__ import annotations

import random
import shutil
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from batchspec.local.engine.engine import RoundParts
from batchspec.local.engine.runs import ExecutorRequest
from batchspec.local.model import Task
from batchspec.local.store import DamagedStateError, Page, Store
from batchspec.local.store.record_check import RECORD_TABLES
from tests.local.damage import check_service, copy_data, damage_file, damage_record, make_data
from tests.local.engines import job, pool, running_with_engine, task, wait_until

NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture(scope="session")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a stopped service with every kind of record."""
    data = tmp_path_factory.mktemp("stopped") / "batch"
    make_data(data)
    return data


def read_all(store: Store) -> list[Task]:
    """Read every record; return the tasks."""
    for found in store.pools.page(Page(-1)):
        store.nodes.of(found.id)
    for schedule in store.schedules.page(Page(-1)):
        store.jobs.of_schedule(schedule.id, completed=True)
    tasks = []
    for one in store.jobs.page(Page(-1)):
        store.preparations.of_job(one.id)
        tasks += store.tasks.page(one.id, Page(-1))
        counts = store.jobs.counts(one.id).tasks
        assert counts.completed + counts.active + counts.running == len(
            store.tasks.page(one.id, Page(-1))
        )
    return tasks


def test_a_sound_state_is_not_changed(stopped: Path, tmp_path: Path) -> None:
    data = copy_data(stopped, tmp_path / "batch")
    with closing(Store(data / "batch.db")) as store:
        before = read_all(store)
        assert store.set_aside_damaged(NOW) == []
        assert read_all(store) == before


def test_after_any_damage_of_a_record_all_others_are_read(stopped: Path, tmp_path: Path) -> None:
    for number in range(100):
        data = copy_data(stopped, tmp_path / str(number))
        what = damage_record(data, random.Random(number))
        with closing(Store(data / "batch.db")) as store:
            found = store.set_aside_damaged(NOW)
            assert len(found) <= 1, what
            read_all(store)
            assert store.set_aside_damaged(NOW) == [], what


def test_a_value_that_is_not_utf_8_is_set_aside(stopped: Path, tmp_path: Path) -> None:
    whole = copy_data(stopped, tmp_path / "whole") / "batch.db"
    with closing(sqlite3.connect(whole, isolation_level=None)) as connection:
        columns = [
            (table, column[1])
            for table in RECORD_TABLES
            for column in connection.execute(f"PRAGMA table_info({table})")
            if column[2] == "TEXT" and connection.execute(f"SELECT 1 FROM {table}").fetchone()
        ]
    assert len(columns) > 60
    for table, column in columns:
        path = tmp_path / f"{table}.{column}"
        shutil.copyfile(whole, path)
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute(
                f"UPDATE {table} SET {column} = CAST(? AS TEXT) "
                f"WHERE {column} IS (SELECT min({column}) FROM {table})",
                (b'{"a": "\xff"}',),
            )
        with closing(Store(path)) as store:
            found = store.set_aside_damaged(NOW)
            assert {damage.table for damage in found} == {table}, column
            read_all(store)
            assert store.set_aside_damaged(NOW) == [], column


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("DEFAULT 'requeue'", "DEFAULT 're\xffueue'"),
        ("DEFAULT 'requeue'", "DEFAULT 'rexueue'"),
        ("NEW.result IS 'failure'", "NEW.result IS 'failurf'"),
        ("WHERE intent IS NOT NULL", "WHERE intenT IS NOT NULL"),
    ],
)
def test_a_changed_definition_of_a_table_is_named(
    stopped: Path, tmp_path: Path, before: str, after: str
) -> None:
    path = copy_data(stopped, tmp_path / "batch") / "batch.db"
    content = path.read_bytes()
    assert before.encode() in content
    path.write_bytes(content.replace(before.encode(), after.encode("latin-1")))
    with pytest.raises(DamagedStateError):
        Store(path)


def test_a_part_that_ends_the_transaction_ends_the_round(tmp_path: Path) -> None:
    """A full disk can make SQLite undo the whole transaction; then no later part is written."""
    with closing(Store(tmp_path / "batch.db")) as store:
        database = store._database
        (pages,) = database.one("PRAGMA page_count") or (0,)
        database.one(f"PRAGMA max_page_count = {pages + 3}")
        database.one("PRAGMA cache_size = 10")
        record = {"source": "x", "name": "x", "reason": "x" * 2000, "at": 1, "record": "x" * 2000}

        def write() -> tuple[ExecutorRequest, ...]:
            database.insert("damaged", record)
            return ()

        with pytest.raises(sqlite3.OperationalError) as caught, store.transaction():
            unused: Any = None
            parts = RoundParts(store, unused, unused, NOW)
            for _ in range(100):
                parts.attempt(write)
        assert caught.value.sqlite_errorname == "SQLITE_FULL"
        assert database.all("SELECT * FROM damaged") == []


def test_any_damaged_file_is_read_or_named_in_the_error(stopped: Path, tmp_path: Path) -> None:
    for number in range(60):
        data = copy_data(stopped, tmp_path / str(number))
        what = damage_file(data, random.Random(number))
        try:
            with closing(Store(data / "batch.db")) as store:
                store.set_aside_damaged(NOW)
                read_all(store)
        except DamagedStateError as error:
            assert str(error)
        except sqlite3.DatabaseError as error:
            assert error.sqlite_errorname.startswith("SQLITE_CORRUPT"), what


def test_a_damaged_task_fails_and_its_record_is_kept(stopped: Path, tmp_path: Path) -> None:
    data = copy_data(stopped, tmp_path / "batch")
    with closing(sqlite3.connect(data / "batch.db", isolation_level=None)) as connection:
        connection.execute("UPDATE task SET created = 'x' WHERE id = 'one'")
        with closing(Store(data / "batch.db")) as store:
            (damage,) = store.set_aside_damaged(NOW)
            found = store.tasks.get("done", "one")
        (record,) = connection.execute("SELECT record FROM damaged").fetchone()
    assert (damage.table, damage.name, damage.reason) == (
        "task",
        "one",
        "created is not of type int",
    )
    assert found is not None
    assert (found.state, found.result) == ("completed", "failure")
    assert found.body["commandLine"] == "/bin/sh -c 'exit 0'"
    assert '"created": "x"' in record


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE pool SET resize_errors = 'x' WHERE id = 'p'",
        "UPDATE node SET running_slots = x'ff'",
        "UPDATE node SET booted = 'x'",
        "UPDATE node SET detail = '[]'",
        "UPDATE node SET errors = -1",
        "UPDATE job SET created = -4611686018427387904",
        "UPDATE schedule SET next_run = 'x'",
    ],
)
def test_a_service_works_with_damaged_records(stopped: Path, tmp_path: Path, sql: str) -> None:
    data = copy_data(stopped, tmp_path / "batch")
    with closing(sqlite3.connect(data / "batch.db", isolation_level=None)) as connection:
        connection.execute(sql)
    assert check_service(data) == []


def test_a_decision_that_fails_affects_no_other_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from batchspec.local.engine import runs  # noqa: PLC0415

    launch = runs.task_launch

    def broken(*given: object, **options: object) -> object:
        task_ = given[2]
        assert isinstance(task_, Task)
        if task_.id == "poison":
            raise RuntimeError("a bug")
        return launch(*given, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(runs, "task_launch", broken)
    with running_with_engine(tmp_path / "batch") as service:
        service.client.create_pool(pool())
        service.client.create_job(job())
        service.client.create_task("j", task("poison", "true"))
        service.client.create_task("j", task("sound", "true"))
        for name in ("poison", "sound"):
            wait_until(lambda name=name: service.client.get_task("j", name).state == "completed")
        failure = service.client.get_task("j", "poison").execution_info.failure_info
        assert (failure.category, failure.code) == ("ServerError", "Unknown")
        assert service.client.get_task("j", "sound").execution_info.exit_code == 0
