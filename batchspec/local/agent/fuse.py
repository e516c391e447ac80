"""Blob containers as FUSE file systems, mounted by rclone, with blobfuse's options.

All nodes share one mount of a container with the same credentials and options, so that they see
each other's files immediately. rclone uploads files when they are closed, and streams reads. The
environment of rclone contains the credential. Checked with rclone 1.60.1 and fuse3 3.14.0.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import logging
import os
import re
import secrets
import shlex
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from batchspec.local.model import Wire
from batchspec.local.process import (
    TAG_VARIABLE,
    die_with_parent,
    is_mounted,
    process_tag,
    unmount,
)
from batchspec.local.safe_paths import open_directory
from batchspec.local.task_users import UserIds

_log = logging.getLogger(__name__)

_FOLDER = "fuse"
_START_SECONDS, _STOP_SECONDS, _CONTROL_SECONDS = 20.0, 10.0, 10.0
_POLL = 0.01
_CONTROL = re.compile(r"remote control on (http://127\.0\.0\.1:\d+/)")
_SERVICE_CODE = re.compile(r"(?:ServiceCode=|ERROR CODE: )(\w+)")
_SECONDS = re.compile(r"\d{1,9}")
_CACHE_TIMES = frozenset({"--file-cache-timeout-in-seconds", "--file-cache-timeout"})
_KERNEL_TIMES = frozenset({"attr_timeout", "entry_timeout"})


class FuseError(Exception):
    """A file system cannot be mounted, or one of its files cannot be uploaded."""


@dataclass(frozen=True, slots=True)
class BlobfuseOptions:
    """The ``blobfuseOptions`` that have an effect; others are ignored.

    ``subdirectory`` is the mounted folder of the container. ``cache_seconds`` is the time for which
    lists of directories are cached, ``kernel_seconds`` the time for which the kernel caches
    attributes. Source: the options of blobfuse 1 and 2 in their repository, azure-storage-fuse.
    """

    read_only: bool = False
    subdirectory: str = ""
    cache_seconds: int = 1
    kernel_seconds: int = 0

    @classmethod
    def parse(cls, text: str) -> Self:
        """The options in ``text``, as on a command line.

        Raises:
            FuseError: a quotation mark is not closed.
        """
        try:
            words = shlex.split(text)
        except ValueError as error:
            raise FuseError(f"blobfuseOptions {text!r}: {error}.") from None
        read_only, subdirectory, cache, kernel = False, "", 1, 0
        for name, value in _option_values(words):
            if name in {"ro", "--read-only"} and value.lower() in {"", "true"}:
                read_only = True
            elif name == "--subdirectory":
                subdirectory = value.strip("/")
            elif name in _CACHE_TIMES and _SECONDS.fullmatch(value):
                cache = int(value)
            elif name in _KERNEL_TIMES and _SECONDS.fullmatch(value):
                kernel = int(value)
        return cls(read_only, subdirectory, cache, kernel)

    @property
    def arguments(self) -> list[str]:
        """The options of rclone with the same meaning."""
        return [
            *(["--read-only"] if self.read_only else []),
            f"--dir-cache-time={self.cache_seconds}s",
            f"--attr-timeout={self.kernel_seconds}s",
        ]


def _option_values(words: list[str]) -> Iterator[tuple[str, str]]:
    """The options with their values; the options of ``-o`` have no hyphen."""
    rest = iter(words)
    for word in rest:
        mount_options = word.removeprefix("-o") if word.startswith("-o") else None
        if mount_options is None:
            name, _, value = word.partition("=")
            yield name, value
        else:
            for each in (mount_options or next(rest, "")).split(","):
                name, _, value = each.partition("=")
                yield name, value


@dataclass(slots=True)
class _Mount:
    """A running rclone; ``users`` are the roots of the nodes that use the mount.

    ``folder`` contains the mount point, the cache and the log. ``base`` is ``CONTAINER`` or
    ``CONTAINER/DIRECTORY``. ``reported`` are files whose failed upload was reported.
    """

    folder: Path
    base: str
    process: subprocess.Popen[bytes]
    password: str = field(repr=False)
    users: set[Path] = field(default_factory=set)
    reported: set[str] = field(default_factory=set)

    @property
    def point(self) -> Path:
        return self.folder / "point"

    @property
    def log(self) -> Path:
        return self.folder / "rclone.log"

    async def wait_ready(self) -> None:
        """Wait until the file system is mounted.

        Raises:
            FuseError: rclone has exited, or the mount takes longer than 20 s.
        """
        until = time.monotonic() + _START_SECONDS
        while not is_mounted(self.point):
            if self.process.poll() is not None or time.monotonic() >= until:
                raise FuseError(f"rclone did not mount the container: {_last_message(self.log)}")
            await asyncio.sleep(_POLL)

    def forget(self) -> None:
        """Clear the directory cache of the mount: other clients may have changed the container.

        Raises:
            FuseError: rclone does not answer.
        """
        found = _CONTROL.search(self.log.read_text(errors="replace"))
        if found is None:
            raise FuseError("rclone does not log its address.")
        login = base64.b64encode(f"batchspec:{self.password}".encode()).decode()
        request = urllib.request.Request(  # noqa: S310  the address is http
            f"{found[1]}vfs/forget", method="POST", headers={"Authorization": f"Basic {login}"}
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=_CONTROL_SECONDS) as reply:
                reply.read()
        except OSError as error:
            raise FuseError(f"rclone does not answer: {error}.") from None

    async def flush(self) -> None:
        """Wait until all closed files are uploaded.

        Raises:
            FuseError: a file cannot be uploaded; each file is reported once.
        """
        while True:
            waiting = await asyncio.to_thread(self._not_uploaded)
            if not waiting:
                return
            why = await asyncio.to_thread(_upload_errors, self.log)
            failed = sorted(waiting & why.keys())
            if failed:
                self.reported.update(failed)
                raise FuseError(f"{failed[0]} was not uploaded: {why[failed[0]]}")
            if self.process.poll() is not None:
                raise FuseError(f"rclone has ended: {_last_message(self.log)}")
            await asyncio.sleep(_POLL)

    def _not_uploaded(self) -> set[str]:
        """The paths of changed files that are closed and not uploaded.

        rclone writes a JSON file for each cached file. Its ``Dirty`` is true from the first change
        to the upload. The release of a file follows the exit of its process.
        """
        found = set()
        for above, _, names in os.walk(self.folder / "cache" / "vfsMeta"):
            for name in names:
                path = Path(above, name)
                with suppress(FileNotFoundError):
                    if _is_changed(path):
                        found.add(self._relative(path))
        found -= self.reported
        return found - self._open_files() if found else found

    def _relative(self, path: Path) -> str:
        """The path in the mount of a file below ``vfsMeta/REMOTE/BASE``."""
        parts = path.relative_to(self.folder / "cache" / "vfsMeta").parts
        return "/".join(parts[1 + len(self.base.split("/")) :])

    def _open_files(self) -> set[str]:
        """The paths in the mount of files that a process has open."""
        found, prefix = set(), f"{self.point.resolve()}/"
        for directory in Path("/proc").glob("[0-9]*/fd"):
            with suppress(OSError):
                for descriptor in directory.iterdir():
                    with suppress(OSError):
                        path = str(descriptor.readlink())
                        if path.startswith(prefix):
                            found.add(path.removeprefix(prefix))
        return found

    async def stop(self) -> None:
        """Unmount the file system and remove its cache."""
        self.process.terminate()
        try:
            await asyncio.to_thread(self.process.wait, _STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            await asyncio.to_thread(self.process.wait)
        # A process can still use the mount, such as the process of an SSH session.
        await asyncio.to_thread(unmount, self.point)
        if is_mounted(self.point):
            _log.warning("cannot unmount %s", self.point)
        else:
            await asyncio.to_thread(shutil.rmtree, self.folder, ignore_errors=True)


class FuseMounts:
    """The FUSE file systems of a service on the data folder ``data``."""

    def __init__(self, data: Path, users: UserIds | None = None, path: str | None = None) -> None:
        """``users`` are the user ids of tasks, ``path`` is the search path for programs."""
        self._data = data
        self._users = users
        self._path = os.environ.get("PATH", os.defpath) if path is None else path
        self._mounts: dict[str, _Mount] = {}
        self._lock = asyncio.Lock()
        self._stopping: set[asyncio.Task[None]] = set()
        self._reason: str | None = None

    async def obstacle(self) -> str:
        """The reason why this machine cannot mount; empty if it can. The first call checks it."""
        async with self._lock:
            if self._reason is None:
                self._reason = await self._check()
                if self._reason:
                    _log.info("containers are synchronised folders: %s", self._reason)
                else:
                    _log.info("containers are mounted with rclone (FUSE)")
            return self._reason

    async def mount(self, root: Path, settings: Wire, url: str) -> Path:
        """The mount point of the container ``url`` for the node at ``root``, with fresh content.

        Raises:
            FuseError: the container cannot be mounted.
            OSError: the folder of the mount cannot be created.
        """
        key = _key(settings)
        async with self._lock:
            found, users = self._mounts.get(key), {root}
            if found is not None:
                users |= found.users
                try:
                    await asyncio.to_thread(found.forget)
                except FuseError as error:  # rclone has ended
                    _log.warning("%s is mounted again: %s", found.point, error)
                    del self._mounts[key]
                    await found.stop()
                    found = None
            if found is None:
                await asyncio.gather(*self._stopping)  # possibly at the same mount point
                options = BlobfuseOptions.parse(settings.get("blobfuseOptions", ""))
                name = f"{settings['containerName'].lower()}-{key[:8]}"
                base = "/".join(filter(None, (settings["containerName"], options.subdirectory)))
                variables = {"RCLONE_AZUREBLOB_SAS_URL": url}
                found = await self._start(
                    name, f":azureblob:{base}", base, options.arguments, variables
                )
                self._mounts[key] = found
            found.users = users
        return found.point

    async def flush(self, settings: Wire) -> None:
        """Wait until the files of a mount are uploaded.

        Raises:
            FuseError: a file cannot be uploaded.
        """
        found = self._mounts.get(_key(settings))
        if found is not None:
            await found.flush()

    def leave(self, root: Path) -> None:
        """Release the mounts of the leaving node at ``root``; unmount unused ones in the
        background.
        """
        for key, mount in list(self._mounts.items()):
            mount.users.discard(root)
            if not mount.users:
                del self._mounts[key]
                stopping = asyncio.create_task(mount.stop())
                self._stopping.add(stopping)
                stopping.add_done_callback(self._stopping.discard)

    async def close(self) -> None:
        """Unmount all file systems."""
        mounts = list(self._mounts.values())
        self._mounts.clear()
        await asyncio.gather(*self._stopping, *(mount.stop() for mount in mounts))

    async def _check(self) -> str:
        """Mount an empty file system; return the reason of a failure."""
        if sys.platform != "linux" or not await asyncio.to_thread(os.path.exists, "/dev/fuse"):
            return "this machine has no /dev/fuse"
        for names in (("rclone",), ("fusermount3", "fusermount")):
            if not any(shutil.which(name, path=self._path) for name in names):
                return f"{names[0]} is not installed"
        try:
            tried = await self._start("try", ":memory:", "", [], {})
        except (FuseError, OSError) as error:
            return str(error)
        await tried.stop()
        return ""

    async def _start(
        self, name: str, remote: str, base: str, arguments: list[str], variables: dict[str, str]
    ) -> _Mount:
        parts = (_FOLDER, name)
        owner = None if self._users is None else self._users.folders
        with open_directory(self._data, parts, own=True, owner=owner):
            pass
        folder, password = self._data.joinpath(*parts), secrets.token_hex(32)
        (folder / "point").mkdir(mode=0o700, exist_ok=True)
        shutil.rmtree(folder / "cache", ignore_errors=True)  # of a killed service
        group = [] if self._users is None else ["--allow-other", f"--gid={self._users.group}"]
        mode = "0700" if self._users is None else "0770"
        command = [
            shutil.which("rclone", path=self._path) or "rclone",
            *("mount", remote, str(folder / "point"), f"--cache-dir={folder / 'cache'}"),
            *("--vfs-cache-mode=writes", "--vfs-write-back=0s", "--vfs-cache-max-age=1m"),
            *(
                "--default-permissions",
                "--umask=0",
                f"--dir-perms={mode}",
                f"--file-perms={mode}",
                *group,
            ),
            *("--config=", "--rc", "--rc-addr=127.0.0.1:0", "--use-json-log", *arguments),
        ]
        environment = {
            "PATH": self._path,
            "HOME": str(folder),
            "RCLONE_RC_USER": "batchspec",
            "RCLONE_RC_PASS": password,
            TAG_VARIABLE: process_tag(self._data),
            **variables,
        }
        log = os.open(folder / "rclone.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            # Start rclone in this thread, although this blocks briefly: the kernel ends rclone with
            # the thread that started it.
            process = subprocess.Popen(  # noqa: ASYNC220
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=die_with_parent(),  # noqa: PLW1509  one prepared system call
            )
        finally:
            os.close(log)
        mount = _Mount(folder, base, process, password)
        try:
            await mount.wait_ready()
        except BaseException:
            await mount.stop()
            raise
        return mount


def _key(settings: Wire) -> str:
    """The key of a mount: a hash of the container, the credentials and the options."""
    shared = {name: value for name, value in settings.items() if name != "relativeMountPath"}
    return hashlib.sha256(json.dumps(shared, sort_keys=True).encode()).hexdigest()


def _is_changed(path: Path) -> bool:
    """Whether a file in the cache has changes that are not uploaded."""
    try:
        return bool(json.loads(path.read_bytes()).get("Dirty"))
    except ValueError:  # rclone is writing the file
        return True


def _messages(log: Path) -> Iterator[Wire]:
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
        with suppress(ValueError):
            yield json.loads(line)


def _upload_errors(log: Path) -> dict[str, str]:
    """The files whose upload failed, with the error."""
    return {
        str(entry["object"]): _reason(entry)
        for entry in _messages(log)
        if entry.get("level") == "error" and "object" in entry
    }


def _last_message(log: Path) -> str:
    """The last error in the log, or else its last message."""
    entries = list(_messages(log))
    errors = [one for one in entries if one.get("level") in {"error", "critical", "fatal"}]
    if errors or entries:
        return _reason((errors or entries)[-1])
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else "no message"


def _reason(entry: Wire) -> str:
    """The storage error code in an entry of the log, or else the first line of the entry."""
    message = str(entry.get("msg", "")).strip()
    found = _SERVICE_CODE.search(message)
    return found[1] if found else message.partition("\n")[0]
