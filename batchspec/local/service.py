"""The embedded Batch service: assembles store, engine and HTTP application.

:func:`serve` runs it until it is cancelled. The caller must prevent a second service on the same
data folder (the daemon has a lock for this).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import sqlite3
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

from batchspec.local.agent import (
    SSH_PORT,
    WITHOUT_LOGIN,
    ContainerEngine,
    NoAutoStorage,
    NodeUser,
    SshServers,
    StorageAccount,
    read_user,
    users_of,
)
from batchspec.local.api import Context
from batchspec.local.clock import Clock, ClockOffset
from batchspec.local.engine import Delays, NodeConfig, NodeFaults, preemption_absence
from batchspec.local.engine import Engine as ProcessEngine
from batchspec.local.fault_injection import NO_FAULTS, FaultInjection, RandomSource
from batchspec.local.former_clients import FormerClients
from batchspec.local.http import App, HttpsSocket, listen, serving, url_of
from batchspec.local.model import Node, NodeState
from batchspec.local.process import process_tag
from batchspec.local.settings import FULL_ACCESS, NO_LIMITS, IdentityRights, Limits, TrustFiles
from batchspec.local.store import Applications, DamagedStateError, Store, is_corrupt
from batchspec.local.task_users import UserIds

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ServiceConfig:
    """The configuration of a service.

    ``data`` is the folder of its state; no other service may use it. ``key`` is the account's key
    in base64. ``token`` is the accepted bearer token; if it is empty, no token is accepted. Neither
    is ever shown. ``storage`` is the connection string of the account's storage for
    ``autoStorageContainerName``, or ``None``; ``storage_aliases`` are its other addresses.

    ``speed`` is the ratio of the service's time to real time. ``allocation`` is the service's time
    that a node needs to start, ``release`` the time that it needs to leave its pool. ``faults`` are
    the injected faults. ``applications`` is the folder of application packages, ``identities`` are
    the rights of managed identities, ``limits`` apply to every task.

    ``trust`` are the files by which nodes trust the certificate of the services, with https.
    ``users`` are the user ids of tasks, if tasks run as separate users. With ``fuse``, nodes mount
    containers as FUSE file systems if the machine supports FUSE. With ``entra_only``, the account
    and its storage refuse their keys. ``unread`` is the minimum duration of a requested resize
    while no client reads the pool. ``node_state`` is the minimum time that a node is ``creating``,
    ``starting`` or ``leavingpool``.
    """

    data: Path
    account: str
    key: str = field(repr=False)
    token: str = field(repr=False, default="")
    storage: str | None = field(default=None, repr=False)
    storage_aliases: tuple[str, ...] = ()
    speed: float = 1.0
    allocation: timedelta = timedelta()
    release: timedelta = timedelta()
    faults: FaultInjection = NO_FAULTS
    applications: Path | None = None
    identities: IdentityRights = FULL_ACCESS
    limits: Limits = NO_LIMITS
    trust: TrustFiles | None = None
    users: UserIds | None = None
    fuse: bool = False
    entra_only: bool = False
    unread: timedelta = timedelta(seconds=2)
    node_state: timedelta = timedelta(milliseconds=20)


class Engine(Protocol):
    """Carries out the intent that the API writes to the store."""

    async def run(self) -> None:
        """Work until cancelled; then end all processes and return."""


EngineFactory = Callable[[Store, ServiceConfig, str, Clock, SshServers], Engine]
"""Creates the engine of a service; the string is its URL."""


def default_engine(
    store: Store, config: ServiceConfig, url: str, clock: Clock, ssh: SshServers
) -> Engine:
    """The engine that runs tasks as processes of this machine."""
    storage_access = storage_of(config) or NoAutoStorage()
    node_config = NodeConfig(
        config.account,
        url,
        applications=applications_of(config),
        limits=config.limits,
        trust=config.trust,
        users=config.users,
    )
    containers = ContainerEngine(os.environ, process_tag(config.data))
    return ProcessEngine(
        store,
        config.data,
        node_config,
        storage_access,
        clock=clock,
        containers=containers,
        ssh=ssh,
        delays=Delays(
            allocation=max(config.allocation, config.node_state),
            boot=config.node_state,
            absence=preemption_absence(config.faults),
            leaving=config.node_state,
            release=config.release,
            transition=config.faults.transition,
        ),
        node_faults=NodeFaults(config.faults) if config.faults else None,
        fuse=config.fuse,
    )


def storage_of(config: ServiceConfig) -> StorageAccount | None:
    """The auto-storage account; ``None`` without one."""
    if config.storage is None:
        return None
    token = config.token if config.entra_only else ""
    return StorageAccount.read(config.storage, config.storage_aliases, config.identities, token)


def applications_of(config: ServiceConfig) -> Applications:
    """The applications of the account, by default in the data folder."""
    return Applications(config.applications or config.data / "applications")


async def serve(
    config: ServiceConfig,
    ready: Callable[[str], None],
    *,
    listening: socket.socket | None = None,
    https: HttpsSocket | None = None,
    make_engine: EngineFactory | None = default_engine,
) -> None:
    """Run the service until cancelled; call ``ready`` with its URL once it accepts requests.

    It listens on ``listening``, by default on a free loopback port, and on ``https`` if given.

    On cancellation, requests in progress are completed, the process groups of all tasks are ended,
    and the state is saved. Without an engine (``make_engine`` is ``None``, for tests) no intent is
    carried out.

    Raises:
        OSError: the data folder cannot be written.
        NewerStateError: the data folder was written by a newer version.
        DamagedStateError: the database or the time of the service is damaged.
    """
    config.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    time = ClockOffset(config.data)
    clock = Clock(config.speed, time.read())
    listening = listening or listen()
    with (
        contextlib.closing(listening),
        contextlib.closing(Store(_database(config), unread=config.unread)) as store,
    ):
        url = url_of(listening)
        agent = f"batchspec {version('batchspec')}"
        ssh = SshServers(config.data, _finder(store, clock, config.users), config.users)
        context = Context(
            store,
            config.account,
            url,
            config.data,
            agent,
            applications_of(config),
            ContainerEngine(os.environ),
            ssh,
            config.faults,
            storage_of(config),
            clock.now(),
            config.entra_only,
        )
        # Dates of signatures are real time, at any speed of the service's clock.
        former = FormerClients(config.data)
        app = App(
            context,
            config.key,
            config.token,
            now=clock.now,
            wall=_real_time,
            former_clients=former,
        )
        engine = None if make_engine is None else make_engine(store, config, url, clock, ssh)
        async with (
            time.persist(clock),
            _ssh_servers(store, ssh, clock),
            _running_engine(engine) as working,
            _serving(app, listening, https, config.faults) as servers,
        ):
            ready(url)
            try:
                await _until_one_ends(servers | working, keep=servers)
            except sqlite3.DatabaseError as error:
                if not is_corrupt(error):
                    raise
                raise DamagedStateError(str(error)) from error


@contextlib.asynccontextmanager
async def _serving(
    app: App, listening: socket.socket, https: HttpsSocket | None, faults: FaultInjection
) -> AsyncIterator[set[asyncio.Task[None]]]:
    """Serve ``app`` on both sockets within the context; the tasks end only on a failure.

    Replies contain URLs with the scheme of their request.
    """
    random = RandomSource(faults) if faults else None
    async with contextlib.AsyncExitStack() as stack:
        servers = {await stack.enter_async_context(serving(app, listening, random))}
        if https is not None:
            secure = replace(app, context=replace(app.context, base_url=https.url))
            server = serving(secure, https.listening, random, tls=https.tls)
            servers.add(await stack.enter_async_context(server))
        yield servers


def _finder(
    store: Store, clock: Clock, ids: UserIds | None
) -> Callable[[str, str, str], NodeUser | None]:
    """A function that finds a user account by pool, node and name, unless it has expired."""

    def find(pool_id: str, node_id: str, name: str) -> NodeUser | None:
        node = store.nodes.get(pool_id, node_id)
        if node is None or node.state in WITHOUT_LOGIN:
            return None
        users = users_of(node, clock.now())
        if name not in users:
            return None
        user = read_user(users[name])
        if ids is None:
            return user
        return replace(user, runs_as=ids.of_login(name, node.seq, admin=user.admin))

    return find


@contextlib.asynccontextmanager
async def _ssh_servers(store: Store, ssh: SshServers, clock: Clock) -> AsyncIterator[None]:
    """Start the SSH servers that ran when the service ended; stop all servers at the end."""
    for node, last in _ssh_ports_or_set_aside(store, clock.now()):
        try:
            port = ssh.open(node.pool_id, node.id, last)
        except OSError as error:
            _log.warning("no SSH server for node %s: %s", node.id, error.strerror)
            continue
        if port != last:
            detail = {**node.detail, SSH_PORT: port}
            store.nodes.update(node, node.state, clock.now(), detail=detail)
    try:
        yield
    finally:
        await ssh.close_all()


def _ssh_ports_or_set_aside(store: Store, now: datetime) -> list[tuple[Node, int]]:
    """The nodes that had an SSH server, each with its port; without damaged records."""
    try:
        return _ssh_ports(store)
    except Exception as error:
        if is_corrupt(error) or not store.set_aside_damaged(now):
            raise
        return _ssh_ports(store)


def _ssh_ports(store: Store) -> list[tuple[Node, int]]:
    nodes = store.nodes.in_state(*NodeState)
    return [(node, node.detail[SSH_PORT]) for node in nodes if SSH_PORT in node.detail]


@contextlib.asynccontextmanager
async def _running_engine(engine: Engine | None) -> AsyncIterator[set[asyncio.Task[None]]]:
    """Run ``engine``, if any; its first step is complete when the context is entered.

    The first step cleans up after an earlier run, so that this happens before the first request.
    """
    if engine is None:
        yield set()
        return
    task = asyncio.create_task(engine.run(), name="batch-engine")
    try:
        await asyncio.sleep(0)
        yield {task}
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _until_one_ends(working: set[asyncio.Task[None]], keep: set[asyncio.Task[None]]) -> None:
    """Wait until a task ends or the caller is cancelled; then cancel all tasks except ``keep``."""
    try:
        ended, _ = await asyncio.wait(working, return_when=asyncio.FIRST_COMPLETED)
        for task in ended:
            task.result()
    finally:
        others = working - keep
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)


def _database(config: ServiceConfig) -> Path:
    return config.data / "batch.db"


def _real_time() -> datetime:
    return datetime.now(UTC)
