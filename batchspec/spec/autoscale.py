"""The formula of ``nodes: {scale: ...}``: as many nodes as the pending tasks need.

The most tasks that were pending at one time within ``idle`` decide, so nodes are given back only
after that long without so much work; and a node goes when its tasks are completed. While the
service has too few samples of that time (a new pool) the last one decides, and one node is there at
least: the formula is evaluated when the pool is made, before it has tasks, and then only after an
interval, which the first tasks should not wait for.
"""

from __future__ import annotations

import re
from datetime import timedelta

INTERVAL = timedelta(minutes=5)
"""How often the formula is evaluated: the shortest that the service takes."""

_ENOUGH = 70
"""Per cent of the samples of a time that make it known; the service's own examples take this."""


def scale_formula(*, least: int, most: int, most_spot: int, idle: timedelta, slots: int) -> str:
    """An autoscale formula.

    ``least`` dedicated nodes are always there; up to ``most`` dedicated and then ``most_spot`` Spot
    nodes follow the tasks, of which a node takes ``slots`` at a time.
    """
    window = f"TimeInterval_Second * {int(idle.total_seconds())}"
    lines = [
        f"known = $PendingTasks.GetSamplePercent({window}) >= {_ENOUGH};",
        "last = max(0, $PendingTasks.GetSample(1));",
        f"most = known ? max(last, max($PendingTasks.GetSample({window}))) : max(last, 1);",
    ]
    # The target is cut down to a whole number: one less than a node's worth more makes it enough.
    lines.append("wanted = most;" if slots == 1 else f"wanted = (most + {slots - 1}) / {slots};")
    lines.append(f"$TargetDedicatedNodes = min({most}, max({least}, wanted));")
    if most_spot:
        lines.append(f"$TargetLowPriorityNodes = min({most_spot}, max(0, wanted - {most}));")
    lines.append("$NodeDeallocationOption = taskcompletion;")
    return "\n".join(lines)


_DEDICATED = re.compile(
    r"^\$TargetDedicatedNodes = min\((\d+), max\((\d+), wanted\)\);$", re.MULTILINE
)
_SPOT = re.compile(
    r"^\$TargetLowPriorityNodes = min\((\d+), max\(0, wanted - \d+\)\);$", re.MULTILINE
)


def scale_bounds(formula: str) -> tuple[int, int] | None:
    """The fewest and the most nodes that a formula of ours asks for; ``None`` if it is none."""
    dedicated, spot = _DEDICATED.search(formula), _SPOT.search(formula)
    if dedicated is None:
        return None
    return int(dedicated[2]), int(dedicated[1]) + (int(spot[1]) if spot is not None else 0)
