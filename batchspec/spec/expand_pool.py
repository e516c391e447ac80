"""The short forms of the pool, spelled out with the names of the SDK."""

from __future__ import annotations

from datetime import timedelta

from batchspec.spec.autoscale import INTERVAL, scale_formula
from batchspec.spec.expand_task import expanded_task
from batchspec.spec.node import Node, made
from batchspec.spec.units import duration, iso

_IDLE = timedelta(minutes=15)


def expanded_pool(pool: Node) -> Node:
    """The pool with the names of the SDK; ``image`` stays, since only the account can tell it."""
    members: dict[str, Node | None] = {"nodes": None, "container_images": None}
    if (nodes := pool.get("nodes")) is not None:
        members |= _nodes(nodes, slots=number(pool, "task_slots_per_node", 1))
    images = pool.get("container_images")
    machine = pool.get("virtual_machine_configuration")
    containers = machine.get("container_configuration") if machine is not None else None
    if (origin := images or containers) is not None:
        containers = containers or made({}, origin)
        machine = machine or made({}, origin)
        kind = containers.get("type") or made("dockerCompatible", origin)
        images = images or containers.get("container_image_names")
        containers = containers.with_(type=kind, container_image_names=images)
        members["virtual_machine_configuration"] = machine.with_(container_configuration=containers)
    if (start := pool.get("start_task")) is not None:
        members["start_task"] = expanded_task(start)
    return pool.with_(**members)


def number(node: Node, key: str, default: int) -> int:
    """A whole number of a mapping, or the default where it is not there."""
    found = node.get(key)
    return found.value if found is not None and isinstance(found.value, int) else default


def _nodes(nodes: Node, *, slots: int) -> dict[str, Node | None]:
    if isinstance(nodes.value, int):
        return {"target_dedicated_nodes": nodes}
    if (own := nodes.get("autoscale")) is not None:
        return {
            "enable_auto_scale": made(True, own),
            "auto_scale_formula": own.get("formula"),
            "auto_scale_evaluation_interval": own.get("interval"),
        }
    if (scale := nodes.get("scale")) is not None:
        return {
            "enable_auto_scale": made(True, scale),
            "auto_scale_formula": made(_formula(scale, slots), scale),
            "auto_scale_evaluation_interval": made(iso(INTERVAL), scale),
        }
    return {
        "target_dedicated_nodes": nodes.get("dedicated"),
        "target_low_priority_nodes": nodes.get("spot"),
    }


def _formula(scale: Node, slots: int) -> str:
    least = number(scale, "min", 0)
    given = scale.get("idle")
    idle = duration(given.text or "") if given is not None else _IDLE
    return scale_formula(
        least=least,
        most=max(least, number(scale, "max", 0)),
        most_spot=number(scale, "spot_max", 0),
        idle=idle or _IDLE,
        slots=slots,
    )
