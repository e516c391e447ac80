"""A supervisor: it runs one program after another, and leaves nothing of any behind."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import select
import signal
from typing import Any

from .system import LINUX, Lines, StrayError, children, kill, line, reap, wakeup
from .watch import Watch

_RESET = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}
"""What a task finds as by default: Python ignores some, and a shell those of its background."""

_BLOCK = 512
"""The bytes that the system counts I/O in, whatever the disk."""


class Supervisor:
    """One run after another, each to its end and beyond: until nothing of it is left."""

    def __init__(self) -> None:
        self.orders = Lines(0)
        self.woken = wakeup()
        self.waiting: list[Any] = []
        self.used = [0.0, 0.0, 0, 0]

    def work(self) -> None:
        while not self.orders.closed:
            self.wait()
            while self.waiting:
                order = self.waiting.pop(0)
                if "argv" in order:  # a kill that comes here is for a run that has ended
                    report = self.run(order)
                    os.write(1, line(run=order["run"], me=os.getpid(), **report))

    def wait(self, longest: float | None = None) -> None:
        ready, _, _ = select.select([self.orders.descriptor, self.woken], [], [], longest)
        if self.woken in ready:
            os.read(self.woken, 4096)
        if self.orders.descriptor in ready:
            self.waiting += map(json.loads, self.orders.read())

    def run(self, order: dict[str, Any]) -> dict[str, Any]:
        files: list[int] = []
        try:
            self.prepare(order, files)
        except OSError as error:
            return {"errno": error.errno, "place": error.filename}
        try:
            main = self.spawn(order, files)
        except OSError as error:
            return {"errno": error.errno}
        except ValueError:  # a NUL in an argument or a variable
            return {"errno": errno.EINVAL}
        finally:
            for file in files:
                os.close(file)
        self.used = [0.0, 0.0, 0, 0]
        status, over = self.follow(order, main)
        status = self.sweep(main, status)
        os.chdir("/")
        return {**_ending(status, over), "used": self.used}

    def follow(self, order: dict[str, Any], main: int) -> tuple[int | None, str | None]:
        """Wait until ``main`` has ended or is to end; its status, and which limit is exceeded."""
        status: int | None = None
        over: str | None = None
        told, watch = {"kill": order["run"]}, Watch(order)
        while not (over or self.orders.closed or told in self.waiting):
            self.wait(watch.pause)
            before, status = status, self.collect(main, status)
            if status is not None and not (status == 0 and order.get("stay")):
                break
            if before is None and status is not None:
                os.write(1, line(run=order["run"], me=os.getpid(), stays=True))
            over = watch.over()
        return status, over

    def prepare(self, order: dict[str, Any], files: list[int]) -> None:
        files.append(os.open(os.devnull, os.O_RDONLY))
        for path in (order["out"], order["err"]):
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
            flags |= 0 if order.get("append") else os.O_TRUNC
            files.append(os.open(path, flags, 0o644))
        os.chdir(order["cwd"])

    def spawn(self, order: dict[str, Any], files: list[int]) -> int:
        # The program is looked for in the PATH that the task will have.
        os.environ["PATH"] = order["env"].get("PATH", os.defpath)
        return os.posix_spawnp(
            order["argv"][0],
            order["argv"],
            order["env"],
            file_actions=[(os.POSIX_SPAWN_DUP2, file, number) for number, file in enumerate(files)],
            setsid=True,
            setsigmask=[],
            setsigdef=_RESET,
        )

    def collect(self, main: int, status: int | None) -> int | None:
        while (ended := reap())[0]:
            pid, code, use = ended
            self.used[0] += use.ru_utime
            self.used[1] += use.ru_stime
            self.used[2] += use.ru_inblock * _BLOCK
            self.used[3] += use.ru_oublock * _BLOCK
            if pid == main:
                status = code
        return status

    def sweep(self, main: int, status: int | None) -> int | None:
        """Kill all that is left below this process; the status of ``main``."""
        if status is None or not LINUX:
            # Not when it was waited for, where the loop below is enough: its id may be another's.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(main, signal.SIGKILL)
        while True:
            status = self.collect(main, status)
            left = children() if LINUX else [main] * (status is None)
            if not left:
                return status
            if not sum(map(kill, left)):
                raise StrayError
            select.select([self.woken], [], [], 0.02)


def _ending(status: int | None, over: str | None) -> dict[str, Any]:
    if over is not None:
        return {"signal": int(signal.SIGKILL), "over": over}
    if status is not None and os.WIFEXITED(status):
        return {"exit": os.WEXITSTATUS(status)}
    return {"signal": int(signal.SIGKILL) if status is None else os.WTERMSIG(status)}
