"""Shared parts of operations: context, lookup of resources, lists, common properties, statistics.

Statistics (``$expand=stats``) are sums of the records in the store. They include a process after it
has ended. Bytes are disk traffic; operations are read and write calls of any file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

from batchspec.local.agent import ContainerEngine, SshServers, StorageAccount
from batchspec.local.fault_injection import NO_FAULTS, FaultInjection, QuotaKind
from batchspec.local.model import (
    NO_USAGE,
    Job,
    Node,
    Pool,
    Refusal,
    Resources,
    Schedule,
    StateMachine,
    Task,
    Usage,
    cores_of,
    node_root,
)
from batchspec.local.store import Applications, Page, Store, to_column
from batchspec.local.wire import (
    MAX_RESULTS,
    Column,
    Fault,
    FieldType,
    QueryError,
    Reply,
    Request,
    bad_property,
    bad_query,
    bind_fields,
    check_conditions,
    etag_of,
    list_reply,
    matches_filter,
    to_sql,
    write_duration,
    write_time,
)

_UNKNOWN_START = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Context:
    """The context of every operation.

    ``base_url`` has no trailing slash. ``faults`` contains the quotas. ``storage`` is the
    auto-storage account, ``started`` the start time of the service. With ``entra_only``, the
    account refuses its key.
    """

    store: Store
    account: str
    base_url: str
    data: Path
    version: str
    applications: Applications
    containers: ContainerEngine
    ssh: SshServers
    faults: FaultInjection = NO_FAULTS
    storage: StorageAccount | None = None
    started: datetime = _UNKNOWN_START
    entra_only: bool = False

    def root(self, pool_id: str, node_id: str) -> Path:
        """The root directory of a node."""
        return node_root(self.data, pool_id, node_id)

    def reached(self, kind: QuotaKind, count: Callable[[], int]) -> bool:
        """Whether a quota of the account is reached; ``count`` returns the current number."""
        limit = self.faults.quota(kind)
        return limit is not None and count() >= limit


S = TypeVar("S", bound=StrEnum)
_VALID_ID = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)


def check_id(name: str, value: str) -> str:
    """Return ``value`` if it is a valid id of a pool, job, schedule or task.

    Raises:
        Fault: it has other characters, or more than 64.
    """
    if _VALID_ID.fullmatch(value) is None:
        raise bad_property(
            name,
            value[:256],
            "The value can contain any combination of alphanumeric characters including hyphens "
            "and underscores, and cannot contain more than 64 characters.",
        )
    return value


def find_pool(context: Context, request: Request) -> Pool:
    """The pool of the request; checks the conditional headers.

    Raises:
        Fault: ``PoolNotFound``, ``ConditionNotMet``.
    """
    pool = context.store.pools.get(request.parameters["poolId"])
    if pool is None:
        raise Fault("PoolNotFound")
    _check(request, pool)
    return pool


def find_node(context: Context, request: Request) -> Node:
    """The node of the request.

    Raises:
        Fault: ``PoolNotFound``, ``NodeNotFound``.
    """
    if context.store.pools.get(request.parameters["poolId"]) is None:
        raise Fault("PoolNotFound")
    node = context.store.nodes.get(request.parameters["poolId"], request.parameters["nodeId"])
    if node is None:
        raise Fault("NodeNotFound")
    return node


def find_schedule(context: Context, request: Request) -> Schedule:
    """The job schedule of the request; checks the conditional headers.

    Raises:
        Fault: ``JobScheduleNotFound``, ``ConditionNotMet``.
    """
    schedule = context.store.schedules.get(request.parameters["jobScheduleId"])
    if schedule is None:
        raise Fault("JobScheduleNotFound")
    _check(request, schedule)
    return schedule


def find_job(context: Context, request: Request) -> Job:
    """The job of the request; checks the conditional headers.

    Raises:
        Fault: ``JobNotFound``, ``ConditionNotMet``.
    """
    job = _job(context, request)
    _check(request, job)
    return job


def find_parent_job(context: Context, request: Request) -> Job:
    """The job that contains the resource of the request; conditional headers do not apply to it.

    Raises:
        Fault: ``JobNotFound``.
    """
    return _job(context, request)


def find_task(context: Context, request: Request) -> Task:
    """The task of the request; checks the conditional headers.

    Raises:
        Fault: ``JobNotFound``, ``TaskNotFound``, ``ConditionNotMet``.
    """
    task = find_parent_task(context, request)
    _check(request, task)
    return task


def find_parent_task(context: Context, request: Request) -> Task:
    """The task that contains the resource of the request; conditional headers do not apply to it.

    Raises:
        Fault: ``JobNotFound``, ``TaskNotFound``.
    """
    task = context.store.tasks.get(request.parameters["jobId"], request.parameters["taskId"])
    if task is None:
        _job(context, request)
        raise Fault("TaskNotFound")
    return task


def next_state(machine: StateMachine[S], verb: str, state: S) -> S:
    """The state after ``verb`` in ``state``.

    Raises:
        Fault: the state machine refuses ``verb`` in this state.
    """
    answer = machine.next_state(verb, state)
    if isinstance(answer, Refusal):
        raise Fault(answer.code)
    return answer


def _job(context: Context, request: Request) -> Job:
    job = context.store.jobs.get(request.parameters["jobId"])
    if job is None:
        raise Fault("JobNotFound")
    return job


def _check(request: Request, record: Pool | Job | Task | Schedule) -> None:
    check_conditions(request.headers, record.modified, reads=request.method in {"GET", "HEAD"})


R = TypeVar("R")
Columns = Mapping[str, Column]

_ID = {"id": Column("key", FieldType.WORD)}
_STATE = {
    "state": Column("state", FieldType.WORD),
    "stateTransitionTime": Column("state_since", FieldType.TIME),
}
_TIMES = {
    "creationTime": Column("created", FieldType.TIME),
    "lastModified": Column("modified", FieldType.TIME),
    "lastModifiedTime": Column("modified", FieldType.TIME),
}

POOL_COLUMNS: Columns = {
    **_ID,
    **_STATE,
    **_TIMES,
    "allocationState": Column("allocation", FieldType.WORD),
    "allocationStateTransitionTime": Column("allocation_since", FieldType.TIME),
    "enableAutoScale": Column("(autoscale IS NOT NULL)", FieldType.BOOL),
    "enableInterNodeCommunication": Column(
        "json_extract(body, '$.enableInterNodeCommunication')", FieldType.BOOL
    ),
    "vmSize": Column("vm_size", FieldType.WORD),
}
POOL_COUNT_COLUMNS: Columns = {"poolId": Column("key", FieldType.WORD)}


def _json(column: str, path: str, kind: FieldType) -> Column:
    """A property in a column that contains JSON."""
    value = f"json_extract({column}, '$.{path}')"
    if kind is not FieldType.TIME:
        return Column(value, kind)
    # Columns of times contain microseconds since 1970; JSON contains text. SQLite rounds seconds to
    # milliseconds, so the fraction is read separately.
    offset = f"iif(length({value}) > 19 AND substr({value}, -6, 1) IN ('+', '-'), "
    offset += f"substr({value}, -6), '')"
    seconds = f"strftime('%s', substr({value}, 1, 19) || {offset})"
    fraction = f"CAST('0.' || substr({value}, 21) AS REAL) * (substr({value}, 20, 1) = '.')"
    micros = f"{seconds} * 1000000 + CAST(ROUND({fraction} * 1000000) AS INTEGER)"
    return Column(f"({micros})", FieldType.TIME)


def _execution(field: str, column: str) -> Columns:
    """The properties of the execution of a start, preparation or release task."""
    kinds = {
        "state": FieldType.WORD,
        "startTime": FieldType.TIME,
        "endTime": FieldType.TIME,
        "exitCode": FieldType.NUMBER,
        "result": FieldType.WORD,
    }
    return {f"{field}/{name}": _json(column, name, kind) for name, kind in kinds.items()}


NODE_COLUMNS: Columns = {
    **_ID,
    **_STATE,
    "lastBootTime": Column("booted", FieldType.TIME),
    "allocationTime": Column("allocated", FieldType.TIME),
    **_execution("startTaskInfo", "start_task_info"),
}
PREPARATION_COLUMNS: Columns = {
    "poolId": Column("pool", FieldType.WORD),
    "nodeId": Column("node", FieldType.WORD),
    **_execution("jobPreparationTaskExecutionInfo", "info"),
    **_execution("jobReleaseTaskExecutionInfo", "release"),
}
JOB_COLUMNS: Columns = {
    **_ID,
    **_STATE,
    **_TIMES,
    "executionInfo/startTime": Column("started", FieldType.TIME),
    "executionInfo/endTime": Column("ended", FieldType.TIME),
    "executionInfo/poolId": Column("pool", FieldType.WORD),
}
SCHEDULE_COLUMNS: Columns = {
    **_ID,
    **_STATE,
    **_TIMES,
    "executionInfo/endTime": Column("ended", FieldType.TIME),
    "schedule/doNotRunUntil": _json("body", "schedule.doNotRunUntil", FieldType.TIME),
    "schedule/doNotRunAfter": _json("body", "schedule.doNotRunAfter", FieldType.TIME),
}
TASK_COLUMNS: Columns = {
    **_ID,
    **_STATE,
    **_TIMES,
    "executionInfo/startTime": Column("started", FieldType.TIME),
    "executionInfo/endTime": Column("ended", FieldType.TIME),
    "executionInfo/exitCode": Column("exit_code", FieldType.NUMBER),
    "executionInfo/result": Column("result", FieldType.WORD),
}


def read_page(request: Request, columns: Columns, most: int = MAX_RESULTS) -> Page:
    """The requested page, plus one row that shows whether a next page exists.

    Raises:
        Fault: ``maxresults``, ``$filter`` or ``$skiptoken`` is invalid.
    """
    limit, after = request.max_results(most) + 1, request.after()
    tree = request.filter()
    if tree is None:
        return Page(limit, after)
    try:
        condition = to_sql(tree, columns, to_column)
    except QueryError as error:
        raise bad_query("$filter", request.query["$filter"], error.reason) from None
    return Page(limit, after, condition.sql, condition.parameters)


def page_reply(
    request: Request,
    page: Page,
    rows: Sequence[R],
    write: Callable[[R], Mapping[str, Any]],
    key: Callable[[R], str],
    *,
    model: str,
    metadata: str,
) -> Reply:
    """The reply with a page of rows. ``key`` returns the sort key of a row."""
    shown = rows[: page.limit - 1]
    link = request.next_link(key(shown[-1])) if len(rows) > len(shown) else None
    return list_reply(request, model, [write(row) for row in shown], metadata, link)


def items_page(
    request: Request, model: str, items: Sequence[Mapping[str, Any]], metadata: str
) -> Reply:
    """The reply with one page of a list that is not in the store."""
    shown, link = request.numbered_page(items)
    return list_reply(request, model, shown, metadata, link)


def filtered(
    request: Request, kinds: Mapping[str, FieldType], items: Sequence[Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    """The ``items`` (JSON data) that match the request's filter, for lists not in the store.

    Raises:
        Fault: the ``$filter`` is invalid.
    """
    return list(filter(read_filter(request, kinds), items))


def read_filter(
    request: Request, kinds: Mapping[str, FieldType]
) -> Callable[[Mapping[str, Any]], bool]:
    """Whether an item matches the request's filter; always true without a filter.

    Raises:
        Fault: the ``$filter`` is invalid.
    """
    tree = request.filter()
    if tree is None:
        return lambda _: True
    try:
        fitted = bind_fields(tree, kinds)
    except QueryError as error:
        raise bad_query("$filter", request.query["$filter"], error.reason) from None
    return lambda item: matches_filter(fitted, item)


def common_properties(record: Pool | Job | Schedule, url: str) -> dict[str, Any]:
    """The leading properties of a resource with the URL ``url``, in the service's order."""
    shown: dict[str, Any] = {"id": record.id}
    if "displayName" in record.body:
        shown["displayName"] = record.body["displayName"]
    shown |= {
        "url": url,
        "eTag": etag_of(record.modified),
        "lastModified": write_time(record.modified),
        "creationTime": write_time(record.created),
        "state": record.state,
        "stateTransitionTime": write_time(record.state_since),
    }
    if isinstance(record, Pool):
        return shown
    if record.previous_state is not None and record.previous_since is not None:
        shown |= {
            "previousState": record.previous_state,
            "previousStateTransitionTime": write_time(record.previous_since),
        }
    return shown


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
    """``stats`` of a pool: the core time of all its dedicated nodes, past and present.

    Before the first measurement, the resource statistics are zero.
    """
    alive = context.store.nodes.dedicated_time(pool, now) * cores_of(pool.body["vmSize"])
    span = {"startTime": write_time(pool.created), "lastUpdateTime": write_time(now)}
    shown: dict[str, Any] = {
        "url": f"{context.base_url}/pools/{pool.id}",
        **span,
        "usageStats": {**span, "dedicatedCoreTime": _duration(alive)},
    }
    used = context.store.pools.resources(pool) or Resources(pool.created, pool.created)
    return {"stats": shown | {"resourceStats": _resources(used)}}


def _resources(used: Resources) -> dict[str, Any]:
    """The resource statistics of a pool, from its first nodes to the last measurement."""
    return {
        "startTime": write_time(used.since),
        "lastUpdateTime": write_time(used.until),
        "avgCPUPercentage": 100 * used.busy / used.ticks if used.ticks else 0.0,
        "avgMemoryGiB": used.memory / _GIB,
        "peakMemoryGiB": used.peak_memory / _GIB,
        "avgDiskGiB": used.disk / _GIB,
        "peakDiskGiB": used.peak_disk / _GIB,
        "diskReadIOps": str(used.disk_reads),
        "diskWriteIOps": str(used.disk_writes),
        "diskReadGiB": used.disk_read / _GIB,
        "diskWriteGiB": used.disk_written / _GIB,
        "networkReadGiB": used.network_in / _GIB,
        "networkWriteGiB": used.network_out / _GIB,
    }


def _used(usage: Usage) -> dict[str, Any]:
    return {
        "userCPUTime": _duration(usage.user),
        "kernelCPUTime": _duration(usage.kernel),
        "wallClockTime": _duration(usage.running),
        "readIOps": str(usage.reads),
        "writeIOps": str(usage.writes),
        "readIOGiB": usage.read / _GIB,
        "writeIOGiB": usage.written / _GIB,
    }


def _duration(span: timedelta) -> str:
    return write_duration(max(span, timedelta()) // timedelta(microseconds=1) * 10)
