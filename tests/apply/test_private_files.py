"""Only the owner can read the files that batchspec writes next to a spec."""

from __future__ import annotations

from pathlib import Path

import pytest

from batchspec.apply.download import ReceiptDraft
from batchspec.apply.private_files import open_private, private_folder


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_new_folders_and_files_are_private(tmp_path: Path) -> None:
    receipt = tmp_path / ".batchspec" / "demo" / "results.jsonl"
    with ReceiptDraft(receipt, "job", "") as draft:
        draft.commit()
    assert [mode(path) for path in (receipt, receipt.parent, receipt.parents[1])] == [
        0o600,
        0o700,
        0o700,
    ]
    assert mode(tmp_path) != 0


def test_files_of_an_earlier_version_become_private(tmp_path: Path) -> None:
    folder = tmp_path / ".batchspec" / "demo"
    folder.mkdir(parents=True)
    folder.parent.chmod(0o755)
    (folder / "events.jsonl").touch(0o644)
    private_folder(folder)
    open_private(folder / "events.jsonl").close()
    assert mode(folder.parent) == 0o700
    assert mode(folder / "events.jsonl") == 0o600


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("other")
    (tmp_path / "link").symlink_to("other")
    with pytest.raises(OSError, match="symbolic link"):
        open_private(tmp_path / "link")
    assert (tmp_path / "other").read_text() == "other"
