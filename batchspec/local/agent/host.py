"""The program that starts the processes of tasks, and that leaves nothing of them behind.

It runs as a process of its own (``python -I host.py``), with the standard library alone, and
imports nothing of this package: so it is small and a fork of it is cheap. Orders come on standard
input and reports leave on standard output, both as lines of JSON::

    {"run": "7.1", "argv": [..], "env": {..}, "cwd": "..", "out": "..", "err": ".."}
    {"kill": "7.1"}

A run with ``"stay": true`` whose program has ended well goes on until it is killed, so that what
the program left behind can be used; with ``"append": true`` its output goes behind what is there.

    {"run": "7.1", "exit": 0}       it ended by itself
    {"run": "7.1", "stays": true}   it ended well, and goes on until it is killed
    {"run": "7.1", "signal": 9}     a signal ended it
    {"run": "7.1", "errno": 2}      it could not be started; with "place", for want of that file
    {"run": "7.1", "lost": true}    whoever watched it was killed; what it left is dead too

Each run has a supervisor, a fork of this process, that is the *subreaper* of all that the run
starts: whatever a task does (``setsid``, double forks, an empty environment), its processes stay
below the supervisor, which kills them when the task has ended or is to end. The end is reported
when nothing is left; then the supervisor is clean and takes the next run, so that a run costs no
fork of Python. When the input closes (the service is gone, however it went) everything is killed.

Other systems than Linux have no subreapers: there the task's process group is killed, and a
process that left the group survives.
"""
# pathlib would double the size of this process:
# ruff: noqa: PTH123, PTH208

from __future__ import annotations

import contextlib
import ctypes
import errno
import gc
import json
import os
import resource
import select
import signal
import sys
from typing import Any

_LINUX = sys.platform == "linux"
_PR_SET_CHILD_SUBREAPER = 36
_OOM_SCORE = b"500"  # tasks go before the service when memory runs out
_PROCESSES = 1 << 14  # so many may a user have before a task starts no more; root has no limit
_FILES = 1 << 16  # so many files may be open, if the system lets
_IDLE = 64  # so many supervisors are kept for later runs
_OURS = [signal.SIGPIPE, signal.SIGINT, signal.SIGCHLD, signal.SIGXFSZ]  # reset for a task


class _StrayError(Exception):
    """The processes that are left belong to somebody else and cannot be killed."""


def _line(**message: Any) -> bytes:
    return json.dumps(message).encode() + b"\n"


def _tell(**message: Any) -> None:
    # The service may be gone; that shall not keep us from killing.
    with contextlib.suppress(BrokenPipeError):
        os.write(1, _line(**message))


def _become_subreaper() -> None:
    if _LINUX and ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError("this kernel has no child subreapers")


def _wakeup() -> int:
    """A descriptor that becomes readable when a child has ended."""
    woken, wake = os.pipe()
    os.set_blocking(woken, False)
    os.set_blocking(wake, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    return woken


def _parent(pid: str) -> int:
    gone = contextlib.suppress(FileNotFoundError, ProcessLookupError)
    with gone, open(f"/proc/{pid}/stat", "rb") as stat:
        return int(stat.read().rpartition(b")")[2].split()[1])
    return 0


def _children() -> list[int]:
    me = os.getpid()
    try:
        with open(f"/proc/{me}/task/{me}/children", "rb") as children:
            return [int(pid) for pid in children.read().split()]
    except FileNotFoundError:  # a kernel built without it
        return [int(pid) for pid in os.listdir("/proc") if pid.isdigit() and _parent(pid) == me]


def _ended() -> tuple[int, int]:
    """A child that has ended and its status; zeros when there is none."""
    with contextlib.suppress(ChildProcessError):
        return os.waitpid(-1, os.WNOHANG)
    return 0, 0


def _kill(pid: int) -> bool:
    """Kill one process; whether that was possible (one that is gone counts)."""
    try:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    except PermissionError:
        return False
    return True


class _Lines:
    """Lines of JSON from a descriptor that is known to be readable."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.rest: list[bytes] = []
        self.closed = False

    def read(self) -> list[Any]:
        data = os.read(self.descriptor, 1 << 18)
        self.closed = not data
        if b"\n" not in data:
            self.rest.append(data)
            return []
        *lines, last = (b"".join(self.rest) + data).split(b"\n")
        self.rest = [last]
        return [json.loads(line) for line in lines]


class _Supervisor:
    """One run after another, each to its end and beyond: until nothing of it is left."""

    def __init__(self) -> None:
        self.orders = _Lines(0)
        self.woken = _wakeup()
        self.waiting: list[Any] = []

    def work(self) -> None:
        while not self.orders.closed:
            self.wait()
            while self.waiting:
                order = self.waiting.pop(0)
                if "argv" in order:  # a kill that comes here is for a run that has ended
                    report = self.run(order)
                    os.write(1, _line(run=order["run"], me=os.getpid(), **report))

    def wait(self) -> None:
        ready, _, _ = select.select([self.orders.descriptor, self.woken], [], [])
        if self.woken in ready:
            os.read(self.woken, 4096)
        if self.orders.descriptor in ready:
            self.waiting += self.orders.read()

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
        status: int | None = None
        kill = {"kill": order["run"]}
        while status is None and not self.orders.closed and kill not in self.waiting:
            self.wait()
            status = self.collect(main, status)
        if status == 0 and order.get("stay"):
            os.write(1, _line(run=order["run"], me=os.getpid(), stays=True))
            while not self.orders.closed and kill not in self.waiting:
                self.wait()
                self.collect(main, status)
        status = self.sweep(main, status)
        os.chdir("/")
        if status is not None and os.WIFEXITED(status):
            return {"exit": os.WEXITSTATUS(status)}
        return {"signal": int(signal.SIGKILL) if status is None else os.WTERMSIG(status)}

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
            setsigdef=_OURS,
        )

    def collect(self, main: int, status: int | None) -> int | None:
        while pid := (ended := _ended())[0]:
            if pid == main:
                status = ended[1]
        return status

    def sweep(self, main: int, status: int | None) -> int | None:
        """Kill all that is left below this process; the status of ``main``."""
        if status is None or not _LINUX:
            # Not when it was waited for, where the loop below is enough: its id may be another's.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(main, signal.SIGKILL)
        while True:
            status = self.collect(main, status)
            left = _children() if _LINUX else [main] * (status is None)
            if not left:
                return status
            if not sum(map(_kill, left)):
                raise _StrayError
            select.select([self.woken], [], [], 0.02)


class _Host:
    """Hands orders to supervisors, and notices when one of them was killed."""

    def __init__(self) -> None:
        self.orders = _Lines(0)
        self.woken = _wakeup()
        reports, self.reporting = os.pipe()
        self.reports = _Lines(reports)
        self.pipes: dict[int, int] = {}
        self.busy: dict[int, str] = {}
        self.idle: list[int] = []
        # A pipe for each run that goes on is more than a process may have open by default.
        self.limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        files = min(_FILES, self.limits[1]) if self.limits[1] >= 0 else _FILES
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, self.limits[1]))

    def work(self) -> None:
        while not self.orders.closed:
            self.serve([0, self.reports.descriptor, self.woken])
        for pipe in self.pipes.values():
            os.close(pipe)
        while self.pipes:
            self.serve([self.woken])

    def serve(self, descriptors: list[int]) -> None:
        ready, _, _ = select.select(descriptors, [], [])
        if self.woken in ready:
            os.read(self.woken, 4096)
            self.collect()
        if self.reports.descriptor in ready:
            for report in self.reports.read():
                self.report(report)
        if 0 in ready:
            for order in self.orders.read():
                self.take(order)

    def take(self, order: dict[str, Any]) -> None:
        if "kill" in order:
            for pid, run in self.busy.items():
                if run == order["kill"]:
                    self.send(pid, order)
            return
        try:
            pid = self.idle.pop() if self.idle else self.fork()
        except OSError as error:
            _tell(run=order["run"], errno=error.errno)
            return
        self.busy[pid] = order["run"]
        self.send(pid, order)

    def send(self, pid: int, order: dict[str, Any]) -> None:
        data = memoryview(_line(**order))
        with contextlib.suppress(BrokenPipeError):  # it was killed, as ``collect`` will say
            while data:
                data = data[os.write(self.pipes[pid], data) :]

    def fork(self) -> int:
        orders, pipe = os.pipe()
        pid = os.fork()
        if pid:
            os.close(orders)
            self.pipes[pid] = pipe
            return pid
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            os.dup2(orders, 0)
            os.dup2(self.reporting, 1)
            # No end of another supervisor's pipe may stay open here: its closing is their sign.
            os.closerange(3, _FILES)
            resource.setrlimit(resource.RLIMIT_NOFILE, self.limits)
            _become_subreaper()
            _Supervisor().work()
            code = 0
        except _StrayError:
            code = 2
        finally:
            os._exit(code)

    def report(self, report: dict[str, Any]) -> None:
        pid = report.pop("me")
        if self.busy.get(pid) != report["run"]:
            return
        _tell(**report)
        if "stays" in report:
            return
        del self.busy[pid]
        if len(self.idle) < _IDLE:
            self.idle.append(pid)
        else:
            os.close(self.pipes.pop(pid))

    def collect(self) -> None:
        while pid := _ended()[0]:
            if pid in self.idle:
                self.idle.remove(pid)
            pipe = self.pipes.pop(pid, None)
            if pipe is not None and not self.orders.closed:
                os.close(pipe)
            if pid in self.busy:
                # It may have reported before it died.
                while select.select([self.reports.descriptor], [], [], 0)[0]:
                    for report in self.reports.read():
                        self.report(report)
                self.bury(pid)

    def bury(self, pid: int) -> None:
        """Kill what a supervisor that was killed has left: it has become ours."""
        while _LINUX and (strays := set(_children()) - set(self.pipes)):
            if not (killed := [stray for stray in strays if _kill(stray)]):
                break
            for stray in killed:
                os.waitpid(stray, 0)
        if (run := self.busy.pop(pid, None)) is not None:
            _tell(run=run, lost=True)


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    hard = resource.getrlimit(resource.RLIMIT_NPROC)[1]
    processes = _PROCESSES if hard == resource.RLIM_INFINITY else min(hard, _PROCESSES)
    resource.setrlimit(resource.RLIMIT_NPROC, (processes, processes))
    os.umask(0o022)
    _become_subreaper()
    if _LINUX:
        with open("/proc/self/oom_score_adj", "wb") as score:
            score.write(_OOM_SCORE)
    gc.disable()
    _Host().work()


if __name__ == "__main__":
    main()
