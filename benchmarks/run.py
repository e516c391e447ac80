"""All rows of the table of benchmarks: ``python benchmarks/run.py [ROW ...] [--rounds N]``.

Each row compares whole processes that do the same work and run in turn, so that other work of the
machine affects all of them. The table is printed, and written to ``RESULTS.md`` if all rows run.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import peers
import rows_files
import rows_start
import rows_tasks
import rows_topn
import rows_transfers
from measuring import Figure, Measured, MeasurementError, Row, Setting, measure

ROWS: tuple[Row, ...] = (
    *rows_start.ROWS,
    *rows_files.ROWS,
    *rows_transfers.ROWS,
    *rows_tasks.ROWS,
    *rows_topn.ROWS,
)
NOT_MEASURED = {
    "makespan with simulated latencies": "no script computes the critical path yet",
    "100,000 tasks to the end; 1,000,000 submitted": "takes longer than a run of this table",
    "bytes of watching 10,000 tasks": "needs a count of bytes on the wire",
    "growth at 1k, 10k, 100k, 1M": "not drawn yet",
}
RESULTS = Path(__file__).with_name("RESULTS.md")
HEAD = """\
# Results

Written by `make bench`. Ratios are comparable between machines, times are not: each ratio is the
median over the rounds of batchspec's figure divided by that of the other command in the same round.

"""
NOTES = """
Uploads and downloads use Azurite, the blob store of the embedded service, which is not Azure: it
stores a block with `Content-MD5`, which batchspec sends, about twice as fast as one without.
"""


def main() -> None:
    """Measure the rows, print the table, and write it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition(":")[0])
    parser.add_argument("rows", nargs="*", metavar="ROW", help=", ".join(row.name for row in ROWS))
    parser.add_argument("--rounds", type=int, help="rounds of each row, after one to warm up")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    if unknown := set(options.rows) - {row.name for row in ROWS}:
        parser.error(f"no such row: {', '.join(sorted(unknown))}")
    chosen = [row for row in ROWS if not options.rows or row.name in options.rows]
    peers.install()
    with tempfile.TemporaryDirectory() as folder:
        environ = environment(Path(folder))
        lines: list[str] = []
        try:
            for row in chosen:
                place = Path(folder, row.name)
                place.mkdir()
                setting = Setting(place, environ)
                print(f"{row.name}: {row.title} ...", file=sys.stderr, flush=True)
                try:
                    found = table(measure(row, setting, options.rounds or row.rounds))
                except MeasurementError as error:
                    print(error, file=sys.stderr, flush=True)
                    found = [f"| **{row.title}**, {row.size} | failed |  |  |  |  | missed |"]
                print("\n".join(found), flush=True)
                lines += found
        finally:
            stop = [*peers.BATCHSPEC, "local", "stop"]
            subprocess.run(stop, env=environ, check=False, capture_output=True)
    missing = [f"- {title}: {reason}" for title, reason in NOT_MEASURED.items()]
    text = "\n".join((*machine(), "", *HEADINGS, *lines, NOTES, "Not measured:", "", *missing))
    if len(chosen) == len(ROWS):
        options.output.write_text(HEAD + text + "\n", encoding="utf-8")


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
        figures = f"{used.time:.2f} s | {used.processor:.2f} s | {used.memory:.0f} MB"
        if index == 0:
            missed = ", ".join(found.missed())
            verdict = f"missed: {missed}" if missed else "met"
            limit = f", up to {row.memory:.0f} MB" if row.memory else ""
            title = f"**{row.title}**, {row.size}{limit}"
            lines.append(f"| {title} | {each.name} | {figures} |  | {verdict} |")
            continue
        ratios = [f"{found.ratio(each.name, figure):.2f}" for figure in Figure]
        at = list(Figure).index(row.figure)
        ratios[at] = f"**{ratios[at]}**"
        target = "" if each.target is None else f"≤ {each.target:g}"
        lines.append(f"|  | {each.name} | {figures} | {', '.join(ratios)} | {target} |")
    return lines


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
