"""The folders that results go to: whether other files lie there, and whether any can."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from batchspec.observe.spool import Spool
from batchspec.plan.observed import Receipt
from batchspec.plan.receipt import DownloadedFile, receipt_entries, receipt_job, receipt_path
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


_CHUNK = 1 << 20


def read_receipt(spec: Spec, spool: Spool) -> Receipt | None:
    """What the receipt of this spec says, compared with the disk; ``None`` if there is none.

    What is missing on the disk is looked up among the blobs in the spool, as far as it has them.

    A receipt that cannot be understood counts as none: the results are then fetched again.
    """
    path = receipt_path(spec.path, spec.name)
    try:
        with path.open(encoding="utf-8") as file:
            job = receipt_job(file.readline())
            if job is None:
                return None
            files = missing = lost = 0
            keys = {container.id: key for key, container in spec.containers.items()}
            for entry in receipt_entries(file, path.parent):
                files += 1
                if not _still_there(entry):
                    missing += 1
                    key = keys.get(entry.container)
                    lost += key is not None and not spool.has_blob(key, entry.blob)
    except FileNotFoundError:
        return None
    return Receipt(job, files, missing, lost)


def _still_there(entry: DownloadedFile) -> bool:
    """Whether the file is on the disk as it arrived: same size, same MD5."""
    try:
        if entry.path.stat().st_size != entry.size:
            return False
        return _md5(entry.path) == entry.md5
    except OSError:
        return False


def _md5(path: Path) -> bytes:
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.digest()
