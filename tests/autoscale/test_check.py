"""Problems of a formula that are found without its evaluation, compared with its evaluation."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchspec.autoscale import (
    METRICS,
    FormulaCheck,
    FormulaInputs,
    Series,
    Timestamp,
    check,
    evaluate,
    parse,
)
from batchspec.spec import Scale, Scenario
from tests.autoscale import test_against_naive_evaluation as naive
from tests.autoscale.test_language import PENDING

DOCUMENTED = {
    "pending tasks": PENDING,
    "preempted nodes": """
        maxNumberofVMs = 25;
        $TargetDedicatedNodes =
            min(maxNumberofVMs, $PreemptedNodeCount.GetSample(180 * TimeInterval_Second));
        $TargetLowPriorityNodes = min(maxNumberofVMs , maxNumberofVMs - $TargetDedicatedNodes);
        $NodeDeallocationOption = taskcompletion;
    """,
    "processor use": """
        $totalDedicatedNodes =
            (min($CPUPercent.GetSample(TimeInterval_Minute * 10)) > 0.7) ?
            ($CurrentDedicatedNodes * 1.1) : $CurrentDedicatedNodes;
        $totalDedicatedNodes =
            (avg($CPUPercent.GetSample(TimeInterval_Minute * 60)) < 0.2) ?
            ($CurrentDedicatedNodes * 0.9) : $totalDedicatedNodes;
        $TargetDedicatedNodes = min(400, $totalDedicatedNodes)
    """,
    "working hours": """
        $curTime = time();
        $workHours = $curTime.hour >= 8 && $curTime.hour < 18;
        $isWeekday = $curTime.weekday >= 1 && $curTime.weekday <= 5;
        $isWorkingWeekdayHour = $workHours && $isWeekday;
        $TargetDedicatedNodes = $isWorkingWeekdayHour ? 20:10;
    """,
    "samples": """
        // Slots, all forms of GetSample, and options in a conditional.
        samples = $ActiveTasks.GetSamplePercent(TimeInterval_Minute * 15);
        tasks = samples < 70 ? max(0, $ActiveTasks.GetSample(1)) :
            max($ActiveTasks.GetSample(1), avg($ActiveTasks.GetSample(TimeInterval_Minute * 15)));
        from = $ActiveTasks.HistoryBeginTime();
        all = $RunningTasks.GetSample(from, time() - $RunningTasks.GetSamplePeriod(), 75);
        busy = val(all, len(all) - 1) + percentile(all, 95) + $RunningTasks.Count();
        $TargetLowPriorityNodes = (tasks + busy) / $TaskSlotsPerNode;
        $NodeDeallocationOption = time() > time('2026-03-04T05:00:00Z') ? requeue : taskcompletion;
        stop();
        nothing = afterwards;
    """,
}


@pytest.mark.parametrize("name", DOCUMENTED)
def test_documented_formulas_have_no_problems(name: str) -> None:
    assert check(DOCUMENTED[name]) == ()


@pytest.mark.parametrize("bounds", [(0, 4, 0), (2, 9, 0), (1, 3, 20), (0, 0, 7)])
@pytest.mark.parametrize("slots", [1, 4])
def test_generated_formulas_have_no_problems(bounds: tuple[int, int, int], slots: int) -> None:
    for scenario in Scenario:
        for prefers_spot in (False, True):
            scale = Scale(*bounds, timedelta(minutes=15), slots, prefers_spot, scenario)
            assert check(scale.formula) == ()


SET = "; $TargetDedicatedNodes = 1"


@pytest.mark.parametrize(
    ("formula", "about", "position", "text"),
    [
        ("v = 1\nw = 2" + SET, "SYNTAX", (2, 1), "w"),
        ("v = (1" + SET, "SYNTAX", (1, 7), ";"),
        ("v = max(1", "SYNTAX", (1, 10), ""),
        ("v = 1 @ 2" + SET, "SYNTAX", (1, 7), "@"),
        ("v = $PendingTask" + SET, "UNKNOWN", (1, 5), "$PendingTask"),
        ("v = PendingTasks" + SET, "UNKNOWN", (1, 5), "PendingTasks"),
        ("v = w; w = 1" + SET, "UNKNOWN", (1, 5), "w"),
        ("v = 1 +\n ceil(2)" + SET, "UNKNOWN", (2, 2), "ceil"),
        ("v = $PendingTasks.Getsample(1)" + SET, "UNKNOWN", (1, 18), ".Getsample"),
        ("v = time().weekdays" + SET, "UNKNOWN", (1, 11), ".weekdays"),
        ("v = rand().hour" + SET, "UNKNOWN", (1, 11), ".hour"),
        ("$NodeDeallocationOption = completion" + SET, "UNKNOWN", (1, 27), "completion"),
        ("v = time().hour()" + SET, "TYPE", (1, 11), ".hour"),
        ("v = $PendingTasks.Count" + SET, "TYPE", (1, 18), ".Count"),
        ("v = 'a' + 1" + SET, "TYPE", (1, 9), "+"),
        ("v = 1 * 2 - 'a' + 3" + SET, "TYPE", (1, 11), "-"),
        ("v = -'a'" + SET, "TYPE", (1, 5), "-"),
        ("v = 1 && 'a'" + SET, "TYPE", (1, 7), "&&"),
        ("v = 'a' ? 1 : 2" + SET, "TYPE", (1, 9), "?"),
        ("v = 1 ? 2 : 'a' - 1" + SET, "TYPE", (1, 17), "-"),
        ("v = max()" + SET, "TYPE", (1, 5), "max"),
        ("v = val(1)" + SET, "TYPE", (1, 5), "val"),
        ("v = time('soon')" + SET, "TYPE", (1, 5), "time"),
        ("v = $PendingTasks.GetSample('a')" + SET, "TYPE", (1, 18), ".GetSample"),
        ("$PendingTasks = 1" + SET, "TYPE", (1, 1), "$PendingTasks"),
        ("requeue = 1" + SET, "TYPE", (1, 1), "requeue"),
        ("$NodeDeallocationOption = 1 ? requeue : 'x'" + SET, "TYPE", (1, 41), "x"),
        ("$TargetDedicatedNodes = $PendingTasks.GetSample(1)", "TYPE", (1, 38), ".GetSample"),
        ("$TargetDedicatedNodes = 3e9", "TYPE", (1, 25), "3e+09"),
        ("", "NO_TARGET", (1, 1), ""),
        ("v = 1", "NO_TARGET", (1, 1), ""),
        ("v = 1;\n$TargetDedicatedNode = v", "NO_TARGET", (2, 1), "$TargetDedicatedNode"),
        ("TargetDedicatedNodes = 1", "NO_TARGET", (1, 1), "TargetDedicatedNodes"),
        ("stop()" + SET, "NO_TARGET", (1, 1), ""),
        ("$TargetDedicatedNodes = 0; $TargetLowPriorityNodes = 0", "NO_TARGET", (1, 25), "0"),
        ("$TargetDedicated = 1", "OLD_NAME", (1, 1), "$TargetDedicated"),
        ("v = $TargetLowPriority" + SET, "OLD_NAME", (1, 5), "$TargetLowPriority"),
        ("$NodeDeallocationOption = retaineddata" + SET, "OLD_NAME", (1, 27), "retaineddata"),
    ],
)
def test_problems(formula: str, about: str, position: tuple[int, int], text: str) -> None:
    (found,) = check(formula)
    assert found.check is FormulaCheck[about]
    assert ((found.at.line, found.at.column), found.text) == (position, text)
    assert found.reason


def test_all_problems_are_found_at_once() -> None:
    found = check("v = $A + 'a' * 2;\nw = v + nothing;\n$TargetDedicatedNodes = w;")
    assert [problem.text for problem in found] == ["$A", "*", "nothing"]


def test_a_long_chain_needs_no_recursion() -> None:
    assert check("$TargetDedicatedNodes = 1" + " + 1" * 4000) == ()


@settings(max_examples=150, deadline=None)
@given(naive.trees(), st.data())
def test_formulas_of_doubles_have_no_problems(tree: Any, data: st.DataObject) -> None:
    formula = "$TargetDedicatedNodes = v; v2 = " + naive.write(tree, data.draw) + ";"
    found = check(f"v = 1; {formula}")
    assert [problem for problem in found if problem.check is not FormulaCheck.NO_TARGET] == []


LEAVES = ("0", "'x'", "TimeInterval_Second", "time()", "vec(0)", "$PendingTasks", "nothing")
BINARY = ("+", "-", "*", "/", "<", "==")
CALLS = ("avg({})", "ln({})", "len({})", "vec({})", "({}).hour", "-({})", "!({})")
METHODS = ("GetSample({})", "GetSamplePercent({})", "Count()", "GetSamplePeriod()", "Nothing({})")


def expressions() -> st.SearchStrategy[str]:
    """Expressions of all types, most of which have an error."""
    return st.recursive(
        st.sampled_from(LEAVES),
        lambda inner: st.one_of(
            st.builds("({}) {} ({})".format, inner, st.sampled_from(BINARY), inner),
            st.builds(lambda form, part: form.format(part), st.sampled_from(CALLS), inner),
            st.builds(
                lambda form, part: f"$PendingTasks.{form.format(part)}",
                st.sampled_from(METHODS),
                inner,
            ),
        ),
        max_leaves=5,
    )


@settings(max_examples=400, deadline=None)
@given(expressions())
def test_an_expression_has_a_problem_if_its_evaluation_fails(expression: str) -> None:
    now = Timestamp.of(datetime(2026, 3, 4, tzinfo=UTC))
    metrics = {name: Series(name, ((now, 0.0),)) for name in METRICS}
    inputs = FormulaInputs(now, 1, 0, metrics, lambda: 0.5)
    formula = f"v = {expression}; $TargetDedicatedNodes = 1"
    error = evaluate(parse(formula), inputs).error
    if error is not None and any(words in error for words in DEPEND_ON_SAMPLES):
        return
    assert bool(check(formula)) == (error is not None), error


DEPEND_ON_SAMPLES = ("needs at least one value", "differ in length", "percent of the samples",
                     "out of range", "not finite")  # fmt: skip
"""Errors that depend on values, which only the evaluation determines."""
