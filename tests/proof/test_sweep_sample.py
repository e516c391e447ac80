"""Some points of the sweep: one for each kind of fault, at a request that chance has chosen.

``python -m tools.fault_sweep`` plays all of them.
"""

from __future__ import annotations

import random

from tests.proof.proxy import Fault, Kind
from tests.proof.rounds import Bench
from tests.proof.sweep import sweep

SEED = 20
FEWEST = 85
"""So many requests the reference run makes at least."""


async def test_whatever_happens_to_a_request_the_same_command_gets_there(bench: Bench) -> None:
    chance = random.Random(SEED)
    faults = [Fault(kind, chance.randint(1, FEWEST)) for kind in Kind]
    verdicts = [verdict async for verdict in sweep(bench, faults, side_by_side=2)]
    assert [f"{v.words}: {v.wrong}" for v in verdicts if v.wrong] == []
    assert [v.fault for v in verdicts if not v.hit] == [], "the run did not come to the request"
