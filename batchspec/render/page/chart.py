"""The two drawings of a report, as SVG: what ran when, and what became of the tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from html import escape

from batchspec.render import units
from batchspec.render.page.trace import Point, Span
from batchspec.render.report import StepReport
from batchspec.render.sink import flat
from batchspec.render.words import phrase

WIDTH = 900
_LABEL = 300
_ROW = 22
_HEIGHT = 180
_TICKS = 5


def steps_chart(
    spans: Sequence[Span], steps: Mapping[str, StepReport], seconds: float
) -> Iterator[str]:
    """A bar for each step that ran, from when to when."""
    height = _ROW * len(spans) + 24
    room = WIDTH - _LABEL
    scale = room / seconds if seconds > 0 else 0.0
    yield f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="What ran when">'
    for tick in range(_TICKS + 1):
        at = seconds * tick / _TICKS
        x = _LABEL + room * tick / _TICKS
        yield f'<line class="grid" x1="{x:.1f}" y1="0" x2="{x:.1f}" y2="{height - 20}"/>'
        yield _tick(x, height - 4, "end" if tick == _TICKS else "middle", units.duration(at))
    for row, span in enumerate(spans):
        step = steps.get(span.step)
        y = row * _ROW
        name = phrase(step.verb, step.subject) if step else flat(span.step)
        state = step.state.value if step else "running"
        width = max((span.end - span.begin) * scale, 1.5)
        took = units.duration(span.end - span.begin)
        yield f'<text class="name" x="{_LABEL - 8}" y="{y + 15}">{escape(_short(name))}</text>'
        yield (
            f'<rect class="bar {state}" x="{_LABEL + span.begin * scale:.1f}" y="{y + 4}"'
            f' width="{width:.1f}" height="{_ROW - 8}" rx="2">'
            f"<title>{escape(name)}: {took}</title></rect>"
        )
    yield "</svg>"


def _tick(x: float, y: int, anchor: str, label: str) -> str:
    return f'<text class="tick" x="{x:.1f}" y="{y}" text-anchor="{anchor}">{label}</text>'


def _short(name: str) -> str:
    return name if len(name) <= 44 else f"{name[:43]}…"


def tasks_chart(points: Sequence[Point], seconds: float) -> Iterator[str]:
    """The tasks over time, one area on the other: succeeded, failed, running, waiting."""
    most = max((point.total for point in points), default=0)
    if most == 0 or seconds <= 0:
        return
    yield f'<svg viewBox="0 0 {WIDTH} {_HEIGHT + 24}" role="img" aria-label="Tasks over time">'
    layers: tuple[tuple[str, Callable[[Point], int]], ...] = (
        ("active", lambda p: p.total),
        ("running", lambda p: p.succeeded + p.failed + p.running),
        ("failed", lambda p: p.succeeded + p.failed),
        ("done", lambda p: p.succeeded),
    )
    for name, height in layers:
        path = _area([(p.at / seconds, height(p) / most) for p in points])
        yield f'<path class="area {name}" d="{path}"/>'
    for tick in range(_TICKS + 1):
        x = WIDTH * tick / _TICKS
        anchor = "start" if tick == 0 else "end" if tick == _TICKS else "middle"
        yield _tick(x, _HEIGHT + 18, anchor, units.duration(seconds * tick / _TICKS))
    yield _tick(WIDTH, 12, "end", f"{most:,}")
    yield "</svg>"


def _area(points: Sequence[tuple[float, float]]) -> str:
    """A closed shape of steps: a count holds until the next one is known."""
    first = points[0][0] * WIDTH
    path = [f"M{first:.1f} {_HEIGHT}"]
    for x, y in points:
        path.append(f"H{x * WIDTH:.1f}V{_HEIGHT * (1 - y):.1f}")
    return "".join([*path, f"H{WIDTH}V{_HEIGHT}Z"])
