"""The folders that results go to: whether other files lie there already."""

from __future__ import annotations

import os
from pathlib import Path

from batchspec.plan.receipt import receipt_path
from batchspec.spec.model import Spec


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
        # What cannot be written to is told when results arrive.
        return False
