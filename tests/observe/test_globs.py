"""Patterns match the same files as `glob`, and circular links end."""

from __future__ import annotations

import glob
import os
from pathlib import Path

import pytest

from batchspec.observe.globs import files_of, glob_matches

FILES = (
    "a.txt",
    "b.bak",
    "d/c.txt",
    "d/e/f.txt",
    "d/e/.h.txt",
    ".g/i.txt",
    "o/d/e/j.txt",
    "[k].txt",
)

PATTERNS = (
    "*.txt", "a.txt", "**", "**/*", "**/*.txt", "*/**", "**/e/*.txt", "**/e/**", "d/**/*.txt",
    "d/**", "**/d/**/*.txt", "**/a.txt", "**/.g/*", "**/.*", "[[]k].txt", "none/**/*.txt",
    "../*/**/*.txt", "**/../*.txt", "**.txt", "o/../d/**/f.txt", "?/**/?.txt",
)  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in FILES:
        path = tmp_path / "root" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "root" / "empty").mkdir()
    (tmp_path / "root" / "linked").symlink_to("d")
    (tmp_path / "root" / "broken.txt").symlink_to("nothing")
    return tmp_path / "root"


@pytest.mark.parametrize("pattern", PATTERNS)
def test_the_files_are_those_of_glob(folder: Path, pattern: str) -> None:
    for whole in (pattern, f"{folder}/{pattern}"):
        expected = glob.glob(whole, root_dir=folder, recursive=True)  # noqa: PTH207
        assert files(folder, glob_matches(folder, whole)) == files(folder, expected)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_files_have_the_facts_of_their_paths(folder: Path, pattern: str) -> None:
    (folder / "d" / "loop.txt").symlink_to("loop.txt")
    (folder / "d" / "up").symlink_to("..")
    for whole in (pattern, f"{folder}/{pattern}"):
        above = "" if whole is not pattern else f"{folder}/"
        found = [
            (start + name, facts)
            for start, *columns in files_of(folder, whole, above, with_facts=True)
            for name, facts in zip(*columns, strict=True)
        ]
        names = [name for name, _ in found]
        matches = [m for m in glob_matches(folder, whole) if not (folder / m).is_dir()]
        assert sorted(map(os.path.normpath, names)) == sorted(map(os.path.normpath, matches))
        for name, facts in found:
            if isinstance(facts, OSError):
                assert not (folder / name).exists()
            else:
                assert os.path.samestat(facts, (folder / name).stat())


def files(folder: Path, names: object) -> list[str]:
    assert hasattr(names, "__iter__")
    return sorted({os.path.normpath(name) for name in names if not (folder / name).is_dir()})


def test_circular_links_end(folder: Path) -> None:
    """Each of the three would double the folders at each of forty levels."""
    before = sorted(glob_matches(folder, "**/*.txt"))
    (folder / "d" / "latest").symlink_to(".")
    (folder / "d" / "e" / "up").symlink_to("../..")
    (folder / "d" / "e" / "whole").symlink_to(folder)
    assert sorted(glob_matches(folder, "**/*.txt")) == before


@pytest.mark.parametrize("pattern", ["**/**/*.txt", "d/**/**/**", "**/**"])
def test_repeated_double_stars_match_each_file_once(folder: Path, pattern: str) -> None:
    (folder / "d" / "e" / "up").symlink_to("../..")
    found = list(glob_matches(folder, pattern))
    once = pattern.replace("**/**", "**").replace("**/**", "**")
    assert sorted(found) == sorted(glob_matches(folder, once))
