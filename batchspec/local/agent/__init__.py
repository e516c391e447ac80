"""The agent of a node: resource files in, process, output files out.

A :class:`Launch` goes in and an :class:`Outcome` comes out. When a task runs, and what its outcome
means for the task or its job, may not live here; neither may the store or HTTP requests of clients.
"""

from batchspec.local.agent.agent import Agent
from batchspec.local.agent.containers import ContainerEngine, NoContainerEngineError
from batchspec.local.agent.credentials import NoAutoStorage, StorageAccess, StorageAccount
from batchspec.local.agent.failures import (
    container_failure,
    ended_by_limit,
    ended_by_user,
    exit_failure,
    failure,
    program_failure,
)
from batchspec.local.agent.launch import (
    Container,
    Failure,
    Installation,
    Launch,
    MultiInstance,
    Outcome,
    Package,
    Registry,
    TaskInstance,
)
from batchspec.local.agent.processes import ProcessLostError

__all__ = [
    "Agent",
    "Container",
    "ContainerEngine",
    "Failure",
    "Installation",
    "Launch",
    "MultiInstance",
    "NoAutoStorage",
    "NoContainerEngineError",
    "Outcome",
    "Package",
    "ProcessLostError",
    "Registry",
    "StorageAccess",
    "StorageAccount",
    "TaskInstance",
    "container_failure",
    "ended_by_limit",
    "ended_by_user",
    "exit_failure",
    "failure",
    "program_failure",
]
