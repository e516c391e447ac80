"""The cache of MD5s: which files are read again, permissions, and errors, which only cost time."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import stat
import time
from collections.abc import Iterator
from itertools import chain, repeat
from pathlib import Path

import pytest

from batchspec.api import RunOptions, load_spec_and_files
from batchspec.diagnostics import Diagnostics
from batchspec.observe import FileCache, Spool, file_cache, local_files, scan
from batchspec.spec import read_spec

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows records no change time")

SPEC = """\
version: 1
name: cached
containers:
  input: {upload: [data/*]}
pool: {vm_size: standard_d2s_v5, nodes: 1, image: ubuntu-24.04}
job: {max_wall_clock_time: 1h}
tasks:
  one: {command: "true"}
"""
LATER = 600 * 10**9


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A spec with two files; every file that is read is written to the cache."""
    monkeypatch.setattr(file_cache, "_BATCH", 1)
    (tmp_path / "spec.yaml").write_text(SPEC, encoding="utf-8")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a").write_text("a" * 10)
    (tmp_path / "data" / "b").write_text("b" * 70_000)
    return tmp_path


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the files that were read since the list was last cleared."""
    sizes: list[int] = []
    hashed = local_files._hashed

    def spy(descriptor: int, expected: int) -> tuple[int, bytes]:
        sizes.append(expected)
        return hashed(descriptor, expected)

    monkeypatch.setattr(local_files, "_hashed", spy)
    return sizes


def cache(folder: Path, later: int = LATER) -> FileCache:
    """The cache of a scan that starts ``later`` nanoseconds from now on all clocks."""
    elapsed: Iterator[int] = chain([later], repeat(0))
    path = folder / ".batchspec" / "files.sqlite3"
    return FileCache(path, lambda: time.time_ns() + later, lambda: next(elapsed))


def scanned(folder: Path, used: FileCache) -> None:
    """Scan the files with this cache; the result is that of reading them."""
    problems = Diagnostics()
    with Spool() as spool, used:
        containers = read_spec(folder / "spec.yaml").containers.values()
        scan(containers, spool, problems, cache=used)
        files = {file.path.name: (file.size, file.md5) for file in spool.files("input")}
    assert not problems.found
    paths = (folder / "data").iterdir()
    assert files == {
        path.name: (path.stat().st_size, hashlib.md5(path.read_bytes()).digest()) for path in paths
    }


def test_an_unchanged_file_is_not_read_again(folder: Path, read: list[int]) -> None:
    scanned(folder, cache(folder))
    assert sorted(read) == [10, 70_000]
    read.clear()
    scanned(folder, cache(folder))
    assert read == []


def test_a_changed_file_is_read_also_if_its_size_and_time_are_the_same(
    folder: Path, read: list[int]
) -> None:
    scanned(folder, cache(folder))
    read.clear()
    path = folder / "data" / "a"
    times = path.stat()
    path.write_text("A" * 10)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    scanned(folder, cache(folder))
    assert read == [10]


def test_a_file_that_takes_the_place_of_another_is_read(folder: Path, read: list[int]) -> None:
    scanned(folder, cache(folder))
    read.clear()
    old = (folder / "data" / "a").stat()
    new = folder / "new"
    new.write_text("A" * 10)
    os.utime(new, ns=(old.st_atime_ns, old.st_mtime_ns))
    new.replace(folder / "data" / "a")
    scanned(folder, cache(folder))
    assert read == [10]


@pytest.mark.parametrize("renamed", [False, True])
def test_old_facts_of_a_network_file_system_are_not_trusted(
    folder: Path, read: list[int], monkeypatch: pytest.MonkeyPatch, renamed: bool
) -> None:
    scanned(folder, cache(folder))
    path = folder / "data" / "a"
    kept, stat_of = path.stat(), os.stat
    monkeypatch.setattr(os, "major", lambda device: 0)
    read.clear()
    scanned(folder, cache(folder))
    assert read == [], "a file that has not changed is not read"
    written = folder / "new" if renamed else path
    written.write_text("A" * 10)
    if renamed:
        written.replace(path)

    def kept_facts(name: str | Path, **options: object) -> os.stat_result:
        return kept if os.fspath(name) == os.fspath(path) else stat_of(name)

    monkeypatch.setattr(os, "stat", kept_facts)
    scanned(folder, cache(folder))
    assert read == [10]


@pytest.mark.parametrize("later", [0, 10**9, 59 * 10**9])
def test_a_file_that_has_just_changed_is_read_again(
    folder: Path, read: list[int], later: int
) -> None:
    scanned(folder, cache(folder, later))
    read.clear()
    scanned(folder, cache(folder, later))
    assert sorted(read) == [10, 70_000]


def test_a_file_counts_as_young_if_one_of_the_two_clocks_shows_it(
    folder: Path, read: list[int]
) -> None:
    path = folder / ".batchspec" / "files.sqlite3"
    behind = chain([LATER], repeat(0))
    scanned(folder, FileCache(path, time.time_ns, lambda: next(behind)))
    scanned(folder, FileCache(path, lambda: time.time_ns() + LATER))
    read.clear()
    scanned(folder, cache(folder))
    assert sorted(read) == [10, 70_000]


def test_a_few_files_create_no_cache(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_cache, "_BATCH", 3)
    scanned(folder, cache(folder))
    assert not (folder / ".batchspec").exists()
    monkeypatch.setattr(file_cache, "_LARGE", 70_000)
    scanned(folder, cache(folder))
    assert (folder / ".batchspec" / ".gitignore").read_text().endswith("*\n")


def test_only_its_owner_can_read_the_cache(folder: Path, read: list[int]) -> None:
    scanned(folder, cache(folder))
    path = folder / ".batchspec" / "files.sqlite3"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    read.clear()
    path.chmod(0o620)
    scanned(folder, cache(folder))
    assert sorted(read) == [10, 70_000]


def test_a_cache_of_another_version_or_too_large_starts_again(
    folder: Path, read: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("_VERSION", 3), ("_MOST", 0)):
        scanned(folder, cache(folder))
        read.clear()
        monkeypatch.setattr(file_cache, name, value)
        scanned(folder, cache(folder))
        assert sorted(read) == [10, 70_000]


@pytest.mark.parametrize("damage", [b"not a database" * 1000, b""])
def test_a_damaged_cache_is_replaced(folder: Path, read: list[int], damage: bytes) -> None:
    scanned(folder, cache(folder))
    (folder / ".batchspec" / "files.sqlite3").write_bytes(damage)
    scanned(folder, cache(folder))
    scanned(folder, cache(folder))
    read.clear()
    scanned(folder, cache(folder))
    assert read == []


def test_a_row_of_another_form_is_damage(folder: Path, read: list[int]) -> None:
    scanned(folder, cache(folder))
    with sqlite3.connect(folder / ".batchspec" / "files.sqlite3") as db:
        db.execute("UPDATE block SET files = x'00'")
    db.close()
    for expected in ([10, 70_000], [10, 70_000], []):
        read.clear()
        scanned(folder, cache(folder))
        assert sorted(read) == expected


def test_files_of_many_blocks_are_found(
    folder: Path, read: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_cache, "_BLOCK_BITS", 2)
    monkeypatch.setattr(file_cache, "_BLOCKS", 3)
    monkeypatch.setattr(file_cache, "_BATCH", 7)
    for number in range(100):
        (folder / "data" / f"{number:03}").write_text(f"{number}")
    scanned(folder, cache(folder))
    monkeypatch.setattr(file_cache, "_BATCH", 1)
    scanned(folder, cache(folder))
    read.clear()
    scanned(folder, cache(folder))
    assert read == []
    (folder / "data" / "050").write_text("fifty")
    scanned(folder, cache(folder))
    assert read == [5]


def test_a_cache_that_is_created_while_a_pattern_is_read_contains_its_files(
    folder: Path, read: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_files, "_BATCH", 1)
    (folder / "spec.yaml").write_text(SPEC.replace("data/*", "'**/data/**'"), encoding="utf-8")
    (folder / "more" / "data").mkdir(parents=True)
    (folder / "more" / "data" / "c").write_text("c" * 5)

    def scanned_again() -> list[int]:
        read.clear()
        problems = Diagnostics()
        with Spool() as spool, cache(folder) as used:
            containers = read_spec(folder / "spec.yaml").containers.values()
            scan(containers, spool, problems, cache=used)
            assert len(spool.files("input")) == 3
        assert not problems.found
        return sorted(read)

    assert scanned_again() == [5, 10, 70_000]
    assert scanned_again() == []


def test_no_cache_if_its_folder_cannot_be_created(folder: Path) -> None:
    (folder / ".batchspec").write_text("a file")
    scanned(folder, cache(folder))


def test_two_processes_use_one_cache(folder: Path, read: list[int]) -> None:
    with cache(folder) as first, cache(folder) as second:
        for each, name in ((first, "a"), (second, "b")):
            path = folder / "data" / name
            each.add([path.stat()], [hashlib.md5(path.read_bytes()).digest()])
    scanned(folder, cache(folder))
    assert read == []


def test_a_scan_does_not_wait_for_a_process_that_writes_the_cache(
    folder: Path, read: list[int]
) -> None:
    (folder / "data" / "a").rename(folder / "a")
    scanned(folder, cache(folder))
    (folder / "a").rename(folder / "data" / "a")
    path = folder / ".batchspec" / "files.sqlite3"
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    read.clear()
    scanned(folder, cache(folder))
    assert read == [10]
    other.close()
    scanned(folder, cache(folder))
    read.clear()
    scanned(folder, cache(folder))
    assert read == []


def test_commands_use_the_cache_next_to_the_spec(folder: Path) -> None:
    with load_spec_and_files(RunOptions(folder / "spec.yaml", {}, (), None, {})) as (_, spool):
        assert len(spool.files("input")) == 2
    assert (folder / ".batchspec" / "files.sqlite3").exists()
