"""A tree without short forms: everything under the SDK's names that has one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from batchspec.spec.expand_job import ends_job, expanded_job
from batchspec.spec.expand_pool import expanded_pool
from batchspec.spec.expand_stage import expanded_stage
from batchspec.spec.for_each import text
from batchspec.spec.node import Node, made
from batchspec.spec.prepared import LOGS_KEY, Prepared, logs_container
from batchspec.spec.values import Value


@dataclass(frozen=True, slots=True)
class Expanded:
    """A spec spelled out; the members are those of :class:`Prepared`."""

    root: Node
    name: str
    parameters: Mapping[str, Value]
    windows: bool
    implied: str | None


def expanded(ready: Prepared) -> Expanded:
    """Spell out every short form of a spec without faults."""
    root = ready.root
    containers = _containers(ready)
    ids = {key: _id(key, node) for key, node in containers.members.items()}
    pool, tasks = root.members["pool"], root.get("tasks")
    ends = ends_job(root.members["job"])
    stages = {
        name: expanded_stage(_with_logs(node), ids, windows=ready.windows, ends_job=ends)
        for name, node in (tasks.members if tasks else {}).items()
    }
    depends = any(node.get("needs") or node.get("depends_on") for node in stages.values())
    members = {
        **root.members,
        "containers": containers,
        "pool": pool if pool.get("existing") else _named(expanded_pool(pool), ready.name),
        "job": _named(expanded_job(root.members["job"], depends=depends), ready.name),
    }
    if tasks is not None:
        members["tasks"] = replace(tasks, value=stages)
    return Expanded(
        replace(root, value=members), ready.name, ready.parameters, ready.windows, ready.implied
    )


def _named(node: Node, name: str) -> Node:
    """A pool or job with its id; that of an auto pool is the service's to make."""
    if node.get("id") is not None or node.get("lifetime") is not None:
        return node
    return replace(node, value={"id": made(name, node), **node.members})


def _containers(ready: Prepared) -> Node:
    given = ready.root.get("containers") or made({}, ready.root)
    if ready.implied is None:
        return given
    implied = made({"id": logs_container(ready.name)}, ready.root.members["tasks"])
    return given.with_(**{ready.implied: implied})


def _id(key: str, node: Node) -> str:
    return text(node.members["id"]) if "id" in node.members else key


def _with_logs(stage: Node) -> Node:
    """The stage with the container of its logs named, or without logs."""
    logs = stage.get("logs")
    if logs is not None and logs.members:
        return stage
    if logs is not None and logs.value is False:
        return stage
    return stage.with_(logs=made({"container": LOGS_KEY}, logs or stage))
