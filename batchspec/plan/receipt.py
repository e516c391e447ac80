"""The receipt of a download: ``results.jsonl`` next to the spec lists the results on this disk.

The first line names the job; each other line is a file with its size and MD5. ``apply`` writes
receipts; ``observe`` reads them and checks the files. This module also lists the files on this disk
that a run reads, and that results must not replace.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterable, Iterator
from datetime import datetime
from functools import partial
from itertools import islice
from pathlib import Path

from batchspec.diagnostics import counted
from batchspec.frozen import frozen
from batchspec.json_object import json_object
from batchspec.plan.observed import LocalFile, Observed, Stream
from batchspec.spec import Rows, Spec

_VERSION = 1
_md5 = partial(hashlib.md5, usedforsecurity=False)


@frozen
class DownloadedFile:
    """A result on the disk: its blob, path, size in bytes and MD5.

    ``work`` is the digest of the work that wrote the blob; empty if it is not known.
    """

    container: str
    blob: str
    path: Path
    size: int
    md5: bytes
    work: str = ""

    @property
    def unchanged(self) -> bool:
        """Whether the file can be read, and still has the size and MD5 of the blob."""
        try:
            return md5_of(self.path, self.size) == self.md5
        except OSError:
            return False


def md5_of(path: Path, size: int) -> bytes | None:
    """The MD5 of a file of the disk; ``None`` if it does not exist or has another size.

    Raises:
        OSError: the file cannot be read.
    """
    try:
        facts = path.stat()
        if not stat.S_ISREG(facts.st_mode) or facts.st_size != size:
            return None
        with path.open("rb", buffering=0) as file:
            return hashlib.file_digest(file, _md5).digest()
    except (FileNotFoundError, NotADirectoryError):
        return None


def receipt_name(job: str, created: datetime) -> str:
    """The name of a job in a receipt; it distinguishes jobs that had the same id."""
    return f"{receipt_prefix(job)}{created.isoformat()}"


def receipt_prefix(job: str) -> str:
    """The prefix of the names of all jobs of this id in receipts."""
    return f"{job} of "


def receipt_path(spec_path: Path, name: str) -> Path:
    """The path of the receipt of a spec."""
    return spec_path.parent / ".batchspec" / name / "results.jsonl"


NAMED_FILES = 3
"""The number of files of an earlier version that a note names."""


def superseded_files(number: int, paths: Iterable[Path]) -> Iterator[str]:
    """The note about results of an earlier version that are on this disk, if there are any.

    ``number`` is the number of these files, ``paths`` their paths, of which the first are read.
    """
    if not number:
        return
    remain = counted(number, "file remains", "files remain")
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
    found = json_object(head).get("results")
    return found if isinstance(found, str) else ""


def receipt_line(entry: DownloadedFile, path: str) -> str:
    """The line of one file; ``path`` is its path relative to the folder of the receipt."""
    return json.dumps(
        {
            "container": entry.container,
            "blob": entry.blob,
            "path": path,
            "size": entry.size,
            "md5": entry.md5.hex(),
            **({"work": entry.work} if entry.work else {}),
        }
    )


def receipt_job(head: str) -> str | None:
    """The name of the job in a receipt's first line; ``None`` if this version cannot read it."""
    row = json_object(head)
    job = row.get("job")
    return job if row.get("version") == _VERSION and isinstance(job, str) else None


def receipt_entries(lines: Iterable[str], folder: Path) -> Iterator[DownloadedFile]:
    """The files in the lines after the first; a damaged line ends them."""
    for line in lines:
        try:
            row = json_object(line)
            path, size, work = row["path"], row["size"], row.get("work", "")
            texts = (row["container"], row["blob"], path, work)
            if not all(isinstance(text, str) for text in texts) or type(size) is not int:
                return
            if "\0" in path:
                return
            entry = DownloadedFile(
                row["container"],
                row["blob"],
                Path(os.path.normpath(folder / path)),
                size,
                bytes.fromhex(row["md5"]),
                work,
            )
        except (ValueError, KeyError, TypeError):
            return
        yield entry


PROTECTED = frozenset({".git", ".batchspec"})
"""Folders to which no result is written: a file there could run a program, or forge a receipt."""


@frozen
class SourceFiles:
    """The paths of the spec, its files of rows, and the files that it uploads: a stream."""

    named: tuple[Path, ...]
    uploads: tuple[Stream[LocalFile], ...]

    def __iter__(self) -> Iterator[Path]:
        yield from self.named
        for files in self.uploads:
            for file in files:
                yield file.path

    def __len__(self) -> int:
        return len(self.named) + sum(map(len, self.uploads))


def source_files(spec: Spec, observed: Observed) -> SourceFiles:
    """The files of a spec on this disk."""
    rows = (stage.for_each.path for stage in spec.stages if isinstance(stage.for_each, Rows))
    uploads = (observed.containers[key].files for key in spec.containers)
    return SourceFiles((spec.path, *rows), tuple(uploads))
