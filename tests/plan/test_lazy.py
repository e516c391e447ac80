"""A file is uploaded if a blob has the same size and the same MD5."""

from __future__ import annotations

import pytest

from batchspec.plan.lazy import are_distinct, same
from batchspec.plan.observed import Blob, LocalFile

FILE = LocalFile("a", "a", 3, b"m" * 16)


@pytest.mark.parametrize(
    ("blob", "expected"),
    [
        (Blob("a", 3, b"m" * 16), True),
        (Blob("a", 4, b"m" * 16), False),
        (Blob("a", 3, b"n" * 16), False),
        (Blob("a", 3, None), False),
        (None, False),
    ],
    ids=["same", "other-size", "other-content", "no-md5", "no-blob"],
)
def test_size_and_md5_must_agree(blob: Blob | None, expected: bool) -> None:
    assert same(FILE, blob) is expected


@pytest.mark.parametrize(
    ("numbers", "distinct"),
    [([], True), ([1, 257, 2, 1 << 63], True), ([1, 257, 1], False), ([1 << 63, 1 << 63], False)],
)
def test_distinct_numbers(numbers: list[int], *, distinct: bool) -> None:
    rest = iter(numbers)
    assert are_distinct(rest) is distinct
    assert next(rest, None) is None
