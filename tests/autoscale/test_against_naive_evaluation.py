"""Autoscale formulas compared with a second, naive evaluation.

Hypothesis draws a tree of Python tuples. One function writes it as a formula, with redundant
parentheses, spaces and comments; another computes it with Python's own arithmetic on lists.
"""

from __future__ import annotations

import math
import statistics
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from batchspec.autoscale import FormulaError, FormulaInputs, Series, Timestamp, evaluate, parse

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
BINARY = ["+", "-", "*", "/", "<", "<=", "==", ">=", ">", "!=", "&&", "||"]
TIGHT = {mark: level for level, marks in enumerate(
    ["?", "||", "&&", "== !=", "< <= > >=", "+ -", "* /"]) for mark in marks.split()}  # fmt: skip
LISTS = ["avg", "len", "max", "min", "range", "std", "sum"]

numbers = st.integers(0, 1000).map(float) | st.floats(0.001, 1000).map(lambda x: round(x, 3))
vectors = st.lists(numbers, min_size=1, max_size=4).map(lambda items: ("vec", items))
samples = st.lists(numbers, min_size=1, max_size=60)


def trees() -> st.SearchStrategy[Any]:
    """Expressions whose value is a double."""
    return st.recursive(
        numbers.map(lambda x: ("number", x)),
        lambda inner: st.one_of(
            st.tuples(st.just("unary"), st.sampled_from("-!"), inner),
            st.tuples(st.just("binary"), st.sampled_from(BINARY), inner, inner),
            st.tuples(st.just("choice"), inner, inner, inner),
            st.tuples(
                st.just("list"),
                st.sampled_from(LISTS),
                st.lists(inner | vectors, min_size=1, max_size=4),
            ),
            st.tuples(st.just("val"), vectors, st.integers(0, 3)),
            st.tuples(st.just("percentile"), vectors, st.integers(0, 100)),
        ),
        max_leaves=12,
    )


def write(tree: Any, draw: Any, least: int = 0) -> str:
    """The text of a formula for ``tree``; looser operators than ``least`` get parentheses."""
    level = 9
    match tree:
        case ("number", value):
            text = repr(value)
        case ("vec", items):
            text = "vec(" + ",".join(map(repr, items)) + ")"
        case ("unary", mark, operand):
            level = 8
            text = mark + write(operand, draw, 8)
        case ("binary", mark, left, right):
            level = TIGHT[mark]
            # A blank, so that no comment begins with a division.
            text = write(left, draw, level) + mark + " " + write(right, draw, level + 1)
        case ("choice", test, yes, no):
            level = 0
            text = f"{write(test, draw, 1)}?{write(yes, draw)}:{write(no, draw)}"
        case ("list", name, items):
            text = f"{name}({','.join(write(item, draw) for item in items)})"
        case (name, vector, number):
            text = f"{name}({write(vector, draw)}, {number})"
        case _:
            raise AssertionError(tree)
    blank = draw(st.sampled_from(["", "", " ", "\n", "/* why */", "// why\n"]))
    text = blank + text
    return f"({text})" if level < least or draw(st.integers(0, 9)) == 0 else text


def compute(tree: Any) -> Any:
    """The value of ``tree``, naively."""
    match tree:
        case ("number", value):
            return value
        case ("vec", items):
            return items
        case ("unary", "-", operand):
            return -compute(operand)
        case ("unary", "!", operand):
            return 0.0 if compute(operand) else 1.0
        case ("binary", "&&", left, right):
            return 1.0 if compute(left) and compute(right) else 0.0
        case ("binary", "||", left, right):
            return 1.0 if compute(left) or compute(right) else 0.0
        case ("binary", mark, left, right):
            a, b = compute(left), compute(right)
            if mark == "/" and b == 0:
                zero = math.copysign(1, b)
                return math.nan if a == 0 or math.isnan(a) else math.copysign(math.inf, a) * zero
            return float(eval(f"a {mark} b", {"a": a, "b": b}))
        case ("choice", test, yes, no):
            return compute(yes) if compute(test) else compute(no)
        case ("list", name, parts):
            items = []
            for part in map(compute, parts):
                items += part if isinstance(part, list) else [part]
            return naive_list(name, items)
        case ("val", ("vec", items), index):
            return items[index]
        case ("percentile", ("vec", items), percent):
            ordered = sorted(items)
            # The first element that is greater than or equal to this percentage of the elements.
            return next(x for i, x in enumerate(ordered, 1) if i * 100 >= percent * len(items))
    raise AssertionError(tree)


def naive_list(name: str, items: list[float]) -> float:
    match name:
        case "avg":
            return exact_sum(items) / len(items)
        case "len":
            return float(len(items))
        case "max":
            return max(items)
        case "min":
            return min(items)
        case "range":
            return max(items) - min(items)
        case "std":
            return statistics.stdev(items) if len(items) > 1 else 0.0
        case _:
            return exact_sum(items)


def exact_sum(items: list[float]) -> float:
    return float(sum(map(Fraction, items)))


@settings(deadline=None)
@given(trees(), st.data())
def test_expressions(tree: Any, data: st.DataObject) -> None:
    try:
        expected = compute(tree)
    except (IndexError, ArithmeticError, ValueError):
        expected = math.nan
    # Infinities and NaN cause an error of the target, which other tests check. For huge numbers,
    # the rounding difference exceeds the tolerance of the comparison.
    assume(math.isfinite(expected) and abs(expected) < 1e12)
    assume(expected == 0 or abs(expected) > 1e-6)
    text = "v = " + write(tree, data.draw)
    around = FormulaInputs(Timestamp.of(NOW), 0, 0, {}, lambda: 0.0)
    done = evaluate(parse(text), around)
    assert done.error is None, text
    assert math.isclose(
        float(done.results.rpartition("$v=")[2]), expected, rel_tol=1e-6, abs_tol=1e-6
    ), text


@settings(deadline=None)
@given(samples, st.integers(0, 90), st.integers(1, 90), st.integers(0, 29))
def test_windows_of_samples(values: list[float], near: int, length: int, off: int) -> None:
    """A window contains the samples with an age in seconds within it, oldest first."""
    ages = [(Timestamp.of(NOW - timedelta(seconds=off + 30 * i)), v) for i, v in enumerate(values)]
    metric = Series("ActiveTasks", tuple(reversed(ages)))
    around = FormulaInputs(Timestamp.of(NOW), 0, 0, {"ActiveTasks": metric}, lambda: 0.0)
    first, last = near * 10 + length * 10, near * 10
    window = f"TimeInterval_Second * {first}, TimeInterval_Second * {last}"
    text = f"n = len($ActiveTasks.GetSample({window}));p = $ActiveTasks.GetSamplePercent({window});"
    done = evaluate(parse(text), around)
    there = [v for i, v in enumerate(values) if last <= off + 30 * i < first]
    percent = min(100.0, 100 * len(there) / max(1, (first - last) // 30))
    results = dict(part.split("=") for part in done.results.split(";"))
    assert float(results["$n"]) == len(there)
    assert math.isclose(float(results["$p"]), percent)


@settings(deadline=None)
@given(st.text(alphabet="v$=;+-*/()?:<>!&|.,'\"1 \nmaxtime", max_size=60))
def test_any_text_is_a_formula_or_an_error_with_a_position(text: str) -> None:
    around = FormulaInputs(Timestamp.of(NOW), 0, 0, {}, lambda: 0.0)
    try:
        formula = parse(text)
    except FormulaError as error:
        assert str(error).startswith("Line ")
        return
    done = evaluate(formula, around)
    assert done.error is None or done.error.startswith("Line ")
