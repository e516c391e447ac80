"""The folders for results on this disk, and the results that were downloaded to them."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterator, Mapping
from pathlib import Path

from batchspec.frozen import frozen
from batchspec.observe.spool import Spool
from batchspec.plan.metadata import work_number
from batchspec.plan.observed import Receipt
from batchspec.plan.receipt import (
    DownloadedFile,
    receipt_entries,
    receipt_job,
    receipt_path,
    receipt_results,
)
from batchspec.spec import Spec


def occupied(spec: Spec) -> Mapping[Path, str]:
    """The result folders that contain files, but none that this spec has downloaded, each with the
    name of another spec in the folder of this spec that has downloaded files to it, or ``""``.

    Only files directly in the folder count, except hidden ones: files in its subfolders are
    usually results of another spec. If the receipt lists a file in the folder, the files are
    results of this spec.
    """
    found = {result.to for result in spec.results if _contains_files(result.to)}
    receipt = receipt_path(spec.path, spec.name)
    if found and receipt.exists():
        with receipt.open(encoding="utf-8") as file:
            file.readline()
            for entry in receipt_entries(file, receipt.parent):
                found -= {folder for folder in found if entry.path.is_relative_to(folder)}
                if not found:
                    break
    return {folder: _other_spec(spec, folder) for folder in found}


def _other_spec(spec: Spec, path: Path) -> str:
    """The name of another spec in the same folder whose receipt lists a file: this one, or one in
    this folder; empty if there is none."""
    own = receipt_path(spec.path, spec.name)
    for receipt in sorted(own.parent.parent.glob(f"*/{own.name}")):
        if receipt == own:
            continue
        try:
            with receipt.open(encoding="utf-8", errors="replace") as file:
                file.readline()
                entries = receipt_entries(file, receipt.parent)
                if any(path in {entry.path, entry.path.parent} for entry in entries):
                    return receipt.parent.name
        except OSError:
            continue  # It only names the cause.
    return ""


def _contains_files(folder: Path) -> bool:
    try:
        with os.scandir(folder) as entries:
            return any(entry.is_file() and not entry.name.startswith(".") for entry in entries)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        # ``unwritable`` reports such folders.
        return False


def unwritable(spec: Spec) -> Mapping[Path, str]:
    """The result folders in which no file can be created, each with the reason.

    The folder of the receipt is one of them.
    """
    if not spec.results:
        return {}
    receipt = receipt_path(spec.path, spec.name)
    found = {result.to: _why_unwritable(result.to) for result in spec.results}
    found[receipt.parent] = _why_unwritable(receipt.parent) or _why_unreadable(receipt)
    return {folder: reason for folder, reason in found.items() if reason}


def _why_unreadable(file: Path) -> str:
    """Why a file, which may not exist, cannot be read; empty if there is no reason."""
    if not os.path.lexists(file):
        return ""
    if not os.path.isfile(file):  # noqa: PTH113
        return f"{file} is not a file"
    return "" if os.access(file, os.R_OK) else f"{file} cannot be read"


def _why_unwritable(folder: Path) -> str:
    """Why no file can be created in a folder, which may not exist; empty if there is no reason."""
    existing = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
    if not os.path.isdir(existing):  # noqa: PTH112
        return f"{existing} is not a folder"
    writable = os.access(existing, os.W_OK | os.X_OK)
    return "" if writable else f"no file can be created in {existing}"


_EDITED_SHOWN = 3
"""How many names of edited results are collected."""


def read_receipt(spec: Spec, spool: Spool) -> Receipt | None:
    """Compare the receipt of this spec with the disk; ``None`` if there is no valid receipt.

    Files that are missing on the disk are looked up among the blobs in the spool. Without a valid
    receipt, the results are downloaded again.
    """
    path = receipt_path(spec.path, spec.name)
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            head = file.readline()
            job = receipt_job(head)
            if job is None:
                return None
            files = missing = lost = edited = 0
            first_edited: list[Path] = []
            works, lost_works, missing_works = array("Q"), array("Q"), array("Q")
            keys = {container.id: key for key, container in spec.containers.items()}
            for entry in receipt_entries(file, path.parent):
                files += 1
                work = work_number(entry.work)
                known = () if work is None else (work,)
                if entry.unchanged:
                    works.extend(known)
                    continue
                missing += 1
                missing_works.extend(known)
                if entry.path.exists():
                    edited += 1
                    if edited <= _EDITED_SHOWN:
                        first_edited.append(entry.path)
                key = keys.get(entry.container)
                if key is not None and not spool.has_blob(key, entry.blob):
                    lost += 1
                    lost_works.extend(known)
    except OSError:
        # A plan that downloads results reports a file that cannot be read; see ``unwritable``.
        return None
    entries = receipt_results(head)
    paths = DownloadedPaths(path)
    return Receipt(
        job,
        files,
        missing,
        lost,
        works,
        lost_works,
        missing_works,
        entries,
        paths,
        edited,
        tuple(first_edited),
        _other_spec(spec, first_edited[0]) if first_edited else "",
    )


@frozen
class DownloadedPaths:
    """The files on the disk that a receipt lists, each with the work that wrote it: a stream.

    Files whose size has changed since the download are left out.
    """

    receipt: Path

    def __iter__(self) -> Iterator[tuple[str, Path]]:
        with self.receipt.open(encoding="utf-8", errors="replace") as file:
            file.readline()
            for entry in receipt_entries(file, self.receipt.parent):
                if _has_size(entry):
                    yield entry.work, entry.path


def _has_size(entry: DownloadedFile) -> bool:
    try:
        return entry.path.stat().st_size == entry.size
    except OSError:
        return False
