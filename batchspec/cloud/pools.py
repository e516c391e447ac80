"""Pools and their nodes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from azure.core.exceptions import AzureError

from batchspec.apply.ports import NodeFacts
from batchspec.cloud import facts
from batchspec.cloud.errors import translate, translated
from batchspec.cloud.ownership import make, remove
from batchspec.cloud.session import Session
from batchspec.cloud.wire import body_of, code_of, listed, literal, raw, segment, status_of
from batchspec.observe.ports import NodeSeen
from batchspec.plan.observed import PoolFacts, SupportedImage
from batchspec.spec import Record

_UNWELL = ("starttaskfailed", "unusable")


_STARTING = frozenset({"NodeBeingCreated", "NodeBeingStarted"})
"""What a node says that may be starting with what the pool said before."""
_RESTARTED = frozenset(
    {
        "NodeBeingRebooted",
        "NodeBeingReimaged",
        "NodeStateUnusable",
        "OperationInvalidForCurrentState",
    }
)
"""What one says that starts with what the pool says now, or that is lost, or leaves."""

_COUNTS_PAGE = 10
"""The longest page of node counts (Account_ListPoolNodeCounts: maxresults is at most 10)."""


async def _never() -> bool:
    return False


class Pools(Session):
    """The half of the Batch port that is about pools."""

    __slots__ = ()

    async def pool(self, pool_id: str) -> PoolFacts | None:
        """The pool, or ``None``."""
        try:
            body: Any = await self.client.get_pool(pool_id, cls=raw)
        except AzureError as error:
            # Not the SDK's `pool_exists`, which raises where it should answer False.
            if status_of(error) == 404:
                return None
            raise translate(error, f"pool {pool_id}") from None
        return facts.pool_facts(body)

    async def pools(self) -> AsyncIterator[PoolFacts]:
        """Every pool of the account."""
        with translated("the pools"):
            async for body in listed(self.client, "/pools"):
                yield facts.pool_facts(body)

    async def create_pool(self, body: Record, sas: timedelta) -> bool:
        """Ask for a pool; ``False`` if an equal one by the same spec was there."""
        wire: Any = await body_of(self.mint, body, sas)
        return await make("pool", wire, lambda: self.client.create_pool(wire), self.pool, self)

    async def update_pool(self, pool_id: str, patch: Record, sas: timedelta) -> None:
        """Change properties of a pool."""
        wire: Any = await body_of(self.mint, patch, sas)
        with translated(f"pool {pool_id}"):
            await self.client.update_pool(pool_id, wire)

    async def resize_pool(
        self, pool_id: str, dedicated: int, spot: int, within: str | None = None
    ) -> None:
        """Ask for another number of nodes; waits out a resize that is going on.

        ``within`` (ISO 8601) is how long the service may try.
        """
        targets = {"targetDedicatedNodes": dedicated, "targetLowPriorityNodes": spot}
        wire: Any = {**targets, "resizeTimeout": within} if within else targets

        async def asked_for() -> bool:
            # It may be our own request that is being carried out, its answer lost.
            with translated(f"pool {pool_id}"):
                now: Any = await self.client.get_pool(pool_id, select=list(targets), cls=raw)
            return all(now.get(key, 0) == value for key, value in targets.items())

        # The poller that comes back is left alone: it would swallow errors. Nothing of it runs
        # unless it is awaited.
        await self._when_steady(
            pool_id, lambda: self.client.begin_resize_pool(pool_id, wire), asked_for
        )

    async def scale_pool(self, pool_id: str, formula: str | None, interval: str | None) -> None:
        """Let a pool follow a formula, or none any more; waits out a resize that is going on."""
        wire: Any = {"autoScaleFormula": formula, "autoScaleEvaluationInterval": interval}
        wire = {key: value for key, value in wire.items() if value is not None}

        async def send() -> None:
            if formula is None:
                await self.client.disable_pool_auto_scale(pool_id)
            else:
                await self.client.enable_pool_auto_scale(pool_id, wire)

        await self._when_steady(pool_id, send, _never)

    async def _when_steady(
        self,
        pool_id: str,
        send: Callable[[], Awaitable[object]],
        done: Callable[[], Awaitable[bool]],
    ) -> None:
        """Ask for what a pool refuses while it is being resized, until it takes it or it is so."""
        began, tries = self.timing.monotonic(), 0
        while True:
            try:
                await send()
                return
            except AzureError as error:
                waited = self.timing.monotonic() - began
                if code_of(error) != "PoolBeingResized" or waited > self.limits.settle:
                    raise translate(error, f"pool {pool_id}") from None
            if await done():
                return
            tries += 1
            await self.timing.sleep(min(2.0**tries, 10.0))

    async def restart_nodes(self, pool_id: str, nodes: Sequence[str] | None = None) -> None:
        """Restart every node of a pool that is there, or these; what runs on it runs again.

        Nodes that are just starting are waited for; those that are lost or leaving are left alone.
        """
        began, tries = self.timing.monotonic(), 0
        waiting = list(nodes) if nodes else [node.id async for node in self.nodes(pool_id)]
        while waiting:
            late = self.timing.monotonic() - began > self.limits.settle
            waiting = [n for n in waiting if not await self._restarted(pool_id, n, late=late)]
            if waiting:
                tries += 1
                await self.timing.sleep(min(2.0**tries, 10.0))

    async def _restarted(self, pool_id: str, node_id: str, *, late: bool) -> bool:
        """Whether a node restarts, or never will; otherwise it is to be asked again."""
        # Without options the SDK raises ValueError before it sends anything.
        options: Any = {"nodeRebootOption": "requeue"}
        try:
            await self.client.begin_reboot_node(pool_id, node_id, options=options)
        except AzureError as error:
            code = code_of(error)
            if code in _STARTING and not late:
                return False
            if code not in _RESTARTED and status_of(error) != 404:
                raise translate(error, f"node {node_id} of pool {pool_id}") from None
        return True

    async def delete_pool(self, pool_id: str) -> bool:
        """Ask for a pool's deletion; ``False`` if there was none. It takes time: see ``pool``."""
        return await remove("pool", pool_id, lambda: self.client.begin_delete_pool(pool_id))

    async def node_states(self, pool_id: str) -> Mapping[str, int]:
        """How many nodes of the pool there are in each state, by one cheap request."""
        where = f"poolId eq {literal(pool_id)}"
        with translated(f"pool {pool_id}"):
            counts = listed(self.client, "/nodecounts", where=where, page=_COUNTS_PAGE)
            pools = [pool async for pool in counts]
        return facts.node_states(pools)

    async def unwell_nodes(self, pool_id: str) -> AsyncIterator[NodeFacts]:
        """The nodes whose start task failed or that are unusable."""
        where = " or ".join(f"state eq {literal(state)}" for state in _UNWELL)
        path = f"/pools/{segment(pool_id)}/nodes"
        with translated(f"pool {pool_id}"):
            async for node in listed(self.client, path, where=where, select=facts.NODE_FIELDS):
                yield facts.node_facts(node)

    async def nodes(self, pool_id: str) -> AsyncIterator[NodeSeen]:
        """The nodes of a pool."""
        path = f"/pools/{segment(pool_id)}/nodes"
        with translated(f"pool {pool_id}"):
            async for node in listed(self.client, path, select=facts.NODE_FIELDS):
                found = facts.node_facts(node)
                yield NodeSeen(found.id, found.state, found.exit_code, found.message)

    async def applications(self) -> Mapping[str, tuple[str, ...]]:
        """The versions of the account's application packages, by the id of the application."""
        with translated("the applications"):
            return {
                body["id"]: tuple(body.get("versions") or ())
                async for body in listed(self.client, "/applications")
            }

    async def images(self) -> tuple[SupportedImage, ...]:
        """The account's supported images."""
        with translated("the supported images"):
            found = [image async for image in listed(self.client, "/supportedimages")]
        return tuple(facts.image(image) for image in found)
