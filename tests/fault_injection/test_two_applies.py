"""Two applies of one spec at the same moment end as one run: twenty times.

By turns the two are in one folder, as two terminals are, and in two copies of it, as two people
are; the second begins later and later. Most of the rounds in one folder are of the reference run
in short; ``python -m tools.two_applies`` plays as many whole ones as one likes.
"""

from __future__ import annotations

import pytest

from tests.fault_injection.reference import SMALL, WHOLE
from tests.fault_injection.rounds import LATEST, Bench, meet

ROUNDS = 20


@pytest.mark.parametrize("number", range(ROUNDS))
async def test_two_applies_at_once_are_one_run(bench: Bench, number: int) -> None:
    delay = (number // 2) * LATEST / (ROUNDS // 2)
    apart = bool(number % 2)
    # A short run may have ended before the second begins: in the same folder that changes nothing.
    size = WHOLE if apart or number in {0, ROUNDS - 2} else SMALL
    met = await meet(bench, f"meet-{number}", delay, apart=apart, size=size)
    assert met.wrong == ()
    # Of two people one has the results; the other may have been told that it was outrun.
    assert met.codes == (0, 0) or (apart and 0 in met.codes)
