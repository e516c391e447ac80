"""``$expand=stats``: resource usage from the records of the store.

The usage of a process is known after it has ended. Bytes are those of disks. The number of I/O
operations is not measured and reported as zero (``docs/compatibility.md``).
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from batchspec.local.api.resources import Context
from batchspec.local.model import NO_USAGE, Job, Pool, Schedule, Task, Usage
from batchspec.local.wire import write_duration, write_time

_GIB = 1 << 30


def job_stats(context: Context, job: Job, now: datetime) -> dict[str, Any]:
    """``stats`` of a job: sums over its tasks."""
    use = context.store.tasks.use_of_job(job.id, now)
    counts = context.store.jobs.counts(job.id).tasks
    return {
        "stats": {
            "url": f"{context.base_url}/jobs/{job.id}",
            "startTime": write_time(job.created),
            "lastUpdateTime": write_time(now),
            **_used(use.usage),
            "numTaskRetries": str(use.retries),
            "numSucceededTasks": str(counts.succeeded),
            "numFailedTasks": str(counts.failed),
            "waitTime": _duration(use.waiting),
        }
    }


def schedule_stats(context: Context, schedule: Schedule, now: datetime) -> dict[str, Any]:
    """``stats`` of a job schedule: sums over its existing jobs."""
    jobs = context.store.jobs.of_schedule(schedule.id, completed=True)
    uses = [context.store.tasks.use_of_job(job.id, now) for job in jobs]
    counts = [context.store.jobs.counts(job.id).tasks for job in jobs]
    return {
        "stats": {
            "url": f"{context.base_url}/jobschedules/{schedule.id}",
            "startTime": write_time(schedule.created),
            "lastUpdateTime": write_time(now),
            **_used(sum((use.usage for use in uses), NO_USAGE)),
            "numTaskRetries": str(sum(use.retries for use in uses)),
            "numSucceededTasks": str(sum(count.succeeded for count in counts)),
            "numFailedTasks": str(sum(count.failed for count in counts)),
            "waitTime": _duration(sum((use.waiting for use in uses), timedelta())),
        }
    }


def task_stats(context: Context, task: Task, now: datetime) -> dict[str, Any]:
    """``stats`` of a task; empty if it has not run."""
    if task.started is None:
        return {}
    use = context.store.tasks.use_of_task(task, now)
    return {
        "stats": {
            "url": f"{context.base_url}/jobs/{task.job_id}/tasks/{task.id}",
            "startTime": write_time(task.started),
            "lastUpdateTime": write_time(now),
            **_used(use.usage),
            "waitTime": _duration(use.waiting),
        }
    }


def pool_stats(context: Context, pool: Pool, now: datetime) -> dict[str, Any]:
    """``stats`` of a pool. Core time counts the current nodes with one core each."""
    alive = sum(
        (now - node.allocated for node in context.store.nodes.page(pool.id) if node.dedicated),
        timedelta(),
    )
    span = {"startTime": write_time(pool.created), "lastUpdateTime": write_time(now)}
    return {
        "stats": {
            "url": f"{context.base_url}/pools/{pool.id}",
            **span,
            "usageStats": {**span, "dedicatedCoreTime": _duration(alive)},
        }
    }


def _used(usage: Usage) -> dict[str, Any]:
    return {
        "userCPUTime": _duration(usage.user),
        "kernelCPUTime": _duration(usage.kernel),
        "wallClockTime": _duration(usage.running),
        "readIOps": "0",
        "writeIOps": "0",
        "readIOGiB": usage.read / _GIB,
        "writeIOGiB": usage.written / _GIB,
    }


def _duration(span: timedelta) -> str:
    return write_duration(max(span, timedelta()) // timedelta(microseconds=1) * 10)
