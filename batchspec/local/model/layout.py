"""Where things lie on the disk of a node, and where the nodes lie in the data folder.

What lives here: paths made of ids. What may not: anything that touches a disk.
"""

from __future__ import annotations

from pathlib import Path

NODE_DIRECTORIES = ("applications", "fsmounts", "shared", "startup", "volatile", "workitems")
"""The directories at the root of a node."""


def node_root(data: Path, pool_id: str, node_id: str) -> Path:
    """The root directory of a node (``AZ_BATCH_NODE_ROOT_DIR``)."""
    return data / "nodes" / pool_id.lower() / node_id.lower()


PREPARATION, RELEASE = "jobpreparation", "jobrelease"
"""The ids of a job's preparation and release task, unless the job names them."""


def task_directory(job_id: str, task_id: str) -> str:
    """A task's directory, relative to its node's root.

    A job of a schedule is called ``schedule:job-n`` and lies in ``workitems/schedule/job-n``; any
    other lies in ``workitems/job/job-1``.
    """
    schedule, colon, job = job_id.partition(":")
    return f"workitems/{schedule}/{job if colon else 'job-1'}/{task_id}"
