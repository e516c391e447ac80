"""Where nodes are: their directories in the data folder, what lies in those, their addresses.

What lives here: paths made of ids, addresses made of numbers. What may not: anything that touches a
disk.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from pathlib import Path

NODE_DIRECTORIES = ("applications", "fsmounts", "shared", "startup", "volatile", "workitems")
"""The directories at the root of a node."""


@lru_cache(maxsize=1024)  # asked for many times a task, and made of several paths
def node_root(data: Path, pool_id: str, node_id: str) -> Path:
    """The root directory of a node (``AZ_BATCH_NODE_ROOT_DIR``)."""
    return data / "nodes" / pool_id.lower() / node_id.lower()


def node_address(seq: int) -> str:
    """The address of the node of that ``seq``: a loopback address of its own.

    Only Linux takes all of 127.0.0.0/8 for its own; elsewhere all nodes have one address.
    """
    if sys.platform != "linux":
        return "127.0.0.1"
    high, low = divmod(seq, 1 << 8)
    return f"127.{1 + (high >> 8) % 254}.{high % 256}.{low}"


PREPARATION, RELEASE = "jobpreparation", "jobrelease"
"""The ids of a job's preparation and release task, unless the job names them."""


def task_directory(job_id: str, task_id: str) -> str:
    """A task's directory, relative to its node's root.

    A job of a schedule is called ``schedule:job-n`` and lies in ``workitems/schedule/job-n``; any
    other lies in ``workitems/job/job-1``.
    """
    schedule, colon, job = job_id.partition(":")
    return f"workitems/{schedule}/{job if colon else 'job-1'}/{task_id}"
