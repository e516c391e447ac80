"""Clients that add, list, filter, expand and delete the tasks of one job at the same time."""

from __future__ import annotations

from pathlib import Path

from tests.local.engines import running_with_engine
from tools.load_service import run_load


def test_lists_are_exact_while_tasks_are_added_and_deleted(tmp_path: Path) -> None:
    """The full size, 2,000 tasks, is ``python tools/load_service.py``."""
    with running_with_engine(tmp_path / "batch") as service:
        load = run_load(service, tasks=200, nodes=2)
        assert load.failures == []
        assert service.violations == []
    assert load.lists["list"] and load.lists["filter"] and load.lists["statistics"]
