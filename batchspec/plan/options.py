"""Options of a plan that are not in the spec: rerun, replace a part, carry out a single step.

A separate module, because ``--help`` needs it and must not import the planner.
"""

from __future__ import annotations

from enum import StrEnum

from batchspec.frozen import frozen


class Part(StrEnum):
    """A resource that ``--replace`` creates again although it is up to date."""

    POOL = "pool"
    JOB = "job"


@frozen
class PlanOptions:
    """``rerun``: run finished tasks again. ``replace``: create these parts again.

    ``step`` is the id of the only step to carry out, after the steps that it needs; empty for all.
    """

    rerun: bool = False
    replace: frozenset[Part] = frozenset()
    step: str = ""


NO_OPTIONS = PlanOptions()
"""The defaults: only the spec determines the plan."""
