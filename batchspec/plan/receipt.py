"""What a download leaves behind, written down: one JSON object a line, beside the spec.

The account says what was made there; only this disk can say which results arrived on it. The first
line names the job; each other line is a file with its size and MD5, which other
programs can verify.
The form only: ``apply`` writes receipts, ``observe`` reads them and looks whether they still hold.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path

_VERSION = 1


@dataclass(frozen=True, slots=True)
class DownloadedFile:
    """A result on the disk: the blob it was, where it is, its size in bytes and MD5.

    ``work`` is the digest of the work that wrote the blob; empty where it is not known.
    """

    container: str
    blob: str
    path: Path
    size: int
    md5: bytes
    work: str = ""


def receipt_name(job: str, created: datetime) -> str:
    """What a receipt calls a job: one that is made again under the same id is another."""
    return f"{receipt_prefix(job)}{created.isoformat()}"


def receipt_prefix(job: str) -> str:
    """How the names begin that receipts have for jobs of this id."""
    return f"{job} of "


def receipt_path(spec_path: Path, name: str) -> Path:
    """Where the receipt of a spec lies."""
    return spec_path.parent / ".batchspec" / name / "results.jsonl"


NAMED_FILES = 3
"""How many files of an earlier version a note names."""


def superseded_files(number: int, paths: Iterable[Path]) -> Iterator[str]:
    """The note on results of an earlier version that are on this disk, if there are any.

    ``paths`` are those of the first of these files, or more; only the first ones are read.
    """
    if not number:
        return
    remain = "1 file remains" if number == 1 else f"{number:,} files remain"
    note = f"{remain} on this disk from an earlier version"
    shown = sorted(islice(paths, NAMED_FILES))
    if shown:
        folder = os.path.commonpath([path.parent for path in shown])
        names = ", ".join(os.path.relpath(path, folder) for path in shown)
        more = ", ..." if number > len(shown) else ""
        note += f": {names}{more} in {folder}"
    yield note


def receipt_head(job: str, entries: str) -> str:
    """The first line of a receipt; ``entries`` is the digest of the `results` of the spec."""
    return json.dumps({"version": _VERSION, "job": job, "results": entries})


def receipt_results(head: str) -> str:
    """The digest of the `results` that a receipt with this first line was written for."""
    try:
        row = json.loads(head)
    except ValueError:
        return ""
    found = row.get("results") if isinstance(row, dict) else None
    return found if isinstance(found, str) else ""


def receipt_line(entry: DownloadedFile, folder: Path) -> str:
    """The line of one file; its path is kept relative to ``folder``, where the receipt lies."""
    return json.dumps(
        {
            "container": entry.container,
            "blob": entry.blob,
            "path": os.path.relpath(entry.path, folder),
            "size": entry.size,
            "md5": entry.md5.hex(),
            **({"work": entry.work} if entry.work else {}),
        }
    )


def receipt_job(head: str) -> str | None:
    """The job that a receipt with this first line speaks of; ``None`` if it is none of ours."""
    try:
        row = json.loads(head)
    except ValueError:
        return None
    if not isinstance(row, dict) or row.get("version") != _VERSION:
        return None
    job = row.get("job")
    return job if isinstance(job, str) else None


def receipt_entries(lines: Iterable[str], folder: Path) -> Iterator[DownloadedFile]:
    """The files that the lines after the first name; a line that was cut off ends them."""
    for line in lines:
        try:
            row = json.loads(line)
            yield DownloadedFile(
                row["container"],
                row["blob"],
                Path(os.path.normpath(folder / row["path"])),
                row["size"],
                bytes.fromhex(row["md5"]),
                row.get("work", ""),
            )
        except (ValueError, KeyError, TypeError):
            return
