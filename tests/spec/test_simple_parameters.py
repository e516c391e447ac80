"""Values accepted without jsonschema are valid for it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft7Validator

from batchspec.spec.parameter_values import fits_simple, is_simple

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.floats(-3, 3),
    st.sampled_from(["", "a", "b", "1", "true"]),
)
VALUES = st.one_of(SCALARS, st.lists(SCALARS, max_size=2), st.just({"a": 1}))
FRAGMENTS: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(
            ["string", "integer", "number", "boolean", "array", "null", "text", ["string", "null"]]
        ),
        "enum": st.one_of(st.lists(SCALARS, max_size=3), st.just("a")),
        "minimum": SCALARS,
        "maximum": SCALARS,
        "pattern": st.just("^a"),
    },
)


@given(FRAGMENTS, VALUES)
def test_accepted_values_are_valid_for_jsonschema(fragment: dict[str, Any], value: object) -> None:
    if is_simple(fragment):
        Draft7Validator.check_schema(fragment)
    if fits_simple(fragment, value):
        assert Draft7Validator(fragment).is_valid(value)


@pytest.mark.parametrize(
    ("fragment", "value"),
    [
        ({"type": "integer", "minimum": 1}, 3),
        ({"type": "number", "maximum": 1.5}, 1),
        ({"type": "string"}, "x"),
        ({"enum": ["fast", "slow"]}, "slow"),
        ({"type": "boolean"}, False),
        ({}, {"a": [1]}),
    ],
)
def test_common_declarations_are_simple(fragment: dict[str, Any], value: object) -> None:
    assert fits_simple(fragment, value)


@pytest.mark.parametrize(
    ("fragment", "value"),
    [
        ({"type": "integer"}, True),
        ({"type": "integer"}, "1"),
        ({"enum": [1]}, True),
        ({"minimum": 1}, "2"),
        ({"minimum": 2}, 1),
        ({"maximum": 2}, 3),
        ({"type": "string", "pattern": "x"}, "x"),
        ({"type": "array"}, []),
    ],
)
def test_other_declarations_need_jsonschema(fragment: dict[str, Any], value: object) -> None:
    assert not fits_simple(fragment, value)
