"""Pools, their nodes, and the files of nodes.

Azure Resource Manager creates, changes and deletes the pools with a managed identity
(:class:`ArmPools`). The Batch service contains these pools, too, and all reads use it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from azure.core import MatchConditions
from azure.core.exceptions import AzureError

from batchspec.account import FilePart, NodeFacts, NodeFile, NodeRecord
from batchspec.cloud import facts
from batchspec.cloud.errors import transition_timeout, translate, translated
from batchspec.cloud.facts import Json
from batchspec.cloud.pipeline import track_attempts
from batchspec.cloud.rest import (
    BatchConnection,
    RemoteFile,
    create_or_adopt,
    delete_if_exists,
    json_of,
    list_files,
    list_items,
    odata_literal,
    path_segment,
    read_part,
    read_tail,
    status_code,
    when_steady,
)
from batchspec.diagnostics import ConflictError, Diagnostic, ServiceError
from batchspec.plan.observed import START_TASK_RUNNING, UNHEALTHY, PoolFacts
from batchspec.property_rules import arm_pool
from batchspec.spec import Record

if TYPE_CHECKING:
    from batchspec.cloud.control_plane import BatchResource

_COUNTS_PAGE = 10
"""The longest page of node counts (Account_ListPoolNodeCounts: maxresults is at most 10)."""


async def _never() -> bool:
    return False


class Pools:
    """Implements :class:`batchspec.account.Pools`."""

    def __init__(self, connection: BatchConnection) -> None:
        self._connection = connection

    async def get(self, pool_id: str) -> PoolFacts | None:
        try:
            body: Any = await self._connection.client.get_pool(pool_id, cls=json_of)
        except AzureError as error:
            # Not `pool_exists` of the SDK, which raises on 404 (azure-batch 15.1.0).
            if status_code(error) == 404:
                return None
            raise translate(error, f"pool {pool_id}") from None
        return facts.pool_facts(body)

    async def list(self) -> AsyncIterator[PoolFacts]:
        with translated("pools"):
            async for body in list_items(self._connection.client, "/pools"):
                yield facts.pool_facts(body)

    async def create(self, body: Record, sas: timedelta) -> bool:
        """Create a pool; ``False`` if the same spec has already created the same pool."""
        pool: Any = await self._connection.request_body(body, sas)
        send = self._connection.client.create_pool
        return await create_or_adopt(
            "pool", pool, lambda: send(pool), self.get, self._connection.transition()
        )

    async def update(self, pool_id: str, patch: Record, sas: timedelta) -> None:
        """Change properties of a pool."""
        body: Any = await self._connection.request_body(patch, sas)
        with translated(f"pool {pool_id}"):
            await self._connection.client.update_pool(pool_id, body)

    async def resize(
        self, pool_id: str, dedicated: int, spot: int, resize_timeout: str | None = None
    ) -> None:
        """Request another number of nodes; waits for the end of a resize that is in progress.

        Args:
            pool_id: the pool.
            dedicated: the target number of dedicated nodes.
            spot: the target number of Spot nodes.
            resize_timeout: how long the service tries to allocate nodes (ISO 8601).

        Raises:
            ServiceError: refused; ``PoolBeingResized`` if the other resize is still in progress
                after ``Limits.transition``.
        """
        targets = {"targetDedicatedNodes": dedicated, "targetLowPriorityNodes": spot}
        body: Any = {**targets, "resizeTimeout": resize_timeout} if resize_timeout else targets

        async def requested() -> bool:
            # The resize in progress may be that of this request, if its response was lost.
            with translated(f"pool {pool_id}"):
                pool: Any = await self._connection.client.get_pool(
                    pool_id, select=list(targets), cls=json_of
                )
            return all(pool.get(key, 0) == value for key, value in targets.items())

        # The poller that `begin_` methods return is not used: it ignores errors. It sends nothing
        # unless it is awaited.
        resize = self._connection.client.begin_resize_pool
        transition = self._connection.transition()
        await when_steady(pool_id, lambda: resize(pool_id, body), requested, transition)

    async def enable_autoscale(self, pool_id: str, formula: str, interval: str | None) -> None:
        """Set the autoscale formula; waits for the end of a resize.

        Raises:
            ServiceError: refused; ``PoolBeingResized`` if the resize is still in progress after
                ``Limits.transition``.
        """
        options: Any = {"autoScaleFormula": formula}
        if interval is not None:
            options["autoScaleEvaluationInterval"] = interval
        enable = self._connection.client.enable_pool_auto_scale
        transition = self._connection.transition()
        await when_steady(pool_id, lambda: enable(pool_id, options), _never, transition)

    async def disable_autoscale(self, pool_id: str) -> None:
        """Remove the autoscale formula; waits for the end of a resize.

        Raises:
            ServiceError: as for :meth:`enable_autoscale`.
        """
        disable = self._connection.client.disable_pool_auto_scale
        transition = self._connection.transition()
        await when_steady(pool_id, lambda: disable(pool_id), _never, transition)

    async def delete(self, pool_id: str) -> bool:
        """Request the deletion of a pool; ``False`` if it does not exist. Does not wait for it."""
        send = self._connection.client.begin_delete_pool
        return await delete_if_exists("pool", pool_id, lambda: send(pool_id))

    async def get_node_counts(self, pool_id: str) -> Mapping[str, int]:
        where = f"poolId eq {odata_literal(pool_id)}"
        with translated(f"pool {pool_id}"):
            counts = list_items(
                self._connection.client, "/nodecounts", where=where, page=_COUNTS_PAGE
            )
            pools = [pool async for pool in counts]
        return facts.node_states(pools)


class ArmPools:
    """Pools with a managed identity. Implements :class:`batchspec.account.PoolChanges`.

    ``resource`` finds the account; ``get_pool`` reads from the Batch service, which contains these
    pools, too.
    """

    def __init__(
        self,
        resource: Callable[[], Awaitable[BatchResource]],
        connection: BatchConnection,
        get_pool: Callable[[str], Awaitable[PoolFacts | None]],
    ) -> None:
        self._resource = resource
        self._connection = connection
        self._get_pool = get_pool

    async def create(self, body: Record, sas: timedelta) -> bool:
        """Create a pool; ``False`` if the same spec has already created the same pool.

        The request creates or replaces; only its condition protects an existing pool.
        """
        account = await self._resource()
        pool = await self._connection.request_body(body, sas)
        parameters: Any = arm_pool(pool, account.id)

        async def send() -> None:
            await account.client.pool.create(
                account.group,
                account.name,
                pool["id"],
                parameters,
                match_condition=MatchConditions.IfMissing,
                cls=json_of,
            )

        return await create_or_adopt(
            "pool", pool, send, self._get_pool, self._connection.transition(), conditional=True
        )

    async def update(self, pool_id: str, patch: Record, sas: timedelta) -> None:
        """Change properties of a pool.

        Raises:
            ServiceError: refused.
            ConflictError: another client changes the same properties at the same time.
        """
        account = await self._resource()
        body = await self._connection.request_body(patch, sas)
        with translated(f"pool {pool_id}"):
            await self._patch(account, pool_id, arm_pool(body, account.id))

    async def resize(
        self, pool_id: str, dedicated: int, spot: int, resize_timeout: str | None = None
    ) -> None:
        """Request another number of nodes; waits for the end of a resize that is in progress."""
        targets: dict[str, Any] = {
            "targetDedicatedNodes": dedicated,
            "targetLowPriorityNodes": spot,
        }
        if resize_timeout is not None:
            targets["resizeTimeout"] = resize_timeout

        async def requested() -> bool:
            pool = await self._get_pool(pool_id)
            return pool is not None and (pool.target_dedicated, pool.target_spot) == (
                dedicated,
                spot,
            )

        await self._scale(pool_id, targets, requested)

    async def enable_autoscale(self, pool_id: str, formula: str, interval: str | None) -> None:
        """Set the autoscale formula; waits for the end of a resize."""
        settings: dict[str, Any] = {"enableAutoScale": True, "autoScaleFormula": formula}
        if interval is not None:
            settings["autoScaleEvaluationInterval"] = interval
        await self._scale(pool_id, settings, _never)

    async def _scale(
        self, pool_id: str, settings: Mapping[str, Any], done: Callable[[], Awaitable[bool]]
    ) -> None:
        account = await self._resource()
        parameters = arm_pool(settings, account.id)
        await when_steady(
            pool_id,
            lambda: self._patch(account, pool_id, parameters),
            done,
            self._connection.transition(),
        )

    async def disable_autoscale(self, pool_id: str) -> None:
        """Remove the autoscale formula; waits for the end of a resize."""
        account = await self._resource()
        disable = account.client.pool.disable_auto_scale
        await when_steady(
            pool_id,
            lambda: disable(account.group, account.name, pool_id, cls=json_of),
            _never,
            self._connection.transition(),
        )

    async def delete(self, pool_id: str) -> bool:
        """Request the deletion of a pool; ``False`` if it does not exist. Does not wait for it."""
        account = await self._resource()
        status = 0

        def read_status(response: Any) -> None:
            nonlocal status
            status = response.http_response.status_code

        async def send() -> None:
            await account.client.pool.begin_delete(
                account.group, account.name, pool_id, polling=False, raw_response_hook=read_status
            )

        existed = await delete_if_exists("pool", pool_id, send)
        # Resource Manager answers 204 if the resource does not exist.
        return existed and status != 204

    async def _patch(
        self, account: BatchResource, pool_id: str, parameters: dict[str, Any]
    ) -> None:
        """Change properties of a pool, unless another client changes the same properties."""
        place = (account.group, account.name, pool_id)
        first: Json | None = None
        transition = self._connection.transition()
        while True:
            pool: Any = await account.client.pool.get(*place, cls=json_of)
            found = {key: pool["properties"].get(key) for key in parameters["properties"]}
            if first is not None and found != first:
                raise ConflictError(_changed_meanwhile(pool_id))
            try:
                with track_attempts() as attempts:
                    await account.client.pool.update(
                        *place,
                        parameters,
                        etag=pool["etag"],
                        match_condition=MatchConditions.IfNotModified,
                        cls=json_of,
                    )
                return
            except AzureError as error:
                refusal = translate(error, f"pool {pool_id}")
            if refusal.status != 412:
                raise refusal from None
            # An earlier attempt of this request, or a change of state, may have changed the etag.
            first = None if attempts.unconfirmed else found
            if not await transition.pause():
                raise transition_timeout(refusal, transition.waited)


def _changed_meanwhile(pool_id: str) -> Diagnostic:
    return Diagnostic(
        "pool-changed-meanwhile",
        f"another client changed the pool {pool_id} at the same time",
        fix="Run `batchspec plan` to see what differs.",
    )


_STARTING = frozenset({"NodeBeingCreated", "NodeBeingStarted"})
"""The codes of a node that may be starting with earlier properties: it is restarted later."""
_RESTART_NOT_NEEDED = frozenset(
    {
        "NodeBeingRebooted",
        "NodeBeingReimaged",
        "NodeStateUnusable",
        "OperationInvalidForCurrentState",
    }
)
"""The codes of a node that starts with the present properties, is lost, or leaves the pool."""


class Nodes:
    """Implements :class:`batchspec.account.Nodes`."""

    def __init__(self, connection: BatchConnection) -> None:
        self._connection = connection

    async def list(self, pool_id: str, *, missing_ok: bool = False) -> AsyncIterator[NodeFacts]:
        try:
            async for node in self._list(pool_id):
                yield node
        except ServiceError as error:
            if not (missing_ok and error.status == 404):
                raise

    async def list_unhealthy(self, pool_id: str) -> AsyncIterator[NodeFacts]:
        where = " or ".join(f"state eq {odata_literal(state)}" for state in UNHEALTHY)
        async for node in self._list(pool_id, where):
            yield node

    async def list_starting(self, pool_id: str) -> AsyncIterator[NodeFacts]:
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
        """Restart a node if necessary; returns the refusal if the node is starting."""
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
        return await read_part(self._connection, self._file(pool_id, node_id, path), start, size)

    async def get_file_tail(self, pool_id: str, node_id: str, path: str, size: int) -> str:
        return await read_tail(self._connection, self._file(pool_id, node_id, path), size)

    async def list_files(self, pool_id: str, node_id: str) -> AsyncIterator[NodeFile]:
        path = f"/pools/{path_segment(pool_id)}/nodes/{path_segment(node_id)}"
        async for file in list_files(self._connection.client, path, f"files of node {node_id}"):
            yield file

    def _file(self, pool_id: str, node_id: str, path: str) -> RemoteFile:
        client = self._connection.client
        return RemoteFile(
            f"{path} of node {node_id}",
            lambda: client.get_node_file_properties(pool_id, node_id, path),
            lambda **options: client.download_node_file(pool_id, node_id, path, **options),
        )

    async def list_records(self, pool_id: str) -> AsyncIterator[NodeRecord]:
        try:
            async for body in self._bodies(pool_id, facts.NODE_RECORD_FIELDS):
                yield facts.node_record(body)
        except ServiceError as error:
            if error.status != 404:
                raise

    async def _list(self, pool_id: str, where: str = "") -> AsyncIterator[NodeFacts]:
        async for body in self._bodies(pool_id, facts.NODE_FIELDS, where):
            yield facts.node_facts(body)

    async def _bodies(
        self, pool_id: str, fields: Sequence[str], where: str = ""
    ) -> AsyncIterator[facts.Json]:
        client, path = self._connection.client, f"/pools/{path_segment(pool_id)}/nodes"
        with translated(f"pool {pool_id}"):
            async for body in list_items(client, path, where=where, select=fields):
                yield body
