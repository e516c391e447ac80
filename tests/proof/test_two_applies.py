"""Two applies of one spec at the same moment end as one run.

``python -m tools.two_applies`` plays twenty of them.
"""

from __future__ import annotations

import pytest

from tests.proof.rounds import Bench, meet


@pytest.mark.parametrize("delay", [0.0, 0.3])
async def test_two_terminals_in_one_folder_both_end_well(bench: Bench, delay: float) -> None:
    met = await meet(bench, f"terminals-{delay:.1f}".replace(".", "-"), delay, apart=False)
    assert met.wrong == ()
    assert met.codes == (0, 0)


async def test_of_two_people_one_at_least_has_the_results_and_the_other_is_told(
    bench: Bench,
) -> None:
    met = await meet(bench, "people", 0.0, apart=True)
    assert met.wrong == ()
