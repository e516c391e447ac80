"""What a task finds when it starts: its directories, its packages, its files.

What lives here: the order of these steps, and what their failures are called. What may not:
processes.
"""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from batchspec.local.agent.failures import failure
from batchspec.local.agent.inside import directory_inside
from batchspec.local.agent.launch import Failure, Package
from batchspec.local.agent.packages import PackageError, install_all
from batchspec.local.agent.resources import ResourceError, fetch_all
from batchspec.local.agent.storage import Grants, Storage


async def make_directory(data: Path, directory: Path, *, fresh: bool) -> None:
    """Make the directory of a task and those in it; ``fresh`` removes what is there first.

    No link is followed below the folder ``data``, where a task may have put one. Not to be cut
    short: the next run in the same directory must not meet the removal.

    Raises:
        OSError: it cannot be made, or what is there cannot be removed.
    """
    try:
        await _make(data, directory, fresh=fresh)
    except OSError as error:  # whose path is relative to a descriptor
        raise OSError(error.errno, error.strerror, str(directory)) from None


async def _make(data: Path, directory: Path, *, fresh: bool) -> None:
    *above, name = directory.relative_to(data).parts
    with directory_inside(data, above, ours=True) as parent:
        try:
            os.mkdir(name, 0o755, dir_fd=parent)
        except FileExistsError:
            if fresh:
                await asyncio.to_thread(shutil.rmtree, name, dir_fd=parent)
                os.mkdir(name, 0o755, dir_fd=parent)
        made = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
    try:
        for below in ("wd", "certs"):
            with suppress(FileExistsError):
                os.mkdir(below, 0o755, dir_fd=made)
    finally:
        os.close(made)


async def fill(
    packages: Sequence[Package],
    files: Sequence[Mapping[str, Any]],
    into: Path,
    storage: Storage,
    grants: Grants,
) -> None:
    """Put packages on the node, and resource ``files`` (in wire form) into a directory.

    Raises:
        PackageError, ResourceError, OSError: one of them is not there as it should be.
    """
    if packages:
        await install_all(packages)
    if files:
        await fetch_all(files, into, storage, grants)


def why_unprepared(error: PackageError | ResourceError | OSError) -> Failure:
    """The failure of a run that could not be prepared."""
    if isinstance(error, OSError):
        full = error.errno in {errno.ENOSPC, errno.EDQUOT}
        code = "DiskFull" if full else "ResourceDirectoryCreateFailed"
        return failure(code, FilePath=str(error.filename), Message=error.strerror or "")
    return error.failure
