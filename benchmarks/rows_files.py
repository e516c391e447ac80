"""Rows: plans over local files and over rows."""

from __future__ import annotations

import csv
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import accounts
from measuring import Contender, Figure, Row, Setting
from peers import BATCHSPEC, COMPARE, FLOORS, RCLONE, available
from rows_start import PARTS, SDKS

SPEC = """\
version: 1
name: bench
containers:
  input: {{id: "{container}", upload: [files/**]}}
pool: {{vm_size: standard_d2s_v5, nodes: 1, image: ubuntu-24.04}}
job: {{max_wall_clock_time: 1h}}
tasks:
  one: {{command: "true", logs: false}}
"""
ROWS_SPEC = """\
version: 1
name: bench
containers: {output: {}}
pool: {vm_size: standard_d2s_v5, nodes: 1, image: ubuntu-24.04}
job: {max_wall_clock_time: 1h}
tasks:
  score:
    for_each: {rows: rows.csv}
    command: score --sample {{ sample }} --seed {{ seed }} {{ containers.output.write_url }}
    logs: false
"""
_FOLDER = 500
_YOUNG = 61.0
"""The minimum age in seconds of files in the cache."""


def make_files(folder: Path, number: int, size: int) -> None:
    """Files of this size with different contents, in folders of 500."""
    for index in range(number):
        place = folder / f"{index // _FOLDER:04}"
        if index % _FOLDER == 0:
            place.mkdir(parents=True)
        text = f"{index:08}\n".encode()
        (place / f"file-{index:08}.dat").write_bytes(text * (size // len(text)))


def _plan(number: int, *, again: bool) -> Row:
    @contextmanager
    def contenders(setting: Setting) -> Iterator[Sequence[Contender]]:
        make_files(setting.folder / "files", number, 1024)
        spec = SPEC.format(container="bench-plan")
        (setting.folder / "run.yaml").write_text(spec)
        (setting.folder / "no-files.yaml").write_text(spec.replace(", upload: [files/**]", ""))
        setting.run([*BATCHSPEC, "local", "start"])
        cache = setting.folder / ".batchspec" / "files.sqlite3"
        plan = [*BATCHSPEC, "plan", "run.yaml"]
        modules = (*PARTS, *SDKS)
        first = Contender("plan, first time", plan, 0.2, prepare=lambda: cache.unlink(True))
        if again:
            time.sleep(_YOUNG)
            one = setting.folder / "files" / "0000" / "file-00000000.dat"
            yield (
                Contender("plan again, one file changed", plan, prepare=lambda: _change(one)),
                first,
                # Both together are a lower bound: the start, and a stat of each file.
                Contender("plan without files", [*BATCHSPEC, "plan", "no-files.yaml"]),
                Contender("scandir and stat", [*FLOORS, "stat", "files"]),
                Contender("imports, scandir and stat", [*FLOORS, "stat", "files", *modules]),
            )
        else:
            yield (
                first,
                Contender("scandir and MD5", [*FLOORS, "md5", "files"], 1.5),
                Contender("imports, scandir and MD5", [*FLOORS, "md5", "files", *modules]),
            )

    title = "plan over local files again, one changed" if again else "plan over local files"
    name = "plan-files-again" if again else "plan-files"
    return Row(name, title, f"{number:,} of 1 KiB", contenders, Figure.PROCESSOR, 3, 100)


def _change(path: Path) -> None:
    path.write_bytes(os.urandom(16).hex().encode() * 32)


def _unchanged(number: int) -> Row:
    @contextmanager
    def contenders(setting: Setting) -> Iterator[Sequence[Contender]]:
        make_files(setting.folder / "files", number, 1024)
        time.sleep(_YOUNG)
        (setting.folder / "run.yaml").write_text(SPEC.format(container="bench-unchanged"))
        url = accounts.create_container(setting, "bench-unchanged")
        setting.run([*BATCHSPEC, "apply", "run.yaml", "-y", "--target-step", "upload:input"])
        found: list[Contender] = [
            Contender("batchspec plan", [*BATCHSPEC, "plan", "run.yaml"]),
            Contender("batchspec plan without the account", [*BATCHSPEC, "validate", "run.yaml"]),
            Contender(
                "imports, scandir and a listing",
                [*COMPARE, "files", *PARTS, *SDKS],
                environ={"BENCH_URL": url},
            ),
        ]
        if available(RCLONE):
            line = [str(RCLONE), "check", "files", *accounts.rclone(url)]
            found.append(Contender("rclone check", line, 1.0))
        yield found

    title = "plan, all files uploaded"
    return Row("unchanged", title, f"{number:,} of 1 KiB", contenders, rounds=3)


def _rows(number: int) -> Row:
    @contextmanager
    def contenders(setting: Setting) -> Iterator[Sequence[Contender]]:
        with (setting.folder / "rows.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["sample", "seed", "note"])
            rows = ((f"sample {n:07}", n * 7919 % 104729, "x" * 20) for n in range(number))
            writer.writerows(rows)
        (setting.folder / "run.yaml").write_text(ROWS_SPEC)
        setting.run([*BATCHSPEC, "local", "start"])
        yield (
            Contender("batchspec plan", [*BATCHSPEC, "plan", "run.yaml"]),
            Contender("csv and Jinja in a loop", [*FLOORS, "render", "rows.csv"], 2.0),
        )

    title = "plan over rows"
    return Row("plan-rows", title, f"{number:,}", contenders, Figure.PROCESSOR, 3, 150)


def rows(*, quick: bool) -> tuple[Row, ...]:
    """The rows of this module; quick: smaller ones."""
    files, unchanged, rows = (2000, 1000, 10_000) if quick else (100_000, 10_000, 1_000_000)
    return (
        _plan(files, again=False),
        _plan(files, again=True),
        _unchanged(unchanged),
        _rows(rows),
    )
