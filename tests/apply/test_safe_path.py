"""Results are written only inside their folder."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchspec.apply.safe_path import ResultPaths
from batchspec.diagnostics import ServiceError


def test_folders_are_kept_unless_flat(tmp_path: Path) -> None:
    assert ResultPaths(tmp_path, flat=False).path("a/b c.txt") == tmp_path / "a" / "b c.txt"
    assert ResultPaths(tmp_path, flat=True).path("a/b c.txt") == tmp_path / "b c.txt"


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/passwd", "..", "", "a\\b", "a\0b"])
def test_a_name_that_leads_out_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ServiceError):
        ResultPaths(tmp_path, flat=False).path(name)


def test_a_link_that_leads_out_is_refused(tmp_path: Path) -> None:
    inside = tmp_path / "results"
    inside.mkdir()
    (inside / "link").symlink_to(tmp_path)
    with pytest.raises(ServiceError):
        ResultPaths(inside, flat=False).path("link/x")


def test_a_link_beside_other_results_is_refused(tmp_path: Path) -> None:
    """The folder is resolved once, and each name in it is checked."""
    inside = tmp_path / "results"
    inside.mkdir()
    paths = ResultPaths(inside, flat=False)
    assert paths.path("a") == inside / "a"
    (inside / "link").symlink_to(tmp_path / "outside")
    with pytest.raises(ServiceError):
        paths.path("link")
    (inside / "folder").symlink_to(tmp_path)
    with pytest.raises(ServiceError):
        paths.path("folder/b")
    assert paths.path("b") == inside / "b"


def a_path(paths: ResultPaths, name: str) -> Path | None:
    try:
        return paths.path(name)
    except ServiceError:
        return None


_LAST = st.sampled_from(["x", ".", "..", "", ".git", ".GIT", "a b", "é", "c:", "x/..", "link", "/"])
_FOLDER = st.sampled_from(["", "a", "a/b", "a//b", ".", "..", ".git", "/", "out", "in"])


@given(st.lists(st.builds("{}/{}".format, _FOLDER, _LAST) | _LAST, max_size=6), st.booleans())
def test_a_path_does_not_depend_on_the_names_before_it(names: list[str], flat: bool) -> None:
    with TemporaryDirectory() as outside:
        folder = Path(outside, "results")
        (folder / "a").mkdir(parents=True)
        (folder / "out").symlink_to(outside)
        (folder / "in").symlink_to(folder / "a")
        (folder / "a" / "link").symlink_to(Path(outside, "file"))
        (folder / "link").symlink_to(folder / "a" / "x")
        paths = ResultPaths(folder, flat=flat)
        for name in names:
            assert a_path(paths, name) == a_path(ResultPaths(folder, flat=flat), name)


@given(st.text(min_size=1, max_size=40))
def test_no_name_leads_out(name: str) -> None:
    folder = Path("/somewhere/results")
    try:
        place = ResultPaths(folder, flat=False).path(name)
    except ServiceError:
        return
    assert place.resolve().is_relative_to(folder)


@pytest.mark.parametrize("name", [".git/hooks/x", "a/.GIT/config", ".batchspec/x/results.jsonl"])
def test_no_result_in_folders_of_git_and_batchspec(name: str, tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match="leads into"):
        ResultPaths(tmp_path, flat=False).path(name)


def test_no_result_if_the_results_folder_is_in_git(tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match="leads into"):
        ResultPaths(tmp_path / ".git" / "hooks", flat=True).path("pre-commit")
    assert ResultPaths(tmp_path, flat=False).path(".gitignore") == tmp_path / ".gitignore"
