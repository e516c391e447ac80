"""Any sequence of edits and commands: exit 0 means that the results match the current spec."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.fault_injection.machine import machine_of
from tests.fault_injection.rounds import Bench


def test_sequences_of_commands_end_with_the_right_results(bench: Bench, tmp_path: Path) -> None:
    played: Counter[str] = Counter()
    machine = machine_of(bench, tmp_path, "sample", played)
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=8,
            stateful_step_count=12,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
    assert played["examples"] >= 8 and played["steps"] >= 50
