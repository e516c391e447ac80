"""Whether all that is left of a job waits for tasks that failed.

The service holds a task back until all that it depends on has succeeded, or failed in a way that
satisfies it. Of one that cannot start any more it says nothing: it stays ``active`` to the job's
limit, and its nodes idle, and cost, that long. So the question is asked here.
"""

from __future__ import annotations

from batchspec.apply.ports import Batch, TaskWaiting


async def all_blocked(batch: Batch, job: str) -> bool:
    """Whether no task of the job runs, and none of those that wait can ever start.

    Only ids are held. Counts are not relied on, since the service's may lag behind; and what runs
    is looked at last, for a task may have started since the lists of the others were read.
    """
    failed = {task.lower() async for task in batch.blocking_tasks(job)}
    if not failed:
        return False
    blocked: set[str] = set()
    while True:
        before = len(blocked)
        free = 0
        async for task in batch.waiting_tasks(job):
            if not task.needs and not task.ranges:
                return False
            name = task.id.lower()
            if name in blocked:
                continue
            if _needs_one_of(task, failed) or _needs_one_of(task, blocked):
                blocked.add(name)
            else:
                # What it waits for may turn out to be blocked itself.
                free += 1
        if not free:
            return bool(blocked) and not await batch.runs_any(job)
        if len(blocked) == before:
            return False


def _needs_one_of(task: TaskWaiting, ids: set[str]) -> bool:
    if any(name.lower() in ids for name in task.needs):
        return True
    # A range is of ids that are numbers, leading zeros or not.
    numbers = (int(name) for name in ids if name.isdecimal()) if task.ranges else ()
    return any(first <= number <= last for number in numbers for first, last in task.ranges)
