"""Processes that an earlier life of the service left: found by a mark, and killed.

Normally there are none: the host kills all when the service goes. They exist while it is at it, and
when the host itself was killed together with the service. The mark is an environment variable that
the host and each process of a task inherit, named after the data folder, so that services of other
folders are left alone. A task may have given its processes another environment, so those that
descend from a marked one count too.
"""

from __future__ import annotations

import hashlib
import os
import select
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

TAG_VARIABLE = "BATCHSPEC_LOCAL_NODE"
"""The environment variable that marks the processes of tasks."""

_STOPPED = frozenset("TtZXx")
_TIMEOUT = 5.0
_GONE = (FileNotFoundError, ProcessLookupError, PermissionError)
# One of another user is not of a task, and looks as if it were gone.


def process_tag(data: Path) -> str:
    """The value of :data:`TAG_VARIABLE` for all processes of the data folder ``data``."""
    return hashlib.sha256(os.fsencode(data.resolve())).hexdigest()[:32]


def kill_orphans(data: Path) -> int:
    """Kill every process that carries the mark of ``data``, and those below them; how many.

    Returns when they are gone. Call it before anything is started, and only while holding the
    folder's lock. It needs ``/proc``; elsewhere it does nothing, and a process that outlived its
    service stays.
    """
    if sys.platform != "linux":
        return 0
    wanted = f"{TAG_VARIABLE}={process_tag(data)}".encode()
    held: dict[int, int] = {}
    try:
        # All are stopped before one is killed: none starts another meanwhile, and none is orphaned
        # by the death of its parent and so no longer to be found below it.
        until = time.monotonic() + _TIMEOUT
        while not _stop_all(wanted, held) and time.monotonic() < until:
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


def _stop_all(wanted: bytes, held: dict[int, int]) -> bool:
    """Stop and hold those that are not ``held`` yet; whether there was none, and all are at rest.

    What is held is a descriptor: it names this very process, also if its id is given to another.
    """
    table = {process.pid: process for process in _processes()}
    family = _tagged_tree(table, wanted, held)
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


def _tagged_tree(table: dict[int, _Process], wanted: bytes, held: dict[int, int]) -> set[int]:
    """The processes that are marked or held, and all below them; never us, nor who started us."""
    children: dict[int, list[int]] = {}
    for process in table.values():
        children.setdefault(process.parent, []).append(process.pid)
    todo = [pid for pid in table if pid in held or _has_tag(pid, wanted)]
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


def _has_tag(pid: int, wanted: bytes) -> bool:
    try:
        return wanted in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except _GONE:
        return False


def _processes() -> Iterator[_Process]:
    for name in os.listdir("/proc"):  # noqa: PTH208  there are many, and it is asked often
        if name.isdigit() and (process := _read_process(int(name))) is not None:
            yield process


def _read_process(pid: int) -> _Process | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except _GONE:
        return None
    # The name comes in parentheses, and may hold any character.
    fields = text.rpartition(")")[2].split()
    return _Process(pid, fields[0], int(fields[1]), fields[19])


def _wait_for_exit(descriptors: Iterable[int], until: float) -> None:
    """Wait until the processes are gone, with all that they held, or until it is too late."""
    for descriptor in descriptors:
        left = max(0.0, until - time.monotonic())
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        poll.poll(left * 1000)
