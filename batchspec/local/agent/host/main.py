"""The host process: it passes requests to supervisors, which are forks of it."""
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

from .supervisor import (
    LINUX,
    Lines,
    Supervisor,
    UnkillableError,
    become_subreaper,
    children,
    kill,
    reap,
    send_line,
    send_report,
    wakeup,
)

_OOM_SCORE = b"500"  # tasks are killed before the service when memory runs out
_PROCESSES = 1 << 14  # limit of a user's processes; root has none
_FILES = 1 << 16  # limit of open files, if the system allows it
_IDLE = 64  # supervisors kept for later runs


class Host:
    """Passes requests to supervisors and notices when one of them was killed."""

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
        with contextlib.suppress(BrokenPipeError):  # it was killed, which ``collect`` reports
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
            # No end of another supervisor's pipe may stay open: closing it is the signal to end.
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
        # When the service is gone all supervisors are ending and their pipes are closed.
        if self.orders.closed or len(self.idle) < _IDLE:
            self.idle.append(pid)
        else:
            os.close(self.pipes.pop(pid))

    def collect(self) -> None:
        while pid := reap()[0]:
            if pid in self.busy:
                # It may have reported before it died; then it is idle until it is removed below.
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
        """Kill the processes that a killed supervisor left: they are children of the host now."""
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
