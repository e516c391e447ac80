"""Downloads results, several at a time, and lists them in the receipt of the run.

A result is downloaded to a temporary file next to its path, checked, and renamed. No result is
written outside the folder of its ``results`` entry.
"""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import Self

from filelock import AsyncFileLock

from batchspec.apply.concurrency import for_each
from batchspec.apply.context import Progress, StepContext, StepResult, StoredOutputs
from batchspec.apply.events import Emit, Noticed
from batchspec.apply.ports import Runtime
from batchspec.apply.private_files import open_private, private_folder
from batchspec.apply.safe_path import UNSAFE, ResultPaths, not_downloaded
from batchspec.diagnostics import Diagnostic, DiskError, ServiceError, Severity, counted
from batchspec.plan.actions import DownloadResults
from batchspec.plan.metadata import WorkSet
from batchspec.plan.observed import Blob
from batchspec.plan.receipt import (
    NAMED_FILES,
    DownloadedFile,
    md5_of,
    receipt_entries,
    receipt_head,
    receipt_job,
    receipt_line,
    receipt_name,
    receipt_prefix,
    superseded_files,
)

_WORKERS = 16
"""Measured on one core: with more workers, small files take longer."""

CONTAINER_MISSING = frozenset({"ContainerNotFound", "ContainerBeingDeleted", "ResourceNotFound"})
"""The error codes of Storage for a container that does not exist."""

_LOCK_POLL = 0.05

_NAME_ERRORS = frozenset(
    {errno.ENAMETOOLONG, errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENOTEMPTY, errno.EILSEQ}
)
"""Errors of the file system that concern the name of one blob."""
_BAD_NAME = "Its name is too long for this disk, or is also the name of a folder of results."
_OTHER_NAME = "Rename the output, or exclude the blob with `match`. The other results are complete."


async def download_results(action: DownloadResults, context: StepContext) -> StepResult:
    """Download every blob that matches, and list the files in the receipt.

    If another run in this folder has downloaded the results and the container was deleted since,
    nothing is downloaded.

    Raises:
        ServiceError: the container does not exist and the results are not on this disk; the service
            refused a request; or the name of a blob is not possible here, which is raised after all
            other blobs have been downloaded.
        DiskError: the results or the receipt cannot be written.
    """
    try:
        async with exclusive(context.receipt):
            return await _download_once(action, context)
    except OSError as error:
        raise _unwritable(action, context.receipt, error) from error


async def _download_once(action: DownloadResults, context: StepContext) -> StepResult:
    try:
        return await _download(action, context)
    except ServiceError as error:
        if error.code not in CONTAINER_MISSING:
            raise
    existing = _downloaded_by_other_run(context.receipt, action)
    if existing is None:
        raise _container_missing(action.container)
    return StepResult(existing, note=_up_to_date(existing))


async def _download(action: DownloadResults, context: StepContext) -> StepResult:
    runtime = context.runtime
    job = await runtime.account.jobs.get(action.job)
    created = job.created if job is not None else datetime.min.replace(tzinfo=UTC)
    older = _OlderBlobs(action, runtime.in_storage_time(action.since or created))
    progress = context.progress(items=None)
    download = _Download(action, runtime, context.emit, progress)
    # Incomplete results have no job name in the receipt, so the next run downloads them again.
    complete = action.complete and action.job not in context.incomplete and job is not None
    name = receipt_name(action.job, created) if complete else ""
    listed, refused = _Listed(context.stored.get(action.container)), list[ServiceError]()
    with ReceiptDraft(context.receipt, name, action.entries) as draft:

        async def one(blob: Blob) -> None:
            try:
                draft.add(await download(blob))
            except ServiceError as error:
                if error.code != UNSAFE:
                    raise
                refused.append(error)
            except OSError as error:
                if error.errno not in _NAME_ERRORS or not action.to.is_dir():
                    raise _at(action.to / blob.name, error) from error
                reason = error.strerror or str(error)
                refused.append(not_downloaded(blob.name, reason, _OTHER_NAME, _BAD_NAME))
            progress.finish()

        await for_each(
            _matching(action, runtime, progress, older, listed),
            one,
            workers=_WORKERS,
            cancellation=runtime.cancellation,
        )
        progress.end()
        if refused:
            # The others are on the disk. Without a receipt, the next run compares them again.
            raise _refused(refused)
        if (not progress.done or listed.gone) and await runtime.account.containers.get_metadata(
            action.container
        ) is None:
            raise _container_missing(action.container)
        if listed.gone:
            raise _outputs_gone(action.container, listed.gone)
        superseded, named = _add_earlier(draft, action, context.receipt, older)
        draft.commit()
    if not progress.done:
        context.emit(Noticed(_no_results(action)))
    same = _up_to_date(download.same) if download.same else ""
    notes = (same, older.text, *superseded_files(superseded, named))
    return StepResult(progress.done, progress.moved, "; ".join(filter(None, notes)))


def _add_earlier(
    draft: ReceiptDraft, action: DownloadResults, receipt: Path, older: _OlderBlobs
) -> tuple[int, list[Path]]:
    """Add the entries of the current receipt that remain.

    Those of an earlier version stay, too, so that each plan reports them. Returns their number, and
    the paths of the first.
    """
    superseded, named = 0, list[Path]()
    for entry in _earlier_entries(receipt):
        own = entry.container == action.container
        if draft.contains(entry) or (own and not entry.unchanged):
            continue
        draft.add(entry)
        if own and older.is_of_other_work(entry.work):
            superseded += 1
            if len(named) < NAMED_FILES:
                named.append(entry.path)
    return superseded, named


@dataclass(slots=True)
class _OlderBlobs:
    """Recognizes the blobs of earlier runs, and counts them."""

    action: DownloadResults
    since: datetime
    count: int = 0
    _own: frozenset[str] | None = None
    _works: WorkSet | None = None

    def __call__(self, blob: Blob) -> bool:
        """Whether a blob is from an earlier run; a blob that the spec uploads is not."""
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
        """Whether a blob has a digest of work, and it belongs to another version of the spec."""
        if not work or self.action.works is None:
            return False
        if self._works is None:
            self._works = WorkSet(self.action.works)
        return work not in self._works

    @property
    def text(self) -> str:
        """The number of older blobs as text; empty if there are none."""
        if not self.count:
            return ""
        blobs = counted(self.count, "older blob was", "older blobs were")
        return f"{blobs} not downloaded"


@dataclass(slots=True)
class _Download:
    """Downloads blobs to their files; ``same`` counts the files that were up to date."""

    action: DownloadResults
    runtime: Runtime
    emit: Emit
    progress: Progress
    same: int = 0
    _taken: set[str] = field(default_factory=set)
    _sources: frozenset[tuple[int, int]] | None = None
    _created: Path | None = None
    _paths: ResultPaths = field(init=False)

    def __post_init__(self) -> None:
        self._paths = ResultPaths(self.action.to, flat=self.action.flat)

    async def __call__(self, blob: Blob) -> DownloadedFile:
        container = self.action.container
        path = self._paths.path(blob.name)
        if self.action.flat and path.name in self._taken:
            raise not_downloaded(
                blob.name,
                f"another result is also named {path.name}",
                "Remove `flat: true` from `results`, or exclude one of the blobs with `match`.",
            )
        self._taken |= {path.name} if self.action.flat else set()
        if path.exists():
            existing = md5_of(path, blob.size)
            if existing is not None and existing == blob.md5:
                self.same += 1
                return DownloadedFile(container, blob.name, path, blob.size, existing, blob.work)
            if not self.action.overwrite:
                self.emit(Noticed(_not_overwritten(path)))
                size = path.stat().st_size
                digest = md5_of(path, size) or b""
                return DownloadedFile(container, blob.name, path, size, digest, blob.work)
            if self._is_source(path):
                raise not_downloaded(
                    blob.name,
                    f"it would replace {path.name}, a file of the spec",
                    "Use another folder in `results.to`, or exclude the blob with `match`.",
                    f"The spec reads or uploads {path}.",
                )
        if path.parent != self._created:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._created = path.parent
        part = path.with_name(f".{path.name[:200]}.part")
        try:
            md5 = await self.runtime.account.blobs.download(
                container, blob, part, self.progress.move
            )
            part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        return DownloadedFile(container, blob.name, path, blob.size, md5, blob.work)

    def _is_source(self, path: Path) -> bool:
        """Whether an existing file is a file that the run reads, possibly under another name."""
        if self._sources is None:
            folder = self.action.to
            below = tuple(f"{at}{os.sep}" for at in {folder.absolute(), folder.resolve()})
            found = (each.absolute() for each in self.action.sources)
            inside = (each for each in found if str(each).startswith(below))
            self._sources = frozenset(_identity(each) for each in inside if each.exists())
        return _identity(path) in self._sources


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


@dataclass(slots=True)
class _Listed:
    """Counts the blobs of a download among which the outputs of all tasks were found before."""

    before: StoredOutputs | None
    count: int = 0

    def add(self, blob: Blob) -> None:
        """Count a blob that the download lists."""
        if self.before is not None and self.before.includes(blob):
            self.count += 1

    @property
    def gone(self) -> int:
        """How many of them no longer exist."""
        return max(0, self.before.count - self.count) if self.before is not None else 0


async def _matching(
    action: DownloadResults,
    runtime: Runtime,
    progress: Progress,
    older: _OlderBlobs,
    listed: _Listed,
) -> AsyncIterator[Blob]:
    async for blob in runtime.account.blobs.list(action.container):
        listed.add(blob)
        matches = not action.match or any(fnmatchcase(blob.name, glob) for glob in action.match)
        if matches and not older(blob):
            progress.items += 1
            yield blob


@asynccontextmanager
async def exclusive(receipt: Path) -> AsyncIterator[None]:
    """Lock the results of this folder; wait until no other process has the lock.

    The operating system releases the lock of a process that ends.
    """
    private_folder(receipt.parent)
    lock = receipt.with_suffix(".lock")
    async with AsyncFileLock(lock, mode=0o600, poll_interval=_LOCK_POLL):
        yield


class ReceiptDraft:
    """A new receipt, as a context manager. Only :meth:`commit` replaces the current receipt."""

    def __init__(self, path: Path, job: str, entries: str) -> None:
        self._path = path
        self._draft = path.with_name(path.name + ".part")
        self._job = job
        self._entries = entries
        # 8 bytes for each path: a million results take about 80 MB.
        self._paths: set[bytes] = set()
        self._parent: Path | None = None
        self._relative_parent = ""

    def __enter__(self) -> Self:
        private_folder(self._path.parent)
        self._file = open_private(self._draft)
        self._write(receipt_head(self._job, self._entries) + "\n")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        # After an error, the file of a full disk cannot be closed without the same error.
        with suppress(OSError):
            self._file.close()
        self._draft.unlink(missing_ok=True)

    def add(self, entry: DownloadedFile) -> None:
        """Add a file that is complete."""
        self._paths.add(_path_digest(entry.path))
        # Consecutive results are often in one folder, and `relpath` takes most of the time.
        if (parent := entry.path.parent) != self._parent:
            self._parent, self._relative_parent = parent, os.path.relpath(parent, self._path.parent)
        self._write(receipt_line(entry, f"{self._relative_parent}/{entry.path.name}") + "\n")

    def contains(self, entry: DownloadedFile) -> bool:
        """Whether a file with this path has been added."""
        return _path_digest(entry.path) in self._paths

    def commit(self) -> None:
        """Replace the receipt with this one."""
        try:
            self._file.close()
        except OSError as error:
            raise _at(self._path, error) from error
        self._draft.replace(self._path)

    def _write(self, line: str) -> None:
        try:
            self._file.write(line)
        except OSError as error:
            raise _at(self._path, error) from error


def _at(path: Path, error: OSError) -> OSError:
    """The error with a path; the system names none if a write fails."""
    if error.filename is not None or error.errno is None:
        return error
    return OSError(error.errno, error.strerror, os.fspath(path))


def _path_digest(path: Path) -> bytes:
    return blake2b(os.fsencode(path), digest_size=8).digest()


def _downloaded_by_other_run(receipt: Path, action: DownloadResults) -> int | None:
    """How many results of this job another run has downloaded; ``None`` if any is missing."""
    try:
        with receipt.open(encoding="utf-8", errors="replace") as file:
            # Only the prefix is compared, because a deleted job has no creation time.
            if not (receipt_job(file.readline()) or "").startswith(receipt_prefix(action.job)):
                return None
            unchanged = [
                entry.unchanged
                for entry in receipt_entries(file, receipt.parent)
                if entry.container == action.container
            ]
    except FileNotFoundError:
        return None
    return len(unchanged) if all(unchanged) else None


def _earlier_entries(receipt: Path) -> Iterator[DownloadedFile]:
    """The files that the current receipt lists, also from other containers and earlier jobs."""
    try:
        with receipt.open(encoding="utf-8", errors="replace") as file:
            if receipt_job(file.readline()) is not None:
                yield from receipt_entries(file, receipt.parent)
    except FileNotFoundError:
        return


def _up_to_date(files: int) -> str:
    return f"{counted(files, 'was', 'were')} up to date"


def _refused(errors: Sequence[ServiceError]) -> ServiceError:
    """One error for all blobs that were refused; it names the first."""
    first, *others = errors
    if not others:
        return first
    names = counted(len(others), "more blob was", "more blobs were")
    problem = first.problems[0]
    detail = f"{problem.detail} {names} not downloaded.".strip()
    return ServiceError(replace(problem, detail=detail), code=UNSAFE)


def _unwritable(action: DownloadResults, receipt: Path, error: OSError) -> DiskError:
    why = error.strerror or str(error)
    if receipt.parent in (where := Path(error.filename or action.to), *where.parents):
        what, folder = "the list of downloaded results", receipt.parent
    else:
        what, folder = "the results", action.to
    return DiskError(
        Diagnostic(
            "results-unwritable",
            f"{what} cannot be written to {os.fspath(folder)}: {why}",
            detail=f"At {os.fspath(error.filename)}." if error.filename else "",
            fix="The results are still in the account. Free disk space or fix the permissions of"
            " the folder, and apply again.",
        )
    )


def _not_overwritten(path: Path) -> Diagnostic:
    return Diagnostic(
        "result-kept",
        f"{os.fspath(path)} exists with other content; it was not overwritten",
        fix="`overwrite: true` under `results` replaces it.",
        severity=Severity.WARNING,
    )


def _no_results(action: DownloadResults) -> Diagnostic:
    return Diagnostic(
        "no-results",
        f"the container {action.container!r} contains no results to download",
        detail=f"No blob matches {', '.join(action.match)}." if action.match else "",
        fix="`batchspec logs` shows what the tasks wrote.",
        severity=Severity.WARNING,
    )


def _outputs_gone(container: str, number: int) -> ServiceError:
    blobs = counted(number, "blob")
    verb = "was" if number == 1 else "were"
    problem = Diagnostic(
        "outputs-gone",
        f"{blobs} of the container {container!r} {verb} deleted before the download",
        detail="The tasks had written all outputs. The other results were downloaded.",
        fix="Run `batchspec apply` again: it repeats only the tasks without `results`, and the"
        " tasks without an output with `required: true`.",
    )
    return ServiceError(problem, code="outputs-gone")


def _container_missing(container: str) -> ServiceError:
    problem = Diagnostic(
        "container-gone",
        f"the container {container!r} was deleted before its results were downloaded",
        detail="The client that deleted it may have downloaded them.",
    )
    return ServiceError(problem, code="ContainerNotFound")
