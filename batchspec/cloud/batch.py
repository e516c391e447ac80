"""The Batch account as one object: pools, jobs, schedules, tasks and files together."""

from __future__ import annotations

from batchspec.cloud.files import Files
from batchspec.cloud.jobs import Jobs
from batchspec.cloud.pools import Pools
from batchspec.cloud.schedules import Schedules
from batchspec.cloud.tasks import Tasks
from batchspec.cloud.usage import Counting


class BatchService(Pools, Jobs, Schedules, Tasks, Files, Counting):
    """A Batch account. Implements :class:`batchspec.apply.ports.Batch`."""

    __slots__ = ()
