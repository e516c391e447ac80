"""An account in memory, and a clock that advances only by sleeping."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import cast

from batchspec.account import (
    Account,
    NodeFacts,
    PreparationFacts,
    TaskAdded,
    TaskCounts,
    TaskTimes,
    TaskWaiting,
)
from batchspec.apply.ports import Deletion, World
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
    """What an effect that was made to fail raises."""
    return ServiceError(Diagnostic("refused", f"refused: {code}"), code=code)


@dataclass
class FakeAccount:
    """Containers, a pool and a job. ``calls`` is what was asked; ``fail`` names what is refused.

    Nodes become idle at the third look at them, and tasks complete at the second look at theirs:
    the first half of ``failing`` ids with a failure. Those ``waiting`` do not even start.
    """

    clock: FakeClock = field(default_factory=FakeClock)
    containers: dict[str, dict[str, bytes]] = field(default_factory=dict)
    metadata: dict[str, Mapping[str, str]] = field(default_factory=dict)
    pools: dict[str, Record] = field(default_factory=dict)
    jobs: dict[str, Record] = field(default_factory=dict)
    schedules: dict[str, Record] = field(default_factory=dict)
    tasks: dict[str, list[str]] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    fail: set[str] = field(default_factory=set)
    failing: set[str] = field(default_factory=set)
    waiting: tuple[TaskWaiting, ...] = ()
    prepared: tuple[PreparationFacts, ...] = ()
    times: tuple[TaskTimes, ...] = ()
    started_late: bool = False
    node_state: str = "idle"
    never_done: bool = False
    terminated: dict[str, str] = field(default_factory=dict)
    looks: dict[str, int] = field(default_factory=dict)
    answers: list[bool] = field(default_factory=list)
    asked: list[Deletion | Diagnostic] = field(default_factory=list)
    ahead: timedelta = timedelta()
    """How far the service's time is ahead of this machine's."""

    def now(self) -> datetime:
        return self.clock.now() + self.ahead

    async def _call(self, name: str, what: str = "") -> None:
        self.calls.append(f"{name} {what}".strip())
        await asyncio.sleep(0)
        if name in self.fail:
            raise refused(name)

    def world(self) -> World:
        return World(account=self.client(), clock=self.clock, questions=self, pace=1.0)

    def client(self) -> Account:
        """The interface of this account: each resource has methods of this class."""
        resource = SimpleNamespace
        client = SimpleNamespace(
            now=self.now,
            storage_now=self.now,
            pools=resource(
                get=self.pool,
                create=self.create_pool,
                update=self.update_pool,
                resize=self.resize_pool,
                enable_autoscale=self.enable_autoscale,
                disable_autoscale=self.disable_autoscale,
                delete=self.delete_pool,
                get_node_counts=self.node_counts,
            ),
            nodes=resource(
                list_unhealthy=self.unhealthy_nodes,
                list_starting=self.starting_nodes,
                reboot=self.reboot_nodes,
                get_file_tail=self.node_file_tail,
            ),
            jobs=resource(
                get=self.job,
                create=self.create_job,
                update=self.update_job,
                terminate=self.terminate_job,
                delete=self.delete_job,
                get_task_counts=self.task_counts,
                list_preparation_tasks=self.preparation_tasks,
            ),
            job_schedules=resource(
                get=self.schedule,
                create=self.create_schedule,
                update=self.update_schedule,
                delete=self.delete_schedule,
            ),
            tasks=resource(
                list=self.all_tasks,
                list_ids=self.task_ids,
                list_failed=self.failed_tasks,
                list_waiting=self.waiting_tasks,
                list_blocking=self.blocking_tasks,
                list_times=self.task_times,
                any_running=self.any_running,
                create_collection=self.create_tasks,
                terminate=self.terminate_task,
                delete=self.delete_task,
                reactivate=self.reactivate_task,
                get_file_tail=self.task_file_tail,
            ),
            containers=resource(
                create=self.create_container,
                get_metadata=self.get_metadata,
                set_metadata=self.set_metadata,
                delete=self.delete_container,
            ),
            blobs=resource(
                list=self.blobs,
                put=self.put,
                upload=self.upload,
                download=self.download,
                delete=self.delete_blob,
            ),
        )
        return cast(Account, client)

    async def agree(self, deletion: Deletion) -> bool:
        self.asked.append(deletion)
        return self.answers.pop(0) if self.answers else deletion.advised

    async def accept(self, problem: Diagnostic) -> bool:
        self.asked.append(problem)
        return self.answers.pop(0)

    # Storage

    async def get_metadata(self, name: str) -> Mapping[str, str] | None:
        return self.metadata.get(name, {}) if name in self.containers else None

    async def create_container(
        self, name: str, metadata: Mapping[str, str], public_access: str | None
    ) -> bool:
        await self._call("create_container", name)
        existed = name in self.containers
        self.containers.setdefault(name, {})
        self.metadata.setdefault(name, dict(metadata))
        return not existed

    async def upload(
        self,
        container: str,
        file: LocalFile,
        moved: Callable[[int], None],
        cancelled: Callable[[], bool],
    ) -> bool:
        await self._call("upload", f"{container}/{file.blob}")
        self.containers[container][file.blob] = file.path.read_bytes()
        moved(file.size)
        return True

    async def blobs(self, container: str, prefix: str = "") -> AsyncIterator[Blob]:
        await self._call("blobs", container)
        for name, data in sorted(self.containers.get(container, {}).items()):
            if not name.startswith(prefix):
                continue
            yield Blob(name, len(data), hashlib.md5(data).digest())

    async def download(
        self, container: str, blob: Blob, part: Path, moved: Callable[[int], None]
    ) -> bytes:
        await self._call("download", f"{container}/{blob.name}")
        data = self.containers[container][blob.name]
        part.write_bytes(data)
        moved(len(data))
        return hashlib.md5(data).digest()

    async def put(self, container: str, blob: str, data: bytes) -> None:
        await self._call("put", f"{container}/{blob}")
        self.containers[container][blob] = data

    async def delete_blob(self, container: str, blob: str) -> None:
        await self._call("delete_blob", f"{container}/{blob}")
        self.containers[container].pop(blob, None)

    async def set_metadata(self, container: str, metadata: Mapping[str, str]) -> None:
        await self._call("set_metadata", container)
        self.metadata[container] = dict(metadata)

    async def delete_container(self, name: str) -> bool:
        await self._call("delete_container", name)
        return self.containers.pop(name, None) is not None

    # Batch

    async def pool(self, pool_id: str) -> PoolFacts | None:
        body = self.pools.get(pool_id)
        if body is None:
            return None
        target = body.get("targetDedicatedNodes")
        count = target if isinstance(target, int) else 0
        return PoolFacts(pool_id, "active", "steady", body, {}, count, 0, count, 0)

    async def create_pool(self, body: Record, sas: timedelta) -> bool:
        await self._call("create_pool", str(body["id"]))
        existed = body["id"] in self.pools
        self.pools[str(body["id"])] = body
        return not existed

    async def update_pool(self, pool_id: str, patch: Record, sas: timedelta) -> None:
        await self._call("update_pool", pool_id)

    async def resize_pool(
        self, pool_id: str, dedicated: int, spot: int, within: str | None = None
    ) -> None:
        await self._call("resize_pool", f"{pool_id} {dedicated} {spot}")

    async def enable_autoscale(self, pool_id: str, formula: str, interval: str | None) -> None:
        await self._call("enable_autoscale", f"{pool_id} {formula}")

    async def disable_autoscale(self, pool_id: str) -> None:
        await self._call("disable_autoscale", pool_id)

    async def reboot_nodes(self, pool_id: str, nodes: Sequence[str] | None = None) -> None:
        await self._call("reboot_nodes", " ".join((pool_id, *(nodes or ()))))

    async def delete_pool(self, pool_id: str) -> bool:
        await self._call("delete_pool", pool_id)
        return self.pools.pop(pool_id, None) is not None

    async def node_counts(self, pool_id: str) -> Mapping[str, int]:
        await self._call("node_counts", pool_id)
        if pool_id not in self.pools:
            return {}
        count = self.pools[pool_id].get("targetDedicatedNodes")
        assert isinstance(count, int)
        look = self.looks[pool_id] = self.looks.get(pool_id, 0) + 1
        return {self.node_state if look > 2 else "starting": count}

    async def starting_nodes(self, pool_id: str) -> AsyncIterator[NodeFacts]:
        await self._call("starting_nodes", pool_id)
        for number in range(dict(await self.node_counts(pool_id)).get("waitingforstarttask", 0)):
            yield NodeFacts(f"n{number}", "waitingforstarttask", started=START)

    async def unhealthy_nodes(self, pool_id: str) -> AsyncIterator[NodeFacts]:
        count = self.pools[pool_id].get("targetDedicatedNodes")
        assert isinstance(count, int)
        for number in range(1, count + 1):
            yield NodeFacts(f"node-{number}", self.node_state, 7, "it exited with 7")

    async def node_file_tail(self, pool_id: str, node: str, path: str, size: int) -> str:
        return "cp: no such file\n"

    async def job(self, job_id: str) -> JobFacts | None:
        body = self.jobs.get(job_id)
        if body is None:
            return None
        over = job_id in self.terminated
        return JobFacts(
            job_id,
            "completed" if over else "active",
            START,
            body,
            {},
            terminate_reason=self.terminated.get(job_id),
        )

    async def create_job(self, body: Record, sas: timedelta) -> bool:
        await self._call("create_job", str(body["id"]))
        existed = body["id"] in self.jobs
        self.jobs.setdefault(str(body["id"]), body)
        return not existed

    async def update_job(self, job_id: str, patch: Record) -> None:
        await self._call("update_job", job_id)
        self.jobs[job_id] = Record({**self.jobs[job_id], **patch})

    async def terminate_job(self, job_id: str, reason: str) -> None:
        await self._call("terminate_job", job_id)
        self.terminated[job_id] = reason

    async def delete_job(self, job_id: str) -> bool:
        await self._call("delete_job", job_id)
        return self.jobs.pop(job_id, None) is not None

    async def schedule(self, schedule_id: str) -> ScheduleFacts | None:
        body = self.schedules.get(schedule_id)
        if body is None:
            return None
        due = START + timedelta(days=1)
        return ScheduleFacts(schedule_id, "active", START, body, {}, due, f"{schedule_id}:job-1")

    async def create_schedule(self, body: Record, sas: timedelta) -> bool:
        await self._call("create_schedule", str(body["id"]))
        existed = body["id"] in self.schedules
        self.schedules.setdefault(str(body["id"]), body)
        return not existed

    async def update_schedule(self, schedule_id: str, patch: Record, sas: timedelta) -> None:
        await self._call("update_schedule", schedule_id)
        self.schedules[schedule_id] = Record({**self.schedules[schedule_id], **patch})

    async def delete_schedule(self, schedule_id: str) -> bool:
        await self._call("delete_schedule", schedule_id)
        return self.schedules.pop(schedule_id, None) is not None

    async def create_tasks(
        self, job_id: str, tasks: Sequence[Record], sas: timedelta
    ) -> Sequence[TaskAdded]:
        await self._call("create_tasks", f"{job_id} {len(tasks)}")
        ids = self.tasks.setdefault(job_id, [])
        answers = []
        for task in tasks:
            name = str(task["id"])
            answers.append(TaskAdded(name, existed=name in ids))
            if name not in ids:
                ids.append(name)
        return answers

    async def task_ids(self, job_id: str) -> AsyncIterator[str]:
        await self._call("task_ids", job_id)
        for name in self.tasks.get(job_id, ()):
            yield name

    async def all_tasks(self, job_id: str) -> AsyncIterator[TaskFacts]:
        for name in tuple(self.tasks.get(job_id, ())):
            yield TaskFacts(name, "active")

    async def terminate_task(self, job_id: str, task_id: str) -> None:
        await self._call("terminate_task", f"{job_id} {task_id}")

    async def delete_task(self, job_id: str, task_id: str) -> None:
        await self._call("delete_task", f"{job_id} {task_id}")
        self.tasks[job_id].remove(task_id)

    async def reactivate_task(self, job_id: str, task_id: str) -> None:
        await self._call("reactivate_task", f"{job_id} {task_id}")
        self.failing.discard(task_id)

    async def task_counts(self, job_id: str) -> TaskCounts:
        await self._call("task_counts", job_id)
        look = self.looks[job_id] = self.looks.get(job_id, 0) + 1
        total = len(self.tasks.get(job_id, ()))
        if self.never_done or look < 2:
            return TaskCounts(0, total, 0, 0)
        failed = len(self.failing & set(self.tasks.get(job_id, ())))
        waiting = len(self.waiting)
        return TaskCounts(waiting, 0, total - failed - waiting, failed)

    async def preparation_tasks(self, job_id: str) -> AsyncIterator[PreparationFacts]:
        for one in self.prepared:
            yield one

    async def task_times(self, job_id: str, *, running: bool) -> AsyncIterator[TaskTimes]:
        for one in self.times:
            if running is (one.ended is None):
                yield one

    async def failed_tasks(self, job_id: str) -> AsyncIterator[TaskFacts]:
        for name in self.tasks[job_id]:
            if name in self.failing:
                yield TaskFacts(name, "completed", False, 1, "FailureExitCode", "it exited with 1")

    async def waiting_tasks(self, job_id: str) -> AsyncIterator[TaskWaiting]:
        for task in self.waiting:
            yield task

    async def blocking_tasks(self, job_id: str) -> AsyncIterator[str]:
        for name in self.tasks[job_id]:
            if name in self.failing:
                yield name

    async def any_running(self, job_id: str) -> bool:
        await self._call("any_running", job_id)
        return self.started_late

    async def task_file_tail(self, job_id: str, task: str, path: str, size: int) -> str:
        return f"{task}: no\n"
