"""Rows: a whole run on a slow network, and the bytes of watching a job."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import accounts
from measuring import Contender, Figure, MeasurementError, Row, Setting
from peers import BATCHSPEC, FLOORS
from rows_files import make_files
from slow_network import Proxy, running, through

MAKESPAN = """\
version: 1
name: bench-makespan
parameters: {run: {type: string}}
containers:
  input: {id: "makespan-{{ run }}", upload: [files/**]}
pool: {id: "makespan-{{ run }}", vm_size: standard_d2s_v5, nodes: 2, image: ubuntu-24.04,
       task_slots_per_node: 4}
job: {id: "makespan-{{ run }}", max_wall_clock_time: 1h}
tasks:
  work: {for_each: {range: [1, 40]}, command: sleep 2, logs: false}
cleanup: {job: never, pool: never, containers: never}
"""
WATCH = """\
version: 1
name: bench-watch
pool: {{id: bench-watch, vm_size: standard_d2s_v5, nodes: 1, image: ubuntu-24.04}}
job: {{id: bench-watch, max_wall_clock_time: 10h}}
tasks:
  work: {{for_each: {{range: [1, {number}]}}, command: "true", logs: false}}
cleanup: {{job: never, pool: never}}
"""
_LATENCY, _RATE = 0.05, 20e6
_SLOTS, _TASKS, _TASK = 8, 40, 2.0
_AT_ONCE = 16
_WATCHED = 60


def critical_path(files: int, size: int, allocation: float) -> float:
    """The shortest time of the run in seconds, by its latencies alone.

    Files are uploaded, 16 requests at a time, while the nodes start; then the tasks run. Before
    that, one request creates the pool; after it, one reads that all tasks are completed.
    """
    uploads = max(files * size / _RATE, files / _AT_ONCE * _LATENCY)
    return 2 * _LATENCY + max(uploads, allocation) + _TASKS / _SLOTS * _TASK


def _makespan(files: int, size: int, allocation: int) -> Row:
    @contextmanager
    def contenders(setting: Setting) -> Iterator[Sequence[Contender]]:
        make_files(setting.folder / "files", files, size)
        (setting.folder / "run.yaml").write_text(MAKESPAN)
        setting.run([*BATCHSPEC, "local", "stop"])
        setting.run([*BATCHSPEC, "local", "start", "--allocation", f"{allocation}s"])
        direct = accounts.accounts(setting)
        batch = Proxy(direct["AZURE_BATCH_ENDPOINT"], _LATENCY, _RATE)
        blobs = Proxy(direct["AZURE_STORAGE_SERVICE_ENDPOINT"], _LATENCY, _RATE)
        apply = [*BATCHSPEC, "apply", "run.yaml", "-y", "--var", "run={round}"]

        def forget() -> None:
            """Delete the cache of MD5s: each round is the first run of its files."""
            shutil.rmtree(setting.folder / ".batchspec", ignore_errors=True)

        with running(batch, blobs):
            seconds = critical_path(files, size, allocation)
            yield (
                Contender("batchspec apply", apply, None, through(direct, batch, blobs), forget),
                Contender("critical path (computed)", (), 1.05, computed=seconds),
            )
        setting.run([*BATCHSPEC, "local", "stop"])

    shown = (
        f"{files:,} x {size / 1e3:.0f} kB at 20 MB/s, 50 ms a request, nodes after {allocation} s,"
        f" {_TASKS} tasks of {_TASK:.0f} s in {_SLOTS} slots"
    )
    return Row("makespan", "whole run on a slow network", shown, contenders, rounds=1)


def _watch(number: int) -> Row:
    @contextmanager
    def contenders(setting: Setting) -> Iterator[Sequence[Contender]]:
        (setting.folder / "run.yaml").write_text(WATCH.format(number=number))
        setting.run([*BATCHSPEC, "local", "stop"])
        setting.run([*BATCHSPEC, "local", "start", "--allocation", "24h"])
        direct = accounts.accounts(setting)
        batch = Proxy(direct["AZURE_BATCH_ENDPOINT"], marker=b"/taskcounts?")
        blobs = Proxy(direct["AZURE_STORAGE_SERVICE_ENDPOINT"])
        with running(batch, blobs):
            environ = through(direct, batch, blobs)
            setting.run([*BATCHSPEC, "apply", "run.yaml", "-y", "--detach"], **environ)

            def a_poll() -> float:
                if not batch.markers:
                    raise MeasurementError("watch: no poll was seen")
                # The start of the command, which reads the ids of all tasks once, is not counted.
                return (batch.received - batch.received_before) / batch.markers

            attach = f"timeout -s INT {_WATCHED} {BATCHSPEC[0]} attach run.yaml; true"
            whole = [*FLOORS, "tasks", "bench-watch"]
            yield (
                Contender(
                    "batchspec attach, a poll",
                    ["sh", "-c", attach],
                    environ=environ,
                    prepare=batch.reset,
                    received=a_poll,
                ),
                Contender(
                    "a list of `id` and `state`",
                    [*whole, "id,state"],
                    1 / 50,
                    environ,
                    batch.reset,
                    received=lambda: batch.received,
                ),
                Contender(
                    "a list of all properties",
                    whole,
                    None,
                    environ,
                    batch.reset,
                    received=lambda: batch.received,
                ),
            )
        setting.run([*BATCHSPEC, "local", "stop"])

    title = "bytes of watching a job"
    return Row("watch", title, f"{number:,} tasks", contenders, Figure.RECEIVED, rounds=0)


def rows(*, quick: bool) -> tuple[Row, ...]:
    """The rows of this module; quick: smaller ones."""
    makespan = _makespan(500, 160_000, 20) if quick else _makespan(5000, 160_000, 60)
    return (makespan, _watch(2000 if quick else 10_000))
