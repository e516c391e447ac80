"""Archives of application packages: equal files produce equal archives, with their modes."""

from __future__ import annotations

import hashlib
import os
import zipfile
from pathlib import Path
from threading import Event

import pytest

from batchspec.apply import RunCancelled, upload
from batchspec.apply.upload import build_archive
from batchspec.diagnostics import StalePlanError
from batchspec.plan.actions import UploadPackage
from batchspec.plan.observed import LocalFile


def a_file(folder: Path, name: str, content: bytes, mode: int = 0o644) -> LocalFile:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(mode)
    return LocalFile(name, str(path), len(content), hashlib.md5(content).digest())


def test_equal_files_produce_equal_archives(tmp_path: Path) -> None:
    found = []
    for name, time in (("one", 1), ("two", 2_000_000_000)):
        files = [
            a_file(tmp_path / name, "bin/run", b"#!/bin/sh\n", 0o755 if time == 1 else 0o700),
            a_file(tmp_path / name, "data/ü.txt", b"x" * 100_000),
            a_file(tmp_path / name, "empty", b""),
        ]
        for file in files:
            os.utime(file.path, (time, time))
        found.append(build_archive(files, tmp_path / f"{name}.zip"))
    first, second = found
    assert first.path.read_bytes() == second.path.read_bytes()
    assert first.md5 == second.md5 == hashlib.md5(first.path.read_bytes()).digest()
    assert first.size == first.path.stat().st_size < 2_000
    with zipfile.ZipFile(first.path) as archive:
        modes = {each.filename: each.external_attr >> 16 for each in archive.infolist()}
        assert modes == {"bin/run": 0o755, "data/ü.txt": 0o644, "empty": 0o644}
        assert archive.read("data/ü.txt") == b"x" * 100_000
        assert archive.testzip() is None


def test_a_build_stops_when_it_is_no_longer_needed(tmp_path: Path) -> None:
    stop = Event()
    stop.set()
    with pytest.raises(RunCancelled):
        build_archive([a_file(tmp_path, "f", b"planned")], tmp_path / "f.zip", stop)


def test_a_thread_stops_when_the_archive_is_no_longer_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stops: list[Event] = []
    monkeypatch.setattr(upload, "build_archive", lambda *given: stops.append(given[2]))
    file = a_file(tmp_path, "f", b"planned")
    action = UploadPackage("p", "1", (file,), file.size, "")
    with upload.archive_of(action) as build:
        build()
        assert not stops[0].is_set()
    assert stops[0].is_set()


@pytest.mark.parametrize("content", [None, b"other"])
def test_a_file_that_changed_since_the_plan_is_an_error(
    tmp_path: Path, content: bytes | None
) -> None:
    file = a_file(tmp_path, "f", b"planned")
    if content is None:
        file.path.unlink()
    else:
        file.path.write_bytes(content)
    with pytest.raises(StalePlanError, match="changed after the plan was made"):
        build_archive([file], tmp_path / "f.zip")


def test_md5_works_as_a_checksum_with_fips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str, *_: object, **__: object) -> object:
        raise ValueError(f"[digital envelope routines] unsupported: {name}")

    file = a_file(tmp_path, "f", b"content")
    # As in OpenSSL with FIPS: hashes by name count as hashes for security.
    monkeypatch.setattr("hashlib.new", refuse)
    archive = build_archive([file], tmp_path / "f.zip")
    assert archive.md5 == hashlib.md5(archive.path.read_bytes(), usedforsecurity=False).digest()
