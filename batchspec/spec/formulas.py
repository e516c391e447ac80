"""Autoscale formulas: that of ``nodes: {scale: ...}``, and the errors of a user's own.

The parser is that of the embedded service. It is imported for a spec that has a formula: it takes a
fifth of the time to import this package.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING

from batchspec.diagnostics import Diagnostic, Severity
from batchspec.spec.validator_messages import did_you_mean, listed
from batchspec.spec.yaml_tree import Node

if TYPE_CHECKING:
    from batchspec.autoscale import FormulaProblem

_ENOUGH_SAMPLES = 70
"""The percentage of samples that an interval must have; the service's examples use this value."""


def scale_formula(*, least: int, most: int, most_spot: int, idle: timedelta, slots: int) -> str:
    """The autoscale formula of ``nodes: {scale: ...}``: the nodes that the pending tasks need.

    ``least`` dedicated nodes are always allocated; up to ``most`` dedicated and then ``most_spot``
    Spot nodes follow the tasks, of which a node runs ``slots`` at a time.

    The maximum number of pending tasks within ``idle`` determines the target, so that nodes are
    released only after that time with less work, and only when their tasks are completed. While
    there are too few samples (a new pool), the last sample determines the target, with a minimum of
    one node: the formula is evaluated when the pool is created, before it has tasks, and then only
    after an interval, which the first tasks should not have to wait for.
    """
    window = f"TimeInterval_Second * {int(idle.total_seconds())}"
    lines = [
        f"known = $PendingTasks.GetSamplePercent({window}) >= {_ENOUGH_SAMPLES};",
        "last = max(0, $PendingTasks.GetSample(1));",
        f"most = known ? max(last, max($PendingTasks.GetSample({window}))) : max(last, 1);",
    ]
    # The target is rounded down: adding one less than the slots of a node rounds it up.
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
    """The minimum and maximum number of nodes of a formula of :func:`scale_formula`.

    ``None`` for any other formula.
    """
    dedicated, spot = _DEDICATED.search(formula), _SPOT.search(formula)
    if dedicated is None:
        return None
    return int(dedicated[2]), int(dedicated[1]) + (int(spot[1]) if spot is not None else 0)


_FORMULAS = (("nodes", "autoscale", "formula"), ("auto_scale_formula",))
_CODES = {
    "SYNTAX": "formula-syntax",
    "UNKNOWN": "formula-unknown",
    "TYPE": "formula-type",
    "NO_TARGET": "formula-no-target",
    "OLD_NAME": "formula-old-name",
}
"""The codes by the names of ``FormulaCheck``."""


def formula_rules(root: Node) -> Iterator[Diagnostic]:
    """Errors of the formula of a pool, at their line and column in the file."""
    for path in _FORMULAS:
        formula = root.get("pool", *path)
        if formula is not None and isinstance(formula.value, str) and formula.template is None:
            from batchspec.autoscale import check  # noqa: PLC0415 - start time

            for problem in check(formula.value):
                yield _diagnostic(formula, formula.value, problem)


def _diagnostic(formula: Node, text: str, problem: FormulaProblem) -> Diagnostic:
    line, column = problem.at.line, problem.at.column
    offset = sum(map(len, text.split("\n")[: line - 1])) + line - 1 + column - 1
    return Diagnostic(
        _CODES[problem.check.name],
        problem.reason,
        f"Line {line}, column {column} of the formula." if formula.filled else "",
        formula.part(offset, problem.text),
        _fix(problem),
        Severity.WARNING if problem.check.name == "OLD_NAME" else Severity.ERROR,
    )


def _fix(problem: FormulaProblem) -> str:
    match problem.check.name:
        case "SYNTAX":
            return (
                "End each statement with `;`."
                if problem.reason.startswith("`;` is missing")
                else ""
            )
        case "OLD_NAME":
            return f"Write `{problem.known[0]}`."
        case "NO_TARGET" if not problem.known:
            return "Set the number of nodes, for example `$TargetDedicatedNodes = 1;`."
        case "TYPE":
            is_vector = problem.reason.endswith("not a doubleVec")
            return "Use one of its values, for example the maximum: `max(...)`." * is_vector
    near = did_you_mean(problem.text.removeprefix("."), problem.known)
    if not near and problem.reason.endswith("not a function"):
        return f"The functions are {listed(problem.known)}."
    return near
