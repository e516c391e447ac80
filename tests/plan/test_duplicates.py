"""Duplicate keys are found, in memory and on disk alike."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from batchspec.plan.lazy import duplicates
from tests.subprocess_memory import printed_number


def plainly(keys: list[str]) -> set[tuple[int, int]]:
    return {(keys.index(key), n) for n, key in enumerate(keys) if keys.index(key) != n}


@given(st.lists(st.text(max_size=2), max_size=60), st.integers(1, 70))
def test_each_duplicate_is_found_with_the_first_of_its_key(keys: list[str], in_memory: int) -> None:
    found = list(duplicates(keys, in_memory=in_memory))
    assert set(found) == plainly(keys)
    assert len(found) == len(set(found))


def test_temporary_files_are_deleted(tmp_path: Path) -> None:
    assert list(duplicates(map(str, [*range(50), 7]), folder=tmp_path, in_memory=10)) == [(7, 50)]
    assert list(tmp_path.iterdir()) == []


def peak(folder: str) -> int:
    keys = (f"task-{n % 29_999}" for n in range(30_000))
    tracemalloc.start()
    assert list(duplicates(keys, folder=Path(folder), in_memory=1_000)) == [(0, 29_999)]
    return tracemalloc.get_traced_memory()[1]


def test_many_keys_need_bounded_memory(tmp_path: Path) -> None:
    program = f"from {__name__} import peak; print(peak({str(tmp_path)!r}))"
    assert printed_number(program) < 1_000_000
