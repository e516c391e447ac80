"""Where the output of failed start and preparation tasks is stored, and the record beside it.

The service stores what tasks write, not what start and preparation tasks write: that is deleted
with the node. The client stores it in the container for logs, as
``_nodes/POOL/NODE/startup/stderr.txt`` with a ``failure.json`` in the folder of the node. Of nodes
that failed alike the output of one is stored; its record counts the others.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from batchspec.spec import Spec

FOLDER = "_nodes"
RECORD = "failure.json"
STARTUP = "startup"
"""The folder of the start task's output on a node."""
PREPARATION = "preparation"
"""The folder here of the preparation task's output; on a node its path has the ids of the job."""
FILES = ("stderr.txt", "stdout.txt")
NAMED = 10
"""How many nodes a record names; the others are counted."""


@dataclass(frozen=True, slots=True)
class NodeFailure:
    """Nodes of a pool on which a task of the node failed alike.

    ``node`` is the one whose output is stored, in ``folder`` of its own folder; ``nodes`` are the
    first of all ``count``. ``exit_code`` and ``message`` are the service's about that node.
    """

    pool: str
    node: str
    folder: str
    state: str
    exit_code: int | None = None
    message: str = ""
    nodes: tuple[str, ...] = ()
    count: int = 1

    @property
    def path(self) -> str:
        """The blob folder of its output and record, with a slash at the end."""
        return f"{pool_folder(self.pool)}{self.node}/{self.folder}/"


def pool_folder(pool: str) -> str:
    """The blob folder of a pool, with a slash at the end."""
    return f"{FOLDER}/{pool}/"


def node_logs_container(spec: Spec) -> str | None:
    """The container in which the output of nodes is stored; ``None`` if the spec keeps no logs."""
    kept = (spec.container_id(stage.logs) for stage in spec.stages if stage.logs)
    return next(kept, None)


def record_text(failure: NodeFailure) -> str:
    """A record as JSON."""
    return json.dumps({"version": 1, **asdict(failure)}, indent=1) + "\n"


def read_record(text: str) -> NodeFailure | None:
    """The failure that a record is about; ``None`` if this version cannot read it."""
    try:
        row = json.loads(text)
    except ValueError:
        return None
    if not isinstance(row, Mapping) or row.get("version") != 1:
        return None
    return _failure(row)


def _failure(row: Mapping[str, Any]) -> NodeFailure | None:
    pool, node, folder, state = (row.get(name) for name in ("pool", "node", "folder", "state"))
    if not (pool and node and folder and state):
        return None
    nodes, code, count = row.get("nodes"), row.get("exit_code"), row.get("count")
    return NodeFailure(
        str(pool),
        str(node),
        str(folder),
        str(state),
        code if isinstance(code, int) else None,
        str(row.get("message", "")),
        tuple(map(str, nodes)) if isinstance(nodes, list) else (str(node),),
        count if isinstance(count, int) else 1,
    )
