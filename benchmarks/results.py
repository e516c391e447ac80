"""The results file: the latest measurement of each row and of the curves, and their tables.

``results.json`` has the figures, ``LIMITS.md`` the explanations.
``RESULTS.md`` is written from both.
"""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import growth
import peers
from measuring import Figure, Measured, Usage

LIMITS = Path(__file__).with_name("LIMITS.md")
HEAD = """\
# Results

Written by `make bench` from `results.json` and `LIMITS.md`. Each ratio is the median over the
rounds of batchspec's figure divided by that of the other command in the same round; the bold one
is judged. Ratios are comparable between machines, times are not. `make bench ARGS=NAME` measures a
row again; its name is in parentheses.
"""
HEADINGS = (
    "| row | command | time | processor | memory | ratio: time, processor | to reach |",
    "| --- | --- | --- | --- | --- | --- | --- |",
)

Json = Mapping[str, Any]


class Results:
    """The latest results, in a JSON file beside the page that shows them."""

    def __init__(self, page: Path, order: Sequence[str]) -> None:
        """``order``: the names of all rows, in the order of the table."""
        self._page = page
        self._order = order
        self._file = page.with_name(page.stem.lower() + ".json")
        text = self._file.read_text(encoding="utf-8") if self._file.exists() else "{}"
        found = json.loads(text)
        self._rows: dict[str, Json] = found.get("rows", {})
        self._growth: Json = found.get("growth", {})

    def add_row(self, found: Measured) -> list[str]:
        """Replace the results of a row, and return its lines of the table."""
        row = found.row
        figures = [row.figure] if row.figure is Figure.RECEIVED else [Figure.TIME, Figure.PROCESSOR]
        contenders = []
        for each in found.contenders:
            ratios = {figure.value: found.ratio(each.name, figure) for figure in figures}
            used = found.median(each.name)
            contenders.append(
                {
                    "name": each.name,
                    **_figures(used),
                    "received": round(used.received),
                    "ratios": {
                        name: _rounded(ratio)
                        for name, ratio in ratios.items()
                        if each is not found.contenders[0] and not math.isnan(ratio)
                    },
                    "target": each.target,
                }
            )
        self._rows[row.name] = {
            "measured": machine(),
            "title": row.title,
            "size": row.size,
            "judged": row.figure.value,
            "memory": row.memory,
            "contenders": contenders,
        }
        return row_lines(row.name, self._rows[row.name])

    def add_growth(self, found: Sequence[growth.Growth]) -> list[str]:
        """Replace the curves, and return the lines of their table."""
        self._growth = {
            "measured": machine(),
            "curves": [
                {
                    "title": each.title,
                    "points": [
                        {"items": point.number, **_figures(point.used)} for point in each.points
                    ],
                    "remark": each.remark,
                }
                for each in found
            ],
        }
        return self._growth_lines()

    def write(self) -> None:
        """Write the figures and the page."""
        rows = {name: self._rows[name] for name in self._order if name in self._rows}
        text = json.dumps({"rows": rows, "growth": self._growth}, indent=1)
        self._file.write_text(text + "\n", encoding="utf-8")
        lines = [line for name, row in rows.items() for line in row_lines(name, row)]
        parts = [HEAD, *HEADINGS, *lines, "", *_measured(rows), ""]
        parts.append(LIMITS.read_text(encoding="utf-8").rstrip())
        if self._growth:
            parts += ["", "## Growth", "", f"Measured: {self._growth['measured']}.", ""]
            parts += self._growth_lines()
        self._page.write_text("\n".join(parts) + "\n", encoding="utf-8")

    def curves(self) -> list[growth.Growth]:
        """The curves."""
        return [
            growth.Growth(
                curve["title"],
                [
                    growth.Point(
                        point["items"], Usage(point["time"], point["processor"], point["memory"])
                    )
                    for point in curve["points"]
                ],
                curve["remark"],
            )
            for curve in self._growth.get("curves", ())
        ]

    def _growth_lines(self) -> list[str]:
        return growth.table(self.curves())


def row_lines(name: str, row: Json) -> list[str]:
    """The lines of a row: one for each command."""
    first, *others = row["contenders"]
    limit = f", up to {row['memory']:.0f} MB" if row["memory"] else ""
    size = f", {row['size']}" if row["size"] else ""
    missed = ", ".join(_missed(row))
    verdict = f"missed: {missed}" if missed else "met"
    title = f"**{row['title']}** (`{name}`){size}{limit}"
    lines = [f"| {title} | {first['name']} | {_shown(first)} |  | {verdict} |"]
    for each in others:
        ratios = ", ".join(
            f"**{ratio:.3g}**" if figure == row["judged"] else f"{ratio:.2f}"
            for figure, ratio in each["ratios"].items()
        )
        target = "" if each["target"] is None else f"≤ {each['target']:.3g}"
        lines.append(f"|  | {each['name']} | {_shown(each)} | {ratios} | {target} |")
    return lines


def machine() -> str:
    """When and where something is measured, and the versions of what is compared."""
    processors = len(os.sched_getaffinity(0))
    load = os.getloadavg()[1]
    versions = [f"{name} {version(name)}" for name in ("azure-batch", "azure-storage-blob")]
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {processors} processors, load {load:.0f}, Python"
        f" {platform.python_version()}, batchspec {version('batchspec')},"
        f" {', '.join((*versions, *peers.versions()))}"
    )


def _measured(rows: Mapping[str, Json]) -> list[str]:
    """When and where each row was measured: a line for each occasion."""
    occasions: dict[str, list[str]] = {}
    for name, row in rows.items():
        occasions.setdefault(row["measured"], []).append(f"`{name}`")
    return [f"- {occasion}: {', '.join(names)}" for occasion, names in occasions.items()]


def _missed(row: Json) -> Iterator[str]:
    """The targets of the row that are not met."""
    first, *others = row["contenders"]
    for each in others:
        ratio = each["ratios"].get(row["judged"])
        if ratio is not None and each["target"] is not None and ratio > each["target"]:
            yield f"{ratio:.2f} x {each['name']}"
    if row["memory"] is not None and first["memory"] > row["memory"]:
        yield f"{first['memory']:.0f} MB"


def _shown(used: Json) -> str:
    """The time, or the bytes where these are compared, the processor time and the memory."""
    received = used.get("received")
    first = f"{received / 1e3:,.1f} kB" if received else f"{used['time']:.2f} s"
    if not used["memory"]:
        return f"{first} |  | "
    return f"{first} | {used['processor']:.2f} s | {used['memory']:.0f} MB"


def _figures(used: Usage) -> dict[str, float]:
    return {
        "time": round(used.time, 3),
        "processor": round(used.processor, 3),
        "memory": round(used.memory, 1),
    }


def _rounded(ratio: float) -> float:
    return float(f"{ratio:.4g}")
