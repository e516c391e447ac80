"""What a task finds when it starts: its directories, its packages, its files.

What lives here: the order of these steps, and what their failures are called. What may not:
processes.
"""

from __future__ import annotations

import asyncio
import errno
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from batchspec.local.agent.failures import failure
from batchspec.local.agent.launch import Failure, Package
from batchspec.local.agent.packages import PackageError, install_all
from batchspec.local.agent.resources import ResourceError, fetch_all
from batchspec.local.agent.storage import Grants, Storage


async def make_directory(directory: Path, *, fresh: bool) -> None:
    """Make the directory of a task and those in it; ``fresh`` removes what is there first.

    Not to be cut short: the next run in the same directory must not meet the removal.

    Raises:
        OSError: it cannot be made.
    """
    if fresh and _is_there(directory):
        await asyncio.to_thread(shutil.rmtree, directory)
    _make(directory)


def _is_there(directory: Path) -> bool:
    return directory.exists()


def _make(directory: Path) -> None:
    for name in ("wd", "certs"):
        (directory / name).mkdir(parents=True, exist_ok=True)


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
