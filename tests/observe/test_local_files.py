"""Finding the files of a spec: names, exclusions, and every problem with its position."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from batchspec.diagnostics import Diagnostic, Diagnostics
from batchspec.observe import Spool, scan
from batchspec.observe.local_files import _hashed
from batchspec.plan.observed import LocalFile
from batchspec.spec import read_spec

SPEC = """\
version: 1
name: disk
containers:
  input:
    upload: {upload}
pool: {{vm_size: standard_d2s_v5, nodes: 1, image: ubuntu-24.04}}
job: {{max_wall_clock_time: 1h}}
tasks:
  one: {{command: "true"}}
"""


def found(folder: Path, upload: str) -> tuple[list[LocalFile], tuple[Diagnostic, ...]]:
    """What a scan of one container's uploads finds."""
    path = folder / "spec.yaml"
    path.write_text(SPEC.format(upload=upload), encoding="utf-8")
    problems = Diagnostics()
    with Spool() as spool:
        scan(read_spec(path).containers.values(), spool, problems)
        return list(spool.files("input")), problems.found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.txt", "b.txt", "b.bak", "deep/c.txt", "deep/er/d.txt", ".hidden.txt"):
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path


@pytest.mark.parametrize(
    ("upload", "names"),
    [
        ("[data/*.txt]", ["a.txt", "b.txt"]),
        ("['data/**/*.txt']", ["a.txt", "b.txt", "deep/c.txt", "deep/er/d.txt"]),
        ("[data/a.txt]", ["a.txt"]),
        ("[data/d*/*.txt]", ["deep/c.txt"]),
        ("[{files: data/*, exclude: ['*.bak']}]", ["a.txt", "b.txt"]),
        ("[{files: data/*.txt, path: in/}]", ["in/a.txt", "in/b.txt"]),
        ("[data/*.txt, data/a.txt]", ["a.txt", "b.txt"]),
    ],
)
def test_the_tree_below_the_fixed_part_is_kept(folder: Path, upload: str, names: list[str]) -> None:
    files, problems = found(folder, upload)
    assert [file.blob for file in files] == names
    assert not problems
    for file in files:
        data = file.path.read_bytes()
        assert (file.size, file.md5) == (len(data), hashlib.md5(data).digest())


def test_all_problems_are_reported_with_their_entry(folder: Path) -> None:
    _, problems = found(folder, "[data/*.csv, data/zzz.txt, data, data/deep/*.txt]")
    assert [problem.code for problem in problems] == ["no-match", "missing-file", "no-match"]
    assert all(problem.where and problem.where.line == 5 for problem in problems)
    columns = [problem.where.column for problem in problems if problem.where]
    assert columns == sorted(set(columns))
    assert "data/**" in problems[2].fix


@pytest.mark.parametrize(
    ("entry", "fix"),
    [
        ("data/a.tx", "Did you mean `data/a.txt`?"),
        ("data/zzz.csv", "The nearest folder that exists is `data`."),
        ("dat/a.txt", "The nearest folder that exists is `.`."),
    ],
)
def test_a_missing_file_is_reported_with_a_similar_name(
    folder: Path, monkeypatch: pytest.MonkeyPatch, entry: str, fix: str
) -> None:
    monkeypatch.chdir(folder)
    _, problems = found(Path(), f"[{entry}]")
    assert [problem.code for problem in problems] == ["missing-file"]
    assert problems[0].fix == fix


def test_two_files_for_one_blob_are_reported(folder: Path) -> None:
    (folder / "data" / "deep" / "a.txt").write_text("other")
    _, problems = found(folder, "[data/*.txt, data/deep/*.txt]")
    assert [problem.code for problem in problems] == ["same-blob-name"]
    assert "a.txt" in problems[0].detail


def test_a_pattern_that_finds_a_file_twice_uploads_it_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("batchspec.observe.local_files._BATCH", 1)
    monkeypatch.setattr("batchspec.observe.globs._TOGETHER", 1)
    (folder / "data" / "deep" / "er" / "deep").mkdir()
    (folder / "data" / "deep" / "er" / "deep" / "e.txt").touch()
    files, problems = found(folder, "['data/**/deep/**/*.txt']")
    assert [file.blob for file in files] == ["deep/c.txt", "deep/er/d.txt", "deep/er/deep/e.txt"]
    assert not problems


def test_files_of_one_folder_are_sorted_and_checked_together(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("batchspec.observe.globs._TOGETHER", 3)
    names = [f"{number:03}" for number in range(100)]
    for name in names:
        (folder / "data" / name).write_text(name)
    os.mkfifo(folder / "data" / "050-pipe")
    (folder / "data" / "051-link").symlink_to("nothing")
    files, problems = found(folder, "[{files: data/**, path: in/, exclude: ['*.*']}]")
    assert [file.blob for file in files] == [f"in/{name}" for name in names]
    assert sorted(problem.code for problem in problems) == ["not-a-file", "unreadable-file"]


@pytest.mark.parametrize("name", ["new\nline.txt", "a\\b.txt", "\x7f.txt"])
def test_an_invalid_blob_name_is_reported(folder: Path, name: str) -> None:
    (folder / "data" / name).write_text("x")
    _, problems = found(folder, "[data/*.txt]")
    assert [problem.code for problem in problems] == ["bad-blob-name"]


def test_a_name_that_is_not_unicode_is_reported(folder: Path) -> None:
    os.close(os.open(bytes(folder / "data") + b"/\xff.txt", os.O_CREAT))
    _, problems = found(folder, "[data/*.txt]")
    assert [problem.code for problem in problems] == ["bad-blob-name"]


@pytest.mark.parametrize("upload", ["[data/*.txt]", "[data/**]"])
def test_an_object_that_is_not_a_file_is_reported(folder: Path, upload: str) -> None:
    os.mkfifo(folder / "data" / "pipe.txt")
    _, problems = found(folder, upload)
    assert [problem.code for problem in problems] == ["not-a-file"]


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user can read."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_unreadable_files_are_found_without_root(open_folder: Path) -> None:
    """Runs as a user without permissions; root switches to this user first."""
    (open_folder / "data").mkdir()
    (open_folder / "data" / "a.txt").write_text("a")
    (open_folder / "data" / "a.txt").chmod(0)
    (open_folder / "closed").mkdir()
    (open_folder / "closed" / "a.txt").write_text("a")
    (open_folder / "closed").chmod(0)
    (open_folder / "spec.yaml").touch()
    (open_folder / "spec.yaml").chmod(0o666)
    os.seteuid(65534)
    try:
        _, problems = found(open_folder, "[data/*.txt, closed/*.txt]")
    finally:
        os.seteuid(0)
    assert [problem.code for problem in problems] == ["unreadable-file", "unreadable-file"]
    assert all("Permission denied" in problem.summary for problem in problems)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_is_reported(folder: Path) -> None:
    (folder / "data" / "a.txt").chmod(0)
    _, problems = found(folder, "[data/*.txt]")
    assert [problem.code for problem in problems] == ["unreadable-file"]


@pytest.mark.parametrize("upload", ["[data/*.txt]", "[data/**]"])
def test_a_broken_link_is_reported(folder: Path, upload: str) -> None:
    (folder / "data" / "x.txt").symlink_to("gone/y.txt")
    (folder / "data" / "z.txt").symlink_to("z.txt")
    _, problems = found(folder, upload)
    assert [problem.code for problem in problems] == ["unreadable-file", "unreadable-file"]
    assert sorted(problem.detail for problem in problems) == [
        "It is a link to gone/y.txt.",
        "It is a link to z.txt.",
    ]
    assert all(problem.fix.startswith("Fix the link,") for problem in problems)


@pytest.mark.parametrize("part", [0, 1, 64 << 10, 1 << 20])
@pytest.mark.parametrize("more", [-1, 0, 1])
def test_all_bytes_of_a_file_are_hashed(folder: Path, part: int, more: int) -> None:
    content = os.urandom(max(0, part + more))
    (folder / "data" / "a.txt").write_bytes(content)
    files, problems = found(folder, "[data/a.txt]")
    assert not problems
    md5 = hashlib.md5(content, usedforsecurity=False).digest()
    assert [(file.size, file.md5) for file in files] == [(len(content), md5)]


def test_a_file_that_is_longer_than_its_facts_say_is_read_to_its_end() -> None:
    # As in /proc, where the size of a file is 0.
    reading, writing = os.pipe()
    os.write(writing, b"abc")
    os.close(writing)
    assert _hashed(reading, 0) == (3, hashlib.md5(b"abc", usedforsecurity=False).digest())
    os.close(reading)


@pytest.mark.parametrize(
    ("pattern", "path", "included"),
    [
        ("data/*.txt", "data/a.txt", True),
        ("data/*.txt", "data/x/a.txt", False),
        ("data/**", "data/x/y/a.txt", True),
        ("data/**/*.txt", "data/a.txt", True),
        ("data/**/y/*.txt", "data/x/y/a.txt", True),
        ("data/**/y/*.txt", "data/x/a.txt", False),
        ("**/*", "data/a.txt", True),
        ("**/*", ".hidden/a.txt", False),
        ("**/*", "data/.hidden", False),
        ("data/.*", "data/.hidden", True),
        ("data/a.txt", "data/a.txt", True),
        ("data/a.txt", "data/b.txt", False),
        ("../other/*", "../other/a.txt", True),
        ("data/**/*", "data/skip/x/a.txt", False),
        ("data/**/*", "data/x/a.skip", False),
    ],
)
def test_a_pattern_includes_the_files_that_it_finds(
    pattern: str, path: str, *, included: bool, tmp_path: Path
) -> None:
    folder = tmp_path / "spec"
    folder.mkdir()
    file = Path(os.path.normpath(folder / path))
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("", encoding="utf-8")
    upload = f'[{{files: "{pattern}", exclude: ["skip/*", "*.skip"]}}]'
    files, _ = found(folder, upload)
    assert (file in [each.path.resolve() for each in files]) is included
    (entry,) = read_spec(folder / "spec.yaml").containers["input"].upload
    assert entry.includes(file) is included
