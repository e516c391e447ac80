"""Results land inside their folder or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchspec.apply.download import safe_path
from batchspec.diagnostics import ServiceError


def test_folders_are_kept_unless_flat(tmp_path: Path) -> None:
    assert safe_path(tmp_path, "a/b c.txt", flat=False) == tmp_path / "a" / "b c.txt"
    assert safe_path(tmp_path, "a/b c.txt", flat=True) == tmp_path / "b c.txt"


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/passwd", "..", "", "a\\b", "a\0b"])
def test_a_name_that_leads_out_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ServiceError):
        safe_path(tmp_path, name, flat=False)


def test_a_link_that_leads_out_is_refused(tmp_path: Path) -> None:
    inside = tmp_path / "results"
    inside.mkdir()
    (inside / "link").symlink_to(tmp_path)
    with pytest.raises(ServiceError):
        safe_path(inside, "link/x", flat=False)


@given(st.text(min_size=1, max_size=40))
def test_no_name_leads_out(name: str) -> None:
    folder = Path("/somewhere/results")
    try:
        place = safe_path(folder, name, flat=False)
    except ServiceError:
        return
    assert place.resolve().is_relative_to(folder)


@pytest.mark.parametrize("name", [".git/hooks/x", "a/.GIT/config", ".batchspec/x/results.jsonl"])
def test_no_result_in_folders_of_git_and_batchspec(name: str, tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match="leads into"):
        safe_path(tmp_path, name, flat=False)


def test_no_result_in_git_by_the_folder(tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match="leads into"):
        safe_path(tmp_path / ".git" / "hooks", "pre-commit", flat=True)
    assert safe_path(tmp_path, ".gitignore", flat=False) == tmp_path / ".gitignore"
