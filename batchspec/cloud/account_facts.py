"""Facts about the account: the images that it supports, and the use of its quotas."""

from __future__ import annotations

import asyncio

from batchspec.cloud import facts
from batchspec.cloud.errors import translated
from batchspec.cloud.rest import BatchConnection, list_items
from batchspec.plan.observed import SupportedImage, Usage

_NOT_COUNTED = frozenset({"completed", "terminating", "deleting"})
"""The states of a job schedule that does not count against the quota."""


class Images:
    """Implements :class:`batchspec.account.Images`."""

    def __init__(self, connection: BatchConnection) -> None:
        self._connection = connection

    async def list(self) -> tuple[SupportedImage, ...]:
        with translated("supported images"):
            images = [
                body async for body in list_items(self._connection.client, "/supportedimages")
            ]
        return tuple(facts.image(body) for body in images)


class Quotas:
    """Implements :class:`batchspec.account.Quotas`."""

    def __init__(self, connection: BatchConnection) -> None:
        self._connection = connection

    async def get_usage(self) -> Usage:
        pools, jobs, schedules = await asyncio.gather(
            self._count("/pools", "pools"),
            self._count("/jobs", "jobs", where="state eq 'active'"),
            self._count("/jobschedules", "job schedules"),
        )
        return Usage(pools, jobs + schedules)

    async def _count(self, path: str, subject: str, *, where: str = "") -> int:
        count = 0
        with translated(subject):
            async for body in list_items(
                self._connection.client, path, where=where, select=("id", "state")
            ):
                count += str(body.get("state", "")).lower() not in _NOT_COUNTED
        return count
