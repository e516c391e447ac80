"""Lines on logarithmic axes, as SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_COLORS = ("#0969da", "#bc4c00", "#1a7f37", "#8250df", "#cf222e", "#6e7781")
_WIDTH, _HEIGHT = 760, 420
_LEFT, _TOP, _RIGHT, _BOTTOM = 70, 40, 230, 50


@dataclass(frozen=True, slots=True)
class Line:
    """Points of a named line; all numbers are greater than 0."""

    title: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class _Axis:
    """Powers of ten from ``low`` to ``high``, drawn from ``start`` to ``end``."""

    low: int
    high: int
    start: float
    end: float

    @classmethod
    def over(cls, values: Sequence[float], start: float, end: float) -> _Axis:
        low = math.floor(math.log10(min(values)))
        high = math.ceil(math.log10(max(values)))
        return cls(low, max(high, low + 1), start, end)

    def at(self, value: float) -> float:
        part = (math.log10(value) - self.low) / (self.high - self.low)
        return self.start + part * (self.end - self.start)

    def ticks(self) -> list[float]:
        return [10.0**power for power in range(self.low, self.high + 1)]


def svg(title: str, x_title: str, lines: Sequence[Line]) -> str:
    """A drawing of lines with a legend. It has a white background, for light and dark pages."""
    points = [point for line in lines for point in line.points]
    if not points:
        raise ValueError("no points to draw")
    x_axis = _Axis.over([x for x, _ in points], _LEFT, _WIDTH - _RIGHT)
    y_axis = _Axis.over([y for _, y in points], _HEIGHT - _BOTTOM, _TOP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}"'
        ' font-family="sans-serif" font-size="13" fill="#1f2328">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#ffffff"/>',
        _text(_LEFT, 24, title, "start"),
        _text((x_axis.start + x_axis.end) / 2, _HEIGHT - 10, x_title, "middle"),
    ]
    for value in x_axis.ticks():
        at = x_axis.at(value)
        parts += [
            _rule(at, y_axis.start, at, y_axis.end),
            _text(at, y_axis.start + 18, f"{value:,g}", "middle"),
        ]
    for value in y_axis.ticks():
        at = y_axis.at(value)
        parts += [
            _rule(x_axis.start, at, x_axis.end, at),
            _text(x_axis.start - 8, at + 4, f"{value:,g}", "end"),
        ]
    for index, line in enumerate(lines):
        color = _COLORS[index % len(_COLORS)]
        places = [(x_axis.at(x), y_axis.at(y)) for x, y in line.points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{color}"/>' for x, y in places]
        left, top = x_axis.end + 20, _TOP + 10 + 22 * index
        parts.append(f'<rect x="{left}" y="{top - 9}" width="14" height="3" fill="{color}"/>')
        parts.append(_text(left + 20, top - 3, line.title, "start"))
    return "\n".join([*parts, "</svg>", ""])


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _rule(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="#d0d7de"/>'
