"""The host: the program that starts the processes of tasks and guarantees that all of them end.

The host is a separate process that uses only the standard library and imports nothing of batchspec,
so that it is small and cheap to fork. It reads requests from standard input and writes reports to
standard output, both as lines of JSON::

    {"run": "7.1", "argv": [..], "env": {..}, "cwd": "..", "out": "..", "err": ".."}
    {"kill": "7.1"}

With ``"stay": true``, a run whose program exited with 0 continues until it is killed, so that other
programs can use the processes that the program has left. ``"append": true`` appends to the output
files. ``"in"`` is a file for the input; without it the input is empty. ``"terminal"`` is a
terminal that replaces all three files and that the program controls. ``"memory"`` (bytes) and
``"processes"`` limit the processes of the run. ``"user"`` is the user of its processes and output
files: the ids of user and group, and a list of further groups.

    {"run": "7.1", "exit": 0}       the program exited
    {"run": "7.1", "stays": true}   the program exited with 0, and the run continues
    {"run": "7.1", "signal": 9}     a signal ended it; "over" is the exceeded limit
    {"run": "7.1", "errno": 2}      it cannot be started; "place" is the path that caused the error
    {"run": "7.1", "lost": true}    its supervisor was killed, and then all its processes

After an exit or a signal, the report contains the resources that all processes of the run have
``"used"``: user and system processor seconds, bytes read from and written to disks, read and write
calls.

Each run has a supervisor, a fork of the host, which is the *subreaper* of all processes of the run.
Even with ``setsid``, double forks or an empty environment, the processes of a task stay descendants
of the supervisor, which kills them when the task has ended or must end. The supervisor reports the
end once all processes are gone, and then takes the next run, so that a run needs no fork of Python.
When the input closes, since the service has ended, the host kills all processes.

Only Linux has subreapers. On other systems the host kills the process group of the task, and a
process that has left the group survives.
"""

# This process does not import pathlib, which doubles its size:
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
import time
from collections.abc import Iterator
from typing import Any

LINUX = sys.platform == "linux"
_PR_SET_CHILD_SUBREAPER = 36


class UnkillableError(Exception):
    """The remaining processes belong to another user and cannot be killed."""


def line(**message: Any) -> bytes:
    return json.dumps(message).encode() + b"\n"


def send_report(**message: Any) -> None:
    send_line(line(**message))


def send_line(text: bytes) -> None:
    """Write a line to the service. If the service has ended, the host continues its work."""
    with contextlib.suppress(BrokenPipeError):
        os.write(1, text)


def become_subreaper() -> None:
    if LINUX and ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError("this kernel has no child subreapers")


def wakeup() -> int:
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


def children() -> list[int]:
    me = os.getpid()
    try:
        with open(f"/proc/{me}/task/{me}/children", "rb") as children:
            return [int(pid) for pid in children.read().split()]
    except FileNotFoundError:  # a kernel built without it
        return [int(pid) for pid in os.listdir("/proc") if pid.isdigit() and _parent(pid) == me]


def descendants() -> list[int]:
    """All descendants of this process."""
    found: list[int] = []
    left = children()
    while left:
        found += left
        left = [child for pid in left for child in _children_of(pid)]
    return found


def _children_of(pid: int) -> list[int]:
    found = []
    gone = contextlib.suppress(FileNotFoundError, ProcessLookupError)
    with gone:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with gone, open(f"/proc/{pid}/task/{thread}/children", "rb") as children_:
                found += [int(child) for child in children_.read().split()]
    return found


def own_memory(pid: int) -> int:
    """The bytes of unshared resident memory of a process; 0 once it is gone."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        with open(f"/proc/{pid}/statm", "rb") as pages:
            _, resident, shared = pages.read().split()[:3]
        return (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE")
    return 0


class Calls:
    """The read and write calls of all ended descendants of this process, for any file.

    The counts of a process include the children that it has reaped; the counts of its only thread
    do not. All counts are zeros if the kernel does not count calls.
    """

    def __init__(self) -> None:
        pid = os.getpid()
        self.files: list[int] = []
        with contextlib.suppress(OSError):
            self.files = [
                os.open(f"/proc/{pid}/{path}", _PROC) for path in (f"task/{pid}/io", "io")
            ]
        self.last = self.count()

    def new(self) -> list[int]:
        """The calls since the last call of this method, or since the start."""
        before, self.last = self.last, self.count()
        return [now - then for now, then in zip(self.last, before, strict=True)]

    def count(self) -> tuple[int, int]:
        try:
            own, whole = (_calls(os.pread(file, 4096, 0)) for file in self.files)
        except (OSError, ValueError, KeyError):
            return 0, 0
        return whole[0] - own[0], whole[1] - own[1]


_PROC = os.O_RDONLY | os.O_CLOEXEC


def _calls(counts: bytes) -> tuple[int, int]:
    found = dict(row.split(b": ") for row in counts.splitlines())
    return int(found[b"syscr"]), int(found[b"syscw"])


def reap() -> int:
    """The id of a child that has ended; 0 if no child has ended."""
    with contextlib.suppress(ChildProcessError):
        return os.waitpid(-1, os.WNOHANG)[0]
    return 0


def kill(pid: int) -> bool:
    """Kill one process; false without permission. A process that is gone counts as killed."""
    try:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    except PermissionError:
        return False
    return True


class Lines:
    """Reads lines from a readable descriptor."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.rest: list[bytes] = []
        self.closed = False

    def read(self) -> list[bytes]:
        data = os.read(self.descriptor, 1 << 18)
        self.closed = not data
        if b"\n" not in data:
            self.rest.append(data)
            return []
        *lines, last = (b"".join(self.rest) + data).split(b"\n")
        self.rest = [last]
        return lines


_RESET = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}
"""Signals whose default action is restored for a task: Python ignores some of them, and a shell
ignores some for background processes.
"""

_BLOCK = 512
"""The unit in bytes in which the system counts I/O of every disk."""


WATCH_PAUSE = 0.1
"""Seconds between two measurements."""


@contextlib.contextmanager
def acting_as(user: list[Any] | None) -> Iterator[None]:
    """Act as another user within the context. Programs that start in it stay that user.

    The saved ids stay root's, so that this process can return; ``execve`` replaces them.
    """
    if user is None:
        yield
        return
    uid, gid, groups = user
    before = os.getgroups()
    try:
        os.setgroups(groups)
        os.setresgid(gid, gid, 0)
        os.setresuid(uid, uid, 0)
        yield
    finally:
        os.setresuid(0, 0, 0)
        os.setresgid(0, 0, 0)
        os.setgroups(before)


class LimitWatch:
    """The limits of one run: bytes of memory, number of processes; ``None`` means no limit.

    The watch measures the usage periodically: it detects an excess within :data:`WATCH_PAUSE`, but
    does not prevent it. System limits apply to one process (``RLIMIT_AS``) or to all processes of a
    user (``RLIMIT_NPROC``). Control groups apply to a task, but users can rarely set them.
    """

    def __init__(self, order: dict[str, Any]) -> None:
        self.memory: int | None = order.get("memory")
        self.processes: int | None = order.get("processes")
        watches = LINUX and (self.memory is not None or self.processes is not None)
        self.pause = WATCH_PAUSE if watches else None
        self.next = 0.0

    def over(self) -> str | None:
        """The exceeded limit: ``memory`` or ``processes``."""
        if self.pause is None or time.monotonic() < self.next:
            return None
        self.next = time.monotonic() + self.pause
        pids = descendants()
        if self.processes is not None and len(pids) > self.processes:
            return "processes"
        if self.memory is not None and sum(map(own_memory, pids)) > self.memory:
            return "memory"
        return None


class Supervisor:
    """Runs one program after another, each until all its processes have ended."""

    def __init__(self) -> None:
        self.orders = Lines(0)
        self.woken = wakeup()
        self.waiting: list[Any] = []
        self.used = [0.0, 0.0, 0, 0, 0, 0]
        self.calls = Calls()
        self.childless = True
        self.null = os.open(os.devnull, _PROC)

    def work(self) -> None:
        while not self.orders.closed:
            self.wait()
            while self.waiting:
                order = self.waiting.pop(0)
                if "argv" in order:  # a kill here is for a run that has already ended
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
            with acting_as(order.get("user")):
                self.prepare(order, files)
                try:
                    main = self.spawn(order, files)
                except OSError as error:
                    return {"errno": error.errno}
                except ValueError:  # a NUL in an argument or a variable
                    return {"errno": errno.EINVAL}
        except OSError as error:
            return {"errno": error.errno, "place": error.filename}
        finally:
            for file in files:
                if file != self.null:
                    os.close(file)
        self.used = [0.0, 0.0, 0, 0, 0, 0]
        self.childless = False
        status, over = self.follow(order, main)
        status = self.sweep(main, status)
        self.used[4:] = self.calls.new()
        os.chdir("/")
        return {**_ending(status, over), "used": self.used}

    def follow(self, order: dict[str, Any], main: int) -> tuple[int | None, str | None]:
        """Wait until ``main`` has exited or must end; return its status and the exceeded limit."""
        status: int | None = None
        over: str | None = None
        kill_request, watch = {"kill": order["run"]}, LimitWatch(order)
        while not (over or self.orders.closed or kill_request in self.waiting):
            self.wait(watch.pause)
            before, status = status, self.collect(main, status)
            if status is not None and not (status == 0 and order.get("stay")):
                break
            if before is None and status is not None:
                os.write(1, line(run=order["run"], me=os.getpid(), stays=True))
            over = watch.over()
        return status, over

    def prepare(self, order: dict[str, Any], files: list[int]) -> None:
        if not order.get("terminal"):
            if path := order.get("in"):
                # Without O_NONBLOCK, opening a pipe without a writer would block.
                files.append(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
                os.set_blocking(files[0], True)
            else:
                files.append(self.null)
            for path in (order["out"], order["err"]):
                flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
                flags |= 0 if order.get("append") else os.O_TRUNC
                files.append(os.open(path, flags, 0o644))
        os.chdir(order["cwd"])

    def spawn(self, order: dict[str, Any], files: list[int]) -> int:
        # The program is looked up in the PATH of the task.
        path = order["env"].get("PATH", os.defpath)
        if os.environ.get("PATH") != path:
            os.environ["PATH"] = path
        actions: list[Any] = [
            (os.POSIX_SPAWN_DUP2, file, number) for number, file in enumerate(files)
        ]
        if terminal := order.get("terminal"):
            # The first terminal that the leader of a new session opens becomes its terminal.
            actions = [(os.POSIX_SPAWN_OPEN, 0, terminal, os.O_RDWR, 0)]
            actions += [(os.POSIX_SPAWN_DUP2, 0, number) for number in (1, 2)]
        return os.posix_spawnp(
            order["argv"][0],
            order["argv"],
            order["env"],
            file_actions=actions,
            setsid=True,
            setsigmask=[],
            setsigdef=_RESET,
        )

    def collect(self, main: int, status: int | None) -> int | None:
        try:
            while (ended := os.wait4(-1, os.WNOHANG))[0]:
                pid, code, use = ended
                self.used[0] += use.ru_utime
                self.used[1] += use.ru_stime
                self.used[2] += use.ru_inblock * _BLOCK
                self.used[3] += use.ru_oublock * _BLOCK
                if pid == main:
                    status = code
        except ChildProcessError:
            # Descendants are children of children, or of this process after their parents' end.
            self.childless = True
        return status

    def sweep(self, main: int, status: int | None) -> int | None:
        """Kill all descendants of this process; return the status of ``main``."""
        if status is None or not LINUX:
            # Before it is reaped: after that, its id can belong to another process.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(main, signal.SIGKILL)
        while not self.childless:
            status = self.collect(main, status)
            left = children() if LINUX and not self.childless else [main] * (status is None)
            if left and not sum(map(kill, left)):
                raise UnkillableError
            if left:
                select.select([self.woken], [], [], 0.02)
        return status


def _ending(status: int | None, over: str | None) -> dict[str, Any]:
    if over is not None:
        return {"signal": int(signal.SIGKILL), "over": over}
    if status is not None and os.WIFEXITED(status):
        return {"exit": os.WEXITSTATUS(status)}
    return {"signal": int(signal.SIGKILL) if status is None else os.WTERMSIG(status)}


_OOM_SCORE = b"500"  # tasks are killed before the service when memory runs out
_PROCESSES = 1 << 14  # limit of a user's processes; root has none
_FILES = 1 << 16  # limit of open files, if the system allows it
_IDLE = 64  # supervisors kept for later runs


class Host:
    """Passes requests to supervisors and detects killed supervisors."""

    def __init__(self) -> None:
        self.orders = Lines(0)
        self.woken = wakeup()
        reports, self.reporting = os.pipe()
        self.reports = Lines(reports)
        self.pipes: dict[int, int] = {}
        self.busy: dict[int, str] = {}
        self.idle: list[int] = []
        # A pipe for each run can exceed the default limit of open files.
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

    def take(self, text: bytes) -> None:
        order = json.loads(text)
        if "kill" in order:
            for pid, run in self.busy.items():
                if run == order["kill"]:
                    self.send(pid, text)
            return
        try:
            pid = self.idle.pop() if self.idle else self.fork()
        except OSError as error:
            send_report(run=order["run"], errno=error.errno)
            return
        self.busy[pid] = order["run"]
        self.send(pid, text)

    def send(self, pid: int, text: bytes) -> None:
        data = memoryview(text + b"\n")
        with contextlib.suppress(BrokenPipeError):  # a killed supervisor, which `collect` reports
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
            # Close the pipes of other supervisors: a closed pipe is the signal to end.
            os.closerange(3, _FILES)
            resource.setrlimit(resource.RLIMIT_NOFILE, self.limits)
            become_subreaper()
            Supervisor().work()
            code = 0
        except UnkillableError:
            code = 2
        finally:
            os._exit(code)

    def report(self, text: bytes) -> None:
        report = json.loads(text)
        pid = report["me"]
        if self.busy.get(pid) != report["run"]:
            return
        send_line(text + b"\n")
        if "stays" in report:
            return
        del self.busy[pid]
        # Once the service is gone, all supervisors end, and their pipes are closed already.
        if self.orders.closed or len(self.idle) < _IDLE:
            self.idle.append(pid)
        else:
            os.close(self.pipes.pop(pid))

    def collect(self) -> None:
        while pid := reap():
            if pid in self.busy:
                # A report from before its death makes the supervisor idle; it is removed below.
                while select.select([self.reports.descriptor], [], [], 0)[0]:
                    for report in self.reports.read():
                        self.report(report)
            if pid in self.idle:
                self.idle.remove(pid)
            pipe = self.pipes.pop(pid, None)
            if pipe is not None and not self.orders.closed:
                os.close(pipe)
            if pid in self.busy:
                self.kill_remains(pid)

    def kill_remains(self, pid: int) -> None:
        """Kill the processes of a killed supervisor, which are children of the host now."""
        while LINUX and (remains := set(children()) - set(self.pipes)):
            if not (killed := [remaining for remaining in remains if kill(remaining)]):
                break
            for remaining in killed:
                os.waitpid(remaining, 0)
        if (run := self.busy.pop(pid, None)) is not None:
            send_report(run=run, lost=True)


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    hard = resource.getrlimit(resource.RLIMIT_NPROC)[1]
    processes = _PROCESSES if hard == resource.RLIM_INFINITY else min(hard, _PROCESSES)
    resource.setrlimit(resource.RLIMIT_NPROC, (processes, processes))
    os.umask(0o022)
    become_subreaper()
    if LINUX:
        with open("/proc/self/oom_score_adj", "wb") as score:
            score.write(_OOM_SCORE)
    gc.disable()
    Host().work()
