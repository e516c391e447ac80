"""The host itself: it hands orders to supervisors, which are forks of it."""
# pathlib would double the size of this process:
# ruff: noqa: PTH123

from __future__ import annotations

import contextlib
import gc
import json
import os
import resource
import select
import signal

from .supervisor import Supervisor
from .system import (
    LINUX,
    Lines,
    StrayError,
    become_subreaper,
    children,
    kill,
    reap,
    say,
    tell,
    wakeup,
)

_OOM_SCORE = b"500"  # tasks go before the service when memory runs out
_PROCESSES = 1 << 14  # so many may a user have before a task starts no more; root has no limit
_FILES = 1 << 16  # so many files may be open, if the system lets
_IDLE = 64  # so many supervisors are kept for later runs


class Host:
    """Hands orders to supervisors, and notices when one of them was killed."""

    def __init__(self) -> None:
        self.orders = Lines(0)
        self.woken = wakeup()
        reports, self.reporting = os.pipe()
        self.reports = Lines(reports)
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
            tell(run=order["run"], errno=error.errno)
            return
        self.busy[pid] = order["run"]
        self.send(pid, text)

    def send(self, pid: int, text: bytes) -> None:
        data = memoryview(text + b"\n")
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
            become_subreaper()
            Supervisor().work()
            code = 0
        except StrayError:
            code = 2
        finally:
            os._exit(code)

    def report(self, text: bytes) -> None:
        report = json.loads(text)
        pid = report["me"]
        if self.busy.get(pid) != report["run"]:
            return
        say(text + b"\n")
        if "stays" in report:
            return
        del self.busy[pid]
        # When the service is gone they are all on their way out, and their pipes closed.
        if self.orders.closed or len(self.idle) < _IDLE:
            self.idle.append(pid)
        else:
            os.close(self.pipes.pop(pid))

    def collect(self) -> None:
        while pid := reap()[0]:
            if pid in self.busy:
                # It may have reported before it died; so it is idle for a moment, and then gone.
                while select.select([self.reports.descriptor], [], [], 0)[0]:
                    for report in self.reports.read():
                        self.report(report)
            if pid in self.idle:
                self.idle.remove(pid)
            pipe = self.pipes.pop(pid, None)
            if pipe is not None and not self.orders.closed:
                os.close(pipe)
            if pid in self.busy:
                self.bury(pid)

    def bury(self, pid: int) -> None:
        """Kill what a supervisor that was killed has left: it has become ours."""
        while LINUX and (strays := set(children()) - set(self.pipes)):
            if not (killed := [stray for stray in strays if kill(stray)]):
                break
            for stray in killed:
                os.waitpid(stray, 0)
        if (run := self.busy.pop(pid, None)) is not None:
            tell(run=run, lost=True)


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
