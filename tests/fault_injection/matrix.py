"""Faults in every kind of pool, at every moment: each cell ends in time, with its cause.

A cell is a run with a limit of a few seconds on the shared service. The fault is in the spec, or
another client causes it while the tasks run, with or without a client of batchspec that watches.
The checks are the exit code, the cause in the event stream, the bound, and what remains in the
account.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from azure.batch import models
from azure.core.exceptions import HttpResponseError

from tests.command_process import CONTEXT, run_child
from tests.e2e.conftest import clean_environ
from tests.fault_injection.rounds import Bench
from tests.local.engines import wait_until


class PoolKind(StrEnum):
    """The kind of pool."""

    FIXED = "fixed"
    SCALED = "scaled"
    EXISTING = "existing"
    AUTO = "auto"


class Moment(StrEnum):
    """The time of the fault."""

    SPEC = "spec"
    """From the start: the fault is in the spec or in the pool."""
    RUNNING = "running"
    """While the tasks run and a client watches."""
    UNWATCHED = "unwatched"
    """While the tasks run and no client watches; then the same command runs again."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """A fault, the exit codes of a run with it, and a cause or text that is shown."""

    name: str
    moments: tuple[Moment, ...]
    exits: frozenset[int]
    shows: tuple[str, ...]
    kinds: frozenset[PoolKind] = frozenset(PoolKind)
    then: frozenset[int] = frozenset()
    """What the command ends with after a fault that no client watched; empty: as ``exits``."""


_SPEC, _LATER = (Moment.SPEC,), (Moment.RUNNING, Moment.UNWATCHED)
_OWN = frozenset({PoolKind.FIXED, PoolKind.SCALED, PoolKind.EXISTING})

TROUBLES = (
    Trouble("start-fails", _SPEC, frozenset({4}), ("start-task-failed",)),
    Trouble("start-hangs", _SPEC, frozenset({7}), ("start task",)),
    Trouble("preparation-fails", _SPEC, frozenset({4}), ("preparation-failed",)),
    Trouble("task-fails", _SPEC, frozenset({3}), ("exit code 5", '"exit_code":5')),
    Trouble("task-hangs", _SPEC, frozenset({7}), ("time-limit", "limit")),
    Trouble("dependency-failed", _SPEC, frozenset({3}), ("dependency-failed",)),
    Trouble(
        "job-terminated",
        _LATER,
        frozenset({3}),
        ("AnotherClient", "job-ended"),
        then=frozenset({0}),
    ),
    Trouble(
        "job-deleted", _LATER, frozenset({4}), ("job-gone", "JobNotFound"), then=frozenset({0})
    ),
    Trouble(
        "dependency-deleted",
        _LATER,
        frozenset({4}),
        ("dependency-missing",),
        then=frozenset({0}),
    ),
    Trouble("job-disabled", _LATER, frozenset({7}), ("job-disabled", "disabled")),
    Trouble("pool-deleted", _LATER, frozenset({4}), ("pool-gone",), _OWN, frozenset({0, 2, 4})),
    Trouble(
        "output-container-deleted",
        _LATER,
        frozenset({3, 4}),
        ("upload", "FileUpload"),
        then=frozenset({0, 3, 4}),
    ),
    Trouble(
        "output-blob-deleted", _LATER, frozenset({3, 4}), ("output-missing",), then=frozenset({0})
    ),
    Trouble(
        "input-blob-deleted",
        _LATER,
        frozenset({3}),
        ("BlobDownload", "BlobNotFound", "BlobAccessDenied"),
        then=frozenset({0, 3}),
    ),
    Trouble(
        "input-container-deleted",
        _LATER,
        frozenset({3}),
        ("BlobDownload", "BlobNotFound", "BlobAccessDenied"),
        then=frozenset({0, 3}),
    ),
    Trouble("client-killed", (Moment.UNWATCHED,), frozenset({0}), ()),
    Trouble("client-interrupted", (Moment.UNWATCHED,), frozenset({0}), ()),
)


@dataclass(frozen=True, slots=True)
class Cell:
    """One combination."""

    kind: PoolKind
    trouble: Trouble
    moment: Moment

    @property
    def name(self) -> str:
        """A name that is valid in ids."""
        return f"{self.kind}-{self.trouble.name}-{self.moment}"


def cells() -> Iterator[Cell]:
    """Every cell of the matrix."""
    for trouble in TROUBLES:
        for kind in PoolKind:
            for moment in trouble.moments:
                if kind in trouble.kinds:
                    yield Cell(kind, trouble, moment)


LIMIT = 12
"""Seconds that a job may take."""
LONGEST = LIMIT + 45.0
"""Seconds after which a cell has failed: limit, and what clean-up takes on a busy machine."""

POOLS = {
    PoolKind.FIXED: "{{id: {name}, {machine}, nodes: 1{start}}}",
    PoolKind.SCALED: "{{id: {name}, {machine}, nodes: {{scale: {{min: 0, max: 1}}}}{start}}}",
    PoolKind.EXISTING: "{{existing: {name}}}",
    PoolKind.AUTO: "{{lifetime: job, {machine}, nodes: 1{start}}}",
}
MACHINE = "vm_size: standard_d2s_v5, image: ubuntu-24.04, task_slots_per_node: 4"
SPEC = """\
version: 1
name: {name}
containers:
  output: {{id: {name}-output}}
  {input}
pool: {pool}
job:
  id: {name}
  max_wall_clock_time: {limit}s
  {job}
tasks:
  work:
    for_each: {{range: [0, 2]}}
    command: {command}
    outputs: [{{files: "*.out", container: output, required: {required}}}]
    {stage}
  {more}
results: [{{container: output, to: results}}]
cleanup: {{containers: never, job: never, pool: {cleanup}}}
"""
_STORE = "echo done > $AZ_BATCH_TASK_ID.out"
_STARTS = {"start-fails": "exit 3", "start-hangs": "sleep 1000"}


@dataclass(slots=True)
class Play:
    """A cell that is run."""

    bench: Bench
    folder: Path
    cell: Cell
    name: str
    limit: int = LIMIT

    def run(self) -> list[str]:
        """Run the cell; return every difference from the expectation."""
        self.folder.mkdir(parents=True)
        trouble, moment = self.cell.trouble, self.cell.moment
        self.write()
        began = time.monotonic()
        process = self.start("first.log")
        if moment is not Moment.SPEC:
            if not self.until_running(process, "first.log"):
                return [f"no task ran:\n{self.text('first.log')}"]
            if moment is Moment.UNWATCHED:
                self.leave(process)
            self.cause()
        log, expected = "first.log", trouble.exits
        if moment is Moment.UNWATCHED:
            (self.folder / "go").touch()
            process, log = self.start("second.log"), "second.log"
            expected = trouble.then or trouble.exits
        process.join(max(1.0, LONGEST - (time.monotonic() - began)))
        wrong = []
        if process.exitcode is None:
            process.kill()
            process.join()
            wrong.append(f"it has not ended after {LONGEST:.0f} s")
        elif process.exitcode not in expected:
            wrong.append(f"exit code {process.exitcode}, not {sorted(expected)}")
        text = self.text(log)
        shows = trouble.shows if moment is not Moment.UNWATCHED or not trouble.then else ()
        if shows and not any(word in text for word in shows):
            wrong.append(f"none of {shows} is shown")
        if process.exitcode == 0:
            wrong += self.missing_results()
        wrong += self.left_over()
        if wrong:
            wrong.append(text[-4000:])
        return wrong

    # --- the spec --------------------------------------------------------------------------

    def write(self) -> None:
        """Write the spec; create an existing pool."""
        trouble = self.cell.trouble.name
        start = _STARTS.get(trouble)
        hold = f"until test -e {self.folder}/go; do sleep 0.1; done"
        command = f"{hold}; {_STORE}"
        stage, more = "retries: 0", ""
        if self.cell.moment is Moment.SPEC:
            command = _STORE
        if trouble == "task-fails":
            command = "exit 5"
        if trouble == "task-hangs":
            command = "sleep 1000"
        if trouble == "output-blob-deleted":
            # One task ends before the fault, and the other one after it.
            command = f"if test {{{{ value }}}} = 1; then {command}; else {_STORE}; fi"
        if trouble.startswith("input-"):
            (self.folder / "data").mkdir()
            (self.folder / "data" / "a.txt").write_text("a\n")
            more = "late: {needs: [work], for_each: {files: input}, command: cat a.txt, retries: 0}"
        if trouble == "dependency-deleted":
            gate = json.dumps({"id": "gate", "command": hold})
            after = "{id: after, command: 'true', depends_on: {task_ids: [gate]}}"
            more = f"gate: {gate}\n  after: {after}"
        if trouble == "dependency-failed":
            command, more = "exit 5", "after: {command: 'true', needs: [work]}"
        job = "prepare: {command: exit 3}" if trouble == "preparation-fails" else "priority: 0"
        pool = POOLS[self.cell.kind].format(
            name=self.name,
            machine=MACHINE,
            start=f", start_task: {{command: {start}}}" if start else "",
        )
        own = self.cell.kind in (PoolKind.FIXED, PoolKind.SCALED)
        spec = SPEC.format(
            name=self.name,
            pool=pool,
            limit=self.limit,
            job=job,
            command=json.dumps(command),
            stage=stage,
            more=more,
            input=f"input: {{id: {self.name}-input, upload: [data/*]}}" if "late" in more else "",
            required=str(trouble == "output-blob-deleted").lower(),
            cleanup="always" if own else "never",
        )
        (self.folder / "run.yaml").write_text(spec)
        if self.cell.kind is PoolKind.EXISTING:
            self.make_pool(start)

    def make_pool(self, start: str | None) -> None:
        """Create the pool of another client."""
        image = models.BatchVmImageReference(
            publisher="canonical", offer="ubuntu-24_04-lts", sku="server"
        )
        self.bench.batch.create_pool(
            models.BatchPoolCreateOptions(
                id=self.name,
                vm_size="standard_d2s_v5",
                target_dedicated_nodes=1,
                task_slots_per_node=4,
                virtual_machine_configuration=models.VirtualMachineConfiguration(
                    image_reference=image, node_agent_sku_id="batch.node.ubuntu 24.04"
                ),
                start_task=models.BatchStartTask(
                    command_line=f"/bin/sh -c '{start}'", wait_for_success=True
                )
                if start
                else None,
            )
        )

    # --- commands --------------------------------------------------------------------------

    def start(self, log: str) -> BaseProcess:
        """Start ``batchspec apply``."""
        environ = clean_environ({"BATCHSPEC_LOCAL_HOME": str(self.bench.endpoints.data)})
        path = self.folder / log
        words = ["apply", str(self.folder / "run.yaml"), "-y", "--progress", "json"]
        process = CONTEXT.Process(
            target=run_child, args=(words, self.folder, environ, path, path), daemon=True
        )
        process.start()
        return process

    def text(self, log: str) -> str:
        """The output of a command."""
        path = self.folder / log
        return path.read_text() if path.exists() else ""

    def until_running(self, process: BaseProcess, log: str) -> bool:
        """Wait until a task runs."""
        end = time.monotonic() + LONGEST
        while process.is_alive() and time.monotonic() < end:
            for line in self.text(log).splitlines():
                if '"tasks_seen"' in line and json.loads(line)["running"]:
                    return True
            process.join(0.05)
        return False

    def leave(self, process: BaseProcess) -> None:
        """Stop watching: by Ctrl-C or by a kill."""
        assert process.pid is not None
        killed = self.cell.trouble.name == "client-killed"
        os.kill(process.pid, signal.SIGKILL if killed else signal.SIGINT)
        process.join(LONGEST)

    # --- the fault -------------------------------------------------------------------------

    def cause(self) -> None:
        """The action of another client."""
        batch, name = self.bench.batch, self.name
        match self.cell.trouble.name:
            case "job-terminated":
                # The model of these options is not public in azure-batch 15.1.
                reason: Any = {"terminateReason": "AnotherClient"}
                batch.begin_terminate_job(name, reason)
            case "job-deleted":
                batch.begin_delete_job(name)
            case "dependency-deleted":
                batch.delete_task(name, "gate")
                (self.folder / "go").touch()
            case "job-disabled":
                options = models.BatchJobDisableOptions(disable_tasks="requeue")
                batch.begin_disable_job(name, options)
            case "pool-deleted":
                batch.begin_delete_pool(name)
            case "output-container-deleted":
                self.bench.blobs.delete_container(f"{name}-output")
                (self.folder / "go").touch()
            case "output-blob-deleted":
                output = self.bench.blobs.get_container_client(f"{name}-output")
                wait_until(lambda: next(output.list_blob_names(), None) is not None)
                output.delete_blob(next(output.list_blob_names()))
                (self.folder / "go").touch()
            case "input-blob-deleted":
                self.bench.blobs.get_blob_client(f"{name}-input", "a.txt").delete_blob()
                (self.folder / "go").touch()
            case "input-container-deleted":
                self.bench.blobs.delete_container(f"{name}-input")
                (self.folder / "go").touch()

    # --- afterwards ------------------------------------------------------------------------

    def missing_results(self) -> list[str]:
        """The results that are not on disk although the run is complete."""
        found = len(list((self.folder / "results").glob("*.out")))
        return [] if found == 2 else [f"done, with {found} of 2 results"]

    def left_over(self) -> list[str]:
        """Pools that exist and must not, or the reverse."""
        pools = {pool.id: pool for pool in self.bench.batch.list_pools()}
        pool = pools.get(self.name)
        if self.cell.kind is PoolKind.EXISTING:
            if pool is None and self.cell.trouble.name != "pool-deleted":
                return ["the existing pool was deleted"]
            return []
        if self.cell.kind in (PoolKind.FIXED, PoolKind.SCALED) and pool is not None:
            return [f"the pool is left in state {pool.state}"]
        return []

    def forget(self) -> None:
        """Delete the objects of a cell."""
        for delete in (self.bench.batch.begin_delete_job, self.bench.batch.begin_delete_pool):
            try:
                delete(self.name)
            except HttpResponseError as error:
                if error.status_code not in (404, 409):
                    raise
