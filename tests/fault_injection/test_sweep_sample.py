"""Some points of the sweep: one for each kind of fault, at a request that chance has chosen.

``python -m tools.fault_sweep`` plays all of them.
"""

from __future__ import annotations

import random

import pytest

from tests.fault_injection.proxy import Fault, Kind
from tests.fault_injection.rounds import Bench, Scenario
from tests.fault_injection.sweep import sweep

SEED = 189
FEWEST = {Scenario.FRESH: 75, Scenario.CHANGED: 31}
"""So many requests a run makes at least: one that finds its tasks done at the first look at them.

Each further look is four more, and how many there are depends on how fast the machine is.
"""


@pytest.mark.timeout(600)
@pytest.mark.parametrize("scenario", Scenario)
async def test_whatever_happens_to_a_request_the_same_command_gets_there(
    bench: Bench, scenario: Scenario
) -> None:
    chance = random.Random(SEED)
    # Every other kind in one scenario, the rest in the other.
    kinds = list(Kind)[scenario is Scenario.CHANGED :: 2]
    faults = [Fault(kind, chance.randint(1, FEWEST[scenario])) for kind in kinds]
    verdicts = [verdict async for verdict in sweep(bench, scenario, faults, side_by_side=2)]
    assert [f"{v.words}: {v.wrong}" for v in verdicts if v.wrong] == []
    assert [v.fault for v in verdicts if not v.hit] == [], "the run did not come to the request"
