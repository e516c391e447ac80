"""One evaluation of a pool's formula, from the service's values to the wire's ``AutoScaleRun``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from batchspec.local.autoscale.evaluate import METRICS, Evaluated, Surroundings, evaluate
from batchspec.local.autoscale.parse import parse
from batchspec.local.autoscale.values import Series, Timestamp
from batchspec.local.wire.times import write_time

MAX_CHARACTERS = 8192
"""How long a formula may be."""
_WRONG = "The specified auto-scaling formula has evaluation error"

Sample = tuple[datetime, Mapping[str, float]]
"""When it was taken, and what was measured, by the names of the metrics without ``$``."""


def run_formula(
    text: str,
    now: datetime,
    targets: tuple[int, int],
    samples: Sequence[Sample],
    rand: Callable[[], float],
) -> Evaluated:
    """Evaluate a formula.

    ``targets`` are those there are, of dedicated and of Spot nodes; ``samples`` come oldest first.

    Raises:
        FormulaSyntaxError: the text is not a formula.
    """
    metrics = {
        name: Series(
            name, tuple((Timestamp.of(at), taken[name]) for at, taken in samples if name in taken)
        )
        for name in METRICS
    }
    dedicated, spot = targets
    around = Surroundings(Timestamp.of(now), dedicated, spot, metrics, rand)
    return evaluate(parse(text), around)


def write_run(evaluated: Evaluated, now: datetime) -> dict[str, Any]:
    """``AutoScaleRun``; the error is in the recorded words."""
    shown: dict[str, Any] = {"timestamp": write_time(now), "results": evaluated.results}
    if evaluated.error is not None:
        shown["error"] = {
            "code": "AutoScalingFormulaEvaluationError",
            "message": _WRONG,
            "values": [{"name": "Message", "value": evaluated.error}],
        }
    return shown
