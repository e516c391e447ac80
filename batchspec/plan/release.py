"""When the service releases the nodes of a pool that it ends by itself."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil

from batchspec.catalog import NODE_RELEASE


@dataclass(frozen=True, slots=True)
class NodeRelease:
    """What delays the release of nodes after the job.

    A pool that scales keeps them for ``idle``, until the next evaluation of its formula, which is
    every ``interval``. An auto pool ends with the job: both are 0.
    """

    idle: timedelta = timedelta()
    interval: timedelta = timedelta()

    def expected(self, over: datetime, evaluated: datetime | None) -> datetime:
        """When the nodes are expected to be released.

        ``over`` is the end of the work, ``evaluated`` when the formula was evaluated: the pool's
        latest evaluation, ``None`` if that is not known.
        """
        due = over + self.idle
        if self.interval and evaluated is not None:
            due = evaluated + ceil((due - evaluated) / self.interval) * self.interval
        else:
            due += self.interval / 2
        return due + NODE_RELEASE
