"""What a pool without nodes is told to be mended with, by the code of its resize error."""

from __future__ import annotations

import pytest

from batchspec.apply.shortfall import no_allocation
from batchspec.plan.observed import PoolFacts
from batchspec.spec.values import Record


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("AccountCoreQuotaReached", "quota of dedicated cores"),
        ("AccountLowPriorityCoreQuotaReached", "quota of Spot cores"),
        ("AllocationFailed", "--target azure"),
        ("AllocationTimedout", "`resize_timeout`"),
        ("ResizeStopped", "Apply again"),
        ("SomethingNew", "other nodes"),
    ],
)
def test_the_hint_follows_the_code(code: str, words: str) -> None:
    errors = ((code, "as the service says"),)
    pool = PoolFacts("p", "active", "steady", Record(), {}, 0, 0, 2, 0, errors)
    problem = no_allocation(pool)
    assert code in problem.summary
    assert problem.detail == "as the service says"
    assert words in problem.hint
    assert ("quota" in problem.hint) == ("Quota" in code)
