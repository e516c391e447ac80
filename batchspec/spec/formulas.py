"""Autoscale formulas: of ``nodes: {scale: ...}``, of a pool that ends with its work, and of users.

The parser is that of the embedded service. It is imported only for a spec with a formula: its
import takes a fifth of the import time of this package.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from batchspec.diagnostics import Diagnostic, Severity
from batchspec.frozen import frozen
from batchspec.spec.convert import iso
from batchspec.spec.validator_messages import listed, nearest_or_all
from batchspec.spec.yaml_tree import Node, made

if TYPE_CHECKING:
    from batchspec.autoscale import FormulaProblem

_ENOUGH_SAMPLES = 70
"""The percentage of samples that an interval must have; the service's examples use this value."""


class Scenario(StrEnum):
    """The quantity that determines the number of nodes of ``nodes: {scale: ...}``."""

    PENDING_TASKS = "pending_tasks"
    ACTIVE_TASKS = "active_tasks"
    WORKDAY = "workday"
    WORKDAY_WITH_OFFPEAK = "workday_with_offpeak"
    WEEKDAY = "weekday"
    WEEKEND = "weekend"

    @property
    def by_tasks(self) -> bool:
        """Whether the number of tasks determines it; otherwise the time does."""
        return self in (Scenario.PENDING_TASKS, Scenario.ACTIVE_TASKS)

    @property
    def has_hours(self) -> bool:
        """Whether the working hours determine it."""
        return self in (Scenario.WORKDAY, Scenario.WORKDAY_WITH_OFFPEAK)


@frozen
class Scale:
    """The members of ``nodes: {scale: ...}``.

    ``least`` dedicated nodes are always allocated, at most ``most`` dedicated and ``most_spot``
    Spot nodes. A node runs ``slots`` tasks at a time. ``days`` are the first and the last working
    day (Sunday is 0), ``hours`` the first working hour and the one after the last, in UTC.
    """

    least: int
    most: int
    most_spot: int
    idle: timedelta
    slots: int
    prefers_spot: bool = False
    scenario: Scenario = Scenario.PENDING_TASKS
    days: tuple[int, int] = (1, 5)
    hours: tuple[int, int] = (8, 18)

    @property
    def formula(self) -> str:
        """The autoscale formula."""
        lines = _by_tasks(self) if self.scenario.by_tasks else _by_time(self)
        return "\n".join((*lines, "$NodeDeallocationOption = taskcompletion;"))


def _by_tasks(scale: Scale) -> Iterator[str]:
    """The number of nodes that the tasks need.

    The maximum number of tasks within ``idle`` determines the target, so that nodes are released
    only after that time with less work, and only when their tasks are completed. A new pool has too
    few samples. Its last sample then determines the target, with a minimum of one node: the service
    evaluates the formula when it creates the pool, before there are tasks, and next after an
    interval. The first tasks do not wait for that interval.

    Spot nodes are added to the dedicated ones. If they are preferred, dedicated nodes are added to
    them: for the tasks that exceed ``most_spot``, and for tasks that waited for all of ``idle``
    because there were too few Spot nodes.
    """
    most, most_spot, slots = scale.most, scale.most_spot, scale.slots
    tasks = "$PendingTasks" if scale.scenario is Scenario.PENDING_TASKS else "$ActiveTasks"
    window = f"TimeInterval_Second * {int(scale.idle.total_seconds())}"
    yield f"known = {tasks}.GetSamplePercent({window}) >= {_ENOUGH_SAMPLES};"
    yield f"last = max(0, {tasks}.GetSample(1));"
    yield f"most = known ? max(last, max({tasks}.GetSample({window}))) : max(last, 1);"
    # The service rounds the target down; the sum with the slots of a node minus one rounds it up.
    yield "wanted = most;" if slots == 1 else f"wanted = (most + {slots - 1}) / {slots};"
    if not scale.prefers_spot:
        yield f"$TargetDedicatedNodes = min({most}, max({scale.least}, wanted));"
        if most_spot:
            yield f"$TargetLowPriorityNodes = min({most_spot}, max(0, wanted - {most}));"
        return
    yield f"waiting = known ? min({tasks}.GetSample({window})) : 0;"
    yield f"had = known ? max($CurrentLowPriorityNodes.GetSample({window})) : 0;"
    yield f"lacking = (waiting + {slots - 1}) / {slots} - had;"
    yield f"$TargetLowPriorityNodes = min({most_spot}, wanted);"
    yield (
        f"$TargetDedicatedNodes = min({most}, max({scale.least}, wanted - {most_spot}, lacking));"
    )


def _by_time(scale: Scale) -> Iterator[str]:
    """All nodes at some times, and ``least`` at others."""
    (first, last), (start, end) = scale.days, scale.hours
    working = f"now.weekday >= {first} && now.weekday <= {last}"
    yield "now = time();"
    if scale.scenario is Scenario.WEEKEND:
        yield f"busy = now.weekday < {first} || now.weekday > {last};"
    elif scale.scenario.has_hours:
        yield f"busy = {working} && now.hour >= {start} && now.hour < {end};"
    else:
        yield f"busy = {working};"
    yield f"$TargetDedicatedNodes = busy ? {scale.most} : {scale.least};"
    if scale.scenario is Scenario.WORKDAY_WITH_OFFPEAK:
        yield f"$TargetLowPriorityNodes = busy ? 0 : {scale.most_spot};"
    elif scale.most_spot:
        yield f"$TargetLowPriorityNodes = busy ? {scale.most_spot} : 0;"


IDLE = timedelta(minutes=15)
"""The time that nodes stay without tasks, unless the spec sets it."""
INTERVAL = timedelta(minutes=5)
"""The autoscale evaluation interval of the formulas: the minimum of the service."""
_TARGETS = ("target_dedicated_nodes", "target_low_priority_nodes")


def with_pool_end(root: Node) -> Node:
    """An expanded spec with the end of its pool, unless the file sets it.

    The file sets it with `cleanup.pool`, a formula, `lifetime` or `existing`. Otherwise the pool is
    deleted after a successful run, and gets a formula that releases its nodes after `IDLE` without
    a task, even if no client runs. A formula makes `resize_timeout` ineffective: a pool with it
    keeps its number of nodes and is deleted after every run.
    """
    pool, cleanup = root.get("pool"), root.get("cleanup")
    if pool is None or root.get("cleanup", "pool") is not None:
        return root
    if any(pool.get(key) is not None for key in ("existing", "lifetime", "enable_auto_scale")):
        return root
    nodes = [_count(pool.get(key)) for key in _TARGETS]
    if not any(nodes):
        return root
    released = pool.get("resize_timeout") is None
    members: dict[str, Node] = dict(root.members)
    if released:
        members["pool"] = pool.with_(
            **dict.fromkeys(_TARGETS),
            enable_auto_scale=made(True, pool),
            auto_scale_formula=made(_held(*nodes), pool),
            auto_scale_evaluation_interval=made(iso(INTERVAL), pool),
        )
    if root.get("job", "schedule") is None:
        rule = made("on_success" if released else "always", pool)
        members["cleanup"] = (cleanup or made({}, pool)).with_(pool=rule)
    return replace(root, value=members)


def _count(node: Node | None) -> int:
    value = node.value if node is not None else None
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _held(dedicated: int, spot: int) -> str:
    """A formula that allocates all nodes until there is no task for `IDLE`.

    A new pool has too few samples and gets its nodes immediately.
    """
    window = f"TimeInterval_Second * {int(IDLE.total_seconds())}"
    lines = [
        f"known = $PendingTasks.GetSamplePercent({window}) >= {_ENOUGH_SAMPLES};",
        f"pending = known ? max($PendingTasks.GetSample({window})) : 1;",
        f"$TargetDedicatedNodes = pending > 0 ? {dedicated} : 0;",
        *([f"$TargetLowPriorityNodes = pending > 0 ? {spot} : 0;"] if spot else []),
        "$NodeDeallocationOption = taskcompletion;",
    ]
    return "\n".join(lines)


_DEDICATED = re.compile(
    r"^\$TargetDedicatedNodes = min\((\d+), max\((\d+), wanted[^;]*\)\);$", re.MULTILINE
)
_SPOT = re.compile(
    r"^\$TargetLowPriorityNodes = min\((\d+), (?:max\(0, wanted - \d+\)|wanted)\);$", re.MULTILINE
)
_WINDOW = re.compile(r"TimeInterval_Second \* (\d+)\)")
_TIMED_DEDICATED = re.compile(r"^\$TargetDedicatedNodes = busy \? (\d+) : (\d+);$", re.MULTILINE)
_FIXED = re.compile(
    r"^\$Target(Dedicated|LowPriority)Nodes = pending > 0 \? (\d+) : 0;$", re.MULTILINE
)
_TIMED_SPOT = re.compile(r"^\$TargetLowPriorityNodes = busy \? (\d+) : (\d+);$", re.MULTILINE)


@frozen
class ScaleRange:
    """The nodes of a formula of this module, and the time that they stay without tasks.

    ``least`` and ``most`` are of dedicated nodes. ``timed``: they follow the time, not the tasks.
    ``spot_first``: dedicated nodes are added to Spot nodes. ``fixed``: all nodes stay while there
    are tasks.
    """

    least: int
    most: int
    least_spot: int
    most_spot: int
    idle: timedelta
    timed: bool = False
    spot_first: bool = False
    fixed: bool = False


def scale_range(formula: str) -> ScaleRange | None:
    """The numbers of a formula of this module; ``None`` for any other formula."""
    if fixed := dict(_FIXED.findall(formula)):
        most, most_spot = (int(fixed.get(kind, 0)) for kind in ("Dedicated", "LowPriority"))
        return ScaleRange(0, most, 0, most_spot, IDLE, fixed=True)
    timed = _TIMED_DEDICATED.search(formula)
    if timed is not None:
        found = _TIMED_SPOT.search(formula)
        nodes = int(timed[1]), int(timed[2])
        spot_nodes = (int(found[1]), int(found[2])) if found is not None else (0, 0)
        return ScaleRange(
            min(nodes), max(nodes), min(spot_nodes), max(spot_nodes), timedelta(), timed=True
        )
    dedicated, spot = _DEDICATED.search(formula), _SPOT.search(formula)
    window = _WINDOW.search(formula)
    if dedicated is None or window is None:
        return None
    return ScaleRange(
        least=int(dedicated[2]),
        most=int(dedicated[1]),
        least_spot=0,
        most_spot=int(spot[1]) if spot is not None else 0,
        idle=timedelta(seconds=int(window[1])),
        spot_first="lacking" in formula,
    )


_MOST_LINE = re.compile(
    r"^(\$Target(?:Dedicated|LowPriority)Nodes = )min\(\d+, (.*)$", re.MULTILINE
)
_BEYOND = re.compile(r"wanted - \d+")


def scaled_down(formula: str, most: int, most_spot: int) -> str:
    """A formula of :class:`Scale` that follows the tasks, with other maximum numbers of nodes."""
    spot_first = "lacking" in formula

    def line(match: re.Match[str]) -> str:
        number = most if "Dedicated" in match[1] else most_spot
        rest = _BEYOND.sub(f"wanted - {most_spot if spot_first else most}", match[2])
        return f"{match[1]}min({number}, {rest}"

    return _MOST_LINE.sub(line, formula)


def scale_bounds(formula: str) -> tuple[int, int] | None:
    """The minimum and maximum number of nodes of a formula of this module.

    ``None`` for any other formula.
    """
    found = scale_range(formula)
    if found is None:
        return None
    if not found.timed:
        return found.least, found.most + found.most_spot
    targets = [each.search(formula) for each in (_TIMED_DEDICATED, _TIMED_SPOT)]
    totals = [sum(int(each[when]) for each in targets if each is not None) for when in (1, 2)]
    return min(totals), max(totals)


_FORMULAS = (("nodes", "autoscale", "formula"), ("auto_scale_formula",))
_CODES = {
    "SYNTAX": "formula-syntax",
    "UNKNOWN": "formula-unknown",
    "TYPE": "formula-type",
    "NO_TARGET": "formula-no-target",
    "OLD_NAME": "formula-old-name",
}
"""The codes of diagnostics, by the names of ``FormulaCheck``."""


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
    near = nearest_or_all(problem.text.removeprefix("."), problem.known)
    if not near and problem.reason.endswith("not a function"):
        return f"The functions are {listed(problem.known)}."
    return near
