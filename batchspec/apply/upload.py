"""Uploads the files of a spec, several at a time, and builds and uploads application packages.

Equal files produce equal archives.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Event

from batchspec.apply.concurrency import RunCancelled, for_each
from batchspec.apply.context import StepContext, StepResult
from batchspec.diagnostics import Diagnostic, DiskError
from batchspec.plan.actions import UploadFiles, UploadPackage
from batchspec.plan.observed import LocalFile, file_changed

_WORKERS = 16
"""Measured on one core: with more workers, small files take longer."""
_DATE = (1980, 1, 1, 0, 0, 0)
"""The first date that a zip archive can contain."""
_LEVEL = 6
_CHUNK = 1 << 20
_TYPE = "application/zip"
_md5 = partial(hashlib.md5, usedforsecurity=False)


async def upload_files(action: UploadFiles, context: StepContext) -> StepResult:
    """Upload every file of the step; report each to ``context.uploads`` when it is uploaded."""
    progress = context.progress(items=len(action.files), size=action.size)
    uploads, runtime = context.uploads, context.runtime

    async def upload(file: LocalFile) -> None:
        uploads.start(action.container, file.blob)
        uploaded = await runtime.account.blobs.upload(
            action.container, file, progress.move, lambda: runtime.cancellation.requested
        )
        if not uploaded:
            raise RunCancelled
        await uploads.complete(action.container, file.blob)
        progress.finish()

    succeeded = False
    try:
        await for_each(action.files, upload, workers=_WORKERS, cancellation=runtime.cancellation)
        succeeded = True
    finally:
        await uploads.end(action.container, succeeded=succeeded)
    return StepResult(progress.done, progress.moved)


async def upload_package(action: UploadPackage, context: StepContext) -> StepResult:
    """Build the archive in a temporary file, upload it, and activate the version.

    Raises:
        RunCancelled: the run was cancelled before the whole archive was sent.
        ServiceError: the account refused, or could not be reached.
        StalePlanError: a file has changed since the plan was made.
        DiskError: the archive cannot be written.
    """
    cancellation = context.runtime.cancellation
    with archive_of(action) as build:
        archive = await cancellation.race(asyncio.to_thread(build))
        progress = context.progress(items=len(action.files), size=archive.size)

        def moved(count: int) -> None:
            progress.move(count)
            if cancellation.requested and progress.moved < archive.size:
                raise RunCancelled

        await context.runtime.account.applications.upload_package(
            action.package, action.version, archive, action.content, moved
        )
        progress.finish(len(action.files))
    return StepResult(progress.done, progress.moved)


@contextmanager
def archive_of(action: UploadPackage) -> Iterator[Callable[[], LocalFile]]:
    """A function that builds the archive, in a temporary folder that is deleted at the end.

    A thread that still builds it then stops.
    """
    files, left = tuple(action.files), Event()
    with tempfile.TemporaryDirectory(prefix="batchspec-") as folder:
        target = Path(folder, f"{action.package}.zip")
        try:
            yield lambda: files[0] if action.is_archive else build_archive(files, target, left)
        finally:
            left.set()


def build_archive(files: Iterable[LocalFile], target: Path, stop: Event | None = None) -> LocalFile:
    """Write a zip archive that depends only on the names, contents and modes of the files.

    Raises:
        RunCancelled: ``stop`` was set.
        StalePlanError: a file has changed since the plan was made.
        DiskError: the archive cannot be written.
    """
    try:
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL) as archive:
            for file in files:
                _add(archive, file, stop or Event())
        with target.open("rb") as written:
            md5 = hashlib.file_digest(written, _md5).digest()
        return LocalFile(target.name, str(target), target.stat().st_size, md5, _TYPE)
    except OSError as error:
        raise DiskError(
            Diagnostic(
                "unwritable-file",
                f"the archive {target.name} cannot be written: {error.strerror}",
                fix="Free some space, or set TMPDIR to a folder on another disk.",
            )
        ) from error


def _add(archive: zipfile.ZipFile, file: LocalFile, stop: Event) -> None:
    """Add a file, whose content must be that of the plan."""
    entry = zipfile.ZipInfo(file.blob, _DATE)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.create_system = 3  # Unix: the upper half of the attributes is the mode
    entry.external_attr = (0o755 if os.access(file.path, os.X_OK) else 0o644) << 16
    entry.file_size = file.size
    md5 = _md5()
    try:
        source = file.path.open("rb")
    except OSError as error:
        raise file_changed(file, error.strerror or str(error)) from None
    with source, archive.open(entry, "w") as member:
        while data := source.read(_CHUNK):
            if stop.is_set():
                raise RunCancelled
            md5.update(data)
            member.write(data)
    if md5.digest() != file.md5:
        raise file_changed(file, "its content has changed")
