"""List operations, and the properties common to pools, jobs and job schedules.

The tables map the fields that can be filtered to columns of the store.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from batchspec.local.model import Job, Pool, Schedule
from batchspec.local.store import Page, to_column
from batchspec.local.wire import (
    MAX_RESULTS,
    Column,
    FieldType,
    QueryError,
    Reply,
    Request,
    bad_query,
    bind_fields,
    etag_of,
    list_reply,
    matches_filter,
    select_properties,
    to_sql,
    write_time,
)

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

POOLS: Columns = {
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
POOL_IDS: Columns = {"poolId": Column("key", FieldType.WORD)}


def _start_task_time(name: str) -> Column:
    """A time in ``startTaskInfo``, which is stored as JSON."""
    days = f"julianday(json_extract(start_task_info, '$.{name}')) - 2440587.5"  # since 1970
    return Column(f"CAST(({days}) * 86400000000 AS INTEGER)", FieldType.TIME)


NODES: Columns = {
    **_ID,
    **_STATE,
    "lastBootTime": Column("booted", FieldType.TIME),
    "allocationTime": Column("allocated", FieldType.TIME),
    "startTaskInfo/state": Column("json_extract(start_task_info, '$.state')", FieldType.WORD),
    "startTaskInfo/result": Column("json_extract(start_task_info, '$.result')", FieldType.WORD),
    "startTaskInfo/exitCode": Column(
        "json_extract(start_task_info, '$.exitCode')", FieldType.NUMBER
    ),
    "startTaskInfo/startTime": _start_task_time("startTime"),
    "startTaskInfo/endTime": _start_task_time("endTime"),
}
PREPARATIONS: Columns = {
    "poolId": Column("pool", FieldType.WORD),
    "nodeId": Column("node", FieldType.WORD),
}
JOBS: Columns = {
    **_ID,
    **_STATE,
    **_TIMES,
    "executionInfo/startTime": Column("started", FieldType.TIME),
    "executionInfo/endTime": Column("ended", FieldType.TIME),
    "executionInfo/poolId": Column("pool", FieldType.WORD),
}
SCHEDULES: Columns = {**_ID, **_STATE, **_TIMES}
TASKS: Columns = {
    **_ID,
    **_STATE,
    **_TIMES,
    "executionInfo/startTime": Column("started", FieldType.TIME),
    "executionInfo/endTime": Column("ended", FieldType.TIME),
    "executionInfo/exitCode": Column("exit_code", FieldType.NUMBER),
    "executionInfo/result": Column("result", FieldType.WORD),
}


def read_page(request: Request, columns: Columns, most: int = MAX_RESULTS) -> Page:
    """The requested page, plus one row that shows whether there is a next page.

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
    """The reply with a page of rows; ``key`` returns the sort key of a row."""
    names = request.select(model)
    shown = rows[: page.limit - 1]
    link = request.next_link(key(shown[-1])) if len(rows) > len(shown) else None
    return list_reply([select_properties(write(row), names) for row in shown], metadata, link)


def filtered(
    request: Request, kinds: Mapping[str, FieldType], items: Sequence[Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    """The ``items`` (JSON data) that match the request's filter, for lists not in the store.

    Raises:
        Fault: the ``$filter`` is invalid.
    """
    tree = request.filter()
    if tree is None:
        return list(items)
    try:
        fitted = bind_fields(tree, kinds)
    except QueryError as error:
        raise bad_query("$filter", request.query["$filter"], error.reason) from None
    return [item for item in items if matches_filter(fitted, item)]


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
