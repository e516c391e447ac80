"""The context of an operation, and the lookup of the resource that a request names."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from batchspec.local.agent import ContainerEngine
from batchspec.local.model import Job, Node, Pool, Refusal, Schedule, StateMachine, Task, node_root
from batchspec.local.store import Applications, Store
from batchspec.local.wire import Fault, Request, bad_property, check_conditions


@dataclass(frozen=True, slots=True)
class Context:
    """What every operation needs; ``base_url`` has no trailing slash."""

    store: Store
    account: str
    base_url: str
    data: Path
    version: str
    applications: Applications
    containers: ContainerEngine

    def root(self, pool_id: str, node_id: str) -> Path:
        """The root directory of a node."""
        return node_root(self.data, pool_id, node_id)


S = TypeVar("S", bound=StrEnum)
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)


def check_id(name: str, value: str) -> str:
    """Return ``value`` if it is a valid id of a pool, job, schedule or task.

    Raises:
        Fault: it has other characters, or more than 64.
    """
    if _ID.fullmatch(value) is None:
        raise bad_property(
            name,
            value[:256],
            "The value can contain any combination of alphanumeric characters including hyphens "
            "and underscores, and cannot contain more than 64 characters.",
        )
    return value


def find_pool(context: Context, request: Request) -> Pool:
    """The pool of the request, its conditions checked.

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
    """The job schedule of the request, its conditions checked.

    Raises:
        Fault: ``JobScheduleNotFound``, ``ConditionNotMet``.
    """
    schedule = context.store.schedules.get(request.parameters["jobScheduleId"])
    if schedule is None:
        raise Fault("JobScheduleNotFound")
    _check(request, schedule)
    return schedule


def find_job(context: Context, request: Request) -> Job:
    """The job of the request, its conditions checked.

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
    """The task of the request, its conditions checked.

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


def next_state(life: StateMachine[S], verb: str, state: S) -> S:
    """What ``verb`` makes of ``state``.

    Raises:
        Fault: the life cycle refuses it.
    """
    answer = life.next_state(verb, state)
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
