"""The order in which a plan creates objects."""

from __future__ import annotations

from pathlib import Path

import pytest

from batchspec.plan import build_plan
from batchspec.plan.plan import Verb
from tests.plan.situation import situation

KEPT = {key: {"by": "demo", "as_uploaded": True} for key in ("application", "input", "output")}


@pytest.mark.parametrize("containers", [{}, KEPT], ids=["new", "containers kept"])
def test_all_creations_wait_for_the_first(tmp_path: Path, containers: dict[str, object]) -> None:
    """Otherwise two runs that start at once can each create an object that the other needs."""
    with situation({"about": "A run starts.", "containers": containers}, tmp_path) as found:
        plan = build_plan(found.spec, found.observed)
    first, *others = (step for step in plan.steps if step.verb is Verb.CREATE)
    assert len(others) >= 1
    assert all(first.id in step.after for step in others)
    assert not set(first.after) & {step.id for step in others}
