"""Whether the results of an earlier run are still on the disk, as its receipt says."""

from __future__ import annotations

import hashlib
from pathlib import Path

from batchspec.observe.spool import Spool
from batchspec.plan.observed import Receipt
from batchspec.plan.receipt import DownloadedFile, receipt_entries, receipt_job, receipt_path
from batchspec.spec import Spec

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
