"""Clients that write and record what was acknowledged.

Here: requests and their outcome, which is acknowledged or unknown. Not here: reading anything back
to check it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from azure.batch import BatchClient, models
from azure.core.exceptions import AzureError, DecodeError, HttpResponseError

TASKS_IN_A_JOB = 60
TASKS_AT_ONCE = 12


@dataclass(slots=True)
class Stamp:
    """An increasing number in metadata: the last acknowledged and the last sent."""

    acknowledged: int = 0
    tried: int = 0

    def item(self) -> models.BatchMetadataItem:
        """The next number to write."""
        self.tried += 1
        return models.BatchMetadataItem(name="stamp", value=str(self.tried))

    def fault(self, shown: Sequence[models.BatchMetadataItem] | None) -> str | None:
        """The difference of the number that is ``shown``; it stays once found."""
        found = int(shown[0].value) if shown else 0
        if not self.acknowledged <= found <= self.tried:
            return f"stamp {found}: of {self.tried}, {self.acknowledged} was acknowledged"
        self.acknowledged = found
        return None


@dataclass(slots=True)
class Job:
    """The acknowledged state of a job; ``tried`` also contains changes with unknown outcome."""

    id: str
    stamp: Stamp = field(default_factory=Stamp)
    tasks: set[str] = field(default_factory=set)
    tasks_tried: set[str] = field(default_factory=set)
    gone: set[str] = field(default_factory=set)
    gone_tried: set[str] = field(default_factory=set)
    closed: bool = False
    seen: dict[str, tuple[object, ...]] = field(default_factory=dict)

    @property
    def must(self) -> set[str]:
        """The tasks that must exist."""
        return self.tasks - self.gone_tried

    @property
    def may(self) -> set[str]:
        """The tasks that can exist."""
        return self.tasks_tried - self.gone


class Writer:
    """A client that records its acknowledged writes and uses separate jobs."""

    def __init__(self, name: str, folder: Path, chance: random.Random) -> None:
        self.name = name
        self.pool = f"pool-{name}"
        self.pool_stamp = Stamp()
        self.jobs: list[Job] = []
        self.wrong: list[str] = []
        self.writes = 0
        self._folder = folder
        self._chance = chance
        self._client: BatchClient

    def work(self, client: BatchClient) -> None:
        """Write until the service no longer answers."""
        self._client = client
        while self._step():
            pass

    def finish(self, client: BatchClient) -> None:
        """Let all jobs end with their tasks."""
        self._client = client
        for job in self.jobs:
            if not job.closed:
                self._close(job)

    def _step(self) -> bool:
        job = self.jobs[-1] if self.jobs else None
        if job is None or job.closed:
            return self._open()
        if len(job.tasks_tried) >= TASKS_IN_A_JOB:
            return self._close(job)
        match self._chance.choices("adps", (5, 1, 2, 1))[0]:
            case "a" if self._unfinished(job) < TASKS_AT_ONCE:
                return self._add(job)
            case "d" if job.must:
                return self._delete(job, self._chance.choice(sorted(job.must)))
            case "s":
                return self._stamp_pool()
            case _:
                return self._stamp(job)

    def _ask(self, call: Callable[[], object]) -> bool:
        """Send a request; return whether it was acknowledged. A refusal is a failure."""
        try:
            call()
        except HttpResponseError as error:
            if error.status_code and not isinstance(error, DecodeError):
                self.wrong.append(f"{self.name}: {error.message.splitlines()[0]}")
            return False
        except AzureError:  # no answer: the outcome is unknown
            return False
        self.writes += 1
        return True

    def _open(self) -> bool:
        # An id with unknown outcome may exist: the next id is another.
        job = Job(f"{self.name}-{self._chance.randrange(10**9)}")
        pool = models.BatchPoolInfo(pool_id=self.pool)
        asked = models.BatchJobCreateOptions(id=job.id, pool_info=pool)
        if not self._ask(lambda: self._client.create_job(asked)):
            return False
        self.jobs.append(job)
        return True

    def _close(self, job: Job) -> bool:
        when = models.BatchAllTasksCompleteMode.TERMINATE_JOB
        asked = models.BatchJobUpdateOptions(all_tasks_complete_mode=when)
        job.closed = self._ask(lambda: self._client.update_job(job.id, asked))
        return job.closed

    def _add(self, job: Job) -> bool:
        count = self._chance.choice((1, 1, 5, 10))
        ids = [f"t{len(job.tasks_tried) + n}" for n in range(count)]
        job.tasks_tried.update(ids)
        tasks = [self._task(job, task_id) for task_id in ids]
        if count == 1:
            done = self._ask(lambda: self._client.create_task(job.id, tasks[0]))
        else:
            group = models.BatchTaskGroup(task_values=tasks)
            done = self._ask(lambda: self._client.create_task_collection(job.id, group))
        job.tasks.update(ids if done else ())
        return done

    def _task(self, job: Job, task_id: str) -> models.BatchTaskCreateOptions:
        script, marks = self._folder / "task.sh", self._folder / "marks"
        mark, twice = marks / f"{job.id}.{task_id}", self._folder / "twice"
        kind = self._chance.choice(("ends", "stays"))
        # Some would outlive the start of the next service if it did not end them.
        seconds = 2.0 if self._chance.random() < 0.05 else self._chance.uniform(0, 0.1)
        line = f"/bin/sh {script} {mark} {twice} {kind} {seconds:.3f}"
        bare = "/usr/bin/env -i " if self._chance.random() < 0.3 else ""
        return models.BatchTaskCreateOptions(id=task_id, command_line=bare + line)

    def _delete(self, job: Job, task_id: str) -> bool:
        job.gone_tried.add(task_id)
        done = self._ask(lambda: self._client.delete_task(job.id, task_id))
        job.gone.update({task_id} if done else ())
        return done

    def _stamp(self, job: Job) -> bool:
        asked = models.BatchJobUpdateOptions(metadata=[job.stamp.item()])
        done = self._ask(lambda: self._client.update_job(job.id, asked))
        if done:
            job.stamp.acknowledged = job.stamp.tried
        return done

    def _stamp_pool(self) -> bool:
        asked = models.BatchPoolUpdateOptions(metadata=[self.pool_stamp.item()])
        done = self._ask(lambda: self._client.update_pool(self.pool, asked))
        if done:
            self.pool_stamp.acknowledged = self.pool_stamp.tried
        return done

    def _unfinished(self, job: Job) -> int:
        try:
            counts = self._client.get_job_task_counts(job.id).task_counts
        except AzureError:
            return 0
        return counts.active + counts.running
