"""How many pools and active jobs the account has: what its quotas count."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from batchspec.cloud.errors import translated
from batchspec.cloud.facts import Json
from batchspec.cloud.session import Session
from batchspec.cloud.wire import listed
from batchspec.plan.observed import Usage

_OVER = frozenset({"completed", "terminating", "deleting"})
"""The states of a schedule that counts no more."""


class Counting(Session):
    """The part of the Batch port that counts."""

    __slots__ = ()

    async def usage(self) -> Usage:
        """What there is of pools, active jobs and schedules: a page of ids each, as a rule."""
        pools, jobs, schedules = await asyncio.gather(
            self._count("/pools", "the pools"),
            self._count("/jobs", "the jobs", where="state eq 'active'"),
            self._count("/jobschedules", "the job schedules"),
        )
        return Usage(pools, jobs + schedules)

    async def _count(self, path: str, what: str, *, where: str = "") -> int:
        with translated(what):
            found = listed(self.client, path, where=where, select=("id", "state"))
            return await _counted(found)


async def _counted(found: AsyncIterator[Json]) -> int:
    return sum([1 async for body in found if str(body.get("state", "")).lower() not in _OVER])
