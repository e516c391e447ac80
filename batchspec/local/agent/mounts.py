"""File systems that a pool mounts on its nodes, as links in ``fsmounts``.

A blob container of the account's own storage is a FUSE file system if the machine supports FUSE.
Otherwise it is one folder for all nodes; the service synchronises the folder with the container
before a run starts on a node and after it has ended. An NFS file system of this machine is a local
path. Other file systems cannot be mounted.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from batchspec.local.agent.fuse import FuseError, FuseMounts
from batchspec.local.agent.launch import Failure, Mount
from batchspec.local.agent.storage import BlobClient, StorageAccess, StorageError, blob_url
from batchspec.local.model import Wire
from batchspec.local.safe_paths import (
    OutsideError,
    Owner,
    Root,
    create_file,
    open_directory,
    opened,
    remove,
    split,
)
from batchspec.local.task_users import UserIds

_BLOB, _NFS = "azureBlobFileSystemConfiguration", "nfsMountConfiguration"
_LOCAL_HOSTS = ("localhost", "127.0.0.1")
_CONTAINER = re.compile(r"\$?[a-z0-9][a-z0-9-]*", re.IGNORECASE | re.ASCII)
"""A container's name, which becomes the name of its folder and a part of its URL."""


class MountError(Exception):
    """A file system cannot be mounted or synchronised."""

    @property
    def failure(self) -> Failure:
        """The error of the node, with the documented code."""
        return Failure(
            "UserError",
            "MountConfigurationError",
            "An error was encountered while configuring specified mount(s)",
            (("Message", str(self)),),
        )


@dataclass(slots=True)
class _Folder:
    """A container's folder. ``known`` contains ETag, size and time of change by file, at the last
    transfer.
    """

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    known: dict[str, tuple[str, int, int]] | None = None


class Mounts:
    """The file systems of all nodes of a service on the data folder ``data``."""

    def __init__(
        self,
        data: Path,
        storage: BlobClient,
        access: StorageAccess,
        users: UserIds | None = None,
        *,
        fuse: bool = False,
    ) -> None:
        """``users`` are the user ids of tasks; all of them can read and write the folders.

        Without ``fuse``, containers are always synchronised folders.
        """
        self._data = data
        self._links = None if users is None else users.folders
        self._owner = None if users is None else users.shared_folders
        self._storage = storage
        self._access = access
        self._folders: defaultdict[str, _Folder] = defaultdict(_Folder)
        self._fuse = FuseMounts(data, users) if fuse else None

    async def mount(self, root: Path, mounts: tuple[Mount, ...]) -> str:
        """Mount file systems on the node at ``root``.

        Returns the kind of mount of the containers for the log of the node; empty without them.

        Raises:
            MountError: a file system cannot be mounted.
        """
        for mount in mounts:
            ((kind, settings),) = mount.items()
            if kind == _BLOB:
                target = await self._container(root, settings)
            elif kind == _NFS:
                target = _local_path(settings["source"])
            else:
                raise MountError(f"{kind} cannot be mounted on this machine.")
            self._link(root, settings["relativeMountPath"], target)
        if not any(_containers(mounts)):
            return ""
        why = "it is disabled" if self._fuse is None else await self._fuse.obstacle()
        kind = f"synchronised folders, not FUSE: {why}" if why else "FUSE file systems by rclone"
        return f"containers are {kind}"

    async def pull(self, root: Path, mounts: tuple[Mount, ...]) -> None:
        """Update the containers of the node at ``root``.

        File systems of an earlier run of the service are mounted again.

        Raises:
            MountError: a container cannot be read.
        """
        for settings in _containers(mounts):
            target = await self._container(root, settings)
            self._link(root, settings["relativeMountPath"], target)

    async def push(self, mounts: tuple[Mount, ...]) -> None:
        """Upload changed files, or wait until rclone has uploaded them.

        Raises:
            MountError: a container cannot be written.
        """
        for settings in _containers(mounts):
            if self._fuse is None or await self._fuse.obstacle():
                await self._push(settings)
            else:
                with _mount_errors(settings["containerName"]):
                    await self._fuse.flush(settings)

    def leave(self, root: Path) -> None:
        """Unmount the file systems of a node that leaves its pool, in the background."""
        if self._fuse is not None:
            self._fuse.leave(root)

    async def close(self) -> None:
        """Unmount all file systems."""
        if self._fuse is not None:
            await self._fuse.close()

    async def _container(self, root: Path, settings: Wire) -> Path:
        """The folder with the current content of a container, for the node at ``root``."""
        if self._fuse is None or await self._fuse.obstacle():
            await self._pull(settings)
            return self._folder(settings)
        url = self._url(settings)
        with _mount_errors(settings["containerName"]):
            await anext(self._storage.list_tags(url), None)  # it exists and can be read
            return await self._fuse.mount(root, settings, url)

    def _folder(self, settings: Wire) -> Path:
        name: str = settings["containerName"]
        return self._data / "mounts" / name.lower()

    def _url(self, settings: Wire) -> str:
        name = settings["containerName"]
        if _CONTAINER.fullmatch(name) is None:
            raise MountError(f"'{name}' is not the name of a container.")
        url = self._access.mount(
            settings["accountName"], name, settings.get("accountKey"), settings.get("sasKey")
        )
        if url is None:
            raise MountError(
                f"Container {name} of account {settings['accountName']}: only containers of the "
                "account's own storage can be mounted, with its key or a SAS."
            )
        return url

    async def _pull(self, settings: Wire) -> None:
        url, folder, path = self._url(settings), self._of(settings), self._folder(settings)
        async with folder.lock:
            with _mount_errors(settings["containerName"]):
                if folder.known is None:  # of an earlier run of the service
                    await asyncio.to_thread(shutil.rmtree, path, ignore_errors=True)
                    folder.known = {}
                path.mkdir(mode=0o700, parents=True, exist_ok=True)
                if self._owner is not None:
                    self._share(path, self._owner)
                found = {name: tag async for name, tag in self._storage.list_tags(url)}
                for name in folder.known.keys() - found.keys():
                    # Deleted in the container; a file with later changes stays.
                    if _state(path / name) == folder.known.pop(name)[1:]:
                        with suppress(FileNotFoundError, OutsideError):
                            remove(self._root(settings), name, recursive=False)
                for name, tag in found.items():
                    if folder.known.get(name, ("",))[0] != tag and not name.endswith("/"):
                        await self._download(blob_url(url, name), path, name)
                        folder.known[name] = (tag, *_state(path / name))

    async def _push(self, settings: Wire) -> None:
        url, folder, path = self._url(settings), self._of(settings), self._folder(settings)
        async with folder.lock:
            known = folder.known = folder.known or {}
            with _mount_errors(settings["containerName"]):
                for name in await asyncio.to_thread(list, _files(path)):
                    state = _state(path / name)
                    if known.get(name, ("", -1, -1))[1:] == state:
                        continue
                    # Other tasks can remove the file at the same time, or replace it by a link.
                    with (
                        suppress(FileNotFoundError, OutsideError),
                        opened(self._root(settings), name) as (source, _),
                    ):
                        tag = await self._storage.upload(source, blob_url(url, name), {})
                        known[name] = (tag, *state)

    def _share(self, path: Path, owner: Owner) -> None:
        """Let all users of tasks write to the folder ``path``, but not replace it."""
        parts = path.relative_to(self._data).parts
        with open_directory(self._data, parts, own=True, owner=self._links) as folder:
            owner.take(folder)

    def _root(self, settings: Wire) -> Root:
        return Root(self._data, self._folder(settings).relative_to(self._data).parts)

    def _of(self, settings: Wire) -> _Folder:
        return self._folders[settings["containerName"].lower()]

    async def _download(self, url: str, folder: Path, name: str) -> None:
        *above, last = split(name)
        if "/".join((*above, last)) != name:  # two blobs could be one file
            raise OutsideError(name)
        with (
            open_directory(folder, above, own=True, owner=self._owner) as directory,
            create_file(directory, last, 0o660, self._owner) as target,
        ):
            await self._storage.download(url, target)

    def _link(self, root: Path, relative: str, target: Path) -> None:
        """Create a link to ``target``, unless the link exists: processes may use it.

        Raises:
            MountError: the link cannot be created.
        """
        try:
            *above, name = ("fsmounts", *split(relative.replace("\\", "/").strip("/")))
            parts = (*root.relative_to(self._data).parts, *above)
            with open_directory(self._data, parts, own=True, owner=self._links) as directory:
                with suppress(FileNotFoundError, OSError):
                    if os.readlink(name, dir_fd=directory) == str(target):
                        return
                with suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=directory)
                os.symlink(target, name, dir_fd=directory)
        except (OSError, OutsideError) as error:
            raise MountError(f"{relative}: {error}") from None


@contextmanager
def _mount_errors(container: str) -> Iterator[None]:
    """Convert the errors of a transfer to :class:`MountError`."""
    try:
        yield
    except OutsideError as error:
        why = f"the blob name '{error}' cannot be the path of a file."
    except UnicodeEncodeError as error:
        why = f"the name of the file {error.object!a} is not UTF-8."
    except (FuseError, StorageError, OSError) as error:
        why = str(error)
    else:
        return
    raise MountError(f"Container {container}: {why}")


def _containers(mounts: tuple[Mount, ...]) -> Iterator[Wire]:
    return (mount[_BLOB] for mount in mounts if _BLOB in mount)


def _local_path(source: str) -> Path:
    """The folder of an NFS source on this machine: ``localhost:/path`` or ``/path``."""
    host, colon, path = source.partition(":")
    if not colon:
        host, path = "localhost", source
    if host.lower() not in _LOCAL_HOSTS:
        raise MountError(f"{source}: only paths of this machine can be mounted: localhost:/PATH.")
    if not path.startswith("/") or not Path(path).is_dir():
        raise MountError(f"{source}: the folder does not exist on this machine.")
    return Path(path)


def _files(folder: Path) -> Iterator[str]:
    """The paths of all files below ``folder``; links are not followed."""
    for above, _, names in os.walk(folder):
        for name in names:
            path = Path(above, name)
            if path.is_file() and not path.is_symlink():
                yield str(path.relative_to(folder))


def _state(path: Path) -> tuple[int, int]:
    """The size of a file and the time of its last change; zeros if it does not exist."""
    try:
        found: Any = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return 0, 0
    return found.st_size, found.st_mtime_ns
