"""Autoscale formulas: the documented examples, every operator and function, and errors."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import pytest

from batchspec.autoscale import (
    Evaluation,
    FormulaInputs,
    FormulaSyntaxError,
    Series,
    Timestamp,
    evaluate,
    parse,
)

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)  # a Wednesday


def series(name: str, *values: float, since: datetime = NOW) -> Series:
    """Samples every 30 seconds, the last one at ``since``."""
    count = len(values)
    times = [since - timedelta(seconds=30 * (count - 1 - i)) for i in range(count)]
    return Series(name, tuple(zip(map(Timestamp.of, times), values, strict=True)))


def run(text: str, *metrics: Series, dedicated: int = 2, spot: int = 0) -> Evaluation:
    inputs = FormulaInputs(
        now=Timestamp.of(NOW),
        dedicated=dedicated,
        spot=spot,
        metrics={metric.name: metric for metric in metrics},
        rand=lambda: 0.25,
    )
    return evaluate(parse(text), inputs)


def shown(expression: str, *metrics: Series) -> str:
    """The text of a value in ``results``."""
    done = run(f"v = {expression};", *metrics)
    assert done.error is None, done.error
    return done.results.rpartition("$v=")[2]


def error(text: str, *metrics: Series) -> str:
    done = run(text, *metrics)
    assert done.error is not None, done.results
    return done.error


PENDING = """
startingNumberOfVMs = 1;
maxNumberofVMs = 25;
pendingTaskSamplePercent = $PendingTasks.GetSamplePercent(180 * TimeInterval_Second);
pendingTaskSamples = pendingTaskSamplePercent < 70 ? startingNumberOfVMs :
    avg($PendingTasks.GetSample(180 * TimeInterval_Second));
$TargetDedicatedNodes=min(maxNumberofVMs, pendingTaskSamples);
$NodeDeallocationOption = taskcompletion;
"""


@pytest.mark.parametrize(
    ("values", "nodes"), [((), 1), ((9, 9, 9, 9), 1), ((4, 4, 6, 6, 8), 5), ((90,) * 9, 25)]
)
def test_the_documented_formula_for_pending_tasks(values: tuple[float, ...], nodes: int) -> None:
    done = run(PENDING, series("PendingTasks", *map(float, values)))
    assert (done.error, done.dedicated, done.option) == (None, nodes, "taskcompletion")


def test_the_documented_formula_for_working_hours() -> None:
    text = """
        $curTime = time();
        $workHours = $curTime.hour >= 8 && $curTime.hour < 18;
        $isWeekday = $curTime.weekday >= 1 && $curTime.weekday <= 5;
        $isWorkingWeekdayHour = $workHours && $isWeekday;
        $TargetDedicatedNodes = $isWorkingWeekdayHour ? 20:10;
    """
    done = run(text)
    assert done.dedicated == 10
    assert done.results == (
        "$TargetDedicatedNodes=10;$TargetLowPriorityNodes=0;$NodeDeallocationOption=requeue;"
        "$curTime=2026-03-04T05:06:07Z;$isWeekday=1;$isWorkingWeekdayHour=0;$workHours=0"
    )


def test_the_documented_formula_for_processor_use() -> None:
    text = """
        $totalDedicatedNodes =
            (min($CPUPercent.GetSample(TimeInterval_Minute * 10)) > 0.7) ?
            ($CurrentDedicatedNodes * 1.1) : $CurrentDedicatedNodes;
        $TargetDedicatedNodes = min(400, $totalDedicatedNodes)
    """
    current = series("CurrentDedicatedNodes", 100.0)
    assert run(text, series("CPUPercent", 0.8, 0.9), current).dedicated == 110
    assert run(text, series("CPUPercent", 0.8, 0.5), current).dedicated == 100


def test_recorded_results() -> None:
    """azure-sdk-for-python, test_batch_scale_pools; azure-sdk-for-node, evaluate autoscale."""
    assert run("$TargetDedicatedNodes=3", dedicated=0).results == (
        "$TargetDedicatedNodes=3;$TargetLowPriorityNodes=0;$NodeDeallocationOption=requeue"
    )
    wrong = run("$something_useless", dedicated=2)
    assert wrong.error == "Line 1, Col 1: Undefined symbol: something_useless"
    assert wrong.results == (
        "$TargetDedicatedNodes=2;$TargetLowPriorityNodes=0;$NodeDeallocationOption=requeue"
    )


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("1 + 2 * 3", "7"),
        ("(1 + 2) * 3", "9"),
        ("7 - 2 - 1", "4"),
        ("8 / 4 / 2", "1"),
        ("-2 * -3", "6"),
        ("- - 2", "2"),
        ("!0 + !5", "1"),
        (".5e1 + 1.", "6"),
        ("1 / 0", "inf"),
        ("-1 / 0", "-inf"),
        ("1 < 2 == 1", "1"),
        ("1 || 0 && 0", "1"),
        ("0 && nothing", "0"),
        ("1 || nothing", "1"),
        ("1 ? 2 : nothing", "2"),
        ("0 ? nothing : 1 ? 3 : 4", "3"),
        ("'a' < 'b'", "1"),
        ('"x" == "x"', "1"),
        ("requeue", "requeue"),
        ("vec(1, 2) + 1", "[2,3]"),
        ("vec(1, 2) * vec(3, 4)", "[3,8]"),
        ("vec(vec(1), 2, vec())", "[1,2]"),
        ("TimeInterval_Minute * 2", "120s"),
        ("2 * TimeInterval_Minute", "120s"),
        ("TimeInterval_Hour / 2 - TimeInterval_Minute", "1740s"),
        ("-TimeInterval_Second", "-1s"),
        ("TimeInterval_Week == 7 * TimeInterval_Day", "1"),
        ("TimeInterval_Second == 10000000 * TimeInterval_100ns", "1"),
        ("TimeInterval_Millisecond == 1000 * TimeInterval_Microsecond", "1"),
        ("TimeInterval_Year > TimeInterval_Week * 52", "1"),
        ("TimeInterval_Zero == TimeInterval_Day - TimeInterval_Day", "1"),
        ("time() + TimeInterval_Day", "2026-03-05T05:06:07Z"),
        ("TimeInterval_Day + time('')", "2026-03-05T05:06:07Z"),
        ("time() - TimeInterval_Hour * 6", "2026-03-03T23:06:07Z"),
        ("time() - time('2026-03-04T05:00:00Z')", "367s"),
        ("time('Wed, 04 Mar 2026 05:06:07 GMT') == time()", "1"),
        ("time('2026-03-04T06:06:07+01:00') == time()", "1"),
        ("time('2026-03-01').weekday", "0"),
        ("time().weekday", "3"),
        ("time().year * 10000 + time().month * 100 + time().day", "20260304"),
        ("time().minute * 100 + time().second", "607"),
        ("avg(1, vec(2, 3))", "2"),
        ("len(1, vec(2, 3))", "3"),
        ("len()", "0"),
        ("sum()", "0"),
        ("sum(0.1, 0.2, 0.3)", "0.6"),
        ("lg(8) + ln(1) + log(1000)", "6"),
        ("lg(vec(8))", "[3]"),
        ("ln(0)", "-inf"),
        ("max(3, vec(5, 4)) - min(3, vec(5, 4))", "2"),
        ("range(3, 9)", "6"),
        ("norm(3, 4)", "5"),
        ("std(2, 4)", repr(math.sqrt(2))),
        ("std(2)", "0"),
        ("sum(1 / 0, 2)", "inf"),
        ("avg(1 / 0, -1 / 0)", "nan"),
        ("std(1 / 0, 2)", "nan"),
        ("percentile(vec(5, 1, 3, 2, 4), 50)", "3"),
        ("percentile(vec(5, 1), 0)", "1"),
        ("val(vec(5, 6), 1)", "6"),
        ("rand()", "0.25"),
        ("$TargetDedicatedNodes + $TargetDedicated", "4"),
        ("1 /* a\n comment */ + // another\n 1", "2"),
    ],
)
def test_values(expression: str, value: str) -> None:
    assert shown(expression) == value


TASKS = series("ActiveTasks", 1.0, 2.0, 3.0, 4.0)


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("$ActiveTasks.GetSample(1)", "[4]"),
        ("$ActiveTasks.GetSample(2)", "[3,4]"),
        ("$ActiveTasks.GetSample(9)", "[1,2,3,4]"),
        ("$ActiveTasks.GetSample(0)", "[]"),
        ("$RunningTasks.GetSample(1)", "[]"),
        ("max(0, $RunningTasks.GetSample(1))", "0"),
        ("$ActiveTasks.GetSample(TimeInterval_Minute)", "[3,4]"),
        ("$ActiveTasks.GetSample(time() - TimeInterval_Minute)", "[3,4]"),
        ("$ActiveTasks.GetSample(TimeInterval_Minute, TimeInterval_Minute * 6)", "[1,2]"),
        ("$ActiveTasks.GetSample(TimeInterval_Minute * 6, TimeInterval_Minute)", "[1,2]"),
        ("$ActiveTasks.GetSample(TimeInterval_Minute * 2, 100)", "[1,2,3,4]"),
        ("$ActiveTasks.GetSamplePercent(TimeInterval_Minute * 4)", "50"),
        ("$ActiveTasks.GetSamplePercent(TimeInterval_Second)", "100"),
        ("$ActiveTasks.GetSamplePercent(TimeInterval_Hour, TimeInterval_Minute * 59)", "0"),
        ("$ActiveTasks.Count()", "4"),
        ("$ActiveTasks.HistoryBeginTime()", "2026-03-04T05:04:37Z"),
        ("$ActiveTasks.GetSamplePeriod()", "30s"),
        ("$ActiveTasks + 1", "5"),
        ("max($ActiveTasks, 2)", "4"),
    ],
)
def test_samples(expression: str, value: str) -> None:
    assert shown(expression, TASKS) == value


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("v = 1;\n  w = u;", "Line 2, Col 7: Undefined symbol: u"),
        ("PendingTasks", "Line 1, Col 1: Undefined symbol: PendingTasks"),
        ("v = sin(1)", "Line 1, Col 5: Undefined function: sin"),
        ("v = 1 + 'a'", "Line 1, Col 7: Operator + is not defined for double and string"),
        ("v = 1 - vec(1)", "Line 1, Col 7: Operator - is not defined for double and doubleVec"),
        ("v = vec(1) < 2", "Line 1, Col 12: Operator < is not defined for doubleVec and double"),
        ("v = vec(1) + vec(1, 2)", "Line 1, Col 12: The vectors differ in length"),
        ("v = !'a'", "Line 1, Col 5: Operator ! is not defined for string"),
        ("v = 'a' ? 1 : 2", "Line 1, Col 9: A double is needed, not a string"),
        ("v = 1 && 'a'", "Line 1, Col 7: A double is needed, not a string"),
        ("v = avg()", "Line 1, Col 5: avg needs at least one value"),
        ("v = val(vec(1), 1)", "Line 1, Col 5: The vector has no element 1"),
        ("v = time('soon')", "Line 1, Col 5: 'soon' is not a time"),
        ("v = time().era", "Line 1, Col 11: A timestamp has no member 'era'"),
        ("v = (1).hour", "Line 1, Col 8: A double has no member 'hour'"),
        ("v = $ActiveTasks.Sample(1)", "Line 1, Col 17: A metric has no method 'Sample'"),
        ("v = $RunningTasks + 1", "Line 1, Col 19: There is no sample of $RunningTasks"),
        ("$ActiveTasks = 1", "Line 1, Col 1: $ActiveTasks is read-only"),
        ("requeue = 1", "Line 1, Col 1: requeue is read-only"),
        ("$TargetDedicatedNodes = 'a'", "$TargetDedicatedNodes must be a double, not a string"),
        ("$TargetDedicatedNodes = 1 / 0", "$TargetDedicatedNodes must be a finite number"),
        ("$NodeDeallocationOption = 'never'", "must be one of requeue, terminate, taskcompletion"),
        (
            "v = $ActiveTasks.GetSample(TimeInterval_Minute * 10, 95)",
            "Only 20 percent of the samples of $ActiveTasks exist, 95 percent are required",
        ),
        ("v = TimeInterval_Second * (1/0) + time()", "The timeinterval is not finite"),
        ("v = (time() + TimeInterval_Year * 9999).year", "Col 13: The timestamp is out of range"),
        ("v = time() + TimeInterval_Year * 9999", "Col 12: The timestamp is out of range"),
        ("v = time() - TimeInterval_Year * 9999", "Col 12: The timestamp is out of range"),
        ("v = TimeInterval_Year * 1e300 + time()", "The timeinterval is not finite"),
        ("v = time('0001-01-01T00:00+14:00')", "The timestamp is out of range"),
        ("$TargetDedicatedNodes = 1e300", "$TargetDedicatedNodes must be at most 2147483647"),
        ("v = $ActiveTasks.GetSamplePercent(TimeInterval_Zero * (0/0))", "out of range"),
        ("v = $ActiveTasks.GetSamplePercent(TimeInterval_Day * 1e308)", "out of range"),
    ],
)
def test_an_evaluation_error_has_position_and_reason(text: str, reason: str) -> None:
    assert reason in error(text, TASKS)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("v = ", "Line 1, Col 5: Unexpected 'the end of the formula'"),
        ("v = 1 2", "Line 1, Col 7: Unexpected '2'"),
        ("v = (1", "Line 1, Col 7: Unexpected 'the end of the formula'"),
        ("v = 1;\nw = @", "Line 2, Col 5: Unexpected character '@'"),
        ("v = 1 ? 2", "Unexpected 'the end of the formula'"),
        ("v = max(1,)", "Line 1, Col 11: Unexpected ')'"),
        ("v = 'a", "Unexpected character '''"),
        ("v = /* no end", "Unexpected '/'"),
        ("v = $x(1)", "Line 1, Col 7: Unexpected '('"),
        ("1 = v", "Line 1, Col 3: Unexpected '='"),
        ("v = x.$y", "Line 1, Col 7: Unexpected '$y'"),
        ("v = 1;" * 101, "more than 100 statements"),
        ("v = " + "(" * 200 + "1" + ")" * 200, "nested too deeply"),
        ("v = " + "-" * 200 + "1", "nested too deeply"),
        ("v = " + "1 ? 1 : " * 200 + "1", "nested too deeply"),
    ],
)
def test_a_syntax_error_has_position_and_reason(text: str, reason: str) -> None:
    with pytest.raises(FormulaSyntaxError) as found:
        parse(text)
    assert reason in str(found.value)


def test_a_long_chain_of_operators_is_not_nesting() -> None:
    assert shown("+".join(["1"] * 2000)) == "2000"
    assert shown("&&".join(["1"] * 2000)) == "1"


def test_unassigned_targets_are_unchanged() -> None:
    done = run("; ;v = 1;;", dedicated=3, spot=4)
    assert (done.dedicated, done.spot, done.option) == (3, 4, "requeue")


def test_targets_are_truncated_and_not_negative() -> None:
    done = run("$TargetDedicatedNodes = 2.9; $TargetLowPriorityNodes = -1;")
    assert (done.dedicated, done.spot) == (2, 0)


def test_a_full_name_precedes_its_alias() -> None:
    assert run("$TargetDedicated = 4;").dedicated == 4
    assert run("$TargetDedicatedNodes = 2; $TargetDedicated = 4;").dedicated == 2
    assert run("$TargetLowPriority = 4; $TargetLowPriorityNodes = 0;").spot == 0


def test_stop_keeps_earlier_assignments() -> None:
    done = run("$TargetDedicatedNodes = 5; stop(); $TargetDedicatedNodes = nothing;")
    assert (done.error, done.dedicated) == (None, 5)


def test_an_error_keeps_the_targets() -> None:
    done = run("$TargetDedicatedNodes = 5; v = nothing;", dedicated=1)
    assert done.dedicated == 1
    assert done.results.startswith("$TargetDedicatedNodes=1;")


def test_the_length_of_a_vector_is_limited() -> None:
    doubling = "v = vec(1);" + "v = vec(v, v);" * 90
    assert "at most 100000 values" in error(doubling)


VALUES = (
    "0",
    "-1",
    "1e308",
    "(0/0)",
    "(1/0)",
    "time()",
    "TimeInterval_Year",
    "TimeInterval_Zero",
    "vec(1e308, -1e308)",
    "'9999-12-31T23:59:59'",
    "$ActiveTasks",
    "time('9999-12-31')",
)
TEMPLATES = (
    "{0} * {1}",
    "{0} / {1}",
    "{0} + {1}",
    "{0} - {1}",
    "{0} * 1e308 * {1} * 1e308",
    "time() + TimeInterval_Year * {0} * {1}",
    "percentile(vec({0}), {1})",
    "val(vec({0}), {1})",
    "std({0}, {1})",
    "norm({0}, {1})",
    "lg({0})",
    "time({0})",
    "$ActiveTasks.GetSample({0} * TimeInterval_Year, {1})",
    "$ActiveTasks.GetSample({0})",
    "$ActiveTasks.GetSamplePercent(TimeInterval_Year * {0}, TimeInterval_Year * {1})",
)


@pytest.mark.parametrize("template", TEMPLATES)
def test_no_value_raises_through_the_evaluation(template: str) -> None:
    for first in VALUES:
        for second in VALUES:
            expression = template.format(first, second)
            done = run(f"v = {expression}; $TargetDedicatedNodes = v; w = -v;", TASKS)
            assert 0 <= done.dedicated < 2**31, expression
            assert done.results, expression
