"""Job schedules as a recorded request found them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from replay.making import Maker

_DEFAULT = {"schedule": {}, "jobSpecification": {"poolInfo": {"poolId": "replay"}}}


class Schedules:
    """Makes schedules."""

    def __init__(self, maker: Maker) -> None:
        self._maker = maker

    async def have(self, schedule_id: str, shown: Mapping[str, Any] | None = None) -> None:
        """A schedule, as it is shown."""
        path = ("jobschedules", schedule_id)
        await self._maker.make(path, "BatchJobScheduleCreateOptions", shown or {}, _DEFAULT)
