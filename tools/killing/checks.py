"""Checks that all acknowledged state exists and that each task ran as it may."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from azure.batch import BatchClient, models

from killing.writers import Job, Writer

PATIENCE = 120.0
_TASK_COMPLETED = models.BatchTaskState.COMPLETED
_JOB_COMPLETED = models.BatchJobState.COMPLETED
_CLOSED = models.BatchAllTasksCompleteMode.TERMINATE_JOB


def check(client: BatchClient, writers: Sequence[Writer]) -> list[str]:
    """Everything acknowledged that differs from its acknowledged state."""
    wrong = []
    for writer in writers:
        wrong += writer.wrong
        if (fault := writer.pool_stamp.fault(client.get_pool(writer.pool).metadata)) is not None:
            wrong.append(f"{writer.pool}: {fault}")
        for job in writer.jobs:
            wrong += [f"{job.id}: {what}" for what in _faults_of(client, job)]
    return wrong


def _faults_of(client: BatchClient, job: Job) -> list[str]:
    wrong = []
    shown = client.get_job(job.id)
    if (fault := job.stamp.fault(shown.metadata)) is not None:
        wrong.append(fault)
    if job.closed and shown.all_tasks_complete_mode != _CLOSED:
        wrong.append("it is not closed")
    columns = ["id", "state", "executionInfo"]
    tasks = {task.id: task for task in client.list_tasks(job.id, select=columns)}
    if lost := job.must - tasks.keys():
        wrong.append(f"lost {sorted(lost)}")
    if back := tasks.keys() - job.may:
        wrong.append(f"deleted, and back: {sorted(back)}")
    job.tasks |= tasks.keys()
    for task_id, task in tasks.items():
        if task.state == _TASK_COMPLETED:
            result = _end_of(task)
            if job.seen.setdefault(task_id, result) != result:
                wrong.append(f"{task_id} was {job.seen[task_id]}, and is {result}")
    wrong += [
        f"{task_id} was completed, and is {tasks[task_id].state}"
        for task_id in job.seen.keys() & tasks.keys()
        if tasks[task_id].state != _TASK_COMPLETED
    ]
    return wrong


def _end_of(task: models.BatchTask) -> tuple[object, ...]:
    info = task.execution_info
    return (info.exit_code, info.end_time) if info else ()


def check_end(client: BatchClient, writers: Sequence[Writer], folder: Path) -> list[str]:
    """Wait for all jobs to end; return every difference."""
    jobs = [job for writer in writers for job in writer.jobs]
    for writer in writers:
        writer.finish(client)
    end = time.monotonic() + PATIENCE
    while any(client.get_job(job.id).state != _JOB_COMPLETED for job in jobs if job.tasks):
        if time.monotonic() > end:
            return [f"jobs have not ended after {PATIENCE:.0f} s"]
        time.sleep(0.05)
    wrong = check(client, writers)
    for job in jobs:
        for task in client.list_tasks(job.id):
            name, info = f"{job.id}.{task.id}", task.execution_info
            if task.state != _TASK_COMPLETED or info is None or info.exit_code != 0:
                wrong.append(f"{name} is {task.state}, {_end_of(task)}")
                continue
            lines = (folder / "marks" / name).read_text().split()
            begun = lines.count("begin")
            if not lines.count("end") or begun > 1 + (info.requeue_count or 0):
                wrong.append(f"{name} began {begun} times, was requeued {info.requeue_count} times")
    twice = folder / "twice"
    if twice.exists():
        wrong.append(f"twice at the same time: {twice.read_text().split()}")
    return wrong
