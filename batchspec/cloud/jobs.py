"""Jobs and job schedules."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

from azure.core.exceptions import AzureError

from batchspec.account import PreparationFacts, TaskCounts
from batchspec.cloud import facts
from batchspec.cloud.errors import translate, translated
from batchspec.cloud.rest import (
    BatchConnection,
    create_or_adopt,
    delete_if_exists,
    error_code,
    json_of,
    list_items,
    odata_literal,
    path_segment,
    status_code,
)
from batchspec.plan.observed import JobFacts, ScheduleFacts
from batchspec.spec import Record

_ENDED = frozenset({"JobCompleted", "JobBeingTerminated", "JobBeingDeleted"})


class Jobs:
    """Implements :class:`batchspec.account.Jobs`."""

    def __init__(self, connection: BatchConnection) -> None:
        self._connection = connection

    async def get(self, job_id: str) -> JobFacts | None:
        try:
            body: Any = await self._connection.client.get_job(job_id, cls=json_of)
        except AzureError as error:
            if status_code(error) == 404:
                return None
            raise translate(error, f"job {job_id}") from None
        return facts.job_facts(body)

    async def list(self, prefix: str = "") -> AsyncIterator[JobFacts]:
        where = f"startswith(id,{odata_literal(prefix)})" if prefix else ""
        with translated("jobs"):
            async for body in list_items(self._connection.client, "/jobs", where=where):
                yield facts.job_facts(body)

    async def list_active(self) -> AsyncIterator[JobFacts]:
        with translated("jobs"):
            async for body in list_items(
                self._connection.client, "/jobs", where="state eq 'active'"
            ):
                yield facts.job_facts(body)

    async def create(self, body: Record, sas: timedelta) -> bool:
        job: Any = await self._connection.request_body(body, sas)
        send = self._connection.client.create_job
        return await create_or_adopt(
            "job", job, lambda: send(job), self.get, self._connection.transition()
        )

    async def update(self, job_id: str, patch: Record) -> None:
        body: Any = await self._connection.request_body(patch, timedelta())
        with translated(f"job {job_id}"):
            await self._connection.client.update_job(job_id, body)

    async def terminate(self, job_id: str, reason: str) -> None:
        # Without options, or with an empty model, the SDK raises ValueError before it sends the
        # request (azure-batch 15.1.0).
        options: Any = {"terminateReason": reason}
        try:
            await self._connection.client.begin_terminate_job(job_id, options=options)
        except AzureError as error:
            if error_code(error) not in _ENDED:
                raise translate(error, f"job {job_id}") from None

    async def delete(self, job_id: str) -> bool:
        return await delete_if_exists(
            "job", job_id, lambda: self._connection.client.begin_delete_job(job_id)
        )

    async def list_preparation_tasks(self, job_id: str) -> AsyncIterator[PreparationFacts]:
        path = f"/jobs/{path_segment(job_id)}/jobpreparationandreleasetaskstatus"
        fields = ["nodeId", "jobPreparationTaskExecutionInfo"]
        with translated(f"job {job_id}"):
            async for body in list_items(self._connection.client, path, select=fields):
                yield facts.preparation_facts(body)

    async def get_task_counts(self, job_id: str) -> TaskCounts:
        with translated(f"job {job_id}"):
            body: Any = await self._connection.client.get_job_task_counts(job_id, cls=json_of)
        return facts.task_counts(body)


_SCHEDULE = "job schedule"


class JobSchedules:
    """Implements :class:`batchspec.account.JobSchedules`."""

    def __init__(self, connection: BatchConnection) -> None:
        self._connection = connection

    async def get(self, schedule_id: str) -> ScheduleFacts | None:
        try:
            body: Any = await self._connection.client.get_job_schedule(schedule_id, cls=json_of)
        except AzureError as error:
            # Not `job_schedule_exists` of the SDK, which raises on 404 (azure-batch 15.1.0).
            if status_code(error) == 404:
                return None
            raise translate(error, f"{_SCHEDULE} {schedule_id}") from None
        return facts.schedule_facts(body)

    async def list(self) -> AsyncIterator[ScheduleFacts]:
        with translated("job schedules"):
            async for body in list_items(self._connection.client, "/jobschedules"):
                yield facts.schedule_facts(body)

    async def create(self, body: Record, sas: timedelta) -> bool:
        schedule: Any = await self._connection.request_body(body, sas)
        send = self._connection.client.create_job_schedule
        return await create_or_adopt(
            _SCHEDULE, schedule, lambda: send(schedule), self.get, self._connection.transition()
        )

    async def update(self, schedule_id: str, patch: Record, sas: timedelta) -> None:
        body: Any = await self._connection.request_body(patch, sas)
        with translated(f"{_SCHEDULE} {schedule_id}"):
            await self._connection.client.update_job_schedule(schedule_id, body)

    async def delete(self, schedule_id: str) -> bool:
        send = self._connection.client.begin_delete_job_schedule
        return await delete_if_exists(_SCHEDULE, schedule_id, lambda: send(schedule_id))
