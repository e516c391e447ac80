"""The state machines of pools, nodes, jobs, tasks and job schedules, as tables.

Each table contains the transitions of the engine. For each operation of the API and each state, it
contains the next state, or the code of the error that refuses the operation. The tables are
complete: every state has a row, and every row has a cell for each operation. This module reads no
record and no clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar


class PoolState(StrEnum):
    """``state`` of a pool."""

    ACTIVE = "active"
    DELETING = "deleting"


class AllocationState(StrEnum):
    """``allocationState`` of a pool."""

    STEADY = "steady"
    RESIZING = "resizing"
    STOPPING = "stopping"


class NodeState(StrEnum):
    """``state`` of a compute node, in the spelling of ``BatchNode``."""

    CREATING = "creating"
    STARTING = "starting"
    WAITING_FOR_START_TASK = "waitingforstarttask"
    START_TASK_FAILED = "starttaskfailed"
    IDLE = "idle"
    RUNNING = "running"
    REBOOTING = "rebooting"
    REIMAGING = "reimaging"
    UNUSABLE = "unusable"
    UNKNOWN = "unknown"
    LEAVING_POOL = "leavingpool"
    OFFLINE = "offline"
    PREEMPTED = "preempted"
    UPGRADING_OS = "upgradingos"
    DEALLOCATING = "deallocating"
    DEALLOCATED = "deallocated"


class JobState(StrEnum):
    """``state`` of a job."""

    ACTIVE = "active"
    DISABLING = "disabling"
    DISABLED = "disabled"
    ENABLING = "enabling"
    TERMINATING = "terminating"
    COMPLETED = "completed"
    DELETING = "deleting"


class TaskState(StrEnum):
    """``state`` of a task; ``preparing`` while the job preparation task runs on its node."""

    ACTIVE = "active"
    PREPARING = "preparing"
    RUNNING = "running"
    COMPLETED = "completed"


class CertificateState(StrEnum):
    """The states of a certificate."""

    ACTIVE = "active"
    DELETING = "deleting"
    DELETE_FAILED = "deletefailed"


class ScheduleState(StrEnum):
    """``state`` of a job schedule."""

    ACTIVE = "active"
    COMPLETED = "completed"
    DISABLED = "disabled"
    TERMINATING = "terminating"
    DELETING = "deleting"


S = TypeVar("S", bound=StrEnum)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A table cell that refuses the operation with this error code."""

    code: str


class IllegalTransitionError(Exception):
    """The engine requested a transition that is not in the table. This is a bug."""


@dataclass(frozen=True, slots=True)
class StateMachine(Generic[S]):
    """The states of one resource: the engine's transitions and the API's operations."""

    transitions: Mapping[S, frozenset[S]]
    operations: Mapping[str, Mapping[S, S | Refusal]]

    def check(self, old: S, new: S) -> None:
        """Check that ``old`` may become ``new``; every state may stay the same.

        Raises:
            IllegalTransitionError: the table has no such transition.
        """
        if old != new and new not in self.transitions[old]:
            raise IllegalTransitionError(f"{type(old).__name__}: {old} may not become {new}")

    def next_state(self, operation: str, state: S) -> S | Refusal:
        """The state after ``operation`` in ``state``, or the refusal."""
        return self.operations[operation][state]


def _table(table: Mapping[S, tuple[S, ...]]) -> Mapping[S, frozenset[S]]:
    return {state: frozenset(following) for state, following in table.items()}


_P, _A, _N, _J, _T, _C = PoolState, AllocationState, NodeState, JobState, TaskState, ScheduleState
_POOL_DELETED = Refusal("PoolBeingDeleted")
_POOL_RESIZED = Refusal("PoolBeingResized")

POOL: StateMachine[PoolState] = StateMachine(
    transitions=_table({_P.ACTIVE: (_P.DELETING,), _P.DELETING: ()}),
    operations={
        "delete": {_P.ACTIVE: _P.DELETING, _P.DELETING: _POOL_DELETED},
        "update": {_P.ACTIVE: _P.ACTIVE, _P.DELETING: _POOL_DELETED},
    },
)

ALLOCATION: StateMachine[AllocationState] = StateMachine(
    transitions=_table(
        {
            _A.STEADY: (_A.RESIZING,),
            _A.RESIZING: (_A.STEADY, _A.STOPPING),
            _A.STOPPING: (_A.STEADY,),
        }
    ),
    operations={
        "resize": {
            _A.STEADY: _A.RESIZING,
            _A.RESIZING: _POOL_RESIZED,
            _A.STOPPING: _POOL_RESIZED,
        },
        # The service accepts a stop of a steady pool, which changes nothing: the resize can end
        # just before the request (contract 1).
        "stop": {_A.STEADY: _A.STEADY, _A.RESIZING: _A.STOPPING, _A.STOPPING: _A.STOPPING},
    },
)

_NODE_LOST = (_N.LEAVING_POOL, _N.UNUSABLE, _N.UNKNOWN)
_NODE_INTERRUPTED = (
    _N.REBOOTING,
    _N.REIMAGING,
    _N.OFFLINE,
    _N.PREEMPTED,
    _N.UPGRADING_OS,
    _N.DEALLOCATING,
)
_NODE_AFTER_BOOT = (
    _N.STARTING,
    _N.WAITING_FOR_START_TASK,
    _N.IDLE,
    _N.RUNNING,
    _N.OFFLINE,
    _N.PREEMPTED,
)

_NODE_BUSY: dict[NodeState, NodeState | Refusal] = {
    _N.CREATING: Refusal("NodeBeingCreated"),
    _N.STARTING: Refusal("NodeBeingStarted"),
    _N.WAITING_FOR_START_TASK: Refusal("NodeBeingStarted"),
    _N.REBOOTING: Refusal("NodeBeingRebooted"),
    _N.REIMAGING: Refusal("NodeBeingReimaged"),
    _N.UNUSABLE: Refusal("NodeStateUnusable"),
    **dict.fromkeys(
        (_N.UNKNOWN, _N.LEAVING_POOL, _N.PREEMPTED, _N.UPGRADING_OS),
        Refusal("OperationInvalidForCurrentState"),
    ),
    **dict.fromkeys((_N.DEALLOCATING, _N.DEALLOCATED), Refusal("OperationInvalidForCurrentState")),
}
_NODE_AT_REST = (_N.IDLE, _N.RUNNING, _N.OFFLINE, _N.START_TASK_FAILED)

NODE: StateMachine[NodeState] = StateMachine(
    transitions=_table(
        {
            _N.CREATING: (_N.STARTING, _N.PREEMPTED, _N.REBOOTING, *_NODE_LOST),
            _N.STARTING: (
                _N.WAITING_FOR_START_TASK,
                _N.START_TASK_FAILED,
                _N.IDLE,
                *_NODE_INTERRUPTED,
                *_NODE_LOST,
            ),
            _N.WAITING_FOR_START_TASK: (
                _N.STARTING,
                _N.START_TASK_FAILED,
                _N.IDLE,
                *_NODE_INTERRUPTED,
                *_NODE_LOST,
            ),
            _N.START_TASK_FAILED: (_N.STARTING, *_NODE_INTERRUPTED, *_NODE_LOST),
            _N.IDLE: (
                _N.STARTING,
                _N.RUNNING,
                _N.START_TASK_FAILED,
                *_NODE_INTERRUPTED,
                *_NODE_LOST,
            ),
            _N.RUNNING: (
                _N.STARTING,
                _N.IDLE,
                _N.START_TASK_FAILED,
                *_NODE_INTERRUPTED,
                *_NODE_LOST,
            ),
            _N.REBOOTING: (*_NODE_AFTER_BOOT, *_NODE_LOST),
            _N.REIMAGING: (*_NODE_AFTER_BOOT, *_NODE_LOST),
            _N.UPGRADING_OS: (*_NODE_AFTER_BOOT, *_NODE_LOST),
            _N.UNUSABLE: (_N.STARTING, _N.REBOOTING, _N.REIMAGING, _N.LEAVING_POOL),
            _N.UNKNOWN: (*_NODE_AFTER_BOOT, *_NODE_INTERRUPTED, *_NODE_LOST),
            _N.LEAVING_POOL: (),
            _N.OFFLINE: (
                *_NODE_AFTER_BOOT,
                _N.REBOOTING,
                _N.REIMAGING,
                _N.DEALLOCATING,
                *_NODE_LOST,
            ),
            _N.PREEMPTED: (_N.CREATING, _N.STARTING, *_NODE_LOST),
            _N.DEALLOCATING: (_N.DEALLOCATED, *_NODE_LOST),
            _N.DEALLOCATED: (_N.STARTING, _N.CREATING, *_NODE_LOST),
        }
    ),
    operations={
        # The reference allows these operations on idle and running nodes. This service also allows
        # them on a node whose start task failed; no other operation recovers such a node.
        "reboot": _NODE_BUSY
        | dict.fromkeys(_NODE_AT_REST, _N.REBOOTING)
        | {_N.UNUSABLE: _N.REBOOTING},
        "reimage": _NODE_BUSY
        | dict.fromkeys(_NODE_AT_REST, _N.REIMAGING)
        | {_N.UNUSABLE: _N.REIMAGING},
        "deallocate": _NODE_BUSY | dict.fromkeys(_NODE_AT_REST, _N.DEALLOCATING),
        "start": _NODE_BUSY
        | dict.fromkeys(_NODE_AT_REST, Refusal("OperationInvalidForCurrentState"))
        | {_N.DEALLOCATED: _N.STARTING},
        # The reference: "only when it is in the idle or running state".
        "users": _NODE_BUSY
        | dict.fromkeys(_NODE_AT_REST, Refusal("OperationInvalidForCurrentState"))
        | {_N.IDLE: _N.IDLE, _N.RUNNING: _N.RUNNING},
    },
)

_JOB_DELETED = Refusal("JobBeingDeleted")
_JOB_ENDED = Refusal("JobCompleted")
_JOB_ENDING = Refusal("JobBeingTerminated")
_JOB_FINAL: dict[JobState, JobState | Refusal] = {
    _J.TERMINATING: _JOB_ENDING,
    _J.COMPLETED: _JOB_ENDED,
    _J.DELETING: _JOB_DELETED,
}
_JOB_OPEN = (_J.ACTIVE, _J.DISABLING, _J.DISABLED, _J.ENABLING)

JOB: StateMachine[JobState] = StateMachine(
    transitions=_table(
        {
            _J.ACTIVE: (_J.DISABLING, _J.TERMINATING, _J.DELETING),
            _J.DISABLING: (_J.DISABLED, _J.ENABLING, _J.TERMINATING, _J.DELETING),
            _J.DISABLED: (_J.ENABLING, _J.TERMINATING, _J.DELETING),
            _J.ENABLING: (_J.ACTIVE, _J.TERMINATING, _J.DELETING),
            _J.TERMINATING: (_J.COMPLETED, _J.DELETING),
            _J.COMPLETED: (_J.DELETING,),
            _J.DELETING: (),
        }
    ),
    operations={
        "update": _JOB_FINAL | {state: state for state in _JOB_OPEN},
        "add_task": _JOB_FINAL | {state: state for state in _JOB_OPEN},
        "terminate": _JOB_FINAL | dict.fromkeys(_JOB_OPEN, _J.TERMINATING),
        "disable": _JOB_FINAL
        | {
            _J.ACTIVE: _J.DISABLING,
            _J.DISABLING: _J.DISABLING,
            _J.DISABLED: _J.DISABLED,
            _J.ENABLING: Refusal("JobNotActive"),
        },
        "enable": _JOB_FINAL
        | {
            _J.ACTIVE: _J.ACTIVE,
            _J.DISABLING: _J.ENABLING,
            _J.DISABLED: _J.ENABLING,
            _J.ENABLING: _J.ENABLING,
        },
        "delete": dict.fromkeys((*_JOB_OPEN, _J.TERMINATING, _J.COMPLETED), _J.DELETING)
        | {_J.DELETING: _JOB_DELETED},
    },
)

_TASK_ENDED = Refusal("TaskCompleted")
_TASK_OPEN = Refusal("TaskNotCompleted")

TASK: StateMachine[TaskState] = StateMachine(
    transitions=_table(
        {
            _T.ACTIVE: (_T.PREPARING, _T.RUNNING, _T.COMPLETED),
            _T.PREPARING: (_T.ACTIVE, _T.RUNNING, _T.COMPLETED),
            _T.RUNNING: (_T.ACTIVE, _T.COMPLETED),
            _T.COMPLETED: (_T.ACTIVE,),
        }
    ),
    operations={
        # The state of a task on a node stays the same until the engine has ended the task.
        "terminate": {
            _T.ACTIVE: _T.COMPLETED,
            _T.PREPARING: _T.PREPARING,
            _T.RUNNING: _T.RUNNING,
            _T.COMPLETED: _TASK_ENDED,
        },
        "reactivate": {
            _T.ACTIVE: _TASK_OPEN,
            _T.PREPARING: _TASK_OPEN,
            _T.RUNNING: _TASK_OPEN,
            _T.COMPLETED: _T.ACTIVE,
        },
        "update": {
            _T.ACTIVE: _T.ACTIVE,
            _T.PREPARING: _T.PREPARING,
            _T.RUNNING: _T.RUNNING,
            _T.COMPLETED: _TASK_ENDED,
        },
    },
)

_SCHEDULE_FINAL: dict[ScheduleState, ScheduleState | Refusal] = {
    _C.COMPLETED: Refusal("JobScheduleCompleted"),
    _C.TERMINATING: Refusal("JobScheduleBeingTerminated"),
    _C.DELETING: Refusal("JobScheduleBeingDeleted"),
}

SCHEDULE: StateMachine[ScheduleState] = StateMachine(
    transitions=_table(
        {
            _C.ACTIVE: (_C.DISABLED, _C.COMPLETED, _C.TERMINATING, _C.DELETING),
            _C.DISABLED: (_C.ACTIVE, _C.COMPLETED, _C.TERMINATING, _C.DELETING),
            _C.TERMINATING: (_C.COMPLETED, _C.DELETING),
            _C.COMPLETED: (_C.DELETING,),
            _C.DELETING: (),
        }
    ),
    operations={
        "update": {_C.ACTIVE: _C.ACTIVE, _C.DISABLED: _C.DISABLED} | _SCHEDULE_FINAL,
        "disable": {_C.ACTIVE: _C.DISABLED, _C.DISABLED: _C.DISABLED} | _SCHEDULE_FINAL,
        "enable": {_C.ACTIVE: _C.ACTIVE, _C.DISABLED: _C.ACTIVE} | _SCHEDULE_FINAL,
        "terminate": {_C.ACTIVE: _C.TERMINATING, _C.DISABLED: _C.TERMINATING} | _SCHEDULE_FINAL,
        "delete": {
            _C.ACTIVE: _C.DELETING,
            _C.DISABLED: _C.DELETING,
            _C.TERMINATING: _C.DELETING,
            _C.COMPLETED: _C.DELETING,
            _C.DELETING: Refusal("JobScheduleBeingDeleted"),
        },
    },
)
