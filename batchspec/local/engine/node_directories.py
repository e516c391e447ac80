"""The directories of nodes and tasks on disk: creation and removal.

Removal is a rename into ``trash``, which takes no time whatever the size and can be done in a
transaction of the store; the trash is emptied in the background. Whatever tasks did to their
directories, nothing outside of the data folder is touched, and no error is raised: what cannot be
removed stays and is logged.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import threading
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

from batchspec.local.model import NODE_DIRECTORIES, node_root
from batchspec.local.safe_paths import open_directory

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_log = logging.getLogger(__name__)


class NodeDirectories:
    """The directories of all nodes, in the folder ``data``."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._trash = data / "trash"
        self._trash.mkdir(parents=True, exist_ok=True)
        self._numbers = count()
        self._emptying: asyncio.Task[None] | None = None
        self._filled = True  # an earlier run may have filled it
        self._closing = threading.Event()

    def make_node(self, pool_id: str, node_id: str) -> None:
        """Create the directories at the root of a node; existing ones stay."""
        root = node_root(self._data, pool_id, node_id)
        above = root.relative_to(self._data).parts
        for name in NODE_DIRECTORIES:
            try:
                with open_directory(self._data, [*above, name], own=True):
                    pass
            except OSError as error:  # a task created something else there
                _log.warning("cannot make %s: %s", root / name, error.strerror)

    def remove_node(self, pool_id: str, node_id: str) -> None:
        """Remove the root directory of a node."""
        self._discard(node_root(self._data, pool_id, node_id))

    def remove_pool(self, pool_id: str) -> None:
        """Remove the directory that contained the nodes of a pool."""
        self._discard(node_root(self._data, pool_id, "none").parent)

    def remove(self, pool_id: str, node_id: str, directory: str) -> None:
        """Remove a directory, given relative to the root of its node."""
        self._discard(node_root(self._data, pool_id, node_id) / directory)

    def empty_trash(self) -> None:
        """Start to delete the content of the trash, unless this is already in progress."""
        if self._filled and (self._emptying is None or self._emptying.done()):
            self._filled = False
            self._emptying = asyncio.create_task(
                asyncio.to_thread(_empty_trash, self._trash, self._closing)
            )

    async def close(self) -> None:
        """Stop deleting; the next run of the service deletes the rest of the trash."""
        self._closing.set()
        if self._emptying is not None:
            await self._emptying

    def _discard(self, path: Path) -> None:
        target = self._trash / str(next(self._numbers))
        while target.exists():  # of an earlier run
            target = self._trash / str(next(self._numbers))
        self._filled = True
        try:
            try:
                self._move(path, target)
            except PermissionError:
                # A task may have made a directory read-only; renaming a directory writes its "..".
                for directory in (*reversed(path.relative_to(self._data).parents), path):
                    _make_writable(self._data / directory)
                self._move(path, target)
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            _log.warning("cannot remove %s: %s", path, error.strerror)

    def _move(self, path: Path, target: Path) -> None:
        """Rename ``path`` without following a link that a task may have created above it."""
        *above, name = path.relative_to(self._data).parts
        descriptor = os.open(self._data, _DIRECTORY & ~os.O_NOFOLLOW)
        try:
            for part in above:
                below = os.open(part, _DIRECTORY, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = below
            os.rename(name, target, src_dir_fd=descriptor)
        finally:
            os.close(descriptor)


def _make_writable(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        path.chmod(0o700)


def _empty_trash(trash: Path, closing: threading.Event) -> None:
    for path in trash.iterdir():
        if closing.is_set():
            return
        try:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, onerror=_retry_with_permission)
            else:
                path.unlink()
        except OSError as error:
            _log.warning("cannot remove %s: %s", error.filename, error.strerror)


def _retry_with_permission(function: Callable[..., Any], path: str, _: Any) -> None:
    """Retry once with write permission: a task may have removed it from a directory."""
    with suppress(FileNotFoundError):
        if function in (os.unlink, os.rmdir):
            _make_writable(Path(path).parent)
            function(path)
        else:
            _make_writable(Path(path))
            shutil.rmtree(path)
