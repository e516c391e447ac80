"""The nodes of pools, and their files."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

from azure.core.exceptions import AzureError

from batchspec.account import FilePart, NodeFacts
from batchspec.cloud import facts
from batchspec.cloud.errors import transition_timeout, translate, translated
from batchspec.cloud.files import RemoteFile, read_part, read_tail
from batchspec.cloud.rest import (
    BatchConnection,
    list_items,
    odata_literal,
    path_segment,
)
from batchspec.diagnostics import ServiceError
from batchspec.plan.observed import START_TASK_RUNNING, UNHEALTHY

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


class Nodes:
    """Implements :class:`batchspec.account.Nodes`."""

    def __init__(self, connection: BatchConnection) -> None:
        self._connection = connection

    async def list(self, pool_id: str, *, missing_ok: bool = False) -> AsyncIterator[NodeFacts]:
        """The nodes of a pool; with ``missing_ok``, none if the pool does not exist."""
        try:
            async for node in self._list(pool_id):
                yield node
        except ServiceError as error:
            if not (missing_ok and error.status == 404):
                raise

    async def list_unhealthy(self, pool_id: str) -> AsyncIterator[NodeFacts]:
        """The nodes whose start task failed or that are unusable."""
        where = " or ".join(f"state eq {odata_literal(state)}" for state in UNHEALTHY)
        async for node in self._list(pool_id, where):
            yield node

    async def list_starting(self, pool_id: str) -> AsyncIterator[NodeFacts]:
        """The nodes whose start task runs."""
        async for node in self._list(pool_id, f"state eq {odata_literal(START_TASK_RUNNING)}"):
            yield node

    async def reboot(self, pool_id: str, node_ids: Sequence[str] | None = None) -> None:
        """Restart all nodes of a pool, or the given ones; their running tasks are requeued.

        Nodes that are starting are restarted when they have started; nodes that are lost or leave
        the pool are not.

        Raises:
            ServiceError: refused; ``NodeBeingCreated`` or ``NodeBeingStarted`` if a node has not
                started after ``Limits.transition``.
        """
        transition = self._connection.transition()
        left = list(node_ids or [node.id async for node in self._list(pool_id)])
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
            await self._connection.client.begin_reboot_node(pool_id, node_id, options=options)
        except AzureError as error:
            refusal = translate(error, f"node {node_id} of pool {pool_id}")
            if refusal.code in _STARTING:
                return refusal
            if refusal.code not in _RESTART_NOT_NEEDED and refusal.status != 404:
                raise refusal from None
        return None

    async def get_file(
        self, pool_id: str, node_id: str, path: str, start: int, size: int
    ) -> FilePart | None:
        """Up to ``size`` bytes of a file of a node from ``start``; ``None`` if it is missing."""
        return await read_part(self._connection, self._file(pool_id, node_id, path), start, size)

    async def get_file_tail(self, pool_id: str, node_id: str, path: str, size: int) -> str:
        """The last ``size`` bytes of a file of a node; empty if it does not exist."""
        return await read_tail(self._connection, self._file(pool_id, node_id, path), size)

    def _file(self, pool_id: str, node_id: str, path: str) -> RemoteFile:
        client = self._connection.client
        return RemoteFile(
            f"{path} of node {node_id}",
            lambda: client.get_node_file_properties(pool_id, node_id, path),
            lambda **options: client.download_node_file(pool_id, node_id, path, **options),
        )

    async def _list(self, pool_id: str, where: str = "") -> AsyncIterator[NodeFacts]:
        client, path = self._connection.client, f"/pools/{path_segment(pool_id)}/nodes"
        with translated(f"pool {pool_id}"):
            async for body in list_items(client, path, where=where, select=facts.NODE_FIELDS):
                yield facts.node_facts(body)
