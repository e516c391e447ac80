"""Pools, their nodes, and what the account has: images, applications, and the use of its quotas."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from azure.core.exceptions import AzureError

from batchspec.apply.ports import NodeFacts
from batchspec.cloud import facts
from batchspec.cloud.errors import transition_timeout, translate, translated
from batchspec.cloud.ownership import create_or_adopt, delete_if_exists
from batchspec.cloud.rest import (
    BatchConnection,
    json_of,
    list_items,
    odata_literal,
    path_segment,
    status_code,
)
from batchspec.diagnostics import ServiceError
from batchspec.observe.ports import NodeSeen
from batchspec.plan.observed import UNHEALTHY, PoolFacts, SupportedImage, Usage
from batchspec.spec import Record

_STARTING = frozenset({"NodeBeingCreated", "NodeBeingStarted"})
"""A node that may be starting with the earlier properties of the pool: restart it later."""
_RESTART_NOT_NEEDED = frozenset(
    {
        "NodeBeingRebooted",
        "NodeBeingReimaged",
        "NodeStateUnusable",
        "OperationInvalidForCurrentState",
    }
)
"""A node that starts with the present properties of the pool, that is lost, or that leaves."""

_COUNTS_PAGE = 10
"""The longest page of node counts (Account_ListPoolNodeCounts: maxresults is at most 10)."""

_NOT_COUNTED = frozenset({"completed", "terminating", "deleting"})
"""The states of a job schedule that does not count against the quota."""


async def _never() -> bool:
    return False


class Pools(BatchConnection):
    """Pools, nodes and the account itself: a part of :class:`batchspec.apply.ports.Batch`."""

    __slots__ = ()

    async def pool(self, pool_id: str) -> PoolFacts | None:
        """The pool, or ``None``."""
        try:
            body: Any = await self.client.get_pool(pool_id, cls=json_of)
        except AzureError as error:
            # Not `pool_exists` of the SDK, which raises on 404 (azure-batch 15.1.0).
            if status_code(error) == 404:
                return None
            raise translate(error, f"pool {pool_id}") from None
        return facts.pool_facts(body)

    async def pools(self) -> AsyncIterator[PoolFacts]:
        """Every pool of the account."""
        with translated("pools"):
            async for body in list_items(self.client, "/pools"):
                yield facts.pool_facts(body)

    async def create_pool(self, body: Record, sas: timedelta) -> bool:
        """Create a pool; ``False`` if the same spec has already created the same pool."""
        pool: Any = await self.request_body(body, sas)
        send = self.client.create_pool
        return await create_or_adopt("pool", pool, lambda: send(pool), self.pool, self.transition())

    async def update_pool(self, pool_id: str, patch: Record, sas: timedelta) -> None:
        """Change properties of a pool."""
        body: Any = await self.request_body(patch, sas)
        with translated(f"pool {pool_id}"):
            await self.client.update_pool(pool_id, body)

    async def resize_pool(
        self, pool_id: str, dedicated: int, spot: int, within: str | None = None
    ) -> None:
        """Request another number of nodes; waits for the end of a resize that is in progress.

        Args:
            pool_id: the pool.
            dedicated: the target number of dedicated nodes.
            spot: the target number of Spot nodes.
            within: the resize timeout (ISO 8601): how long the service tries to allocate nodes.

        Raises:
            ServiceError: refused; ``PoolBeingResized`` if the other resize is in progress after
                ``Limits.transition``.
        """
        targets = {"targetDedicatedNodes": dedicated, "targetLowPriorityNodes": spot}
        body: Any = {**targets, "resizeTimeout": within} if within else targets

        async def requested() -> bool:
            # The resize in progress may be this request, its answer lost.
            with translated(f"pool {pool_id}"):
                pool: Any = await self.client.get_pool(pool_id, select=list(targets), cls=json_of)
            return all(pool.get(key, 0) == value for key, value in targets.items())

        # The poller that `begin_` methods return is not used: it ignores errors. It sends nothing
        # unless it is awaited.
        await self._when_steady(
            pool_id, lambda: self.client.begin_resize_pool(pool_id, body), requested
        )

    async def scale_pool(self, pool_id: str, formula: str | None, interval: str | None) -> None:
        """Set or remove (``None``) the autoscale formula; waits for the end of a resize.

        Raises:
            ServiceError: refused; ``PoolBeingResized`` if the resize is in progress after
                ``Limits.transition``.
        """
        options: Any = {"autoScaleFormula": formula, "autoScaleEvaluationInterval": interval}
        options = {key: value for key, value in options.items() if value is not None}

        async def send() -> None:
            if formula is None:
                await self.client.disable_pool_auto_scale(pool_id)
            else:
                await self.client.enable_pool_auto_scale(pool_id, options)

        await self._when_steady(pool_id, send, _never)

    async def _when_steady(
        self,
        pool_id: str,
        send: Callable[[], Awaitable[object]],
        done: Callable[[], Awaitable[bool]],
    ) -> None:
        """Repeat a request that the pool refuses during a resize, until accepted or ``done``."""
        transition = self.transition()
        while True:
            try:
                await send()
                return
            except AzureError as error:
                refusal = translate(error, f"pool {pool_id}")
            if refusal.code != "PoolBeingResized":
                raise refusal from None
            if await done():
                return
            if not await transition.pause():
                raise transition_timeout(refusal, transition.waited) from None

    async def restart_nodes(self, pool_id: str, nodes: Sequence[str] | None = None) -> None:
        """Restart all nodes of a pool, or the given ones; their running tasks are requeued.

        Nodes that are starting are restarted when they have started; nodes that are lost or leave
        the pool are not.

        Raises:
            ServiceError: refused; ``NodeBeingCreated`` or ``NodeBeingStarted`` if a node has not
                started after ``Limits.transition``.
        """
        transition = self.transition()
        left = list(nodes) if nodes else [node.id async for node in self.nodes(pool_id)]
        while left:
            starting = {}
            for node in left:
                refusal = await self._restart(pool_id, node)
                if refusal is not None:
                    starting[node] = refusal
            left = list(starting)
            if left and not await transition.pause():
                raise transition_timeout(starting[left[0]], transition.waited)

    async def _restart(self, pool_id: str, node_id: str) -> ServiceError | None:
        """Restart a node if it needs that; the refusal if it is starting."""
        # Without options the SDK raises ValueError before it sends the request.
        options: Any = {"nodeRebootOption": "requeue"}
        try:
            await self.client.begin_reboot_node(pool_id, node_id, options=options)
        except AzureError as error:
            refusal = translate(error, f"node {node_id} of pool {pool_id}")
            if refusal.code in _STARTING:
                return refusal
            if refusal.code not in _RESTART_NOT_NEEDED and refusal.status != 404:
                raise refusal from None
        return None

    async def delete_pool(self, pool_id: str) -> bool:
        """Request the deletion of a pool; ``False`` if it does not exist. Does not wait for it."""
        send = self.client.begin_delete_pool
        return await delete_if_exists("pool", pool_id, lambda: send(pool_id))

    async def node_states(self, pool_id: str) -> Mapping[str, int]:
        """The number of nodes of the pool in each state, by one request."""
        where = f"poolId eq {odata_literal(pool_id)}"
        with translated(f"pool {pool_id}"):
            counts = list_items(self.client, "/nodecounts", where=where, page=_COUNTS_PAGE)
            pools = [pool async for pool in counts]
        return facts.node_states(pools)

    async def unwell_nodes(self, pool_id: str) -> AsyncIterator[NodeFacts]:
        """The nodes whose start task failed or that are unusable."""
        where = " or ".join(f"state eq {odata_literal(state)}" for state in UNHEALTHY)
        async for body in self._nodes(pool_id, where):
            yield facts.node_facts(body)

    async def nodes(self, pool_id: str) -> AsyncIterator[NodeSeen]:
        """The nodes of a pool."""
        async for body in self._nodes(pool_id):
            node = facts.node_facts(body)
            yield NodeSeen(node.id, node.state, node.exit_code, node.message)

    async def _nodes(self, pool_id: str, where: str = "") -> AsyncIterator[facts.Json]:
        path = f"/pools/{path_segment(pool_id)}/nodes"
        with translated(f"pool {pool_id}"):
            async for body in list_items(self.client, path, where=where, select=facts.NODE_FIELDS):
                yield body

    async def applications(self) -> Mapping[str, tuple[str, ...]]:
        """The versions of each application package of the account, by the application's id."""
        with translated("applications"):
            return {
                body["id"]: tuple(body.get("versions") or ())
                async for body in list_items(self.client, "/applications")
            }

    async def images(self) -> tuple[SupportedImage, ...]:
        """The images that the account supports."""
        with translated("supported images"):
            images = [body async for body in list_items(self.client, "/supportedimages")]
        return tuple(facts.image(body) for body in images)

    async def usage(self) -> Usage:
        """How many pools, and how many active jobs and job schedules, count against the quotas."""
        pools, jobs, schedules = await asyncio.gather(
            self._count("/pools", "pools"),
            self._count("/jobs", "jobs", where="state eq 'active'"),
            self._count("/jobschedules", "job schedules"),
        )
        return Usage(pools, jobs + schedules)

    async def _count(self, path: str, subject: str, *, where: str = "") -> int:
        count = 0
        with translated(subject):
            async for body in list_items(self.client, path, where=where, select=("id", "state")):
                count += str(body.get("state", "")).lower() not in _NOT_COUNTED
        return count
