"""Folders of results: in use by others, or not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from batchspec.observe.folders import occupied
from batchspec.plan.receipt import receipt_path
from batchspec.spec.model import Result, Spec
from tests.plan.making import WHERE, spec, stage


def into(folder: Path, *, to: str = "results") -> Spec:
    result = Result("output", folder / to, WHERE)
    return replace(spec(stage()), path=folder / "spec.yaml", results=(result,))


@pytest.mark.parametrize(
    ("there", "expected"),
    [((), False), (("a.txt",), True), ((".gitkeep",), False), (("other/a.txt",), False)],
)
def test_other_files_are_seen(tmp_path: Path, there: tuple[str, ...], expected: bool) -> None:
    for name in there:
        path = tmp_path / "results" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    assert occupied(into(tmp_path)) == ({tmp_path / "results"} if expected else frozenset())


def test_what_lies_where_results_have_arrived_is_results(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "a.txt").write_text("x")
    it = into(tmp_path)
    assert occupied(it)
    receipt = receipt_path(it.path, it.name)
    receipt.parent.mkdir(parents=True)
    receipt.write_text("")
    assert not occupied(it)


def test_a_file_in_place_of_the_folder_holds_none(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("x")
    assert not occupied(into(tmp_path))
