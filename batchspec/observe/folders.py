"""The folders that results go to: whether other files lie there, and whether any can."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from batchspec.plan.receipt import receipt_path
from batchspec.spec import Spec


def occupied(spec: Spec) -> frozenset[Path]:
    """The folders of results that hold files, where no result of this spec has arrived yet.

    Only files of the folder itself count, and hidden ones do not: what lies below is as a rule what
    another spec has brought. Where there is a receipt, what lies there are results.
    """
    if receipt_path(spec.path, spec.name).exists():
        return frozenset()
    return frozenset(result.to for result in spec.results if _holds_files(result.to))


def _holds_files(folder: Path) -> bool:
    try:
        with os.scandir(folder) as entries:
            return any(entry.is_file() and not entry.name.startswith(".") for entry in entries)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        # Whether it can be written to is looked at beside this.
        return False


def unwritable(spec: Spec) -> Mapping[Path, str]:
    """The folders of results where no file can be made, each with why.

    That of the receipt counts as one: without a receipt, nobody knows that the results are here.
    """
    receipt = receipt_path(spec.path, spec.name).parent
    folders = [*(result.to for result in spec.results), *([receipt] if spec.results else ())]
    return {folder: why for folder in folders if (why := _why_not(folder))}


def _why_not(folder: Path) -> str:
    """Why no file can be made in a folder, which need not be there yet; empty if one can."""
    there = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
    if not there.is_dir():
        return f"{there} is no folder"
    return "" if os.access(there, os.W_OK | os.X_OK) else f"no file can be made in {there}"
