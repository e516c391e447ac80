"""The directory of a task at its start: resource files and application packages.

A node unpacks an application package once, before the first use.
"""

from __future__ import annotations

import asyncio
import errno
import os
import secrets
import shutil
import stat
import threading
import zipfile
import zlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from batchspec.local.agent.launch import Failure, Package, failure, package_failure, without_query
from batchspec.local.agent.storage import (
    BlobClient,
    NodeStorage,
    StorageError,
    StorageTimeoutError,
    blob_url,
)
from batchspec.local.safe_paths import OutsideError, Owner, create_file, open_directory, split
from batchspec.local.task_users import Owners

_CHUNK = 1 << 20
_PACKAGE_MODE = 0o770
"""The mode of a file without a mode in the zip file; the same as for resource files."""
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)
"""The errors of ``zipfile`` for a damaged, encrypted or unsupported file."""


class PackageError(Exception):
    """A package cannot be installed; ``failure`` is the failure of the task or node."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.code)
        self.failure = failure


@dataclass(slots=True)
class _Stop:
    """Signals a thread that its result is no longer needed."""

    event: threading.Event

    def check(self) -> None:
        if self.event.is_set():
            raise InterruptedError


async def install_all(packages: Sequence[Package], owner: Owner | None = None) -> None:
    """Install all packages that are not installed yet, one after another.

    The directories and files get the ``owner``; its group gets root's rights to read and execute.

    Raises:
        PackageError: a package does not exist or cannot be unpacked.
    """
    event = threading.Event()
    try:
        for package in packages:
            if package.source is None:
                raise PackageError(
                    package_failure(package, "The specified application package does not exist.")
                )
            try:
                await asyncio.to_thread(
                    _install, package.source, package.target, _Stop(event), owner
                )
            except OutsideError as error:
                raise PackageError(
                    package_failure(package, f"'{error}' is outside of the package.")
                ) from None
            except _DAMAGED as error:
                raise PackageError(
                    package_failure(package, f"The package is not a zip file: {error}")
                ) from None
            except OSError as error:
                raise PackageError(package_failure(package, error.strerror or str(error))) from None
    finally:
        event.set()


def _install(source: Path, target: Path, stop: _Stop, owner: Owner | None) -> None:
    if target.is_dir():
        return
    _make_folders(target.parent, owner)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(6)}")
    try:
        temporary.mkdir()
        _unpack(source, temporary, stop, owner)
        try:
            temporary.rename(target)
        except OSError:
            if not target.is_dir():  # if it is, another task has just installed the package
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _make_folders(folder: Path, owner: Owner | None) -> None:
    """Create a folder and its missing parents; new folders get the ``owner``."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    for each in reversed(missing):
        each.mkdir(exist_ok=True)
        if owner is not None:
            os.chown(each, owner.uid, owner.gid)
            each.chmod(owner.mode)


def _unpack(source: Path, target: Path, stop: _Stop, owner: Owner | None) -> None:
    with open_directory(target.parent, (target.name,), owner=owner):
        pass
    with zipfile.ZipFile(source) as archive:
        for entry in archive.infolist():
            stop.check()
            # Some Windows tools use "\" as the separator.
            name = entry.filename.replace("\\", "/")
            if name == "./":
                continue
            parts = split(name)
            mode = entry.external_attr >> 16
            folders = parts if name.endswith("/") else parts[:-1]
            with open_directory(target, folders, owner=owner) as directory:
                if name.endswith("/"):
                    continue
                if stat.S_ISLNK(mode):
                    _link(archive.read(entry).decode(), parts, directory)
                    continue
                mode = mode & 0o777 or _PACKAGE_MODE
                if owner is not None:
                    mode |= (mode & 0o500) >> 3
                with create_file(directory, parts[-1], mode, owner) as file:
                    _copy(archive, entry, file, stop)


def _copy(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, file: int, stop: _Stop) -> None:
    with archive.open(entry) as content:
        while chunk := content.read(_CHUNK):
            stop.check()
            view = memoryview(chunk)
            while view:
                view = view[os.write(file, view) :]


def _link(points_to: str, parts: Sequence[str], directory: int) -> None:
    """Create a link that stays in the package. No file is written through a link."""
    depth = len(parts) - 1
    for step in points_to.split("/"):
        depth += {"..": -1, ".": 0, "": 0}.get(step, 1)
        if depth < 0 or points_to.startswith("/"):
            raise OutsideError("/".join(parts))
    os.symlink(points_to, parts[-1], dir_fd=directory)


_MODE = "0770"
_CONCURRENCY = 8
_DENIED = {401, 403}


class ResourceError(Exception):
    """A resource file cannot be downloaded; ``failure`` is the failure of the task."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.code)
        self.failure = failure


@dataclass(frozen=True, slots=True)
class _File:
    url: str
    path: str
    mode: int


async def fetch_all(
    resources: Sequence[Mapping[str, Any]],
    into: Path,
    storage: BlobClient,
    node_storage: NodeStorage,
    owner: Owner | None = None,
) -> None:
    """Download all ``resources`` (in wire form) to the directory ``into``, a few at a time.

    New directories and files get the ``owner``.

    Raises:
        ResourceError: a download failed; other files may be missing.
    """
    gate = asyncio.Semaphore(_CONCURRENCY)
    fetches: set[asyncio.Task[None]] = set()
    try:
        for resource in resources:
            async for file in _expand_resource(resource, storage, node_storage):
                await gate.acquire()
                fetch = asyncio.create_task(_fetch(file, into, storage, owner))
                fetch.add_done_callback(lambda _: gate.release())
                fetches.add(fetch)
                # A failure cancels the other downloads immediately.
                for done in [task for task in fetches if task.done()]:
                    fetches.remove(done)
                    done.result()
        await asyncio.gather(*fetches)
    finally:
        for task in fetches:
            task.cancel()
        await asyncio.gather(*fetches, return_exceptions=True)


async def _expand_resource(
    resource: Mapping[str, Any], storage: BlobClient, node_storage: NodeStorage
) -> AsyncIterator[_File]:
    """The files of one resource."""
    mode = int(resource.get("fileMode") or _MODE, 8) & 0o7777
    reference = resource.get("identityReference")
    if url := resource.get("httpUrl"):
        file = _File(url, resource["filePath"], mode)
        if reference is None:
            yield file
            return
        try:
            yield replace(file, url=node_storage.identity(url, reference, write=False))
        except StorageError as error:
            raise ResourceError(_download_failure(file, error)) from None
        return
    name = resource.get("autoStorageContainerName")
    container = node_storage.container(name) if name else resource["storageContainerUrl"]
    if container is None:
        raise ResourceError(failure("ResourceContainerListMiscError", ContainerName=name or ""))
    if reference is not None:
        try:
            container = node_storage.identity(container, reference, write=False)
        except StorageError as error:
            raise ResourceError(_listing_failure(container, error)) from None
    folder = resource.get("filePath") or ""
    prefix = resource.get("blobPrefix") or ""
    try:
        async for blob in storage.list_blobs(container, prefix):
            if not blob.endswith("/"):  # other tools mark an empty directory in this way
                path = f"{folder}/{blob}" if folder else blob
                yield _File(blob_url(container, blob), path, mode)
    except StorageError as error:
        raise ResourceError(_listing_failure(container, error)) from None


async def _fetch(file: _File, into: Path, storage: BlobClient, owner: Owner | None) -> None:
    try:
        parts = split(file.path)
    except OutsideError:
        raise ResourceError(
            failure(
                "ResourceFileCreateFailed",
                FilePath=file.path,
                Message="The path is outside of the task's working directory.",
            )
        ) from None
    code = "ResourceDirectoryCreateFailed"
    try:
        with open_directory(into, parts[:-1], owner=owner) as directory:
            code = "ResourceFileCreateFailed"
            # Other tasks can read a readable directory, and its files have the group of all users.
            readable = owner is not None and owner.mode & 0o050
            mode = file.mode & ~0o020 if readable else file.mode
            with create_file(directory, parts[-1], mode, owner) as target:
                code = "ResourceFileWriteFailed"
                await storage.download(file.url, target)
                code = "ResourceFileCreateFailed"
    except StorageError as error:
        raise ResourceError(_download_failure(file, error)) from None
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            code = "DiskFull"
        raise ResourceError(
            failure(code, FilePath=file.path, Message=error.strerror or "")
        ) from None


def _download_failure(file: _File, error: StorageError) -> Failure:
    if isinstance(error, StorageTimeoutError):
        code = "BlobDownloadTimedOut"
    elif error.status in _DENIED or error.code == "PublicAccessNotPermitted":
        code = "BlobAccessDenied"
    elif error.status == 404:
        code = "BlobNotFound"
    else:
        code = "BlobDownloadMiscError"
    return failure(code, FilePath=file.path, BlobSource=without_query(file.url), Message=str(error))


def _listing_failure(container: str, error: StorageError) -> Failure:
    denied = error.status in _DENIED or error.code == "PublicAccessNotPermitted"
    code = "ResourceContainerAccessDenied" if denied else "ResourceContainerListMiscError"
    return failure(code, ContainerUrl=without_query(container), Message=str(error))


async def make_directory(
    data: Path, directory: Path, *, fresh: bool, owners: Owners | None = None
) -> None:
    """Create the directory of a task and its subdirectories; ``fresh`` removes an existing one.

    With ``owners``, a directory of another user gets the new owner, including its content.

    This follows no links below the folder ``data``, where tasks can create them. Do not cancel it:
    the removal must end before the next run in the same directory.

    Raises:
        OSError: the directory cannot be created, or the existing one cannot be removed.
    """
    try:
        await _make_directory(data, directory, fresh=fresh, owners=owners)
    except OSError as error:  # the path of the error is relative to a descriptor
        raise OSError(error.errno, error.strerror, str(directory)) from None


async def _make_directory(
    data: Path, directory: Path, *, fresh: bool, owners: Owners | None
) -> None:
    *above, name = directory.relative_to(data).parts
    folders = None if owners is None else owners.folders
    with open_directory(data, above, own=True, owner=folders) as parent:
        created = True
        try:
            os.mkdir(name, 0o755, dir_fd=parent)
        except FileExistsError:
            created = fresh
            if fresh:
                await asyncio.to_thread(shutil.rmtree, name, dir_fd=parent)
                os.mkdir(name, 0o755, dir_fd=parent)
        made = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
    try:
        for below in ("wd", "certs"):
            with suppress(FileExistsError):
                os.mkdir(below, 0o755, dir_fd=made)
        if owners is not None:
            if created:
                _change_owner_of_new(made, owners.directory)
            else:
                await _change_owner(made, owners.directory)
    finally:
        os.close(made)


def _change_owner_of_new(made: int, owner: Owner) -> None:
    """Make ``owner`` the owner of the directory of a task, which was just created."""
    for name in ("wd", "certs"):
        below = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=made)
        try:
            owner.take(below)
        finally:
            os.close(below)
    owner.take(made)


async def _change_owner(made: int, owner: Owner) -> None:
    """Make ``owner`` the owner of a task's directory, its subdirectories and existing content."""
    found = os.fstat(made)
    kept = (found.st_uid, found.st_gid) == (owner.uid, owner.gid)
    new = set(os.listdir(made)) <= {"wd", "certs"}
    if not kept:
        owner.take(made)
    for name in ("wd", "certs"):
        with suppress(OSError):  # a task of root has replaced it
            below = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=made)
            try:
                if not kept or os.fstat(below).st_gid == 0:  # just created
                    owner.take(below)
                new = new and not os.listdir(below)  # noqa: PTH208  a descriptor
            finally:
                os.close(below)
    if not (kept or new):
        await asyncio.to_thread(_change_all_owners, made, owner)


def _change_all_owners(made: int, owner: Owner) -> None:
    for _, folders, files, descriptor in os.fwalk(".", dir_fd=made):
        for name in (*folders, *files):
            found = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            if found.st_nlink == 1 or stat.S_ISDIR(found.st_mode):  # a file of another directory
                os.chown(name, owner.uid, owner.gid, dir_fd=descriptor, follow_symlinks=False)


async def add_files(  # noqa: PLR0917
    packages: Sequence[Package],
    files: Sequence[Mapping[str, Any]],
    into: Path,
    storage: BlobClient,
    node_storage: NodeStorage,
    owners: Owners | None = None,
) -> None:
    """Install packages on the node, and download resource ``files`` (in wire form) to a directory.

    Raises:
        PackageError, ResourceError, OSError: a package or a file failed.
    """
    if packages:
        await install_all(packages, None if owners is None else owners.folders)
    if files:
        owner = None if owners is None else owners.directory
        await fetch_all(files, into, storage, node_storage, owner)


def preparation_failure(error: PackageError | ResourceError | OSError) -> Failure:
    """The failure of a run whose preparation failed."""
    if isinstance(error, OSError):
        full = error.errno in {errno.ENOSPC, errno.EDQUOT}
        code = "DiskFull" if full else "ResourceDirectoryCreateFailed"
        return failure(code, FilePath=str(error.filename), Message=error.strerror or "")
    return error.failure
