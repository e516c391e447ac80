"""Two concurrent applies of one spec end as one run: twenty times.

Alternately, both use one folder, like two terminals, and two copies of it, like two people; the
second starts with an increasing delay. Most rounds in one folder use the smaller reference run;
``python -m tools.two_applies`` runs more rounds.
"""

from __future__ import annotations

import pytest

from tests.fault_injection.reference import SMALL, WHOLE
from tests.fault_injection.rounds import LATEST, Bench, meet

ROUNDS = 20


@pytest.mark.parametrize("number", range(ROUNDS))
async def test_two_applies_at_once_are_one_run(bench: Bench, number: int) -> None:
    delay = (number // 2) * LATEST / (ROUNDS // 2)
    separate = bool(number % 2)
    # In one folder, a short run may end before the second starts without a difference.
    size = WHOLE if separate or number in {0, ROUNDS - 2} else SMALL
    met = await meet(bench, f"pair-{number}", delay, separate=separate, size=size)
    assert met.wrong == ()
    # Of two people one has the results; the other may be refused.
    assert met.codes == (0, 0) or (separate and 0 in met.codes)
