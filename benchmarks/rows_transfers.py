"""Rows: uploads and downloads, compared with plain requests and rclone."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import accounts
from measuring import Contender, Row, Setting
from peers import BATCHSPEC, FLOORS, RCLONE, available
from rows_files import SPEC, make_files

DOWNLOAD = """\
version: 1
name: bench-get
containers: {{output: {{id: "{container}"}}}}
pool: {{vm_size: standard_d2s_v5, nodes: 1, image: ubuntu-24.04}}
job: {{max_wall_clock_time: 1h}}
tasks:
  one: {{command: "true", logs: false}}
results: [{{container: output, to: results/}}]
cleanup: {{containers: never, job: never, pool: never}}
"""
_FEW = 10
"""Files of so many are deleted before each run. More are kept until the end of all rows.

For some minutes, ext4 does not use the inodes of deleted files again, and each new file beside them
is a search past all of these (``recently_deleted`` in fs/ext4/ialloc.c of Linux): after 2,000
deletions, a new file took 0.3 ms instead of 0.03.
"""


def _upload(number: int) -> Row:
    @contextmanager
    def contenders(setting: Setting) -> Iterator[Sequence[Contender]]:
        container = "bench-upload"
        make_files(setting.folder / "files", number, 10240)
        (setting.folder / "run.yaml").write_text(SPEC.format(container=container))
        url = accounts.create_container(setting, container)

        def delete() -> None:
            accounts.delete_container(setting, container)

        def empty() -> None:
            delete()
            accounts.create_container(setting, container)

        apply = [*BATCHSPEC, "apply", "run.yaml", "-y", "--target-step", "upload:input"]
        found: list[Contender] = [
            Contender("batchspec apply", apply, prepare=delete),
            Contender(
                "plain PUT requests",
                [*FLOORS, "put", "files"],
                1 / 0.85,
                {"BENCH_URL": url},
                prepare=empty,
            ),
            Contender(
                "imports, MD5, PUT",
                [*FLOORS, "upload", "files"],
                None,
                {"BENCH_URL": url},
                prepare=empty,
            ),
        ]
        if available(RCLONE):
            line = [str(RCLONE), "copy", "files", *accounts.rclone(url)]
            found.append(Contender("rclone copy", line, 1 / 1.3, prepare=empty))
        yield found

    return Row("upload", "upload", f"{number:,} x 10 KiB", contenders, rounds=3)


def _download(name: str, number: int, size: int, shown: str) -> Row:
    @contextmanager
    def contenders(setting: Setting) -> Iterator[Sequence[Contender]]:
        container = f"bench-{name}"
        spec = DOWNLOAD.format(container=container).replace("bench-get", f"bench-{name}")
        (setting.folder / "run.yaml").write_text(spec)
        setting.run([*BATCHSPEC, "local", "start"])
        setting.run([*BATCHSPEC, "apply", "run.yaml", "-y"])
        url = accounts.create_container(setting, container)
        files = setting.folder / "files"
        files.mkdir()
        block = os.urandom(min(size, 1 << 20))
        names = [f"file-{index:06}.dat" for index in range(number)]
        for each in names:
            with (files / each).open("wb") as file:
                for _ in range(size // len(block)):
                    file.write(block)
        (setting.folder / "names.txt").write_text("\n".join(names))
        setting.run([*FLOORS, "put", "files"], BENCH_URL=url)
        shutil.rmtree(files)

        (setting.folder / "earlier").mkdir()
        runs = itertools.count()

        def clear() -> None:
            run = next(runs)
            for folder in (setting.folder / "results", setting.folder / ".batchspec"):
                if folder.exists():
                    folder.rename(setting.folder / "earlier" / f"{run}{folder.name}")
            if number <= _FEW:
                shutil.rmtree(setting.folder / "earlier")
                (setting.folder / "earlier").mkdir()
            Path(setting.folder, "results").mkdir()

        line = [*BATCHSPEC, "download", "run.yaml", "-y"]
        get = [*FLOORS, "get", "names.txt", "results"]
        whole = [*FLOORS, "download", "results"]
        address = {"BENCH_URL": url}
        found = [
            Contender("batchspec download", line, prepare=clear),
            Contender("plain GET requests", get, None, address, clear),
            Contender("imports, GET, MD5, atomic files", whole, None, address, clear),
        ]
        if available(RCLONE):
            remote, *options = accounts.rclone(url)
            copy = [str(RCLONE), "copy", remote, "results", *options]
            found.append(Contender("rclone copy", copy, 1.0, prepare=clear))
        yield found

    return Row(name, f"download, {shown}", "", contenders, rounds=3, memory=100)


def rows(*, quick: bool) -> tuple[Row, ...]:
    """The rows of this module; quick: smaller ones."""
    number, size = (200, 32) if quick else (2000, 256)
    return (
        _upload(number),
        _download("download-small", number, 10240, f"{number:,} x 10 KiB"),
        _download("download-large", 2, size << 20, f"2 x {size} MiB"),
    )
