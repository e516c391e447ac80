"""What counts cannot settle, by lists: the service's counts may lag behind, its lists do not.

Evidence: the descriptions of Job_GetTaskCounts and Account_ListPoolNodeCounts ("may not always be
up to date. If you need exact ... counts, use a list query"). Counts are for watching; what ends a
wait for good is looked up here.
"""

from __future__ import annotations

from batchspec.apply.ports import Batch, TaskCounts


async def any_left(batch: Batch, job: str) -> bool:
    """Whether a task of the job waits or runs.

    What runs is looked at last: a task may have started since those that wait were listed.
    """
    async for _ in batch.waiting_tasks(job):
        return True
    return await batch.runs_any(job)


async def final_counts(
    batch: Batch, job: str, counts: TaskCounts, tasks: int, *, superseded: int = 0
) -> TaskCounts:
    """The counts of a job whose tasks are all completed; there should be ``tasks`` of them.

    ``superseded`` succeeded tasks more are in the job, and are not counted.
    """
    total = counts.total
    if counts.completed < max(total, tasks):
        total = sum([1 async for _ in batch.task_ids(job)]) - superseded
    elif not counts.failed:
        return counts
    failed = sum([1 async for _ in batch.failed_tasks(job)])
    return TaskCounts(0, 0, total - failed, failed)
