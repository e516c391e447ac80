"""Multi-instance tasks: which pools can run them, and what their members see.

Pure. Evidence: the page "Use multi-instance tasks to run MPI applications" for where they run, and
"Azure Batch runtime environment variables" for what they see.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from batchspec.local.agent.launch import Gang, Member
from batchspec.local.model.layout import node_address
from batchspec.local.model.record import Node, Pool, Task

SETTINGS = "multiInstanceSettings"
_PORT = 6000
"""Of ``AZ_BATCH_MASTER_NODE``: the one in the reference, where nothing listens here either."""


def instances(task: Task) -> int:
    """On how many nodes a task runs at once; 0 if it is no multi-instance task."""
    settings = task.body.get(SETTINGS)
    return 0 if settings is None else int(settings["numberOfInstances"])


def takes_gangs(pool: Pool) -> bool:
    """Whether multi-instance tasks run in a pool; in any other they stay active for ever."""
    together: bool = pool.body["enableInterNodeCommunication"]
    return together and pool.body["taskSlotsPerNode"] == 1


def gang_variables(nodes: Sequence[Node], at: int, shared: Path, cores: int) -> dict[str, str]:
    """What the member on ``nodes[at]`` sees; the first is the master.

    ``shared`` is the one directory that all members see.
    """
    addresses = [node_address(node.seq) for node in nodes]
    with_cores = [f"{address} {cores}" for address in addresses]
    return {
        "AZ_BATCH_NODE_LIST": ";".join(addresses),
        "AZ_BATCH_HOST_LIST": ",".join(addresses),
        "AZ_BATCH_MASTER_NODE": f"{addresses[0]}:{_PORT}",
        "AZ_BATCH_IS_CURRENT_NODE_MASTER": "false" if at else "true",
        "AZ_BATCH_TASK_SHARED_DIR": str(shared),
        "CCP_NODES": f"{len(nodes)} {' '.join(with_cores)}",
    }


def gang_of(task: Task, members: Sequence[Member]) -> Gang:
    """The gang of a multi-instance task."""
    settings = task.body[SETTINGS]
    return Gang(
        settings["coordinationCommandLine"],
        tuple(settings.get("commonResourceFiles", ())),
        tuple(members),
    )
