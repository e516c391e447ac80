"""Files to blobs and blobs to files, many at a time.

A result takes its place only when it was checked: it arrives beside its place under another name
and is moved there in one step. No result lands outside the folder it is meant for.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path

from batchspec.apply.crowd import each
from batchspec.apply.events import Emit, Noticed
from batchspec.apply.gone import ABSENT, container_gone
from batchspec.apply.places import place_of
from batchspec.apply.ports import World
from batchspec.apply.receipt import ReceiptDraft, alone
from batchspec.apply.work import Performed, Progress, Tools, progress
from batchspec.diagnostics import Diagnostic, DiskError, ServiceError, Severity
from batchspec.plan.actions import DownloadResults, UploadFiles
from batchspec.plan.observed import Blob, LocalFile
from batchspec.plan.plan import Step
from batchspec.plan.receipt import (
    DownloadedFile,
    receipt_entries,
    receipt_job,
    receipt_name,
    receipt_prefix,
)
from batchspec.plan.stamps import WorkSet

_WORKERS = 16
"""Measured: more at a time makes small files slower again, on one core of the client."""
_CHUNK = 1 << 20


async def upload(action: UploadFiles, step: Step, tools: Tools) -> Performed:
    """Upload every file of the step, and say of each when it has arrived."""
    so_far = progress(step, tools, items=len(action.files), size=action.size)
    arrivals, storage = tools.arrivals, tools.world.storage

    async def one(file: LocalFile) -> None:
        arrivals.start(action.container, file.blob)
        await storage.upload(action.container, file, so_far.move, tools.world.halt)
        await arrivals.arrive(action.container, file.blob)
        so_far.finish()

    whole = False
    try:
        await each(action.files, one, workers=_WORKERS, halt=tools.world.halt)
        whole = True
    finally:
        await arrivals.end(action.container, whole=whole)
    return Performed(so_far.done, so_far.moved)


async def download(action: DownloadResults, step: Step, tools: Tools) -> Performed:
    """Download every blob that matches, and write down what arrived.

    Where another run from this folder has just fetched them, they are not fetched again; it may
    have deleted the container since.

    Raises:
        ServiceError: the container is gone, and the results are not here; refusals.
        DiskError: the results, or the note of what arrived, cannot be written.
    """
    try:
        async with alone(tools.receipt):
            return await _download_once(action, step, tools)
    except OSError as error:
        raise _unwritable(action, error) from error


async def _download_once(action: DownloadResults, step: Step, tools: Tools) -> Performed:
    try:
        return await _download(action, step, tools)
    except ServiceError as error:
        if error.code not in ABSENT:
            raise
    here = _here(tools.receipt, action)
    if here is None:
        raise container_gone(action.container)
    return Performed(here, note=_already(here))


async def _download(action: DownloadResults, step: Step, tools: Tools) -> Performed:
    job = await tools.world.batch.job(action.job)
    created = job.created if job is not None else datetime.min.replace(tzinfo=UTC)
    older = _Older(action, tools.world.in_storage_time(action.since or created))
    fetch = _Fetch(action, tools.world, tools.emit, progress(step, tools, items=None))
    # Results that are not complete are fetched again by the next run.
    complete = action.complete and action.job not in tools.incomplete and job is not None
    name = receipt_name(action.job, created) if complete else ""
    superseded = 0
    with ReceiptDraft(tools.receipt, name) as draft:

        async def one(blob: Blob) -> None:
            draft.note(await fetch(blob))
            fetch.so_far.finish()

        await each(
            _matching(action, tools.world, fetch.so_far, older),
            one,
            workers=_WORKERS,
            halt=tools.world.halt,
        )
        fetch.so_far.end()
        if not fetch.so_far.done and await tools.world.storage.container(action.container) is None:
            raise container_gone(action.container)
        for entry in _earlier(tools.receipt):
            if draft.is_noted(entry):
                continue
            existing = entry.container != action.container or _is_there(entry)
            if older.is_of_other_work(entry.work):
                superseded += existing
            elif existing:
                draft.note(entry)
        draft.keep()
    if not fetch.so_far.done:
        tools.emit(Noticed(_nothing(action)))
    notes = (_already(fetch.same) if fetch.same else "", older.words, _superseded(superseded))
    return Performed(fetch.so_far.done, fetch.so_far.moved, "; ".join(filter(None, notes)))


@dataclass(slots=True)
class _Older:
    """Picks the blobs of earlier runs, and counts them."""

    action: DownloadResults
    since: datetime
    count: int = 0
    _own: frozenset[str] | None = None
    _works: WorkSet | None = None

    def __call__(self, blob: Blob) -> bool:
        """Whether a blob is of an earlier run; what the spec itself uploads is not."""
        if blob.work and self.action.works is not None:
            other = self.is_of_other_work(blob.work)
            self.count += other
            return other
        if blob.modified is None or blob.modified >= self.since:
            return False
        if self._own is None:
            self._own = frozenset(self.action.own)
        if blob.name in self._own:
            return False
        self.count += 1
        return True

    def is_of_other_work(self, work: str) -> bool:
        """Whether work is known and is not of the present version of the spec."""
        if not work or self.action.works is None:
            return False
        if self._works is None:
            self._works = WorkSet(self.action.works)
        return work not in self._works

    @property
    def words(self) -> str:
        """How many there were; empty if none."""
        if not self.count:
            return ""
        blobs = "1 older blob was" if self.count == 1 else f"{self.count:,} older blobs were"
        return f"{blobs} not downloaded"


def _here(receipt: Path, action: DownloadResults) -> int | None:
    """How many results of this job another run has fetched; ``None`` if they are not all here."""
    try:
        with receipt.open(encoding="utf-8") as file:
            # The job may be gone with its container.
            if not (receipt_job(file.readline()) or "").startswith(receipt_prefix(action.job)):
                return None
            found = [
                _is_there(entry)
                for entry in receipt_entries(file, receipt.parent)
                if entry.container == action.container
            ]
    except FileNotFoundError:
        return None
    return len(found) if all(found) else None


@dataclass(slots=True)
class _Fetch:
    """Brings blobs to their places; ``same`` counts those that needed no download."""

    action: DownloadResults
    world: World
    emit: Emit
    so_far: Progress
    same: int = 0

    async def __call__(self, blob: Blob) -> DownloadedFile:
        container = self.action.container
        place = place_of(self.action.to, blob.name, flat=self.action.flat)
        here = _digest(place, blob.size)
        if here is not None and here == blob.md5:
            self.same += 1
            return DownloadedFile(container, blob.name, place, blob.size, here, blob.work)
        if place.exists() and not self.action.overwrite:
            self.emit(Noticed(_in_the_way(place)))
            size = place.stat().st_size
            digest = _digest(place, size) or b""
            return DownloadedFile(container, blob.name, place, size, digest, blob.work)
        place.parent.mkdir(parents=True, exist_ok=True)
        part = place.with_name(f".{place.name[:200]}.part")
        try:
            md5 = await self.world.storage.download(container, blob, part, self.so_far.move)
            part.replace(place)
        finally:
            part.unlink(missing_ok=True)
        return DownloadedFile(container, blob.name, place, blob.size, md5, blob.work)


async def _matching(
    action: DownloadResults, world: World, so_far: Progress, older: _Older
) -> AsyncIterator[Blob]:
    async for blob in world.storage.blobs(action.container):
        wanted = not action.match or any(fnmatchcase(blob.name, glob) for glob in action.match)
        if wanted and not older(blob):
            so_far.items += 1
            yield blob


def _digest(path: Path, size: int) -> bytes | None:
    """The MD5 of a file if it is there and has this size."""
    try:
        if not path.is_file() or path.stat().st_size != size:
            return None
        digest = hashlib.md5(usedforsecurity=False)
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    except FileNotFoundError:
        return None
    return digest.digest()


def _earlier(receipt: Path) -> Iterator[DownloadedFile]:
    """What arrived before: from other containers, and by earlier jobs."""
    try:
        with receipt.open(encoding="utf-8") as file:
            if receipt_job(file.readline()) is not None:
                yield from receipt_entries(file, receipt.parent)
    except FileNotFoundError:
        return


def _is_there(entry: DownloadedFile) -> bool:
    return _digest(entry.path, entry.size) == entry.md5


def _superseded(files: int) -> str:
    """How many results of an earlier version are on the disk; empty if none."""
    if not files:
        return ""
    remain = "1 file remains" if files == 1 else f"{files:,} files remain"
    return f"{remain} on this disk from an earlier version"


def _already(files: int) -> str:
    return f"{files} {'was' if files == 1 else 'were'} here already"


def _unwritable(action: DownloadResults, error: OSError) -> DiskError:
    why = error.strerror or str(error)
    return DiskError(
        Diagnostic(
            "results-unwritable",
            f"the results cannot be written to {os.fspath(action.to)}: {why}",
            detail=f"At {os.fspath(error.filename)}." if error.filename else "",
            fix="They are still in the account. Make room, or mend the folder, and go on.",
        )
    )


def _in_the_way(place: Path) -> Diagnostic:
    return Diagnostic(
        "result-kept",
        f"{os.fspath(place)} is there and differs; it was not overwritten",
        fix="`overwrite: true` under `results` replaces it.",
        severity=Severity.WARNING,
    )


def _nothing(action: DownloadResults) -> Diagnostic:
    return Diagnostic(
        "no-results",
        f"there is no result in the container {action.container!r}",
        detail=f"Nothing matches {', '.join(action.match)}." if action.match else "",
        fix="Look at what the tasks said: `batchspec logs`.",
        severity=Severity.WARNING,
    )
