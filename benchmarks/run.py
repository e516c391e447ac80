"""All rows of the table of benchmarks: ``python benchmarks/run.py [ROW ...] [--rounds N]``.

Each row compares whole processes that do the same work and run in turn, so that other work of the
machine affects all of them. The table is printed, and written to ``RESULTS.md`` if all rows run.
"""

from __future__ import annotations

import argparse
import math
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import growth
import peers
import rows_files
import rows_network
import rows_start
import rows_tasks
import rows_topn
import rows_transfers
from measuring import Figure, Measured, MeasurementError, Row, Setting, Usage, measure

MODULES = (rows_start, rows_files, rows_transfers, rows_tasks, rows_topn, rows_network)
GROWTH = "growth"
RESULTS = Path(__file__).with_name("RESULTS.md")
IMAGES = Path(__file__).parents[1] / "docs" / "images"
HEAD = """\
# Results

Written by `make bench`. Ratios are comparable between machines, times are not: each ratio is the
median over the rounds of batchspec's figure divided by that of the other command in the same round.

"""
QUICK = "Small sizes and one round (`--quick`): the ratios are rough.\n\n"
NOTES = """
Uploads and downloads use Azurite, the blob store of the embedded service, which is not Azure: it
stores a block with `Content-MD5`, which batchspec sends, about twice as fast as one without.
"""


def main() -> None:
    """Measure the rows, print the table, and write it."""
    options = arguments()
    rows = [row for module in MODULES for row in module.rows(quick=options.quick)]
    names = [*(row.name for row in rows), GROWTH]
    if unknown := set(options.rows) - set(names):
        raise SystemExit(f"no such row: {', '.join(sorted(unknown))}; rows: {', '.join(names)}")
    chosen = set(options.rows or names)
    peers.install()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        environ = environment(folder)
        try:
            lines: list[str] = []
            for row in rows:
                if row.name in chosen:
                    lines += measured(row, folder, environ, options)
            curves = grown(folder, environ, options) if GROWTH in chosen else []
        finally:
            stop_service(environ)
    if not options.rows:
        sizes = QUICK if options.quick else ""
        parts = (HEAD + sizes, *machine(), "", *HEADINGS, *lines, NOTES, *curves)
        options.output.write_text("\n".join(parts) + "\n", encoding="utf-8")


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition(":")[0])
    parser.add_argument("rows", nargs="*", metavar="ROW", help="these rows only; print the table")
    parser.add_argument("--quick", action="store_true", help="small sizes, one round")
    parser.add_argument("--rounds", type=int, help="rounds of each row, after one to warm up")
    parser.add_argument("--largest", type=int, help="the largest number of items of a curve")
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--images", type=Path, default=IMAGES, help="the folder of the drawings")
    return parser.parse_args()


def measured(
    row: Row, folder: Path, environ: Mapping[str, str], options: argparse.Namespace
) -> list[str]:
    """Measure a row, and print its lines."""
    place = folder / row.name
    place.mkdir()
    # A separate service: none of its nodes has tasks of another row.
    environ = {**environ, "BATCHSPEC_LOCAL_HOME": str(place / "home")}
    rounds = options.rounds or (min(1, row.rounds) if options.quick else row.rounds)
    print(f"{row.name}: {row.title} ...", file=sys.stderr, flush=True)
    try:
        lines = table(measure(row, Setting(place, environ), rounds))
    except MeasurementError as error:
        print(error, file=sys.stderr, flush=True)
        lines = [f"| **{row.title}**, {row.size} | failed |  |  |  |  | missed |"]
    finally:
        stop_service(environ)
    print("\n".join(lines), flush=True)
    # Its files are deleted at the end: deletions slow down the creation of files in the next row.
    return lines


def stop_service(environ: Mapping[str, str]) -> None:
    """Stop the embedded service, if it runs."""
    stop = [*peers.BATCHSPEC, "local", "stop"]
    subprocess.run(stop, env=environ, check=False, capture_output=True)


def grown(folder: Path, environ: Mapping[str, str], options: argparse.Namespace) -> list[str]:
    """Measure and draw the curves, and print their table."""
    place = folder / GROWTH
    place.mkdir()
    largest = options.largest or (10_000 if options.quick else 1_000_000)
    setting = Setting(place, environ)
    warm_up = Setting(place / "warm-up", environ)
    warm_up.folder.mkdir()
    growth.measured(growth.CURVES[0], warm_up, growth.SMALLEST)
    found = [growth.measured(curve, setting, largest) for curve in growth.CURVES]
    lines = growth.table(found)
    print("\n".join(lines), flush=True)
    growth.draw(found, options.images)
    return ["", "## Growth", "", *lines]


def environment(folder: Path) -> dict[str, str]:
    """The environment of measured processes: an own embedded service, compiled modules."""
    ignored = ("AZURE_", "BATCHSPEC_", "PYTHONDONTWRITEBYTECODE")
    given = {key: value for key, value in os.environ.items() if not key.startswith(ignored)}
    (folder / "tmp").mkdir()
    return {
        **given,
        "BATCHSPEC_LOCAL_HOME": str(folder / "home"),
        "PYTHONPYCACHEPREFIX": str(folder / "compiled"),
        "TMPDIR": str(folder / "tmp"),
    }


HEADINGS = (
    "| row | command | time | processor | memory | ratio: time, processor | to reach |",
    "| --- | --- | --- | --- | --- | --- | --- |",
)


def table(found: Measured) -> list[str]:
    """The lines of a row: one for each command."""
    lines = []
    row = found.row
    for index, each in enumerate(found.contenders):
        used = found.median(each.name)
        figures = shown(used)
        if index == 0:
            missed = ", ".join(found.missed())
            verdict = f"missed: {missed}" if missed else "met"
            limit = f", up to {row.memory:.0f} MB" if row.memory else ""
            title = f"**{row.title}**, {row.size}{limit}"
            lines.append(f"| {title} | {each.name} | {figures} |  | {verdict} |")
            continue
        figures_compared = [Figure.TIME, Figure.PROCESSOR]
        if row.figure is Figure.RECEIVED:
            figures_compared = [Figure.RECEIVED]
        ratios = {figure: found.ratio(each.name, figure) for figure in figures_compared}
        texts = [
            f"**{ratio:.3g}**" if figure is row.figure else f"{ratio:.2f}"
            for figure, ratio in ratios.items()
            if not math.isnan(ratio)
        ]
        target = "" if each.target is None else f"≤ {each.target:g}"
        lines.append(f"|  | {each.name} | {figures} | {', '.join(texts)} | {target} |")
    return lines


def shown(used: Usage) -> str:
    """The time, or the bytes where these are compared, the processor time and the memory."""
    first = f"{used.received / 1e3:,.1f} kB" if used.received else f"{used.time:.2f} s"
    if not used.memory:
        return f"{first} |  | "
    return f"{first} | {used.processor:.2f} s | {used.memory:.0f} MB"


def machine() -> list[str]:
    """Where and when this was measured, and the versions of what was compared."""
    processors = len(os.sched_getaffinity(0))
    load = os.getloadavg()[1]
    python = platform.python_version()
    versions = [f"{name} {version(name)}" for name in ("azure-batch", "azure-storage-blob")]
    return [
        f"{datetime.now(UTC):%Y-%m-%d}, {processors} processors, load {load:.1f}, Python {python},"
        f" batchspec {version('batchspec')}, {', '.join((*versions, *peers.versions()))}."
    ]


if __name__ == "__main__":
    main()
