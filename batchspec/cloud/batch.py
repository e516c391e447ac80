"""The Batch account as one object: pools, jobs, tasks and files together."""

from __future__ import annotations

from batchspec.cloud.files import Files
from batchspec.cloud.jobs import Jobs
from batchspec.cloud.pools import Pools
from batchspec.cloud.tasks import Tasks
from batchspec.cloud.usage import Counting


class BatchService(Pools, Jobs, Tasks, Files, Counting):
    """A Batch account. Implements :class:`batchspec.apply.ports.Batch`."""

    __slots__ = ()
