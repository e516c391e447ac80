"""The generated record of a large run with failures, retries and slow tasks."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from batchspec.account import NodeRecord, TaskRecord
from batchspec.api import RecordFiles, RunFolder, runs_folder
from batchspec.apply.events import (
    Event,
    Outcome,
    RunEnded,
    RunStarted,
    Stamped,
    StepDone,
    StepStarted,
    TasksSeen,
)
from batchspec.plan.observed import JobFacts, Marks, TaskFacts
from batchspec.spec import Record

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SLOTS = 4
STAGES = ("align", "count", "merge")


def node_id(number: int) -> str:
    return f"tvmps_{hashlib.sha256(b'%d' % number).hexdigest()}_d"


def the_task(number: int, nodes: int) -> TaskRecord:
    """One of many tasks: 1 of 97 fails, 1 of 5,003 is slow."""
    lane, turn = number % (nodes * SLOTS), number // (nodes * SLOTS)
    stage = STAGES[min(turn // 40, 2)]
    took = 20 + number * 7919 % 17 + (400 if number % 5003 == 5002 else 0)
    failed = number % 97 == 50
    started = AT + timedelta(seconds=90 + turn * 40 + number * 31 % 3)
    facts = TaskFacts(
        f"{stage}-sample-{number:06}-{number * 2654435761 % (1 << 32):08x}",
        "completed",
        not failed,
        3 + number % 2 if failed else 0,
        "FailureExitCode" if failed else None,
        "The task exited with an exit code representing a failure" if failed else None,
        node_id(lane // SLOTS),
        1 if failed else 0,
        Marks(f"{number:014x}", "", "0" * 14, stage),
        AT + timedelta(seconds=number // 5000),
    )
    ended = started + timedelta(seconds=took)
    name = f"{stage} samples/{number:06}.fastq"
    return TaskRecord(facts, name, "usererror" if failed else "", started, ended)


async def record_run(folder: Path, tasks: int, nodes: int) -> Path:
    """Write the record of a run below a folder; the folder of its runs."""

    async def every_task() -> AsyncIterator[TaskRecord]:
        for number in range(tasks):
            yield the_task(number, nodes)

    async def every_node() -> AsyncIterator[NodeRecord]:
        for number in range(nodes):
            booted = AT + timedelta(seconds=20 + number % 15)
            ready = booted + timedelta(seconds=45)
            size = "standard_d4s_v5"
            yield NodeRecord(
                node_id(number),
                "idle",
                size,
                number % 5 > 0,
                booted,
                booted,
                ready,
                booted,
                ready,
                0,
            )

    def fail(error: OSError) -> None:
        raise error

    runs = runs_folder(folder / "run.yaml", "genomes")
    run = RunFolder(runs, AT, fail)
    seconds = 120 + (tasks // (nodes * SLOTS) + 1) * 40.0
    end = AT + timedelta(seconds=seconds)
    failed = sum(number % 97 == 50 for number in range(tasks))
    events: tuple[tuple[datetime, Event], ...] = (
        (AT, RunStarted("genomes", "azure", "contoso.westeurope.batch.azure.com", "contoso", 2)),
        (AT, StepStarted("tasks", "wait", "tasks of genomes", tasks)),
        (end, TasksSeen("genomes", tasks, 0, 0, tasks - failed, failed)),
        (end, StepDone("tasks", "wait", "tasks of genomes", tasks, seconds)),
        (end, RunEnded(Outcome.TASKS_FAILED, seconds, 3)),
    )
    for number, (at, event) in enumerate(events, start=1):
        run(Stamped(number, at, event))
    run.close()
    record = RecordFiles(run)
    job = JobFacts("genomes", "completed", AT, Record(), {}, ended=end, pool="genomes")
    for task in await record.save_tasks(job, end, every_task()):
        record.save_output(task, f"{task}: the reads end too early\n")
    await record.save_nodes("genomes", end, every_node())
    return runs
