"""Whole processes, measured in turn: time, processor time and memory, and ratios pair by pair."""

from __future__ import annotations

import math
import os
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path

LIMIT = 300.0
"""The maximum seconds of a command. A row starts no round after half of this time."""


class MeasurementError(Exception):
    """A command of a row failed, or took too long; the message has the end of its output."""


class Figure(Enum):
    """The figure of a process that a row compares."""

    TIME = "time"
    PROCESSOR = "processor"
    RECEIVED = "received"


@dataclass(frozen=True, slots=True)
class Usage:
    """The resources of one process and its children: seconds, processor seconds, peak memory in MB.

    ``received``: bytes, counted if a row needs them.
    """

    time: float
    processor: float
    memory: float
    received: float = 0.0

    def of(self, figure: Figure) -> float:
        """One of the figures."""
        return float(getattr(self, figure.value))


@dataclass(frozen=True, slots=True)
class Contender:
    """A command line that does the work of a row; ``prepare`` runs before each, unmeasured.

    ``{round}`` in an argument becomes the number of the round. The ratio of batchspec to this
    command is to be at most ``target``; without one it is only shown. ``computed``: the time in
    seconds of work that is not run, but computed. ``received`` is called after each run.
    ``extrapolated``: two sizes, which replace ``{size}`` in turn, and the size whose usage follows
    from them if each further item costs the same.
    """

    name: str
    command: Sequence[str | Path]
    target: float | None = None
    environ: Mapping[str, str] = field(default_factory=dict)
    prepare: Callable[[], object] = lambda: None
    computed: float | None = None
    received: Callable[[], float] = lambda: 0.0
    extrapolated: tuple[int, int, int] | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table: the command of batchspec first, then the commands for comparison."""

    name: str
    title: str
    size: str
    contenders: Callable[[Setting], AbstractContextManager[Sequence[Contender]]]
    figure: Figure = Figure.TIME
    rounds: int = 5
    """After one to warm up; with 0, that one counts."""
    memory: float | None = None
    """The maximum memory for the process of batchspec, in MB."""


@dataclass(frozen=True, slots=True)
class Setting:
    """The folder of a row, and the environment of the processes that are measured."""

    folder: Path
    environ: Mapping[str, str]

    def run(self, command: Sequence[str | Path], **environ: str) -> str:
        """Run a command that is not measured; its standard output."""
        done = subprocess.run(
            [str(part) for part in command],
            cwd=self.folder,
            env={**self.environ, **environ},
            check=False,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise MeasurementError(f"{_shown(command)}: exit code {done.returncode}\n{done.stderr}")
        return done.stdout

    def measure(self, contender: Contender, number: int, limit: float = LIMIT) -> Usage:
        """Prepare and run a command once, killed after ``limit`` seconds.

        Raises MeasurementError if it fails.
        """
        if contender.computed is not None:
            return Usage(contender.computed, 0.0, 0.0)
        if contender.extrapolated is not None:
            return self._extrapolate(contender, contender.extrapolated, number, limit)
        contender.prepare()
        command = [str(part).replace("{round}", str(number)) for part in contender.command]
        output = self.folder / "output.txt"
        with output.open("wb") as file:
            start = time.perf_counter()
            process = subprocess.Popen(
                command,
                cwd=self.folder,
                env={**self.environ, **contender.environ},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
            )
            with _killed_after(limit, process):
                _, status, used = os.wait4(process.pid, 0)
            took = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            end = output.read_text(errors="replace")[-2000:]
            raise MeasurementError(f"{_shown(command)}: exit code {process.returncode}\n{end}")
        received = contender.received()
        return Usage(took, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, received)

    def _extrapolate(
        self, contender: Contender, sizes: tuple[int, int, int], number: int, limit: float
    ) -> Usage:
        """Measure two sizes; the usage of a third on the line through both, the larger memory."""
        first, second, wanted = sizes

        def measured(size: int) -> Usage:
            command = [str(part).replace("{size}", str(size)) for part in contender.command]
            one = replace(contender, command=command, extrapolated=None)
            return self.measure(one, number, limit)

        low, high = measured(first), measured(second)
        factor = (wanted - second) / (second - first)
        time, processor = (
            high.of(figure) + factor * (high.of(figure) - low.of(figure))
            for figure in (Figure.TIME, Figure.PROCESSOR)
        )
        return Usage(time, processor, high.memory)


@dataclass(frozen=True, slots=True)
class Measured:
    """The usage of each contender of a row, a value for each round."""

    row: Row
    contenders: Sequence[Contender]
    usages: Mapping[str, Sequence[Usage]]

    def median(self, name: str) -> Usage:
        """The median of each figure."""
        found = self.usages[name]
        return Usage(
            *(
                statistics.median(getattr(usage, part) for usage in found)
                for part in ("time", "processor", "memory", "received")
            )
        )

    def ratio(self, name: str, figure: Figure) -> float:
        """Batchspec's figure over that of another command: the median over the rounds."""
        ours = self.usages[self.contenders[0].name]
        pairs = zip(ours, self.usages[name], strict=True)
        return statistics.median(
            one.of(figure) / other.of(figure) if other.of(figure) else math.nan
            for one, other in pairs
        )

    def missed(self) -> Iterator[str]:
        """The targets of the row that are not met."""
        for other in self.contenders[1:]:
            ratio = self.ratio(other.name, self.row.figure)
            if other.target is not None and ratio > other.target:
                yield f"{ratio:.2f} x {other.name}"
        memory = self.median(self.contenders[0].name).memory
        if self.row.memory is not None and memory > self.row.memory:
            yield f"{memory:.0f} MB"


def measure(row: Row, setting: Setting, rounds: int) -> Measured:
    """Run the commands of a row in turn.

    A first round warms up and does not count, unless it takes longer than half of ``LIMIT``. After
    that time, no further round starts.
    """
    started = time.monotonic()
    with row.contenders(setting) as contenders:
        usages: list[list[Usage]] = []
        for number in range(rounds + 1):
            usages.append([setting.measure(each, number) for each in contenders])
            if time.monotonic() - started > LIMIT / 2:
                break
        counted = usages[1:] or usages
        columns = zip(*counted, strict=True)
        names = (each.name for each in contenders)
        return Measured(row, contenders, dict(zip(names, columns, strict=True)))


@contextmanager
def _killed_after(seconds: float, process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Kill a process that takes longer: its row fails, and ends."""
    timer = threading.Timer(seconds, process.kill)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _shown(command: Sequence[str | Path]) -> str:
    return " ".join(str(part) for part in command)
