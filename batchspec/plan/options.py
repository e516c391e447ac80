"""Options of a plan beyond the spec: run again, replace a part, or a single step."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Part(StrEnum):
    """What can be made anew although it is as it should be."""

    POOL = "pool"
    JOB = "job"


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """``rerun``: do all of it again, what is finished included. ``replace``: make these anew.

    ``step`` is the id of the one step to be done, with what it needs; empty for all of them.
    """

    rerun: bool = False
    replace: frozenset[Part] = frozenset()
    step: str = ""


NO_OPTIONS = PlanOptions()
"""Nothing beyond the spec."""
