"""Job schedules."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

from azure.core.exceptions import AzureError

from batchspec.cloud import facts
from batchspec.cloud.errors import translate, translated
from batchspec.cloud.ownership import make, remove
from batchspec.cloud.session import Session
from batchspec.cloud.wire import body_of, listed, raw, status_of
from batchspec.plan.observed import ScheduleFacts
from batchspec.spec import Record

_KIND = "job schedule"


class Schedules(Session):
    """The part of the Batch port that is about job schedules."""

    __slots__ = ()

    async def schedule(self, schedule_id: str) -> ScheduleFacts | None:
        """The job schedule, or ``None``."""
        try:
            body: Any = await self.client.get_job_schedule(schedule_id, cls=raw)
        except AzureError as error:
            # Not the SDK's `job_schedule_exists`, which raises where it should answer False.
            if status_of(error) == 404:
                return None
            raise translate(error, f"{_KIND} {schedule_id}") from None
        return facts.schedule_facts(body)

    async def schedules(self) -> AsyncIterator[ScheduleFacts]:
        """Every job schedule of the account."""
        with translated("the job schedules"):
            async for body in listed(self.client, "/jobschedules"):
                yield facts.schedule_facts(body)

    async def create_schedule(self, body: Record, sas: timedelta) -> bool:
        """Make a job schedule; ``False`` if an equal one by the same spec was there."""
        wire: Any = await body_of(self.mint, body, sas)
        send = self.client.create_job_schedule
        return await make(_KIND, wire, lambda: send(wire), self.schedule, self)

    async def update_schedule(self, schedule_id: str, patch: Record, sas: timedelta) -> None:
        """Change properties of a job schedule."""
        wire: Any = await body_of(self.mint, patch, sas)
        with translated(f"{_KIND} {schedule_id}"):
            await self.client.update_job_schedule(schedule_id, wire)

    async def delete_schedule(self, schedule_id: str) -> bool:
        """Ask for a job schedule's deletion, with all its jobs; ``False`` if there was none.

        It takes time: see ``schedule``.
        """
        send = self.client.begin_delete_job_schedule
        return await remove(_KIND, schedule_id, lambda: send(schedule_id))
