"""The store: all tables over one database, the creation of a job, and the application packages."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from batchspec.local.model import Job, JobState, Pool, Schedule, Wire
from batchspec.local.store.account import NO_CERTIFICATE, Certificates
from batchspec.local.store.damage import DamagedRecords
from batchspec.local.store.database import Database
from batchspec.local.store.jobs import Jobs, Schedules
from batchspec.local.store.nodes import LogUploads, Nodes, Preparations
from batchspec.local.store.pools import Autoscale, Pools
from batchspec.local.store.record_check import Damage
from batchspec.local.store.runs import Runs, Subtasks
from batchspec.local.store.tasks import NewTask, Tasks
from batchspec.local.wire import add_duration, read_duration

_log = logging.getLogger(__name__)


class UnreadResizes:
    """The pools with a requested resize whose state no client has read since the request.

    The engine delays the end of the resize, so that a client that polls after its request sees
    ``resizing``, as recorded from Azure. The delay ends when a client reads the pool, after
    ``longest`` of the service's time, or with a restart of the service.
    """

    def __init__(self, longest: timedelta, changed: Callable[[], None]) -> None:
        """``changed`` is called when a client has read a pool."""
        self._longest = longest
        self._changed = changed
        self._until: dict[int, datetime] = {}

    def add(self, pool: Pool, now: datetime) -> None:
        """Record that a client has requested a resize of ``pool``."""
        if self._longest:
            self._until[pool.seq] = now + self._longest

    def read(self, pool: Pool) -> None:
        """Record that a client reads the state of ``pool``."""
        if self._until.pop(pool.seq, None) is not None:
            self._changed()

    def has(self, pool: Pool, now: datetime) -> bool:
        """Whether ``pool`` must stay ``resizing``."""
        until = self._until.get(pool.seq)
        return until is not None and now < until

    def next_end(self, now: datetime) -> datetime | None:
        """The time at which the next delay ends; forgets the delays that have ended."""
        self._until = {seq: until for seq, until in self._until.items() if until > now}
        return min(self._until.values(), default=None)


class Store:
    """The state of the service. Use it from one thread; every method is short.

    Group writes that belong together::

            with store.transaction():
                store.pools.complete_resize(pool, now)
                store.nodes.delete(node, now)
    """

    def __init__(self, path: Path | str, *, unread: timedelta = timedelta()) -> None:
        """``unread`` is the minimum duration of a resize if no client reads the pool."""
        self._database = Database(path)
        self.unread_resizes = UnreadResizes(unread, self._database.notify)
        self.pools = Pools(self._database)
        self.nodes = Nodes(self._database)
        self.jobs = Jobs(self._database)
        self.tasks = Tasks(self._database)
        self.runs = Runs(self._database)
        self.subtasks = Subtasks(self._database)
        self.preparations = Preparations(self._database)
        self.log_uploads = LogUploads(self._database)
        self.certificates = Certificates(self._database)
        self.autoscale = Autoscale(self._database)
        self.schedules = Schedules(self._database)
        self._damaged = DamagedRecords(self._database)
        self._refused = False

    @property
    def version(self) -> int:
        """Increases with each committed change; an equal version means that nothing has changed."""
        return self._database.version

    def on_change(self, call: Callable[[], None]) -> None:
        """Call ``call`` after each commit, in the same thread; replaces an earlier callback."""
        self._database.changed = call

    def transaction(self) -> AbstractContextManager[None]:
        """A transaction: all writes inside take effect, or none."""
        return self._database.transaction()

    def report_refusal(self) -> None:
        """Wake the caller of :meth:`check_disk`: the disk has refused a write of a request."""
        self._refused = True
        self._database.notify()

    def check_disk(self) -> None:
        """Write again, if the disk has refused a write of a request.

        Raises:
            sqlite3.Error: the disk refuses this write, too.
        """
        if self._refused:
            self._database.rewrite()
            self._refused = False

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open; errors such as a full disk undo and end it."""
        return self._database.in_transaction

    def part(self) -> AbstractContextManager[None]:
        """A part of a transaction: an exception undoes only the writes of this part."""
        return self._database.savepoint()

    def set_aside_damaged(self, now: datetime) -> list[Damage]:
        """Set aside and return unreadable records, after an unexpected error.

        A damaged task fails; any other damaged record is removed, as if its object had been
        deleted. This reads the whole database.
        """
        found = self._damaged.set_aside(now)
        for one in found:
            _log.error("%s '%s' is damaged and was set aside: %s", one.table, one.name, one.reason)
        return found

    def close(self) -> None:
        """Close the database."""
        self._database.close()


# The API creates the jobs of users, the engine the jobs of schedules; both pass complete settings.


_AUTOSCALE_FIELDS = ("autoScaleFormula", "autoScaleEvaluationInterval")
_POOL_FIELDS = (
    "resizeTimeout",
    "targetDedicatedNodes",
    "targetLowPriorityNodes",
    "enableAutoScale",
    *_AUTOSCALE_FIELDS,
)
_MANAGER_FIELDS = (
    "id",
    "killJobOnCompletion",
    "runExclusive",
    "allowLowPriorityNode",
)


def new_guid() -> str:
    """A GUID in the spelling of the service."""
    return str(uuid.uuid4()).upper()


def add_job(
    store: Store,
    job_id: str,
    body: Wire,
    now: datetime,
    *,
    schedule: Schedule | None = None,
    error: Wire | None = None,
    pool_quota: int | None = None,
    guid: Callable[[], str] = new_guid,
) -> Job | None:
    """Create a job with its auto pool and its job manager task; ``None`` if the id exists.

    A job of a ``schedule`` uses the schedule's pool if the lifetime of the pool is the schedule.
    The job is created without pool and task, and completed with the error, after a scheduling
    ``error`` or if the pool cannot be created: its certificates do not exist, or the account has
    reached ``pool_quota``.
    """
    with store.transaction():
        auto = body["poolInfo"].get("autoPoolSpecification")
        pool_id = body["poolInfo"].get("poolId") or _auto_pool_id(auto, schedule, guid)
        job = store.jobs.add(
            job_id,
            body,
            now,
            pool_id=pool_id,
            priority=body["priority"],
            max_parallel=body["maxParallelTasks"],
            deadline=job_deadline(body, now),
            schedule_id=None if schedule is None else schedule.id,
        )
        if job is None:
            return None
        if auto is not None and error is None and store.pools.get(pool_id) is None:
            error = _auto_pool_error(store, auto["pool"], pool_quota)
        if error is not None:
            for state in (JobState.TERMINATING, JobState.COMPLETED):
                job = store.jobs.set_state(job, state, now, scheduling_error=error)
            return job
        if auto is not None:
            _create_auto_pool(store, pool_id, auto["pool"], now)
        if "jobManagerTask" in body:
            store.tasks.add(job, [_manager_task(store, job)], now)
    return job


def _auto_pool_error(store: Store, settings: Wire, pool_quota: int | None) -> Wire | None:
    """The scheduling error of a job whose auto pool cannot be created; else ``None``."""
    missing = store.certificates.missing(settings.get("certificateReferences", ()))
    if missing:
        return {
            "category": "UserError",
            "code": "InvalidCertificatesInAutoPool",
            "message": "One or more certificates specified for the pool are invalid",  # rec
            "details": [{"name": name, "value": NO_CERTIFICATE} for name in missing],
        }
    if pool_quota is None or store.pools.count() < pool_quota:
        return None
    return {
        "category": "UserError",
        "code": "AutoPoolCreationFailedWithQuotaReached",
        "message": "The auto pool could not be created, since the account has reached pool quota.",
        "details": [],
    }


def job_deadline(body: Mapping[str, Any], started: datetime) -> datetime | None:
    """The time at which ``maxWallClockTime`` ends the job; ``None`` without a limit."""
    return add_duration(started, read_duration(body["constraints"]["maxWallClockTime"]))


def _auto_pool_id(
    auto: Mapping[str, Any], schedule: Schedule | None, guid: Callable[[], str]
) -> str:
    """The id of an auto pool: the schedule's pool, or a new id (recorded: ``prefix_GUID``)."""
    if schedule is not None and schedule.pool_id and auto["poolLifetimeOption"] == "jobschedule":
        return schedule.pool_id
    prefix = auto.get("autoPoolIdPrefix")
    return f"{prefix}_{guid()}" if prefix else guid()


def _create_auto_pool(
    store: Store, pool_id: str, settings: Mapping[str, Any], now: datetime
) -> None:
    scaling = {name: settings[name] for name in _AUTOSCALE_FIELDS if name in settings}
    pool = store.pools.add(
        pool_id,
        {name: value for name, value in settings.items() if name not in _POOL_FIELDS},
        now,
        target_dedicated=settings.get("targetDedicatedNodes", 0),
        target_spot=settings.get("targetLowPriorityNodes", 0),
        resize_timeout=settings["resizeTimeout"],
        autoscale=scaling or None,
    )
    if pool is not None and scaling:
        store.autoscale.start(pool, now)


def _manager_task(store: Store, job: Job) -> NewTask:
    """The job manager task as a task. With ``runExclusive`` it takes all slots of its node."""
    settings = job.body["jobManagerTask"]
    slots: int = settings["requiredSlots"]
    pool = store.pools.get(job.pool_id)
    if settings["runExclusive"] and pool is not None:
        slots = max(slots, pool.body["taskSlotsPerNode"])
    body = {name: value for name, value in settings.items() if name not in _MANAGER_FIELDS}
    return NewTask(settings["id"], body, slots)
