"""Application packages: unpacked on a node once, before anything uses them.

A zip file becomes a directory, completely or not at all, and nothing outside of it whatever the
names in the file are. Which package a reference means is decided elsewhere.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import stat
import threading
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from batchspec.local.agent.failures import package_failure
from batchspec.local.agent.launch import Failure, Package
from batchspec.local.safe_paths import OutsideError, create_file, open_directory, split

_CHUNK = 1 << 20
_MODE = 0o770
"""The mode of a file without a mode in the zip file; the same as for resource files."""
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)
"""What ``zipfile`` raises for a damaged or encrypted file, or one in an unsupported format."""


class PackageError(Exception):
    """A package could not be installed; ``failure`` is that of the task or node."""

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


async def install_all(packages: Sequence[Package]) -> None:
    """Install every package that is not installed yet, one after another.

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
                await asyncio.to_thread(_install, package.source, package.target, _Stop(event))
            except OutsideError as error:
                raise PackageError(
                    package_failure(package, f"'{error}' is outside of the package.")
                ) from None
            except _DAMAGED as error:
                raise PackageError(
                    package_failure(package, f"It is not a zip file: {error}")
                ) from None
            except OSError as error:
                raise PackageError(package_failure(package, error.strerror or str(error))) from None
    finally:
        event.set()


def _install(source: Path, target: Path, stop: _Stop) -> None:
    if target.is_dir():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f".{target.name}.{secrets.token_hex(6)}")
    try:
        beside.mkdir()
        _unpack(source, beside, stop)
        try:
            beside.rename(target)
        except OSError:
            if not target.is_dir():  # otherwise another task has just installed it
                raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _unpack(source: Path, target: Path, stop: _Stop) -> None:
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
            with open_directory(target, folders) as directory:
                if name.endswith("/"):
                    continue
                if stat.S_ISLNK(mode):
                    _link(archive.read(entry).decode(), parts, directory)
                    continue
                with create_file(directory, parts[-1], mode & 0o777 or _MODE) as file:
                    _copy(archive, entry, file, stop)


def _copy(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, file: int, stop: _Stop) -> None:
    with archive.open(entry) as content:
        while chunk := content.read(_CHUNK):
            stop.check()
            view = memoryview(chunk)
            while view:
                view = view[os.write(file, view) :]


def _link(points_to: str, parts: Sequence[str], directory: int) -> None:
    """Create a link that stays in the package; nothing is ever written through a link."""
    depth = len(parts) - 1
    for step in points_to.split("/"):
        depth += {"..": -1, ".": 0, "": 0}.get(step, 1)
        if depth < 0 or points_to.startswith("/"):
            raise OutsideError("/".join(parts))
    os.symlink(points_to, parts[-1], dir_fd=directory)
