"""Garbage collection is paused during the import of the SDKs, and then restored."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from batchspec.cloud.client import _collector_paused


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    yield
    gc.unfreeze()
    gc.enable()


def test_garbage_collection_is_paused_and_continued() -> None:
    with _collector_paused():
        assert not gc.isenabled()
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0


def test_imported_objects_are_in_the_oldest_generation() -> None:
    with _collector_paused():
        kept: list[list[int]] = [[] for _ in range(10_000)]
    assert gc.get_count()[0] < len(kept)
    assert any(each is kept for each in gc.get_objects(generation=2))


def test_disabled_garbage_collection_stays_disabled() -> None:
    gc.disable()
    gc.freeze()
    frozen = gc.get_freeze_count()
    with _collector_paused():
        pass
    assert not gc.isenabled()
    assert gc.get_freeze_count() == frozen


def test_garbage_collection_continues_after_a_failed_import() -> None:
    with pytest.raises(ImportError), _collector_paused():
        raise ImportError
    assert gc.isenabled()
