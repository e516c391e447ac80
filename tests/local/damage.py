"""Damaged data folders: one stored value or one file of a stopped service is changed at random."""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.local.engines import job, pool, running_with_engine, task, wait_until
from tests.local.running import Service

VALUES: tuple[Any, ...] = (
    None,
    "",
    "x",
    "{",
    "[]",
    "{}",
    "null",
    "7",
    '{"a": 1}',
    '{"code": 5}',
    -1,
    0,
    2**62,
    -(2**62),
    1.5,
    b"\xff\xfe\x00",
    "completed",
    "running",
    "\ud7ff\U0010ffff" * 20,
    "PT1S",
    "P99999999999D",
)
"""Values for any column, of wrong types and out of range."""

PATHS = (
    "/pools",
    "/pools/p",
    "/pools/scaled",
    "/pools/p/nodes",
    "/nodecounts",
    "/jobs",
    "/jobs/done",
    "/jobs/done/tasks",
    "/jobs/done/tasks/one",
    "/jobs/done/taskcounts",
    "/jobs/done/jobpreparationandreleasetaskstatus",
    "/jobs/waits",
    "/jobs/waits/tasks",
    "/jobs/waits/tasks/first",
    "/jobs/waits/tasks/next",
    "/jobs/waits/taskcounts",
    "/jobschedules",
    "/jobschedules/s",
    "/jobschedules/s/jobs",
)
"""Every list and object of :func:`make_data`."""

SCHEDULE: dict[str, Any] = {
    "id": "s",
    "schedule": {"recurrenceInterval": "P1D"},
    "jobSpecification": {"poolInfo": {"poolId": "p"}},
}
_SCALING = {
    "enableAutoScale": True,
    "autoScaleFormula": "$TargetDedicatedNodes = 0;",
    "autoScaleEvaluationInterval": "PT5M",
}


def make_data(data: Path) -> None:
    """A stopped service's folder with every kind of record: finished, waiting and interrupted."""
    with running_with_engine(data) as service:
        client = service.client
        client.create_pool(pool(nodes=2, startTask={"commandLine": "true"}))
        scaled = {name: value for name, value in pool("scaled").items() if "target" not in name}
        client.create_pool({**scaled, **_SCALING})
        client.create_job(job("done", jobPreparationTask={"commandLine": "true"}))
        client.create_job(job("waits", usesTaskDependencies=True))
        for name in ("one", "two"):
            client.create_task("done", task(name, "exit 0"))
            wait_until(lambda name=name: client.get_task("done", name).state == "completed")
        client.create_task("waits", task("first", "sleep 1000"))
        client.create_task("waits", task("next", "exit 0", dependsOn={"taskIds": ["first"]}))
        wait_until(lambda: client.get_task("waits", "first").state == "running")
        client.create_job_schedule(SCHEDULE)
        wait_until(lambda: client.get_job_schedule("s").execution_info.recent_job is not None)


def copy_data(source: Path, to: Path) -> Path:
    """A copy of a stopped service's folder without the directories of its nodes."""
    to.mkdir()
    for path in source.iterdir():
        if path.is_file():
            shutil.copy2(path, to)
    return to


def damage_record(data: Path, chance: random.Random) -> str:
    """Change one value of one record, or of its JSON; return a description of the change."""
    with closing(sqlite3.connect(data / "batch.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        while True:
            table, column = chance.choice(_columns(connection))
            rows = connection.execute(f"SELECT rowid, {column} FROM {table}").fetchall()
            if not rows:
                continue
            rowid, before = chance.choice(rows)
            after = _damaged(before, chance)
            try:
                connection.execute(
                    f"UPDATE {table} SET {column} = ? WHERE rowid = ?",
                    (after, rowid),
                )
            except sqlite3.Error:
                continue  # SQLite itself prevents it
            return f"{table}.{column} of row {rowid}: {before!r} became {after!r}"


def damage_file(data: Path, chance: random.Random) -> str:
    """Overwrite, cut or empty one file; return a description of the change."""
    path = chance.choice(sorted(path for path in data.iterdir() if path.is_file()))
    content = bytearray(path.read_bytes())
    kind = chance.choice(("bytes", "cut", "empty", "noise"))
    if kind == "bytes":
        for _ in range(chance.choice((1, 8, 200))):
            if content:
                content[chance.randrange(len(content))] = chance.randrange(256)
    elif kind == "cut":
        del content[chance.randrange(len(content) + 1) :]
    else:
        content = bytearray() if kind == "empty" else bytearray(chance.randbytes(3000))
    path.write_bytes(content)
    return f"{path.name}: {kind}"


def run_new_task(service: Service) -> None:
    """Run a task in a new pool, as a check of the engine."""
    service.client.create_pool(pool("fresh"))
    service.client.create_job(job("fresh", "fresh"))
    service.client.create_task("fresh", task("t", "true"))
    wait_until(lambda: service.client.get_task("fresh", "t").state == "completed")


def check_service(data: Path) -> list[str]:
    """The faults of a service on damaged data: replies of 500, or a new task that waits."""
    wrong = []
    with running_with_engine(data) as service:
        for path in PATHS:
            answer = service.request("GET", path, checked=False)
            if answer.status >= 500:
                wrong.append(f"{path}: {answer.status}")
        run_new_task(service)
        # Damage that no reader relies on may be visible in a reply.
        service.violations.clear()
    return wrong


def _columns(connection: sqlite3.Connection) -> list[tuple[str, str]]:
    tables = connection.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' "
        "AND sql NOT LIKE '%WITHOUT ROWID%'"
    )
    return [
        (table, column[1])
        for (table,) in tables.fetchall()
        for column in connection.execute(f"PRAGMA table_info({table})")
    ]


def _damaged(before: Any, chance: random.Random) -> Any:
    """Another value; half of the time, a JSON object with one member changed or removed."""
    if isinstance(before, str) and before.startswith("{") and chance.random() < 0.7:
        found = json.loads(before)
        target = found
        while True:
            if not target:
                break
            name = chance.choice(sorted(target))
            if isinstance(target[name], dict) and chance.random() < 0.7:
                target = target[name]
                continue
            if chance.random() < 0.5:
                del target[name]
            else:
                target[name] = chance.choice((None, [], {}, "x", -1, 1e300, [None], {"a": {}}))
            return json.dumps(found)
    return chance.choice([value for value in VALUES if value != before])
