"""Job schedules."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

from azure.core.exceptions import AzureError

from batchspec.cloud import facts
from batchspec.cloud.errors import translate, translated
from batchspec.cloud.ownership import create_or_adopt, delete_if_exists
from batchspec.cloud.rest import (
    BatchConnection,
    json_of,
    list_items,
    status_code,
)
from batchspec.plan.observed import ScheduleFacts
from batchspec.spec import Record

_KIND = "job schedule"


class JobSchedules:
    """Implements :class:`batchspec.account.JobSchedules`."""

    def __init__(self, connection: BatchConnection) -> None:
        self._connection = connection

    async def get(self, schedule_id: str) -> ScheduleFacts | None:
        """The job schedule, or ``None``."""
        try:
            body: Any = await self._connection.client.get_job_schedule(schedule_id, cls=json_of)
        except AzureError as error:
            # Not `job_schedule_exists` of the SDK, which raises on 404 (azure-batch 15.1.0).
            if status_code(error) == 404:
                return None
            raise translate(error, f"{_KIND} {schedule_id}") from None
        return facts.schedule_facts(body)

    async def list(self) -> AsyncIterator[ScheduleFacts]:
        """Every job schedule of the account."""
        with translated("job schedules"):
            async for body in list_items(self._connection.client, "/jobschedules"):
                yield facts.schedule_facts(body)

    async def create(self, body: Record, sas: timedelta) -> bool:
        """Create a job schedule; ``False`` if the same spec has already created the same one."""
        schedule: Any = await self._connection.request_body(body, sas)
        send = self._connection.client.create_job_schedule
        return await create_or_adopt(
            _KIND, schedule, lambda: send(schedule), self.get, self._connection.transition()
        )

    async def update(self, schedule_id: str, patch: Record, sas: timedelta) -> None:
        """Change properties of a job schedule."""
        body: Any = await self._connection.request_body(patch, sas)
        with translated(f"{_KIND} {schedule_id}"):
            await self._connection.client.update_job_schedule(schedule_id, body)

    async def delete(self, schedule_id: str) -> bool:
        """Request the deletion of a job schedule and its jobs; ``False`` if it does not exist.

        Does not wait for it.
        """
        send = self._connection.client.begin_delete_job_schedule
        return await delete_if_exists(_KIND, schedule_id, lambda: send(schedule_id))
