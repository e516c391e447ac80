"""Folders of results: files of other programs, missing results, and permissions."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import pytest

from batchspec.observe.results import occupied, read_receipt, unwritable
from batchspec.observe.spool import Spool
from batchspec.plan.receipt import DownloadedFile, receipt_head, receipt_line, receipt_path
from batchspec.spec import Result, Spec
from tests.plan.making import WHERE, spec, stage


def into(folder: Path, *, to: str = "results") -> Spec:
    result = Result("output", folder / to, WHERE)
    return replace(spec(stage()), path=folder / "spec.yaml", results=(result,))


@pytest.mark.parametrize(
    ("there", "expected"),
    [((), False), (("a.txt",), True), ((".gitkeep",), False), (("other/a.txt",), False)],
)
def test_other_files_are_found(tmp_path: Path, there: tuple[str, ...], expected: bool) -> None:
    for name in there:
        path = tmp_path / "results" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    assert occupied(into(tmp_path)) == ({tmp_path / "results": ""} if expected else {})


@pytest.mark.parametrize(("folder", "expected"), [("results", False), ("earlier", True)])
def test_files_in_the_folder_of_a_receipt_are_results(
    tmp_path: Path, folder: str, expected: bool
) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "a.txt").write_text("x")
    it = into(tmp_path)
    assert occupied(it)
    receipt = receipt_path(it.path, it.name)
    receipt.parent.mkdir(parents=True)
    entry = DownloadedFile("out", "b.txt", tmp_path / folder / "b.txt", 1, b"")
    receipt.write_text(
        f"{receipt_head('job', '')}\n{receipt_line(entry, f'../../{folder}/b.txt')}\n"
    )
    assert bool(occupied(it)) is expected


def test_results_of_another_spec_are_attributed_to_it(tmp_path: Path) -> None:
    """Two specs in one folder have the same folder of results, and one file of the same name."""
    one, folder = into(tmp_path), tmp_path / "results"
    two = replace(one, name="two")
    folder.mkdir()
    for it, content in ((one, b"x"), (two, b"y")):
        receipt = receipt_path(it.path, it.name)
        receipt.parent.mkdir(parents=True)
        entry = DownloadedFile("out", "a", folder / "a", 1, hashlib.md5(content).digest())
        lines = receipt_head("job", ""), receipt_line(entry, "../../results/a")
        (folder / "a").write_bytes(content)
        assert occupied(it) == {folder: "" if it is one else one.name}
        receipt.write_text("".join(f"{line}\n" for line in lines))
        assert occupied(it) == {}
    with Spool() as spool:
        first, second = read_receipt(one, spool), read_receipt(two, spool)
    assert first is not None
    assert (first.edited, first.edited_by) == (1, "two")
    assert second is not None
    assert (second.edited, second.edited_by) == (0, "")


def test_deleted_or_edited_results_are_missing(tmp_path: Path) -> None:
    it = into(tmp_path)
    folder, receipt = tmp_path / "results", receipt_path(it.path, it.name)
    folder.mkdir()
    receipt.parent.mkdir(parents=True)
    entries = [
        DownloadedFile("out", name, folder / name, 1, hashlib.md5(b"x").digest(), f"{work:014x}")
        for work, name in enumerate(("same", "edited", "gone"), 1)
    ]
    lines = [
        receipt_head("job", ""),
        *(receipt_line(each, f"../../results/{each.blob}") for each in entries),
    ]
    receipt.write_text("".join(f"{line}\n" for line in lines))
    (folder / "same").write_text("x")
    (folder / "edited").write_text("mine")
    with Spool() as spool:
        found = read_receipt(it, spool)
    assert found is not None
    assert (found.files, found.missing, found.edited) == (3, 2, 1)
    assert found.first_edited == (folder / "edited",)
    assert list(found.works) == [1]


def test_a_file_in_place_of_the_folder_contains_none(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("x")
    assert not occupied(into(tmp_path))


def test_a_folder_that_does_not_exist_is_writable(tmp_path: Path) -> None:
    assert unwritable(into(tmp_path, to="deep/down/results")) == {}


@pytest.mark.parametrize("to", ["taken", "taken/results"])
def test_a_file_in_place_of_a_folder_is_reported(tmp_path: Path, to: str) -> None:
    (tmp_path / "taken").write_text("x")
    assert unwritable(into(tmp_path, to=to)) == {
        tmp_path / to: f"{tmp_path / 'taken'} is not a folder"
    }


def test_a_broken_link_in_place_of_a_folder_is_reported(tmp_path: Path) -> None:
    (tmp_path / "results").symlink_to("nothing")
    assert unwritable(into(tmp_path)) == {
        tmp_path / "results": f"{tmp_path / 'results'} is not a folder"
    }


def test_the_folder_of_the_receipt_is_checked(tmp_path: Path) -> None:
    (tmp_path / ".batchspec").write_text("x")
    it = into(tmp_path)
    why = f"{tmp_path / '.batchspec'} is not a folder"
    assert unwritable(it) == {receipt_path(it.path, it.name).parent: why}
    assert unwritable(replace(it, results=())) == {}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_reported(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir(mode=0o500)
    assert list(unwritable(into(tmp_path))) == [tmp_path / "results"]
