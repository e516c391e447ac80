"""An account in memory, and a clock that advances only by sleeping."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

from batchspec.account import (
    Account,
    NodeFacts,
    NodeRecord,
    PreparationFacts,
    TaskAdded,
    TaskCounts,
    TaskRecord,
    TaskSince,
    TaskTimes,
    TaskWaiting,
)
from batchspec.apply.ports import Deletion, Runtime
from batchspec.diagnostics import Diagnostic, ServiceError
from batchspec.plan.observed import Blob, JobFacts, LocalFile, PoolFacts, ScheduleFacts, TaskFacts
from batchspec.spec import Record

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


class FakeClock:
    """Time that passes only by sleeping."""

    def __init__(self) -> None:
        self.elapsed = 0.0

    def now(self) -> datetime:
        return START + timedelta(seconds=self.elapsed)

    def monotonic(self) -> float:
        return self.elapsed

    async def sleep(self, seconds: float) -> None:
        self.elapsed += seconds
        await asyncio.sleep(0)


def refused(code: str = "Refused") -> ServiceError:
    """The error of a request that the service refuses."""
    return ServiceError(Diagnostic("refused", f"refused: {code}"), code=code)


class FakeResource:
    """The requests about one kind of object. The objects themselves are in the account."""

    def __init__(self, account: FakeAccount) -> None:
        self.account = account


class FakePools(FakeResource):
    prefix = "pools"

    async def get(self, pool_id: str) -> PoolFacts | None:
        body = self.account.pool_bodies.get(pool_id)
        if body is None:
            return None
        target = body.get("targetDedicatedNodes")
        count = target if isinstance(target, int) else 0
        return PoolFacts(pool_id, "active", "steady", body, {}, count, 0, count, 0)

    async def create(self, body: Record, sas: timedelta) -> bool:
        await self.account.call(f"{self.prefix}.create", str(body["id"]))
        existed = body["id"] in self.account.pool_bodies
        self.account.pool_bodies[str(body["id"])] = body
        return not existed

    async def update(self, pool_id: str, patch: Record, sas: timedelta) -> None:
        await self.account.call(f"{self.prefix}.update", pool_id)

    async def resize(
        self, pool_id: str, dedicated: int, spot: int, within: str | None = None
    ) -> None:
        await self.account.call(f"{self.prefix}.resize", f"{pool_id} {dedicated} {spot}")

    async def enable_autoscale(self, pool_id: str, formula: str, interval: str | None) -> None:
        await self.account.call(f"{self.prefix}.enable_autoscale", f"{pool_id} {formula}")

    async def disable_autoscale(self, pool_id: str) -> None:
        await self.account.call(f"{self.prefix}.disable_autoscale", pool_id)

    async def delete(self, pool_id: str) -> bool:
        await self.account.call(f"{self.prefix}.delete", pool_id)
        return self.account.pool_bodies.pop(pool_id, None) is not None

    async def get_node_counts(self, pool_id: str) -> Mapping[str, int]:
        await self.account.call(f"{self.prefix}.get_node_counts", pool_id)
        if pool_id not in self.account.pool_bodies:
            return {}
        count = self.account.pool_bodies[pool_id].get("targetDedicatedNodes")
        assert isinstance(count, int)
        polls = self.account.polls[pool_id] = self.account.polls.get(pool_id, 0) + 1
        return {self.account.node_state if polls > 2 else "starting": count}


class FakeArmPools(FakePools):
    """The pools of Azure Resource Manager, which the Batch service has, too."""

    prefix = "control_plane.pools"


@dataclass
class FakeControlPlane:
    pools: FakeArmPools
    in_plans: bool = False


class FakeNodes(FakeResource):
    async def reboot(self, pool_id: str, nodes: Sequence[str] | None = None) -> None:
        await self.account.call("nodes.reboot", " ".join((pool_id, *(nodes or ()))))

    async def list_starting(self, pool_id: str) -> AsyncIterator[NodeFacts]:
        await self.account.call("nodes.list_starting", pool_id)
        counts = await self.account.pools.get_node_counts(pool_id)
        for number in range(counts.get("waitingforstarttask", 0)):
            yield NodeFacts(f"n{number}", "waitingforstarttask", started=START)

    async def list_unhealthy(self, pool_id: str) -> AsyncIterator[NodeFacts]:
        count = self.account.pool_bodies[pool_id].get("targetDedicatedNodes")
        assert isinstance(count, int)
        for number in range(1, count + 1):
            yield NodeFacts(f"node-{number}", self.account.node_state, 7, "it exited with 7")

    async def get_file_tail(self, pool_id: str, node: str, path: str, size: int) -> str:
        return "cp: no such file\n"

    async def list_records(self, pool_id: str) -> AsyncIterator[NodeRecord]:
        await self.account.call("nodes.list_records", pool_id)
        yield NodeRecord("node-1", self.account.node_state, "standard_d2s_v5", allocated=START)


class FakeJobs(FakeResource):
    async def get(self, job_id: str) -> JobFacts | None:
        body = self.account.job_bodies.get(job_id)
        if body is None:
            return None
        over = job_id in self.account.terminated
        return JobFacts(
            job_id,
            "completed" if over else "active",
            START,
            body,
            {},
            terminate_reason=self.account.terminated.get(job_id),
            pool=self.account.job_pools.get(job_id, ""),
        )

    async def list_active(self) -> AsyncIterator[JobFacts]:
        for one in self.account.other_jobs:
            yield one

    async def create(self, body: Record, sas: timedelta) -> bool:
        await self.account.call("jobs.create", str(body["id"]))
        existed = body["id"] in self.account.job_bodies
        self.account.job_bodies.setdefault(str(body["id"]), body)
        return not existed

    async def update(self, job_id: str, patch: Record) -> None:
        await self.account.call("jobs.update", job_id)
        self.account.job_bodies[job_id] = Record({**self.account.job_bodies[job_id], **patch})

    async def terminate(self, job_id: str, reason: str) -> None:
        await self.account.call("jobs.terminate", job_id)
        self.account.terminated[job_id] = reason

    async def delete(self, job_id: str) -> bool:
        await self.account.call("jobs.delete", job_id)
        return self.account.job_bodies.pop(job_id, None) is not None

    async def get_task_counts(self, job_id: str) -> TaskCounts:
        await self.account.call("jobs.get_task_counts", job_id)
        polls = self.account.polls[job_id] = self.account.polls.get(job_id, 0) + 1
        total = len(self.account.task_ids.get(job_id, ()))
        if self.account.never_done or polls < 2:
            return TaskCounts(0, total, 0, 0)
        failed = len(self.account.failing & set(self.account.task_ids.get(job_id, ())))
        waiting = len(self.account.waiting)
        return TaskCounts(waiting, 0, total - failed - waiting, failed)

    async def list_preparation_tasks(self, job_id: str) -> AsyncIterator[PreparationFacts]:
        for one in self.account.prepared:
            yield one


class FakeJobSchedules(FakeResource):
    async def get(self, schedule_id: str) -> ScheduleFacts | None:
        body = self.account.schedule_bodies.get(schedule_id)
        if body is None:
            return None
        due = START + timedelta(days=1)
        return ScheduleFacts(schedule_id, "active", START, body, {}, due, f"{schedule_id}:job-1")

    async def create(self, body: Record, sas: timedelta) -> bool:
        await self.account.call("job_schedules.create", str(body["id"]))
        existed = body["id"] in self.account.schedule_bodies
        self.account.schedule_bodies.setdefault(str(body["id"]), body)
        return not existed

    async def update(self, schedule_id: str, patch: Record, sas: timedelta) -> None:
        await self.account.call("job_schedules.update", schedule_id)
        self.account.schedule_bodies[schedule_id] = Record(
            {**self.account.schedule_bodies[schedule_id], **patch}
        )

    async def delete(self, schedule_id: str) -> bool:
        await self.account.call("job_schedules.delete", schedule_id)
        return self.account.schedule_bodies.pop(schedule_id, None) is not None


class FakeTasks(FakeResource):
    async def create_collection(
        self, job_id: str, tasks: Sequence[Record], sas: timedelta
    ) -> Sequence[TaskAdded]:
        await self.account.call("tasks.create_collection", f"{job_id} {len(tasks)}")
        ids = self.account.task_ids.setdefault(job_id, [])
        answers = []
        for task in tasks:
            name = str(task["id"])
            answers.append(TaskAdded(name, existed=name in ids))
            if name not in ids:
                ids.append(name)
        return answers

    async def list_ids(self, job_id: str, first: str = "", before: str = "") -> AsyncIterator[str]:
        await self.account.call("tasks.list_ids", " ".join(filter(None, (job_id, first, before))))
        for name in self.account.task_ids.get(job_id, ()):
            if name.lower() >= first and not (before and name.lower() >= before):
                yield name

    async def list(self, job_id: str) -> AsyncIterator[TaskFacts]:
        for name in tuple(self.account.task_ids.get(job_id, ())):
            yield TaskFacts(name, "active")

    async def terminate(self, job_id: str, task_id: str) -> None:
        await self.account.call("tasks.terminate", f"{job_id} {task_id}")

    async def delete(self, job_id: str, task_id: str) -> None:
        await self.account.call("tasks.delete", f"{job_id} {task_id}")
        self.account.task_ids[job_id].remove(task_id)

    async def reactivate(self, job_id: str, task_id: str) -> None:
        await self.account.call("tasks.reactivate", f"{job_id} {task_id}")
        self.account.failing.discard(task_id)

    async def list_times(self, job_id: str, *, running: bool) -> AsyncIterator[TaskTimes]:
        for one in self.account.times:
            if running is (one.ended is None):
                yield one

    async def list_failed(self, job_id: str) -> AsyncIterator[TaskFacts]:
        for name in self.account.task_ids[job_id]:
            if name in self.account.failing:
                yield TaskFacts(name, "completed", False, 1, "FailureExitCode", "it exited with 1")

    async def list_records(self, job_id: str, *, failed: bool = False) -> AsyncIterator[TaskRecord]:
        await self.account.call("tasks.list_records", job_id)
        for name in self.account.task_ids.get(job_id, ()):
            if name in self.account.failing:
                yield TaskRecord(TaskFacts(name, "completed", False, 1, "FailureExitCode"))
            elif not failed:
                yield TaskRecord(TaskFacts(name, "completed", True, 0), ended=START)

    async def list_running(self, job_id: str) -> AsyncIterator[TaskSince]:
        await self.account.call("tasks.list_running", job_id)
        for task in self.account.running_tasks:
            yield task

    async def list_ended(
        self, job_id: str, *, since: datetime | None, failed: bool
    ) -> AsyncIterator[TaskSince]:
        await self.account.call("tasks.list_ended", job_id)
        # A filter of the service has whole seconds.
        since = None if since is None else since.replace(microsecond=0)
        for task in self.account.ended_tasks:
            if (since is None or task.since >= since) and not (failed and task.facts.succeeded):
                yield task

    async def list_waiting(self, job_id: str) -> AsyncIterator[TaskWaiting]:
        for task in self.account.waiting:
            yield task

    async def list_blocking(self, job_id: str) -> AsyncIterator[str]:
        for name in self.account.task_ids[job_id]:
            if name in self.account.failing:
                yield name

    async def any_running(self, job_id: str) -> bool:
        await self.account.call("tasks.any_running", job_id)
        return self.account.started_late

    async def get_file_tail(self, job_id: str, task: str, path: str, size: int) -> str:
        return f"{task}: no\n"


class FakeContainers(FakeResource):
    async def get_metadata(self, name: str) -> Mapping[str, str] | None:
        return (
            self.account.container_metadata.get(name, {}) if name in self.account.stored else None
        )

    async def create(
        self, name: str, metadata: Mapping[str, str], public_access: str | None
    ) -> bool:
        await self.account.call("containers.create", name)
        existed = name in self.account.stored
        self.account.stored.setdefault(name, {})
        self.account.container_metadata.setdefault(name, dict(metadata))
        return not existed

    async def set_metadata(self, container: str, metadata: Mapping[str, str]) -> None:
        await self.account.call("containers.set_metadata", container)
        self.account.container_metadata[container] = dict(metadata)

    async def delete(self, name: str) -> bool:
        await self.account.call("containers.delete", name)
        return self.account.stored.pop(name, None) is not None


class FakeBlobs(FakeResource):
    async def upload(
        self,
        container: str,
        file: LocalFile,
        moved: Callable[[int], None],
        cancelled: Callable[[], bool],
    ) -> bool:
        await self.account.call("blobs.upload", f"{container}/{file.blob}")
        self.account.stored[container][file.blob] = file.path.read_bytes()
        moved(file.size)
        return True

    async def list(self, container: str, prefix: str = "") -> AsyncIterator[Blob]:
        await self.account.call("blobs.list", container)
        for name, data in sorted(self.account.stored.get(container, {}).items()):
            if not name.startswith(prefix):
                continue
            yield Blob(name, len(data), hashlib.md5(data).digest())

    async def download(
        self, container: str, blob: Blob, part: Path, moved: Callable[[int], None]
    ) -> bytes:
        await self.account.call("blobs.download", f"{container}/{blob.name}")
        data = self.account.stored[container][blob.name]
        part.write_bytes(data)
        moved(len(data))
        return hashlib.md5(data).digest()

    async def put(self, container: str, blob: str, data: bytes) -> None:
        await self.account.call("blobs.put", f"{container}/{blob}")
        self.account.stored[container][blob] = data

    async def delete(self, container: str, blob: str) -> None:
        await self.account.call("blobs.delete", f"{container}/{blob}")
        self.account.stored[container].pop(blob, None)


@dataclass
class FakeAccount:
    """An account in memory, with a resource for each kind of object, like ``cloud.AccountClient``.

    ``calls`` are the requests (``pools.create topn``); those named in ``fail`` are refused. Nodes
    are idle when they are counted for the third time, and tasks are completed when they are counted
    for the second time, those in ``failing`` with a failure. ``waiting`` tasks do not start.

    A test changes a resource by a nested class: ``class Pools(FakeAccount.Pools)``.
    """

    clock: FakeClock = field(default_factory=FakeClock)
    stored: dict[str, dict[str, bytes]] = field(default_factory=dict)
    container_metadata: dict[str, Mapping[str, str]] = field(default_factory=dict)
    pool_bodies: dict[str, Record] = field(default_factory=dict)
    job_bodies: dict[str, Record] = field(default_factory=dict)
    job_pools: dict[str, str] = field(default_factory=dict)
    schedule_bodies: dict[str, Record] = field(default_factory=dict)
    task_ids: dict[str, list[str]] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    fail: set[str] = field(default_factory=set)
    failing: set[str] = field(default_factory=set)
    waiting: tuple[TaskWaiting, ...] = ()
    prepared: tuple[PreparationFacts, ...] = ()
    other_jobs: tuple[JobFacts, ...] = ()
    times: tuple[TaskTimes, ...] = ()
    running_tasks: tuple[TaskSince, ...] = ()
    ended_tasks: tuple[TaskSince, ...] = ()
    started_late: bool = False
    node_state: str = "idle"
    never_done: bool = False
    terminated: dict[str, str] = field(default_factory=dict)
    polls: dict[str, int] = field(default_factory=dict)
    answers: list[bool] = field(default_factory=list)
    asked: list[Deletion | Diagnostic] = field(default_factory=list)
    ahead: timedelta = timedelta()
    """How far the clock of the service is ahead of the local one."""

    Pools = FakePools
    ArmPools = FakeArmPools
    Nodes = FakeNodes
    Jobs = FakeJobs
    JobSchedules = FakeJobSchedules
    Tasks = FakeTasks
    Containers = FakeContainers
    Blobs = FakeBlobs

    def __post_init__(self) -> None:
        self.pools = self.Pools(self)
        self.control_plane = FakeControlPlane(self.ArmPools(self))
        self.nodes = self.Nodes(self)
        self.jobs = self.Jobs(self)
        self.job_schedules = self.JobSchedules(self)
        self.tasks = self.Tasks(self)
        self.containers = self.Containers(self)
        self.blobs = self.Blobs(self)

    def now(self) -> datetime:
        return self.clock.now() + self.ahead

    storage_now = now

    async def call(self, name: str, what: str = "") -> None:
        """Record a request, and refuse it if the test says so."""
        self.calls.append(f"{name} {what}".strip())
        await asyncio.sleep(0)
        if name in self.fail:
            raise refused(name)

    def runtime(self) -> Runtime:
        return Runtime(
            account=cast(Account, self),
            clock=self.clock,
            questions=self,
            shortest_poll_interval=1.0,
        )

    async def agree(self, deletion: Deletion) -> bool:
        self.asked.append(deletion)
        return self.answers.pop(0) if self.answers else deletion.advised

    async def accept(self, problem: Diagnostic) -> bool:
        self.asked.append(problem)
        return self.answers.pop(0)
