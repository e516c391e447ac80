"""Processes: their identity, locks that show whether a process runs, and the end of orphans.

``filelock`` and ``psutil`` do not meet these requirements: child processes inherit a lock, other
processes test a lock without taking it, a signal never reaches a new process with the id of an old
one, and the caller sees that a process is exiting
(docs/adr/0012-own-parts-of-the-embedded-service.md).
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from batchspec.frozen import frozen

if sys.platform != "win32":
    import fcntl

_POLL = 0.01


class Lock:
    """An exclusive lock on a file, held by this process and each child that inherits ``fileno``.

    The operating system releases the lock when its last holder exits or is killed. The lock is
    never stale, while a file with a process id can be.

    The file stays when the lock is released. Without the file, two processes could lock two files
    of the same name.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self.fileno = descriptor

    @classmethod
    def take(cls, path: Path, *, wait: float = 0.5) -> Self | None:
        """The lock on ``path``, or ``None`` if another process holds it for ``wait`` seconds.

        Processes that only test the lock (:func:`is_locked`) do not count as holders.

        Raises:
            OSError: the file cannot be opened or created.
        """
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        until = time.monotonic() + wait
        try:
            while not _try_lock(descriptor, fcntl.LOCK_EX):
                if time.monotonic() >= until and not _is_only_tested(descriptor):
                    os.close(descriptor)
                    return None
                time.sleep(_POLL)
        except BaseException:
            os.close(descriptor)
            raise
        return cls(path, descriptor)

    def is_in_place(self) -> bool:
        """Whether other processes still find the locked file at the path."""
        try:
            return os.path.samestat(os.fstat(self.fileno), self.path.stat())
        except FileNotFoundError:
            return False

    def note(self, text: str) -> None:
        """Write the identity of the holder into the first line of the file."""
        line = f"{text}\n".encode()
        # In this order, so that a concurrent reader finds either the old line or the new one.
        os.pwrite(self.fileno, line, 0)
        os.ftruncate(self.fileno, len(line))

    def release(self) -> None:
        """Release the lock; children that inherited it still hold it."""
        os.close(self.fileno)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


def is_locked(path: Path) -> bool:
    """Whether any process holds the lock on ``path`` now.

    Raises:
        OSError: the file exists and cannot be opened.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        # A shared lock, so that two concurrent tests do not take each other for the holder.
        return not _try_lock(descriptor, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)


def wait_free(path: Path, seconds: float) -> bool:
    """Wait until no process holds the lock on ``path``; false after ``seconds``."""
    until = time.monotonic() + seconds
    while is_locked(path):
        if time.monotonic() >= until:
            return False
        time.sleep(_POLL)
    return True


def _is_only_tested(descriptor: int) -> bool:
    """Whether only tests of the lock (:func:`is_locked`) have it, or no process has it."""
    if not _try_lock(descriptor, fcntl.LOCK_SH):
        return False
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return True


def _try_lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


_EXITING = 0x4
"""``PF_EXITING`` among a process's flags, of Linux's ``sched.h``."""


@frozen
class Process:
    """A process id and its start time, by which two processes with the same id differ."""

    pid: int
    started: str

    @classmethod
    def of(cls, pid: int) -> Self | None:
        """The process with the id ``pid`` now; ``None`` if the id is not in use."""
        started = _start_time(pid)
        return cls(pid, started) if started else None

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """The process in the first line of a file; ``None`` if the line contains no process."""
        try:
            pid, _, started = path.read_text().partition("\n")[0].partition(" ")
            return cls(int(pid), started) if started else None
        except (OSError, ValueError):
            return None

    def __str__(self) -> str:
        return f"{self.pid} {self.started}"

    @property
    def ending(self) -> bool:
        """Whether the process is exiting or has exited; an exiting process closes its files.

        Only Linux shows that a process is exiting. On other systems the value is true once the
        process is gone.
        """
        if sys.platform != "linux":
            return _start_time(self.pid) != self.started
        fields = _stat(self.pid)
        return fields is None or fields[19] != self.started or bool(int(fields[6]) & _EXITING)

    def signal(self, number: signal.Signals) -> bool:
        """Send a signal to exactly this process; false if the process is gone.

        Raises:
            PermissionError: the process belongs to another user.
        """
        try:
            # The descriptor is opened before the start time is compared: from then on the id
            # cannot pass to another process.
            descriptor = _open_pidfd(self.pid)
            try:
                if _start_time(self.pid) != self.started:
                    return False
                if descriptor is None:
                    os.kill(self.pid, number)
                else:
                    signal.pidfd_send_signal(descriptor, number)
            finally:
                if descriptor is not None:
                    os.close(descriptor)
        except ProcessLookupError:
            return False
        return True


def _open_pidfd(pid: int) -> int | None:
    """A descriptor of the process; ``None`` if the system has no process descriptors."""
    if sys.platform != "linux":
        return None
    try:
        return os.pidfd_open(pid)
    except OSError as error:
        if error.errno == errno.ENOSYS:  # before Linux 5.3, and in some sandboxes
            return None
        raise


def _start_time(pid: int) -> str | None:
    """The start time of a process as opaque text for comparison; ``None`` if it is gone."""
    if sys.platform == "linux":
        fields = _stat(pid)
        return fields[19] if fields else None
    answer = subprocess.run(
        ["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return answer.stdout.strip() or None


def _stat(pid: int) -> list[str] | None:
    """The fields of :func:`_read_stat`; ``None`` if the process is gone or a zombie."""
    fields = _read_stat(pid)
    return None if fields is None or fields[0] in {"Z", "X"} else fields


def _read_stat(pid: int) -> list[str] | None:
    """The fields of ``/proc/PID/stat`` (proc(5)) from field 3, the state; ``None`` if it is
    gone.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The name, field 2, is in parentheses and may contain any character.
    return text.rpartition(")")[2].split()


TAG_VARIABLE = "BATCHSPEC_LOCAL_NODE"
"""The environment variable that tags the processes of tasks."""

_STOPPED = frozenset("TtZXx")
_TIMEOUT = 5.0
_GONE = (FileNotFoundError, ProcessLookupError, PermissionError)
# PermissionError: a process of another user is not the process of a task; it counts as gone.


def process_tag(data: Path) -> str:
    """The value of :data:`TAG_VARIABLE` for all processes of the data folder ``data``."""
    return hashlib.sha256(os.fsencode(data.resolve())).hexdigest()[:32]


def kill_orphans(data: Path) -> int:
    """Kill every process with the tag of ``data`` and its descendants; return their number.

    Normally no orphan exists: the host kills all processes when the service ends. Orphans exist
    while the host kills them, and after the host was killed together with the service. The host and
    every process of a task inherit the tag. Its value depends on the path of the data folder, so
    that other services are not affected. A task can start processes with another environment;
    therefore the descendants of a tagged process are killed too.

    Returns when the processes are gone. Call it before any process is started, while holding the
    lock of the folder. It needs ``/proc``; on other systems it does nothing, and orphans stay.
    """
    if sys.platform != "linux":
        return 0
    tag = f"{TAG_VARIABLE}={process_tag(data)}".encode()
    stopped: dict[int, int] = {}
    try:
        # Stop all processes before killing the first: a stopped process starts no others, and each
        # process keeps the parent by which it is found.
        until = time.monotonic() + _TIMEOUT
        while not _stop_all(tag, stopped) and time.monotonic() < until:
            pass
        for descriptor in stopped.values():
            with suppress(*_GONE):
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        _wait_for_exit(stopped.values(), until + _TIMEOUT)
    finally:
        for descriptor in stopped.values():
            os.close(descriptor)
    return len(stopped)


@frozen
class _Process:
    pid: int
    state: str
    parent: int
    started: str


def _stop_all(tag: bytes, stopped: dict[int, int]) -> bool:
    """Stop the processes that are not in ``stopped`` yet; true if none was running.

    ``stopped`` has a descriptor for each process. A descriptor refers to its process even if the
    system uses the id again.
    """
    table = {process.pid: process for process in _processes()}
    family = _tagged_tree(table, tag, stopped)
    found = [table[pid] for pid in family - stopped.keys()]
    for process in found:
        try:
            descriptor = os.pidfd_open(process.pid)
        except OSError:
            continue
        again = _read_process(process.pid)
        if again is None or again.started != process.started:
            os.close(descriptor)
            continue
        stopped[process.pid] = descriptor
        with suppress(*_GONE):
            signal.pidfd_send_signal(descriptor, signal.SIGSTOP)
    return not found and all(table[pid].state in _STOPPED for pid in family)


def _tagged_tree(table: dict[int, _Process], tag: bytes, stopped: dict[int, int]) -> set[int]:
    """The tagged or stopped processes and their descendants, except this process and its
    ancestors.
    """
    children: dict[int, list[int]] = {}
    for process in table.values():
        children.setdefault(process.parent, []).append(process.pid)
    todo = [pid for pid in table if pid in stopped or _has_tag(pid, tag)]
    family: set[int] = set()
    while todo:
        pid = todo.pop()
        if pid not in family:
            family.add(pid)
            todo += children.get(pid, ())
    ours = os.getpid()
    while ours in table:
        family.discard(ours)
        ours = table[ours].parent
    return {pid for pid in family if table[pid].state not in "ZXx"}


def _has_tag(pid: int, tag: bytes) -> bool:
    try:
        return tag in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except _GONE:
        return False


def _processes() -> Iterator[_Process]:
    for name in os.listdir("/proc"):  # noqa: PTH208  faster for many entries
        if name.isdigit() and (process := _read_process(int(name))) is not None:
            yield process


def _read_process(pid: int) -> _Process | None:
    fields = _read_stat(pid)
    return None if fields is None else _Process(pid, fields[0], int(fields[1]), fields[19])


def _wait_for_exit(descriptors: Iterable[int], until: float) -> None:
    """Wait until the processes have exited, at most until ``until``."""
    for descriptor in descriptors:
        left = max(0.0, until - time.monotonic())
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        poll.poll(left * 1000)


def die_with_parent() -> Callable[[], None] | None:
    """A function for the child process that makes the kernel end the child with this process.

    Python has no binding of prctl(2). This process looks up the function before the fork; the child
    only calls it.
    """
    if sys.platform != "linux":
        return None
    import ctypes  # noqa: PLC0415  not needed to read the status

    prctl = ctypes.CDLL(None, use_errno=True).prctl
    parent = os.getpid()
    set_death_signal = 1

    def prepare() -> None:
        prctl(set_death_signal, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:  # the parent ended before the call; there will be no signal
            os._exit(1)

    return prepare


def is_mounted(point: Path) -> bool:
    """Whether a file system is mounted at ``point``, even if its program has ended."""
    # The system cannot resolve a mount point whose program has ended, only its parent.
    return point.parent.resolve() / point.name in _mount_points()


def unmount(point: Path) -> None:
    """Unmount the FUSE file system at ``point``, if any, even if processes still use it."""
    for program in ("fusermount3", "fusermount"):
        if not is_mounted(point) or (found := shutil.which(program)) is None:
            continue
        subprocess.run(
            [found, "-u", "-z", "-q", point],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
        )


def unmount_below(folder: Path) -> list[Path]:
    """Unmount all file systems below ``folder``; return the mount points that remain."""
    for point in _mounted_below(folder):
        unmount(point)
    return _mounted_below(folder)


def _mounted_below(folder: Path) -> list[Path]:
    below = folder.resolve()
    return [point for point in _mount_points() if point.is_relative_to(below)]


def _mount_points() -> list[Path]:
    """All mount points (proc(5), ``mountinfo``); empty on systems other than Linux."""
    try:
        lines = Path("/proc/self/mountinfo").read_bytes().splitlines()
    except FileNotFoundError:
        return []
    return [Path(os.fsdecode(_unescape(line.split(b" ")[4]))) for line in lines]


def _unescape(path: bytes) -> bytes:
    """A path of ``mountinfo``, where a space is ``\\040``."""
    return re.sub(rb"\\([0-7]{3})", lambda found: bytes([int(found[1], 8)]), path)
