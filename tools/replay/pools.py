"""Pools and nodes that a recorded request needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from batchspec.local.model import AllocationState, Node, NodeState, Pool, PoolState
from replay.recordings import Exchange
from replay.resource_setup import ResourceSetup, now

_DEFAULT = {
    "vmSize": "standard_d2s_v3",
    "virtualMachineConfiguration": {
        "imageReference": {"publisher": "canonical", "offer": "ubuntu", "sku": "server"},
        "nodeAgentSKUId": "batch.node.ubuntu 24.04",
    },
}
_TARGETS = ("targetDedicatedNodes", "targetLowPriorityNodes")
_UP = (NodeState.STARTING, NodeState.IDLE)
_WAY: Mapping[NodeState, tuple[NodeState, ...]] = {
    NodeState.CREATING: (),
    NodeState.STARTING: (NodeState.STARTING,),
    NodeState.WAITING_FOR_START_TASK: (NodeState.STARTING, NodeState.WAITING_FOR_START_TASK),
    NodeState.START_TASK_FAILED: (NodeState.STARTING, NodeState.START_TASK_FAILED),
    NodeState.IDLE: _UP,
}
_ACTIONS = {"reboot", "reimage", "disablescheduling", "uploadbatchservicelogs", "users", "files"}


class Pools:
    """Creates pools and nodes in a given state."""

    def __init__(self, setup: ResourceSetup) -> None:
        self._setup = setup
        self._store = setup.store

    async def before_create(self, exchange: Exchange) -> None:
        """Create the pool if the reply is that it exists; delete it otherwise."""
        if exchange.code == "PoolExists":
            await self.ensure(exchange.body["id"])
        elif exchange.body:
            self.remove(exchange.body["id"])

    def remove(self, pool_id: str) -> None:
        """Remove a pool with its nodes."""
        pool = self._store.pools.get(pool_id)
        if pool is None:
            return
        for node in self._store.nodes.page(pool_id):
            self._store.nodes.delete(node, now())
        if pool.state is not PoolState.DELETING:
            pool = self._store.pools.delete(pool, now())
        self._store.pools.remove(pool)

    async def ensure(self, pool_id: str, shown: Mapping[str, Any] | None = None) -> Pool:
        """Create a pool with the given JSON."""
        shown = shown or {}
        target = PoolState(shown.get("state", "active"))
        found = self._store.pools.get(pool_id)
        if found is not None and found.state is PoolState.DELETING and found.state is not target:
            self.remove(pool_id)
            found = None
        if found is None:
            await self._setup.make(
                ("pools", pool_id), "BatchPoolCreateOptions", _settings(shown), _DEFAULT
            )
        pool = self._there(pool_id)
        if target is PoolState.DELETING and pool.state is not target:
            pool = self._store.pools.delete(pool, now())
        if "allocationState" in shown:
            self._allocate(pool, AllocationState(shown["allocationState"]), shown)
        return self._there(pool_id)

    async def ready(self, pool_id: str, rest: list[str], exchange: Exchange) -> None:
        """Create a pool for an operation on it."""
        if exchange.code == "PoolBeingDeleted":
            await self.ensure(pool_id, {"state": "deleting"})
            return
        pool = await self.ensure(pool_id)
        scaled = rest in (["disableautoscale"], ["evaluateautoscale"])
        if rest in (["resize"], ["removenodes"], ["enableautoscale"]) or scaled:
            self._allocate(pool, AllocationState.STEADY, {})
        if scaled and pool.autoscale is None:
            formula = {"autoScaleFormula": "$TargetDedicatedNodes=0;"}
            await self._setup.send("POST", f"/pools/{pool_id}/enableautoscale", formula)
            self._allocate(self._there(pool_id), AllocationState.STEADY, {})

    async def ensure_node(self, pool_id: str, item: Mapping[str, Any], action: list[str]) -> Node:
        """Create a node with the given JSON, or in the state that ``action`` needs."""
        pool = await self.ensure(pool_id)
        found = self._store.nodes.get(pool_id, item["id"])
        target = NodeState(item["state"])
        if found is not None and found.state is not target:
            self._store.nodes.delete(found, now())
            found = None
        if found is None:
            self._store.nodes.add(
                pool,
                [item["id"]],
                now(),
                dedicated=item.get("isDedicated", True),
                slots=pool.body["taskSlotsPerNode"],
            )
        node = self._node(pool_id, item["id"])
        if found is None:
            for state in _WAY.get(target, (*_UP, target)):
                booted = now() if state is NodeState.STARTING else None
                node = self._store.nodes.update(node, state, now(), booted=booted)
        if "startTaskInfo" in item:
            self._store.nodes.update(node, node.state, now(), start_task_info=item["startTaskInfo"])
        if action in (["disablescheduling"], ["enablescheduling"]):
            other = "enabled" if action == ["disablescheduling"] else "disabled"
            self._store.nodes.set_scheduling(node, other, None)
        if action[:1] == ["users"]:
            users = dict.fromkeys(map(unquote, action[1:]), "9999-01-01T00:00:00Z")
            self._store.nodes.update(node, node.state, now(), detail={"users": users})
        return self._node(pool_id, item["id"])

    def _allocate(self, pool: Pool, target: AllocationState, shown: Mapping[str, Any]) -> None:
        if pool.allocation is AllocationState.STEADY and target is not pool.allocation:
            pool = self._store.pools.resize(
                pool,
                now(),
                target_dedicated=pool.target_dedicated,
                target_spot=pool.target_spot,
                timeout=pool.resize_timeout,
                deallocation=pool.deallocation,
            )
        if target is AllocationState.STOPPING:
            self._store.pools.stop_resize(pool, now())
        elif target is AllocationState.STEADY:
            self._store.pools.complete_resize(pool, now(), tuple(shown.get("resizeErrors", ())))

    def _there(self, pool_id: str) -> Pool:
        pool = self._store.pools.get(pool_id)
        assert pool is not None, pool_id
        return pool

    def _node(self, pool_id: str, node_id: str) -> Node:
        node = self._store.nodes.get(pool_id, node_id)
        assert node is not None, node_id
        return node


def _settings(shown: Mapping[str, Any]) -> dict[str, Any]:
    """The body of a create request for a pool with this JSON."""
    settings = dict(shown)
    if settings.get("enableAutoScale"):
        for name in _TARGETS:
            settings.pop(name, None)
    return settings
