"""Where things stand in a spec, by their paths: for what is found out after it was read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from batchspec.problems import Place
from batchspec.spec.node import Node

_DEPTH = 4
"""``tasks.STAGE.constraints.max_wall_clock_time`` is as deep as anybody points."""


def places(root: Node) -> Mapping[str, Place]:
    """The place of every key of a spec as written, by its dotted path: ``pool.vm_size``.

    Keys within lists have none.
    """
    return dict(_places(root, "", _DEPTH))


def _places(node: Node, path: str, depth: int) -> Iterator[tuple[str, Place]]:
    for key, member in node.members.items():
        name = f"{path}{key}"
        yield name, member.at
        if depth > 1:
            yield from _places(member, f"{name}.", depth - 1)
