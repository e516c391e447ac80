"""Jobs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

from azure.core.exceptions import AzureError

from batchspec.apply.ports import PreparationFacts, TaskCounts
from batchspec.cloud import facts
from batchspec.cloud.errors import translate, translated
from batchspec.cloud.ownership import make, remove
from batchspec.cloud.session import Session
from batchspec.cloud.wire import body_of, code_of, listed, literal, raw, segment, status_of
from batchspec.plan.observed import JobFacts
from batchspec.spec import Record

_ENDED = frozenset({"JobCompleted", "JobBeingTerminated", "JobBeingDeleted"})


class Jobs(Session):
    """The half of the Batch port that is about jobs."""

    __slots__ = ()

    async def job(self, job_id: str) -> JobFacts | None:
        """The job, or ``None``."""
        try:
            body: Any = await self.client.get_job(job_id, cls=raw)
        except AzureError as error:
            if status_of(error) == 404:
                return None
            raise translate(error, f"job {job_id}") from None
        return facts.job_facts(body)

    async def jobs(self, name: str) -> AsyncIterator[JobFacts]:
        """Every job whose id starts with ``name``."""
        where = f"startswith(id,{literal(name)})" if name else ""
        with translated("the jobs"):
            async for body in listed(self.client, "/jobs", where=where):
                yield facts.job_facts(body)

    async def create_job(self, body: Record, sas: timedelta) -> bool:
        """Make a job; ``False`` if an equal one by the same spec was there."""
        wire: Any = await body_of(self.mint, body, sas)
        return await make("job", wire, lambda: self.client.create_job(wire), self.job, self)

    async def update_job(self, job_id: str, patch: Record) -> None:
        """Change properties of a job."""
        wire: Any = await body_of(self.mint, patch, timedelta(hours=1))
        with translated(f"job {job_id}"):
            await self.client.update_job(job_id, wire)

    async def terminate_job(self, job_id: str, reason: str) -> None:
        """End a job; one that has ended already stays as it is."""
        # Without options the SDK raises ValueError before it sends anything; with an empty model,
        # too.
        options: Any = {"terminateReason": reason}
        try:
            await self.client.begin_terminate_job(job_id, options=options)
        except AzureError as error:
            if code_of(error) not in _ENDED:
                raise translate(error, f"job {job_id}") from None

    async def delete_job(self, job_id: str) -> bool:
        """Ask for a job's deletion; ``False`` if there was none. It takes time: see ``job``."""
        return await remove("job", job_id, lambda: self.client.begin_delete_job(job_id))

    async def preparations(self, job_id: str) -> AsyncIterator[PreparationFacts]:
        """How the job's preparation task went on each node, streamed."""
        path = f"/jobs/{segment(job_id)}/jobpreparationandreleasetaskstatus"
        fields = ["nodeId", "jobPreparationTaskExecutionInfo"]
        with translated(f"job {job_id}"):
            async for body in listed(self.client, path, select=fields):
                yield facts.preparation_facts(body)

    async def task_counts(self, job_id: str) -> TaskCounts:
        """How many tasks of the job there are in each state, by one cheap request."""
        with translated(f"job {job_id}"):
            body: Any = await self.client.get_job_task_counts(job_id, cls=raw)
        return facts.task_counts(body)
