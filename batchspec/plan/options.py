"""Options of a plan beyond the spec: run again, replace a part, or a single step.

A separate module, because ``--help`` needs it and must not import the planner.
"""

from __future__ import annotations

from enum import StrEnum

from batchspec.frozen import frozen


class Part(StrEnum):
    """What can be replaced although it is up to date."""

    POOL = "pool"
    JOB = "job"


@frozen
class PlanOptions:
    """``rerun``: run finished tasks again. ``replace``: create these parts again.

    ``step`` is the id of the only step to carry out, with those it needs; empty for all.
    """

    rerun: bool = False
    replace: frozenset[Part] = frozenset()
    step: str = ""


NO_OPTIONS = PlanOptions()
"""Nothing beyond the spec."""
