"""What of a pool, a job, a schedule or a task can be changed once it is there, and how: one table.

Its source is what the service documents of its update requests, as the SDK repeats it (azure-batch
15.1: the docstrings of ``BatchPoolUpdateOptions``, ``BatchJobUpdateOptions`` and
``BatchJobScheduleUpdateOptions``; the reference of resize, enableautoscale and Update Task). Data
alone: what a plan makes of it is said in ``pool_change.py`` and ``job_change.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class How(StrEnum):
    """How a property is changed. The later ones cost more than the earlier."""

    NOW = "now"
    """By an update; it takes effect at once."""
    SIZE = "size"
    """By a resize, or by turning automatic scaling on or off."""
    NEXT = "next"
    """It cannot be changed, and is not worth ending a job for: the next one has it."""
    REBOOT = "reboot"
    """By an update; nodes that join have it, the others once they were restarted."""
    EMPTY = "empty"
    """By an update while the pool has no node; otherwise another has to be made."""
    REPLACE = "replace"
    """Another has to be made."""


POOL: Mapping[str, How] = {
    "id": How.REPLACE,
    "displayName": How.EMPTY,
    "vmSize": How.EMPTY,
    "virtualMachineConfiguration": How.EMPTY,
    "resizeTimeout": How.SIZE,
    "targetDedicatedNodes": How.SIZE,
    "targetLowPriorityNodes": How.SIZE,
    "enableAutoScale": How.SIZE,
    "autoScaleFormula": How.SIZE,
    "autoScaleEvaluationInterval": How.SIZE,
    "enableInterNodeCommunication": How.EMPTY,
    "networkConfiguration": How.EMPTY,
    "startTask": How.REBOOT,
    "applicationPackageReferences": How.REBOOT,
    "taskSlotsPerNode": How.EMPTY,
    "taskSchedulingPolicy": How.EMPTY,
    "userAccounts": How.EMPTY,
    "metadata": How.NOW,
    "mountConfiguration": How.EMPTY,
    "upgradePolicy": How.EMPTY,
}
"""Of a pool. "This field can be updated only when the pool is empty" is :attr:`How.EMPTY`."""

JOB: Mapping[str, How] = {
    "id": How.REPLACE,
    "displayName": How.NEXT,
    "priority": How.NOW,
    "allowTaskPreemption": How.NOW,
    "maxParallelTasks": How.NOW,
    "usesTaskDependencies": How.REPLACE,
    "constraints": How.NOW,
    "jobManagerTask": How.REPLACE,
    "jobPreparationTask": How.REPLACE,
    "jobReleaseTask": How.REPLACE,
    "commonEnvironmentSettings": How.REPLACE,
    "poolInfo": How.REPLACE,
    "onAllTasksComplete": How.NOW,
    "onTaskFailure": How.REPLACE,
    "metadata": How.NOW,
    "networkConfiguration": How.NOW,
}
"""Of a job. ``poolInfo`` could be changed while the job is disabled, which would stop its tasks;
``onAllTasksComplete`` goes from ``noaction`` to ``terminatejob`` and not back."""

SCHEDULE: Mapping[str, How] = {
    "id": How.REPLACE,
    "displayName": How.NEXT,
    "schedule": How.NOW,
    "jobSpecification": How.NOW,
    "metadata": How.NOW,
}
"""Of a job schedule. What is changed holds for the jobs that start afterwards."""

TASK: Mapping[str, How] = {"constraints": How.NEXT}
"""Of a task, and nothing else: its id says what it computes, so that other work is another task.

Update Task takes ``constraints`` of a task that has not ended. A task that is in the job keeps the
limits it was added with all the same: to look whether they are the same would mean to read every
task in full.
"""
