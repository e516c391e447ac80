"""Pools with a managed identity: Azure Resource Manager creates, changes and deletes them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from azure.core import MatchConditions
from azure.core.exceptions import AzureError

from batchspec.cloud.errors import transition_timeout, translate, translated
from batchspec.cloud.facts import Json
from batchspec.cloud.pipeline import track_attempts
from batchspec.cloud.rest import (
    BatchConnection,
    create_or_adopt,
    delete_if_exists,
    json_of,
    when_steady,
)
from batchspec.diagnostics import ConflictError, Diagnostic
from batchspec.plan.observed import PoolFacts
from batchspec.property_rules import arm_pool
from batchspec.spec import Record

if TYPE_CHECKING:
    from batchspec.cloud.control_plane import BatchResource


class ArmPools:
    """Pools with a managed identity. Implements :class:`batchspec.account.PoolChanges`.

    ``resource`` finds the account; ``get_pool`` reads from the Batch service, which has these
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
        """Change a pool unless its properties to change differ from those that were read first."""
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
            # The etag may have changed by an earlier attempt of this request, or with the state.
            first = None if attempts.unconfirmed else found
            if not await transition.pause():
                raise transition_timeout(refusal, transition.waited)


async def _never() -> bool:
    return False


def _changed_meanwhile(pool_id: str) -> Diagnostic:
    return Diagnostic(
        "pool-changed-meanwhile",
        f"another client changed the pool {pool_id} at the same time",
        fix="Run `batchspec plan` to see what differs",
    )
