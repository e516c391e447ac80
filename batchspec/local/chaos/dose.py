"""What goes wrong on purpose: the kinds of it, how often each, and how much.

What lives here: frozen values. What may not: chance (``dice``), the text of a user (``read``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from batchspec.local.span import write_span


class Kind(StrEnum):
    """A kind of trouble that comes by chance."""

    THROTTLE = "throttle"
    THROTTLE_SILENT = "throttle-silent"
    BUSY = "busy"
    ERROR = "error"
    LOST = "lost"
    SLOW = "slow"
    PREEMPT = "preempt"
    START_TASK = "start-task"
    SLOW_NODE = "slow-node"
    TASK = "task"


class Limit(StrEnum):
    """A quota of the account, in nodes."""

    QUOTA = "quota"
    SPOT_QUOTA = "spot-quota"


REQUESTS = (
    Kind.THROTTLE,
    Kind.THROTTLE_SILENT,
    Kind.BUSY,
    Kind.ERROR,
    Kind.LOST,
    Kind.SLOW,
)
"""Those that happen to requests, in the order in which they are tried: one request has one."""

SPANS: Mapping[Kind, timedelta] = {
    Kind.THROTTLE: timedelta(seconds=1),
    Kind.SLOW: timedelta(seconds=2),
    Kind.PREEMPT: timedelta(seconds=30),
    Kind.SLOW_NODE: timedelta(seconds=5),
}
"""The kinds that take a length of time, and what it is when it is not said."""


@dataclass(frozen=True, slots=True)
class Dose:
    """One kind of trouble: its chance in percent, and its length of time where it has one.

    ``operation`` (``create_pool`` ...) keeps a kind that happens to requests to those alone.
    """

    kind: Kind
    percent: float
    span: timedelta = timedelta()
    operation: str | None = None

    @property
    def text(self) -> str:
        """The dose as it is written."""
        at = "" if self.operation is None else f"@{self.operation}"
        span = f":{write_span(self.span)}" if self.kind in SPANS else ""
        return f"{self.kind}{at}={self.percent:g}%{span}"


@dataclass(frozen=True, slots=True)
class Chaos:
    """A bad day. ``limits`` are quotas; ``seed`` decides what happens to whom."""

    doses: tuple[Dose, ...] = ()
    limits: tuple[tuple[Limit, int], ...] = ()
    seed: int = 0

    def __bool__(self) -> bool:
        """Whether anything goes wrong at all."""
        return bool(self.doses or self.limits)

    @property
    def text(self) -> str:
        """The day as it is written, profiles and files spelled out; empty when it is a good one."""
        limits = (f"{limit}={count}" for limit, count in self.limits)
        return ",".join([*(dose.text for dose in self.doses), *limits])

    def dose(self, kind: Kind, operation: str | None = None) -> Dose | None:
        """The dose of ``kind`` for ``operation``; one for it alone comes before one for all."""
        mine = [one for one in self.doses if one.kind is kind]
        found = [one for one in mine if one.operation == operation]
        found += [one for one in mine if one.operation is None]
        return found[0] if found and found[0].percent else None

    def limit(self, *, dedicated: bool) -> int | None:
        """How many nodes of a kind the account may have; ``None`` is no limit."""
        return dict(self.limits).get(Limit.QUOTA if dedicated else Limit.SPOT_QUOTA)


NO_CHAOS = Chaos()
