"""The evaluation of a formula: syntax tree to node targets."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from batchspec.autoscale.syntax import (
    Binary,
    Call,
    Conditional,
    Expression,
    Formula,
    FormulaError,
    Member,
    Name,
    Number,
    String,
    Unary,
    parse,
)
from batchspec.autoscale.values import (
    SECOND,
    FormulaValueError,
    Function,
    Interval,
    Series,
    Timestamp,
    Value,
    apply_binary,
    apply_unary,
    call_method,
    functions,
    last_sample,
    truth,
    type_name,
)
from batchspec.frozen import frozen

DEDICATED, SPOT, OPTION = "TargetDedicatedNodes", "TargetLowPriorityNodes", "NodeDeallocationOption"
ALIASES = {"TargetDedicated": DEDICATED, "TargetLowPriority": SPOT}
"""Earlier names of targets, which the service still accepts."""
OPTIONS = ("requeue", "terminate", "taskcompletion", "retaineddata")
METRICS = (
    "CPUPercent",
    "WallClockSeconds",
    "MemoryBytes",
    "DiskBytes",
    "DiskReadBytes",
    "DiskWriteBytes",
    "DiskReadOps",
    "DiskWriteOps",
    "NetworkInBytes",
    "NetworkOutBytes",
    "SampleNodeCount",
    "ActiveTasks",
    "RunningTasks",
    "PendingTasks",
    "SucceededTasks",
    "FailedTasks",
    "CurrentDedicatedNodes",
    "CurrentLowPriorityNodes",
    "PreemptedNodeCount",
    "TaskSlotsPerNode",
    "UsableNodeCount",
)
"""The read-only variables. A metric that is not measured has no samples."""

CONSTANTS: Mapping[str, Value] = {
    "TimeInterval_Zero": Interval(0.0),
    "TimeInterval_100ns": Interval(1.0),
    "TimeInterval_Microsecond": Interval(10.0),
    "TimeInterval_Millisecond": Interval(10_000.0),
    "TimeInterval_Second": Interval(SECOND),
    "TimeInterval_Minute": Interval(60 * SECOND),
    "TimeInterval_Hour": Interval(3600 * SECOND),
    "TimeInterval_Day": Interval(86_400 * SECOND),
    "TimeInterval_Week": Interval(7 * 86_400 * SECOND),
    "TimeInterval_Year": Interval(365 * 86_400 * SECOND),
    **{option: option for option in OPTIONS},
}


@frozen
class FormulaInputs:
    """The inputs of a formula. ``rand`` returns numbers from 0 to 1."""

    now: Timestamp
    dedicated: int
    spot: int
    metrics: Mapping[str, Series]
    rand: Callable[[], float]


@frozen
class Evaluation:
    """The result of a formula. With an ``error``, the targets are unchanged.

    ``results`` is the text that the service returns: the three service variables, then the
    variables of the formula.
    """

    dedicated: int
    spot: int
    option: str
    results: str
    error: str | None = None


class _StopSignal(Exception):  # noqa: N818  not an error
    """``stop()`` was called; the assignments so far count."""


def evaluate(formula: Formula, around: FormulaInputs) -> Evaluation:
    """Evaluate ``formula``; an error of the formula is part of the result."""
    walk = _Evaluator(around)
    before = _evaluation(walk)
    try:
        for statement in formula.statements:
            value = walk.value(statement.value)
            if statement.target is not None:
                walk.assign(statement.target, value)
    except _StopSignal:
        pass
    except FormulaError as error:
        return Evaluation(before.dedicated, before.spot, before.option, before.results, str(error))
    return _evaluation(walk)


class _Evaluator:
    def __init__(self, around: FormulaInputs) -> None:
        self._around = around
        self._functions: Mapping[str, Function] = functions(around.now, around.rand)
        self.own: dict[str, Value] = {}
        self._given: Mapping[str, Value] = {
            DEDICATED: float(around.dedicated),
            SPOT: float(around.spot),
            OPTION: OPTIONS[0],
        }
        self._assigned: dict[str, Value] = {}

    def assign(self, target: Name, value: Value) -> None:
        name = target.name
        if target.dollar and name in METRICS:
            raise FormulaError(target.at, f"${name} is read-only")
        if target.dollar and ALIASES.get(name, name) in self._given:
            self._assigned[name] = check_target(target, value)
        elif name in CONSTANTS:
            raise FormulaError(target.at, f"{name} is read-only")
        else:
            self.own[name] = value

    def target(self, name: str) -> Value:
        """A variable of the service. If it and its alias are both assigned, the full name
        counts.
        """
        alias = next((short for short, full in ALIASES.items() if full == name), name)
        return self._assigned.get(name, self._assigned.get(alias, self._given[name]))

    def value(self, expression: Expression) -> Value:  # noqa: PLR0911  one for each kind of node
        try:
            match expression:
                case Number(_, number):
                    return number
                case String(_, text):
                    return text
                case Name():
                    return self._look_up(expression)
                case Unary(_, mark, operand):
                    return apply_unary(mark, self.value(operand))
                case Binary():
                    return self._binary(expression)
                case Conditional(_, test, yes, no):
                    return self.value(yes if truth(self.value(test)) else no)
                case Call():
                    return self._call(expression)
                case Member():
                    return self._member(expression)
        except FormulaValueError as error:
            raise FormulaError(expression.at, str(error)) from None
        except (ArithmeticError, ValueError):
            # No number in a formula may raise an exception in the caller, the loop of the engine.
            raise FormulaError(expression.at, "The number is out of range") from None

    def _binary(self, last: Binary) -> Value:
        """A chain of operators from its left end, of any length: without recursion."""
        chain = [last]
        while isinstance(chain[-1].left, Binary):
            chain.append(chain[-1].left)
        value = self.value(chain[-1].left)
        for part in reversed(chain):
            try:
                if part.operator not in ("&&", "||"):
                    value = apply_binary(part.operator, value, self.value(part.right))
                elif truth(value) is (part.operator == "||"):
                    value = float(part.operator == "||")
                else:
                    value = float(truth(self.value(part.right)))
            except FormulaValueError as fault:
                raise FormulaError(part.at, str(fault)) from None
        return value

    def _look_up(self, name: Name) -> Value:
        if name.dollar:
            service = ALIASES.get(name.name, name.name)
            if service in self._given:
                return self.target(service)
            if name.name in METRICS:
                return self._around.metrics.get(name.name, Series(name.name, ()))
        if name.name in self.own:
            return self.own[name.name]
        if not name.dollar and name.name in CONSTANTS:
            return CONSTANTS[name.name]
        raise FormulaError(name.at, f"Undefined symbol: {name.name}")

    def _call(self, call: Call) -> Value:
        if call.name == "stop" and not call.arguments:
            raise _StopSignal
        function = self._functions.get(call.name)
        if function is None:
            raise FormulaError(call.at, f"Undefined function: {call.name}")
        return function(tuple(self.value(argument) for argument in call.arguments))

    def _member(self, member: Member) -> Value:
        owner = self.value(member.owner)
        if isinstance(owner, Series) and member.arguments is not None:
            arguments = tuple(last_sample(self.value(argument)) for argument in member.arguments)
            return call_method(owner, member.name, arguments, self._around.now)
        if isinstance(owner, Timestamp) and member.arguments is None:
            return owner.member(member.name)
        raise FormulaValueError(f"A {type_name(owner)} has no member '{member.name}'")


def check_target(target: Name, value: Value) -> Value:
    """The value for a variable of the service; a metric is its last sample."""
    try:
        value = last_sample(value)
    except FormulaValueError as fault:
        raise FormulaError(target.at, str(fault)) from None
    if target.name == OPTION:
        if value not in OPTIONS:
            raise FormulaError(target.at, f"${OPTION} must be one of {', '.join(OPTIONS)}")
    elif not isinstance(value, float):
        raise FormulaError(target.at, f"${target.name} must be a double, not a {type_name(value)}")
    elif not math.isfinite(value):
        raise FormulaError(target.at, f"${target.name} must be a finite number")
    elif value > MAX_NODES:
        raise FormulaError(target.at, f"${target.name} must be at most {MAX_NODES}")
    return value


def _evaluation(walk: _Evaluator) -> Evaluation:
    dedicated, spot = (_node_count(walk.target(name)) for name in (DEDICATED, SPOT))
    option = str(walk.target(OPTION))
    shown = [f"${DEDICATED}={dedicated}", f"${SPOT}={spot}", f"${OPTION}={option}"]
    shown += [f"${name}={write_value(walk.own[name])}" for name in sorted(walk.own)]
    return Evaluation(dedicated, spot, option, ";".join(shown))


def _node_count(value: Value) -> int:
    """A target as a whole number of at least zero."""
    assert isinstance(value, float)
    return max(0, int(value))


def write_value(value: Value) -> str:
    """A value in the form of ``results``."""
    match value:
        case float():
            return str(int(value)) if value.is_integer() else repr(value)
        case tuple():
            return "[" + ",".join(map(write_value, value)) + "]"
        case Interval(ticks):
            return f"{write_value(ticks / SECOND)}s"
        case Timestamp():
            parts = [int(value.member(n)) for n in ("year", "month", "day")]
            clock = [int(value.member(n)) for n in ("hour", "minute", "second")]
            return "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z".format(*parts, *clock)
        case Series(name):
            return f"${name}"
    return str(value)


MAX_NODES = 2**31 - 1
"""The largest target: ``targetDedicatedNodes`` is a 32-bit integer in the REST reference."""
MAX_CHARACTERS = 8192
"""The largest length of a formula, in characters."""

Sample = tuple[datetime, Mapping[str, float]]
"""The time of a sample, and the values by the names of the metrics without ``$``."""


def run_formula(
    text: str,
    now: datetime,
    targets: tuple[int, int],
    samples: Sequence[Sample],
    rand: Callable[[], float],
) -> Evaluation:
    """Parse and evaluate a formula.

    ``targets`` are the current ones of dedicated and Spot nodes; ``samples`` are oldest first.

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
    around = FormulaInputs(Timestamp.of(now), dedicated, spot, metrics, rand)
    return evaluate(parse(text), around)
