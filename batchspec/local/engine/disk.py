"""The directories of nodes and tasks: made, and taken away at once.

Taking away is a rename into ``trash``, which takes no time however much there is and can be done
while the store is being written; the trash is emptied in the background. What may not live here:
what runs in the directories.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import threading
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

from batchspec.local.model.layout import NODE_DIRECTORIES, node_root


class Disk:
    """The disks of all nodes, below the folder ``data``."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._trash = data / "trash"
        self._trash.mkdir(parents=True, exist_ok=True)
        self._numbers = count()
        self._emptying: asyncio.Task[None] | None = None
        self._closing = threading.Event()

    def make_node(self, pool_id: str, node_id: str) -> None:
        """Make the directories at the root of a node; those that are there stay."""
        root = node_root(self._data, pool_id, node_id)
        for name in NODE_DIRECTORIES:
            (root / name).mkdir(parents=True, exist_ok=True)

    def remove_node(self, pool_id: str, node_id: str) -> None:
        """Take a node's root away."""
        self._discard(node_root(self._data, pool_id, node_id))

    def remove_pool(self, pool_id: str) -> None:
        """Take away the directory that held the pool's nodes."""
        self._discard(node_root(self._data, pool_id, "none").parent)

    def remove(self, pool_id: str, node_id: str, directory: str) -> None:
        """Take away a directory that is given relative to its node's root."""
        self._discard(node_root(self._data, pool_id, node_id) / directory)

    def empty_trash(self) -> None:
        """Begin to delete what was taken away, unless that goes on already."""
        if self._emptying is None or self._emptying.done():
            self._emptying = asyncio.create_task(
                asyncio.to_thread(_empty, self._trash, self._closing)
            )

    async def close(self) -> None:
        """Stop deleting; what is left in the trash is deleted in the next life."""
        self._closing.set()
        if self._emptying is not None:
            await self._emptying

    def _discard(self, path: Path) -> None:
        while True:
            target = self._trash / str(next(self._numbers))
            if target.exists():  # of an earlier life
                continue
            try:
                path.rename(target)
            except FileNotFoundError:
                return
            except PermissionError:
                # A task may have made its directory unwritable; renaming it writes its "..".
                path.chmod(0o700)
                path.rename(target)
            return


def _empty(trash: Path, closing: threading.Event) -> None:
    for path in trash.iterdir():
        if closing.is_set():
            return
        shutil.rmtree(path, onerror=_again)


def _again(function: Callable[..., Any], path: str, _: Any) -> None:
    """Make way for one more try: a task may have taken the right to write from a directory."""
    with suppress(FileNotFoundError):
        if function in (os.unlink, os.rmdir):
            Path(path).parent.chmod(0o700)
            function(path)
        else:
            Path(path).chmod(0o700)
            shutil.rmtree(path)
