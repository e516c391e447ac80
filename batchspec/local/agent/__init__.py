"""The agent of a node: resource files in, process, output files out.

In: a :class:`Launch`. Out: an :class:`Outcome`. Scheduling, the effect of an outcome on the task or
its job, the store, and requests of clients do not belong here.
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
    launch_failure,
    node_error_json,
    program_failure,
)
from batchspec.local.agent.node_login import (
    ADDRESS,
    SSH_PORT,
    USERS,
    WITHOUT_LOGIN,
    NodeUser,
    SshServers,
    hash_password,
    read_public_key,
    read_user,
    users_of,
)
from batchspec.local.agent.node_logs import LOG_NAME, NodeLogs
from batchspec.local.agent.processes import ProcessLostError
from batchspec.local.agent.storage import (
    BlobClient,
    NoAutoStorage,
    StorageAccess,
    StorageAccount,
    StorageError,
)
