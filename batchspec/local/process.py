"""Processes: their identity, and task processes that an earlier run of the service left behind.

A process id alone does not identify a process, because ids are used again. This is not ``psutil``:
a signal must not reach another process that gets the id, and the caller must see that a process is
exiting (docs/adr/0012-own-parts-of-the-embedded-service.md).

Normally no task processes are left: the host kills all of them when the service ends. They exist
while the host is doing so, and after the host was killed together with the service. They are found
by a tag, an environment variable that the host and every process of a task inherit; its value is
made of the path of the data folder, so that other services are not affected. A task may give its
processes another environment, so the descendants of a tagged process count too.
"""

from __future__ import annotations

import errno
import hashlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

_EXITING = 0x4
"""``PF_EXITING`` among a process's flags, of Linux's ``sched.h``."""


@dataclass(frozen=True, slots=True)
class Process:
    """A process id and the start time ``born``, by which two processes with the same id differ."""

    pid: int
    born: str

    @classmethod
    def of(cls, pid: int) -> Self | None:
        """The process that has the id ``pid`` now; ``None`` if there is none."""
        born = _born(pid)
        return cls(pid, born) if born else None

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """The process that the first line of a file names; ``None`` if it names none."""
        try:
            pid, _, born = path.read_text().partition("\n")[0].partition(" ")
            return cls(int(pid), born) if born else None
        except (OSError, ValueError):
            return None

    def __str__(self) -> str:
        return f"{self.pid} {self.born}"

    @property
    def ending(self) -> bool:
        """Whether the process is exiting or has exited; its files are closed while it exits.

        Only Linux shows that a process is exiting; on other systems it is true once the process is
        gone.
        """
        if sys.platform != "linux":
            return _born(self.pid) != self.born
        fields = _stat(self.pid)
        return fields is None or fields[19] != self.born or bool(int(fields[6]) & _EXITING)

    def signal(self, number: signal.Signals) -> bool:
        """Send a signal to this process and to no other; false if it is gone.

        Raises:
            PermissionError: the process belongs to another user.
        """
        try:
            # The descriptor is opened before the start time is compared, so that the id cannot
            # pass to another process in between.
            descriptor = _open(self.pid)
            try:
                if _born(self.pid) != self.born:
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


def _open(pid: int) -> int | None:
    """A descriptor of the process; ``None`` where the system has no such descriptors."""
    if sys.platform != "linux":
        return None
    try:
        return os.pidfd_open(pid)
    except OSError as error:
        if error.errno == errno.ENOSYS:  # before Linux 5.3, and in some sandboxes
            return None
        raise


def _born(pid: int) -> str | None:
    """The start time of a process in a form that can only be compared; ``None`` if it is gone."""
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
# A process of another user is not a task's; it counts as gone.


def process_tag(data: Path) -> str:
    """The value of :data:`TAG_VARIABLE` for all processes of the data folder ``data``."""
    return hashlib.sha256(os.fsencode(data.resolve())).hexdigest()[:32]


def kill_orphans(data: Path) -> int:
    """Kill every process with the tag of ``data`` and its descendants; returns how many.

    Returns when they are gone. Call it before anything is started, while holding the lock of the
    folder. It needs ``/proc``; on other systems it does nothing, and a process that outlived its
    service stays.
    """
    if sys.platform != "linux":
        return 0
    tag = f"{TAG_VARIABLE}={process_tag(data)}".encode()
    held: dict[int, int] = {}
    try:
        # All are stopped before any is killed, so that none starts another one meanwhile and none
        # loses the parent by which it is found.
        until = time.monotonic() + _TIMEOUT
        while not _stop_all(tag, held) and time.monotonic() < until:
            pass
        for descriptor in held.values():
            with suppress(*_GONE):
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        _wait_for_exit(held.values(), until + _TIMEOUT)
    finally:
        for descriptor in held.values():
            os.close(descriptor)
    return len(held)


@dataclass(frozen=True, slots=True)
class _Process:
    pid: int
    state: str
    parent: int
    started: str


def _stop_all(tag: bytes, held: dict[int, int]) -> bool:
    """Stop the processes that are not in ``held`` yet; true if there were none and all are stopped.

    ``held`` has a descriptor for each process, which refers to that process even if its id is used
    again.
    """
    table = {process.pid: process for process in _processes()}
    family = _tagged_tree(table, tag, held)
    found = [table[pid] for pid in family - held.keys()]
    for process in found:
        try:
            descriptor = os.pidfd_open(process.pid)
        except OSError:
            continue
        again = _read_process(process.pid)
        if again is None or again.started != process.started:
            os.close(descriptor)
            continue
        held[process.pid] = descriptor
        with suppress(*_GONE):
            signal.pidfd_send_signal(descriptor, signal.SIGSTOP)
    return not found and all(table[pid].state in _STOPPED for pid in family)


def _tagged_tree(table: dict[int, _Process], tag: bytes, held: dict[int, int]) -> set[int]:
    """The tagged or held processes and their descendants; without this process and its
    ancestors.
    """
    children: dict[int, list[int]] = {}
    for process in table.values():
        children.setdefault(process.parent, []).append(process.pid)
    todo = [pid for pid in table if pid in held or _has_tag(pid, tag)]
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
