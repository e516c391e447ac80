"""Whether the results of an earlier run are still on the disk, as its receipt says."""

from __future__ import annotations

import hashlib
from pathlib import Path

from batchspec.plan.observed import Receipt
from batchspec.plan.receipt import Arrived, receipt_entries, receipt_job, receipt_path
from batchspec.spec import Spec

_CHUNK = 1 << 20


def read_receipt(spec: Spec) -> Receipt | None:
    """What the receipt of this spec says, held against the disk; ``None`` if there is none.

    A receipt that cannot be understood counts as none: the results are then fetched again.
    """
    path = receipt_path(spec.path, spec.name)
    try:
        with path.open(encoding="utf-8") as file:
            job = receipt_job(file.readline())
            if job is None:
                return None
            files = missing = 0
            for entry in receipt_entries(file, path.parent):
                files += 1
                missing += not _still_there(entry)
    except FileNotFoundError:
        return None
    return Receipt(job, files, missing)


def _still_there(entry: Arrived) -> bool:
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
