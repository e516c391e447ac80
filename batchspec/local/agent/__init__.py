"""The agent of a node: resource files in, process, output files out.

A :class:`Launch` goes in and an :class:`Outcome` comes out. When a task runs, and what its outcome
means for the task or its job, does not belong here; nor do the store and requests of clients.
"""

from batchspec.local.agent.agent import Agent
from batchspec.local.agent.containers import ContainerEngine, NoContainerEngineError
from batchspec.local.agent.launch import (
    Container,
    Failure,
    Installation,
    Launch,
    Mount,
    MultiInstance,
    Outcome,
    Package,
    Registry,
    TaskInstance,
    container_failure,
    ended_by_limit,
    ended_by_user,
    exit_failure,
    failure,
    failure_json,
    node_error_json,
    program_failure,
)
from batchspec.local.agent.node_logs import LOG_NAME, NodeLogs
from batchspec.local.agent.processes import ProcessLostError
from batchspec.local.agent.storage import NoAutoStorage, StorageAccess, StorageAccount, StorageError

__all__ = [
    "LOG_NAME",
    "Agent",
    "Container",
    "ContainerEngine",
    "Failure",
    "Installation",
    "Launch",
    "Mount",
    "MultiInstance",
    "NoAutoStorage",
    "NoContainerEngineError",
    "NodeLogs",
    "Outcome",
    "Package",
    "ProcessLostError",
    "Registry",
    "StorageAccess",
    "StorageAccount",
    "StorageError",
    "TaskInstance",
    "container_failure",
    "ended_by_limit",
    "ended_by_user",
    "exit_failure",
    "failure",
    "failure_json",
    "node_error_json",
    "program_failure",
]
