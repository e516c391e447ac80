"""The items of a stage: every form of ``for_each``, in order, counted and streamed."""

from __future__ import annotations

from itertools import islice, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchspec.plan.items import Item, Numbers, items
from batchspec.plan.observed import Observed
from batchspec.spec import (
    EachBlob,
    EachFile,
    EachNumber,
    EachValue,
    ForEach,
    Matrix,
    NumberRange,
    Once,
    Record,
    Rows,
    Value,
)
from tests.plan.making import WHERE, blob, local_file, observed, spec, stage

FILES = [local_file(name) for name in ("a.txt", "b/a.txt", "b/c d.tar.gz", "x.csv", "ü.txt")]
BLOBS = [blob(name) for name in ("2025/a.log", "2026/a.log", "2026/b.txt")]


def made(for_each: ForEach, world: Observed | None = None) -> list[Item]:
    """The items, after a check of their number and of a second iteration."""
    it = stage(for_each=for_each)
    stream = items(spec(it), it, world or observed(FILES, blobs=BLOBS))
    found = list(stream)
    assert len(stream) == len(found)
    assert list(stream) == found
    return found


def variables(for_each: ForEach) -> list[dict[str, object]]:
    return [dict(item.variables) for item in made(for_each)]


def names(for_each: ForEach) -> list[list[str]]:
    return [[source.blob for source in item.sources] for item in made(for_each)]


def test_a_stage_without_for_each_has_one_item() -> None:
    assert made(Once()) == [Item({})]


def test_each_file_with_its_variables() -> None:
    first, _, third, *_ = made(EachFile("input"))
    file = third.variables["file"]
    assert isinstance(file, dict)
    assert {key: file[key] for key in ("path", "folder", "name", "stem", "suffix", "size")} == {
        "path": "b/c d.tar.gz",
        "folder": "b",
        "name": "c d.tar.gz",
        "stem": "c d.tar",
        "suffix": ".gz",
        "size": 12,
    }
    assert first.sources[0].content == FILES[0].md5
    assert [item.words for item in made(EachFile("input"))][:2] == [("a",), ("a",)]


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        (("*.txt",), ["a.txt", "b/a.txt", "ü.txt"]),
        (("b/*",), ["b/a.txt", "b/c d.tar.gz"]),
        (("x*", "*.gz"), ["b/c d.tar.gz", "x.csv"]),
        (("*.TXT",), []),
    ],
)
def test_match_compares_the_name_or_the_path(match: tuple[str, ...], expected: list[str]) -> None:
    assert names(EachFile("input", match)) == [[name] for name in expected]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 9])
def test_groups_keep_the_order_and_the_last_may_be_short(size: int) -> None:
    grouped = names(EachFile("input", group=size))
    assert [name for group in grouped for name in group] == [file.blob for file in FILES]
    assert all(len(group) == size for group in grouped[:-1])
    assert 0 < len(grouped[-1]) <= size


def test_blobs_are_chosen_by_prefix_and_match() -> None:
    found = made(EachBlob("there", prefix="2026/", match=("*.log",)))
    assert [(s.blob, s.ours) for item in found for s in item.sources] == [("2026/a.log", False)]
    assert made(EachFile("input"))[0].sources[0].ours


def test_a_matrix_varies_the_last_axis_fastest() -> None:
    axes = (("a", (1, 2)), ("b", ("x", "y")))
    assert variables(Matrix(axes)) == [
        {"a": 1, "b": "x"},
        {"a": 1, "b": "y"},
        {"a": 2, "b": "x"},
        {"a": 2, "b": "y"},
    ]


def test_a_matrix_excludes_parts_and_includes_whole_ones() -> None:
    matrix = Matrix(
        (("a", (1, 2)), ("b", ("x", "y"))),
        exclude=(Record(a=1, b="y"), Record(a=2)),
        include=(Record(a=9, b="z"),),
    )
    assert variables(matrix) == [{"a": 1, "b": "x"}, {"a": 9, "b": "z"}]
    assert variables(Matrix((), include=(Record(a=1),))) == [{"a": 1}]


axis = st.lists(st.integers(0, 3), min_size=1, max_size=4, unique=True).map(tuple)


@given(st.dictionaries(st.sampled_from("abc"), axis, min_size=1), st.integers(0, 3))
def test_a_matrix_is_the_product_without_excluded_combinations(
    axes: dict[str, tuple[Value, ...]], out: int
) -> None:
    matrix = Matrix(tuple(axes.items()), exclude=(Record(a=out),))
    expected = [dict(zip(axes, values, strict=True)) for values in product(*axes.values())]
    assert variables(matrix) == [c for c in expected if c.get("a") != out]


def test_a_long_axis_is_streamed() -> None:
    endless = NumberRange(0, 10**12)
    it = stage(for_each=Matrix((("a", endless), ("b", endless))))
    stream = items(spec(it), it, observed())
    assert [dict(i.variables) for i in islice(iter(stream), 2)] == [
        {"a": 0, "b": 0},
        {"a": 0, "b": 1},
    ]


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        (NumberRange(0, 3), [0, 1, 2]),
        (NumberRange(0, 1, 0.25), [0.0, 0.25, 0.5, 0.75]),
        (NumberRange(0, 0.5, 0.1), [0.0, 0.1, 0.2, 0.3, 0.4]),
        (NumberRange(5, 0, -2), [5, 3, 1]),
        (NumberRange(3, 3), []),
        (NumberRange(0, 5, -1), []),
        (NumberRange(1, 2.5), [1, 2]),
    ],
)
def test_numbers_stop_before_the_stop_and_do_not_drift(
    numbers: NumberRange, expected: list[float]
) -> None:
    found = list(Numbers(numbers))
    assert found == expected
    assert [type(n) for n in found] == [type(n) for n in expected]
    assert len(Numbers(numbers)) == len(expected)


@given(st.integers(-50, 50), st.integers(-50, 50), st.integers(-7, 7).filter(bool))
def test_integers_are_those_of_a_python_range(start: int, stop: int, step: int) -> None:
    numbers = Numbers(NumberRange(start, stop, step))
    assert list(numbers) == list(range(start, stop, step))
    assert len(numbers) == len(range(start, stop, step))


def test_a_number_of_a_range_is_the_variable_value() -> None:
    assert variables(EachNumber(NumberRange(0, 2))) == [{"value": 0}, {"value": 1}]


def test_the_keys_of_an_object_in_a_list_are_variables() -> None:
    entry = Record(name="x", n=1)
    found = made(EachValue(("a", entry)))
    assert [dict(item.variables) for item in found] == [
        {"value": "a"},
        {"value": entry, "name": "x", "n": 1},
    ]
    assert [item.words for item in found] == [("a",), ("x", "1")]


def test_the_columns_of_a_row_and_the_row_are_variables() -> None:
    row = Record({"sample id": "7", "name": "x"})
    it = stage(for_each=Rows(spec().path, WHERE))
    (item,) = items(spec(it), it, observed(rows={"count": (row,)}))
    assert item.variables == {"sample id": "7", "name": "x", "row": row}
    assert item.words == ("7", "x")
