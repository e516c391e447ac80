"""Stores what failed start tasks wrote, before the nodes and their files are deleted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from batchspec.apply.events import Emit, Noticed
from batchspec.plan.failure_signature import signature
from batchspec.plan.node_logs import (
    FILES,
    NAMED,
    RECORD,
    STARTUP,
    NodeFailure,
    pool_folder,
    record_text,
)
from batchspec.problems import Problem, ServiceError, Severity, redact

if TYPE_CHECKING:
    from batchspec.apply.ports import NodeFacts, World

_TAIL = 64 * 1024
"""Bytes that are stored of a file: its end."""
_READ = 50
"""How many nodes are read from; further ones are not looked at."""
_STORED = 10
"""How many different failures are stored; further ones are not."""


@dataclass(slots=True)
class NodeLogs:
    """What this run has stored of the nodes of each pool, by what the failures have in common.

    ``container`` is the one for logs; ``None`` where the spec keeps none.
    """

    container: str | None = None
    stored: dict[tuple[str, ...], NodeFailure] = field(default_factory=dict)
    seen: set[tuple[str, str]] = field(default_factory=set)
    refused: bool = False


async def keep_node_output(pool: str, world: World, emit: Emit) -> None:
    """Store the output of the failed start tasks of a pool, once for nodes that failed alike.

    To be called when nodes are known to have failed, and before their pool is deleted or its nodes
    restart; nodes that were read are not read again. A failure to store is a warning, once in a
    run.
    """
    logs = world.node_logs
    if logs.container is None or logs.refused:
        return
    try:
        async for node in world.batch.unwell_nodes(pool):
            if len(logs.seen) >= _READ:
                break
            if (pool, node.id) not in logs.seen:
                logs.seen.add((pool, node.id))
                await _keep(pool, node, logs.container, world)
    except ServiceError as error:
        if error.status == 404:
            # The pool is gone, or clean-up has taken the container: there is nothing to keep.
            return
        logs.refused = True
        emit(Noticed(_not_kept(pool, error)))


async def forget_node_output(pool: str, world: World, emit: Emit) -> None:
    """Delete what was stored of a pool, before it is created again or its nodes restart."""
    logs = world.node_logs
    if logs.container is None:
        return
    logs.seen = {pair for pair in logs.seen if pair[0] != pool}
    logs.stored = {key: failure for key, failure in logs.stored.items() if failure.pool != pool}
    try:
        async for blob in world.storage.blobs(logs.container, pool_folder(pool)):
            await world.storage.delete_blob(logs.container, blob.name)
    except ServiceError as error:
        emit(Noticed(_not_deleted(logs.container, pool, error)))


async def _keep(pool: str, node: NodeFacts, container: str, world: World) -> None:
    logs = world.node_logs
    files: Mapping[str, str] = {
        name: await _read(world, pool, node.id, f"{STARTUP}/{name}") for name in FILES
    }
    words = files[FILES[0]] or node.message
    key = (pool, node.state.lower(), str(node.exit_code), signature(words, pool, node.id))
    known = logs.stored.get(key)
    if known is not None:
        names = (*known.nodes, node.id)[:NAMED]
        failure = replace(known, nodes=names, count=known.count + 1)
    elif len(logs.stored) < _STORED:
        failure = NodeFailure(
            pool,
            node.id,
            STARTUP,
            node.state,
            node.exit_code,
            redact(node.message),
            (node.id,),
        )
        for name, text in files.items():
            await world.storage.put(container, f"{failure.path}{name}", redact(text).encode())
    else:
        return
    logs.stored[key] = failure
    # Last, so that what a record names is there.
    await world.storage.put(container, f"{failure.path}{RECORD}", record_text(failure).encode())


async def _read(world: World, pool: str, node: str, path: str) -> str:
    """The end of a file of a node; empty if it cannot be read: the node is not well."""
    try:
        return await world.batch.node_file_tail(pool, node, path, _TAIL)
    except ServiceError:
        return ""


def _not_kept(pool: str, error: ServiceError) -> Problem:
    return Problem(
        "node-output-not-stored",
        f"the output of failed start tasks of the pool {pool!r} was not stored",
        detail=error.problems[0].summary,
        hint="It is on the nodes for as long as the pool exists.",
        severity=Severity.WARNING,
    )


def _not_deleted(container: str, pool: str, error: ServiceError) -> Problem:
    return Problem(
        "node-output-not-deleted",
        f"the output of earlier start tasks of the pool {pool!r} was not deleted",
        detail=error.problems[0].summary,
        hint=f"Until it is deleted, `batchspec failures` shows it: container {container}, "
        f"folder {pool_folder(pool)}",
        severity=Severity.WARNING,
    )
