"""The jobs of a spec that count: the newest job of a whole run, and later ones."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from batchspec.observe import counted_jobs
from batchspec.plan.observed import JobFacts
from batchspec.spec import Record

START = datetime(2026, 1, 1, tzinfo=UTC)


def jobs(*kinds: str) -> tuple[JobFacts, ...]:
    """Jobs in the order of their creation, each as ``SCOPE`` or ``SCOPE/STATE``."""
    found = []
    for number, kind in enumerate(kinds):
        scope, _, state = kind.partition("/")
        created = START + timedelta(hours=number)
        metadata = {"batchspec:scope": scope} if scope else {}
        found.append(JobFacts(f"j{number}", state or "completed", created, Record(), metadata))
    return tuple(found)


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        ((), ""),
        (("whole",), "j0"),
        (("whole", "rest", "rest"), "j0 j1 j2"),
        (("whole", "whole"), "j1"),
        (("whole", "rest", "whole", "rest"), "j2 j3"),
        (("whole", "rest/deleting", "rest"), "j0 j2"),
        (("", "rest"), "j0 j1"),
    ],
    ids=["none", "one", "resumed", "rerun", "rerun-resumed", "deleting", "unmarked"],
)
def test_jobs_before_a_rerun_do_not_count(kinds: tuple[str, ...], expected: str) -> None:
    assert " ".join(job.id for job in counted_jobs(jobs(*kinds))) == expected
