"""Growth with the number of items: time, processor time and memory, in a table and drawn."""

from __future__ import annotations

import csv
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import chart
from measuring import Contender, MeasurementError, Setting, Usage
from peers import BATCHSPEC
from rows_files import ROWS_SPEC, SPEC, make_files
from rows_tasks import RUN, SUBMIT

SMALLEST = 1000
LIMIT = 900.0
"""The maximum seconds of one measurement. A larger size is then not measured."""
STEEPEST = 1.1
"""The greatest exponent of processor time that counts as linear: noise is up to a tenth."""
_UPLOAD = "--target-step", "upload:input"


@dataclass(frozen=True, slots=True)
class Curve:
    """A command at growing sizes. ``prepare`` makes the inputs of a size, and gives the command."""

    name: str
    title: str
    largest: int
    prepare: Callable[[Setting, int], Sequence[str]]
    allocation: str = "24h"


@dataclass(frozen=True, slots=True)
class Point:
    """The resources that a command used for a number of items."""

    number: int
    used: Usage


@dataclass(frozen=True, slots=True)
class Growth:
    """The points of a curve, smallest first, and the reason why a larger point is missing."""

    title: str
    points: Sequence[Point]
    remark: str = ""

    def exponent(self, value: Callable[[Usage], float]) -> float:
        """The exponent of the last two points: 1 is linear, 0 is constant."""
        if len(self.points) < 2:
            return math.nan
        one, two = self.points[-2:]
        ratio = value(two.used) / value(one.used)
        return math.log(ratio) / math.log(two.number / one.number)


def _plan_files(setting: Setting, number: int) -> Sequence[str]:
    make_files(setting.folder / "files", number, 1024)
    (setting.folder / "run.yaml").write_text(SPEC.format(container="growth-plan"))
    return [*BATCHSPEC, "plan", "run.yaml"]


def _plan_rows(setting: Setting, number: int) -> Sequence[str]:
    with (setting.folder / "rows.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["sample", "seed"])
        writer.writerows((f"sample {n:07}", n * 7919 % 104729) for n in range(number))
    (setting.folder / "run.yaml").write_text(ROWS_SPEC)
    return [*BATCHSPEC, "plan", "run.yaml"]


def _upload(setting: Setting, number: int) -> Sequence[str]:
    make_files(setting.folder / "files", number, 1024)
    (setting.folder / "run.yaml").write_text(SPEC.format(container=f"growth-upload-{number}"))
    return [*BATCHSPEC, "apply", "run.yaml", "-y", *_UPLOAD]


def _submit(setting: Setting, number: int) -> Sequence[str]:
    (setting.folder / "run.yaml").write_text(SUBMIT.format(number=number))
    return [*BATCHSPEC, "apply", "run.yaml", "-y", "--detach", "--var", f"run={number}"]


def _watch(setting: Setting, number: int) -> Sequence[str]:
    # The job of the curve before.
    (setting.folder / "run.yaml").write_text(SUBMIT.format(number=number))
    return [*BATCHSPEC, "status", "run.yaml", "--var", f"run={number}"]


def _run(setting: Setting, number: int) -> Sequence[str]:
    (setting.folder / "run.yaml").write_text(RUN.format(number=number, logs="false"))
    return [*BATCHSPEC, "apply", "run.yaml", "-y", "--var", f"run=growth-{number}"]


CURVES = (
    Curve("plan-files", "plan over files", 100_000, _plan_files),
    Curve("plan-rows", "plan over rows", 1_000_000, _plan_rows),
    Curve("upload", "upload of 1 KiB files", 100_000, _upload),
    # This curve precedes submitted tasks, which would run at the same time on its nodes.
    Curve("run", "whole run of `true`", 100_000, _run, "0"),
    Curve("submit", "submit tasks", 1_000_000, _submit),
    Curve("watch", "status of submitted tasks", 1_000_000, _watch),
)


def measured(curve: Curve, setting: Setting, largest: int) -> Growth:
    """Measure a curve from ``SMALLEST`` items, ten times more each time."""
    points: list[Point] = []
    number = SMALLEST
    last = 0.0
    with _service(setting, curve.allocation):
        while number <= min(largest, curve.largest):
            if last * 10 > LIMIT:
                return Growth(
                    curve.title,
                    points,
                    f"{number:,} would take longer than {LIMIT / 60:.0f} minutes",
                )
            folder = setting.folder / f"{curve.name}-{number}"
            folder.mkdir()
            place = Setting(folder, setting.environ)
            started = time.monotonic()
            command = curve.prepare(place, number)
            print(f"growth: {curve.title}, {number:,} ...", file=sys.stderr, flush=True)
            try:
                used = place.measure(Contender(curve.name, command), 0, LIMIT)
            except MeasurementError as error:
                print(error, file=sys.stderr, flush=True)
                return Growth(curve.title, points, f"{number:,} failed")
            points.append(Point(number, used))
            last = time.monotonic() - started
            number *= 10
    return Growth(curve.title, points)


@contextmanager
def _service(setting: Setting, allocation: str) -> Iterator[None]:
    setting.run([*BATCHSPEC, "local", "stop"])
    setting.run([*BATCHSPEC, "local", "start", "--allocation", allocation])
    yield
    setting.run([*BATCHSPEC, "local", "stop"])


def table(found: Sequence[Growth]) -> list[str]:
    """The lines of a table: a line for each point, and the exponents of each curve."""
    lines = [
        "| command | items | time | processor | memory | exponent: processor, memory | to reach |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for growth in found:
        title = f"**{growth.title}**"
        for point in growth.points:
            used = point.used
            figures = f"{used.time:.1f} s | {used.processor:.1f} s | {used.memory:.0f} MB"
            last = point is growth.points[-1]
            verdict = _verdict(growth) if last else "|"
            lines.append(f"| {title} | {point.number:,} | {figures} | {verdict} |")
            title = ""
        if growth.remark:
            lines.append(f"| {title} | {growth.remark} |  |  |  |  |  |")
    return lines


def _verdict(growth: Growth) -> str:
    processor = growth.exponent(lambda used: used.processor)
    memory = growth.exponent(lambda used: used.memory)
    if math.isnan(processor):
        return "|"
    reached = "met" if processor <= STEEPEST else "missed"
    return f"{processor:.2f}, {memory:.2f} | ≤ {STEEPEST:g}: {reached}"


def draw(found: Sequence[Growth], folder: Path) -> None:
    """Write the two drawings."""
    drawings: tuple[tuple[str, str, Callable[[Usage], float]], ...] = (
        ("growth-processor.svg", "Processor time in seconds", lambda used: used.processor),
        ("growth-memory.svg", "Peak memory in MB", lambda used: used.memory),
    )
    folder.mkdir(parents=True, exist_ok=True)
    for name, title, value in drawings:
        lines = [
            chart.Line(
                growth.title.replace("`", ""),
                [(point.number, value(point.used)) for point in growth.points],
            )
            for growth in found
            if growth.points
        ]
        (folder / name).write_text(chart.svg(title, "Number of items", lines), encoding="utf-8")
