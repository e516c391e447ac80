"""All rows of the table of benchmarks: ``python benchmarks/run.py [ROW ...] [--rounds N]``.

Each row compares whole processes that do the same work and run in turn, so that other work of the
machine affects all of them. Each row is printed and replaces its earlier results in ``RESULTS.md``.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import growth
import peers
import rows_files
import rows_network
import rows_start
import rows_tasks
import rows_topn
import rows_transfers
from measuring import MeasurementError, Row, Setting, measure
from results import Results

MODULES = (rows_start, rows_files, rows_transfers, rows_tasks, rows_topn, rows_network)
GROWTH = "growth"
PAGE = Path(__file__).with_name("RESULTS.md")
IMAGES = Path(__file__).parents[1] / "docs" / "images"


def main() -> None:
    """Measure the rows, print them, and write the results.

    A row that fails keeps its earlier results.
    """
    options = arguments()
    rows = [row for module in MODULES for row in module.rows(quick=options.quick)]
    names = [*(row.name for row in rows), GROWTH]
    if unknown := set(options.rows) - set(names):
        raise SystemExit(f"no such row: {', '.join(sorted(unknown))}; rows: {', '.join(names)}")
    chosen = set(options.rows or names)
    peers.install()
    page = options.output or (None if options.quick else PAGE)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        environ = environment(folder)
        results = Results(page or folder / PAGE.name, names)
        failed = []
        try:
            for row in rows:
                if row.name not in chosen:
                    continue
                try:
                    run_row(row, results, Setting(folder / row.name, environ), options)
                except MeasurementError as error:
                    print(f"{row.name} failed: {error}", file=sys.stderr, flush=True)
                    failed.append(row.name)
            if GROWTH in chosen:
                run_growth(results, Setting(folder / GROWTH, environ), options)
        finally:
            stop_service(environ)
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition(":")[0])
    parser.add_argument("rows", nargs="*", metavar="ROW", help="these rows only")
    parser.add_argument(
        "--quick", action="store_true", help="small sizes, one round; print the results only"
    )
    parser.add_argument("--rounds", type=int, help="rounds of each row, after one to warm up")
    parser.add_argument("--largest", type=int, help="the largest number of items of a curve")
    parser.add_argument("--output", type=Path, help="the page of the results")
    parser.add_argument("--images", type=Path, help="the folder of the drawings")
    return parser.parse_args()


def run_row(row: Row, results: Results, place: Setting, options: argparse.Namespace) -> None:
    """Measure a row, print its lines, and write the results."""
    place.folder.mkdir()
    # A separate service: none of its nodes has tasks of another row.
    environ = {**place.environ, "BATCHSPEC_LOCAL_HOME": str(place.folder / "home")}
    rounds = options.rounds or (min(1, row.rounds) if options.quick else row.rounds)
    print(f"{row.name}: {row.title} ...", file=sys.stderr, flush=True)
    try:
        lines = results.add_row(measure(row, Setting(place.folder, environ), rounds))
    finally:
        stop_service(environ)
    results.write()
    print("\n".join(lines), flush=True)
    # Its files are deleted at the end: deletions slow down the creation of files in the next row.


def stop_service(environ: Mapping[str, str]) -> None:
    """Stop the embedded service, if it runs."""
    stop = [*peers.BATCHSPEC, "local", "stop"]
    subprocess.run(stop, env=environ, check=False, capture_output=True)


def run_growth(results: Results, setting: Setting, options: argparse.Namespace) -> None:
    """Measure and draw the curves, print their table, and write the results."""
    setting.folder.mkdir()
    largest = options.largest or (10_000 if options.quick else 1_000_000)
    warm_up = Setting(setting.folder / "warm-up", setting.environ)
    warm_up.folder.mkdir()
    growth.measured(growth.CURVES[0], warm_up, growth.SMALLEST)
    found = [growth.measured(curve, setting, largest) for curve in growth.CURVES]
    print("\n".join(results.add_growth(found)), flush=True)
    results.write()
    images = options.images or (None if options.quick else IMAGES)
    if images is not None:
        growth.draw(found, images)


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


if __name__ == "__main__":
    main()
