"""Where nodes are: their directories in the data folder and their addresses.

Paths are made of ids and addresses of numbers; nothing here touches a disk.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from pathlib import Path

NODE_DIRECTORIES = ("applications", "fsmounts", "shared", "startup", "volatile", "workitems")
"""The directories at the root of a node."""


@lru_cache(maxsize=1024)  # called several times a task
def node_root(data: Path, pool_id: str, node_id: str) -> Path:
    """The root directory of a node (``AZ_BATCH_NODE_ROOT_DIR``)."""
    return data / "nodes" / pool_id.lower() / node_id.lower()


def node_address(seq: int) -> str:
    """The address of the node with this ``seq``: a separate loopback address.

    Only Linux accepts all of 127.0.0.0/8 as local; on other systems all nodes have one address.
    """
    if sys.platform != "linux":
        return "127.0.0.1"
    high, low = divmod(seq, 1 << 8)
    return f"127.{1 + (high >> 8) % 254}.{high % 256}.{low}"


PREPARATION, RELEASE = "jobpreparation", "jobrelease"
"""The default ids of a job's preparation task and release task."""


def task_directory(job_id: str, task_id: str) -> str:
    """A task's directory, relative to its node's root.

    The job ``schedule:job-n`` of a job schedule is in ``workitems/schedule/job-n``; any other job
    is in ``workitems/job/job-1``.
    """
    schedule, colon, job = job_id.partition(":")
    return f"workitems/{schedule}/{job if colon else 'job-1'}/{task_id}"
