"""A sample of the sweep: each kind of fault once, at a random request.

``python -m tools.fault_sweep`` runs all points.
"""

from __future__ import annotations

import random

import pytest

from tests.fault_injection.proxy import Fault, Kind
from tests.fault_injection.rounds import Bench, Scenario
from tests.fault_injection.sweep import sweep

SEED = 189
FEWEST = {Scenario.FRESH: 75, Scenario.CHANGED: 31}
"""The minimum number of requests of a run, whose tasks have ended at the first look.

Each further look adds four; their number depends on the speed of the machine.
"""


@pytest.mark.timeout(600)
@pytest.mark.parametrize("scenario", Scenario)
async def test_the_same_command_converges_after_any_fault(bench: Bench, scenario: Scenario) -> None:
    chance = random.Random(SEED)
    # The kinds of faults alternate between the two scenarios.
    kinds = list(Kind)[scenario is Scenario.CHANGED :: 2]
    faults = [Fault(kind, chance.randint(1, FEWEST[scenario])) for kind in kinds]
    verdicts = [verdict async for verdict in sweep(bench, scenario, faults, side_by_side=2)]
    assert [f"{v.text}: {v.wrong}" for v in verdicts if v.wrong] == []
    assert [v.fault for v in verdicts if not v.hit] == [], "the run did not come to the request"
