"""A sample of the matrix that ``tools/run_matrix.py`` runs in full: every fault once."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from tests.fault_injection.matrix import Cell, Play, PoolKind, cells
from tests.fault_injection.rounds import Bench


def sample() -> list[Cell]:
    """Each fault once, with the kinds of pools in turn."""
    kinds, chosen, seen = itertools.cycle(PoolKind), [], set[str]()
    for kind in kinds:
        left = [c for c in cells() if c.trouble.name not in seen and c.kind is kind]
        if left:
            seen.add(left[0].trouble.name)
            chosen.append(left[0])
        elif not [c for c in cells() if c.trouble.name not in seen]:
            return chosen
    return chosen


@pytest.mark.parametrize("cell", sample(), ids=lambda cell: cell.name)
def test_a_run_ends_in_time_with_its_cause(bench: Bench, tmp_path: Path, cell: Cell) -> None:
    play = Play(bench, tmp_path / "cell", cell, cell.name)
    assert play.run() == []
    play.forget()
