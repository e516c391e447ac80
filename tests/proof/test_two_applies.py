"""Two applies of one spec at the same moment end as one run: twenty times.

By turns the two are in one folder, as two terminals are, and in two copies of it, as two people
are; the second begins later and later. Four of the rounds are of the whole reference run, the rest
of the same in short; ``python -m tools.two_applies`` plays as many whole ones as one likes.
"""

from __future__ import annotations

import pytest

from tests.proof.reference import SMALL, WHOLE
from tests.proof.rounds import LATEST, Bench, meet

ROUNDS = 20


@pytest.mark.parametrize("number", range(ROUNDS))
async def test_two_applies_at_once_are_one_run(bench: Bench, number: int) -> None:
    delay = (number // 2) * LATEST / (ROUNDS // 2)
    apart = bool(number % 2)
    size = WHOLE if number in {0, 1, ROUNDS - 2, ROUNDS - 1} else SMALL
    met = await meet(bench, f"meet-{number}", delay, apart=apart, size=size)
    assert met.wrong == ()
    # Of two people one has the results; the other may have been told that it was outrun.
    assert met.codes == (0, 0) or (apart and 0 in met.codes)
