"""Sign-in to nodes: their user accounts, and an SSH server for each node on a loopback port.

A password is stored as a salted hash. A user without a password and without a key cannot sign in.

The server of a node starts when a client requests its address, so that other nodes cost nothing.
The start imports asyncssh, which implements the protocol (:mod:`ssh_protocol`).
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import hashlib
import hmac
import importlib
import importlib.util
import logging
import os
import shutil
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol, cast

from batchspec.local.agent.processes import Processes
from batchspec.local.model import Node, NodeState, Wire, node_root
from batchspec.local.process import TAG_VARIABLE, process_tag
from batchspec.local.safe_paths import open_directory
from batchspec.local.task_users import TaskUser, UserIds
from batchspec.local.wire import read_time

USERS = "users"
"""The entry of a node's ``detail`` with its accounts by name."""
_SALT = 16
_COST: Mapping[str, int] = {"n": 1 << 14, "r": 8, "p": 1, "dklen": 32}
_NO_PASSWORD = "00" * _SALT + ":" + "00" * 32


@dataclass(frozen=True, slots=True)
class NodeUser:
    """A user account of a node, which ``expires``.

    ``password`` is a salted hash, ``public_key`` the text from the request; both may be ``None``.
    ``runs_as`` is the user of the account's processes and files, ``None`` for the user of the
    service.
    """

    expires: datetime
    password: str | None = None
    public_key: str | None = None
    admin: bool = False
    runs_as: TaskUser | None = None

    def has_password(self, password: str) -> bool:
        """Whether ``password`` is the password of the account; takes about 50 ms."""
        return self.password is not None and _is_hash_of(self.password, password)

    def has_key(self, blob: bytes) -> bool:
        """Whether ``blob``, a public key in the encoding of SSH, is the key of the account."""
        own = None if self.public_key is None else read_public_key(self.public_key)
        return own is not None and hmac.compare_digest(own, blob)


def hash_password(password: str) -> str | None:
    """The salted hash of ``password``; ``None`` for an empty password, which is never accepted."""
    if not password:
        return None
    salt = os.urandom(_SALT)
    return f"{salt.hex()}:{hashlib.scrypt(password.encode(), salt=salt, **_COST).hex()}"


def refuse_password(password: str) -> None:
    """Take as long as :meth:`NodeUser.has_password`, so that the time reveals no user names."""
    _is_hash_of(_NO_PASSWORD, password)


def _is_hash_of(stored: str, password: str) -> bool:
    salt, _, digest = stored.partition(":")
    try:
        given = hashlib.scrypt(password.encode(), salt=bytes.fromhex(salt), **_COST)
    except UnicodeEncodeError:  # a lone surrogate, which no request can contain
        return False
    return hmac.compare_digest(bytes.fromhex(digest), given)


def read_public_key(text: str) -> bytes | None:
    """The key in a line of OpenSSH (``ssh-ed25519 AAAA... comment``), or in the line in base64.

    The reference requires "OpenSSH encoding" and "base 64 encoded"; clients send either form.

    Returns:
        The key in the encoding of SSH; ``None`` if the text contains no key.
    """
    fields = text.split()
    if not fields:
        return None
    try:
        decoded = base64.b64decode(fields[1] if len(fields) > 1 else fields[0], validate=True)
    except (binascii.Error, ValueError):
        return None
    if decoded.startswith(b"\0\0\0"):  # the length of the name of the algorithm
        return decoded
    line = decoded.decode(errors="replace").split()
    return read_public_key(" ".join(line)) if len(fields) == 1 and len(line) > 1 else None


def users_of(node: Node, now: datetime) -> dict[str, Wire]:
    """The stored accounts of a node that have not expired, by name."""
    kept: Mapping[str, Any] = node.detail.get(USERS, {})
    found = {name: _stored(user) for name, user in kept.items()}
    return {name: user for name, user in found.items() if read_time(user["expires"]) > now}


def read_user(stored: Wire) -> NodeUser:
    """An account, as :func:`users_of` returns it."""
    return NodeUser(
        read_time(stored["expires"]),
        stored.get("password"),
        stored.get("public_key"),
        admin=stored.get("admin", False),
    )


def _stored(user: Any) -> dict[str, Any]:
    """A stored account; earlier versions stored only its expiry time."""
    return {"expires": user} if isinstance(user, str) else user


ADDRESS = "127.0.0.1"
"""The address of the ports of every node, since all nodes are on this machine."""
SSH_PORT = "ssh_port"
"""The entry of a node's ``detail`` with the port of its SSH server."""
WITHOUT_LOGIN = frozenset(
    {
        NodeState.CREATING,
        NodeState.PREEMPTED,
        NodeState.LEAVING_POOL,
        NodeState.DEALLOCATING,
        NodeState.DEALLOCATED,
    }
)
"""The states of nodes in which no user can sign in."""
_BACKLOG = 16
_KEYS, _SESSIONS = "ssh-keys", "ssh-sessions"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LoginNode:
    """The data of a node for its SSH server.

    ``root`` is the directory of the node. ``key`` is the file of the private host key, which is
    created if it does not exist. ``sessions`` is a folder for the pipes of sessions. ``find_user``
    returns the account with a name, unless it has expired. ``group`` is the group of separate
    users.
    """

    root: Path
    key: Path
    sessions: Path
    find_user: Callable[[str], NodeUser | None]
    processes: Processes
    tag: str
    group: int = 0


class SshServer(Protocol):
    """The running SSH server of a node."""

    def disconnect(self) -> None:
        """End all connections, and the processes of their sessions."""

    async def close(self) -> None:
        """Stop listening, close all connections and wait until they have ended."""


@dataclass(slots=True)
class _Listener:
    port: int
    starting: asyncio.Task[SshServer | None]
    key: Path

    def has_failed(self) -> bool:
        """Whether the start of the server failed and its port is closed."""
        return self.starting.done() and self.starting.result() is None


class SshServers:
    """The SSH servers of all nodes of a service on the data folder ``data``."""

    def __init__(
        self,
        data: Path,
        find_user: Callable[[str, str, str], NodeUser | None],
        users: UserIds | None = None,
    ) -> None:
        """``find_user`` returns the account of a pool, a node and a name; see ``LoginNode``.

        ``users`` are the user ids of sessions, if tasks run as separate users.
        """
        self._data = data
        self._users = users
        self._find_user = find_user
        self._tag = process_tag(data)
        self._processes = Processes({TAG_VARIABLE: self._tag})
        self._listeners: dict[tuple[str, str], _Listener] = {}
        self._ending: set[asyncio.Task[None]] = set()

    @staticmethod
    def is_installed() -> bool:
        """Whether asyncssh is installed, which the extra ``local`` contains."""
        return importlib.util.find_spec("asyncssh") is not None

    def open(self, pool_id: str, node_id: str, port: int = 0) -> int:
        """Start the server of a node, unless it is running; return its port.

        The server listens on ``port`` if that port is free. It accepts connections on return. A
        failed server starts again.

        Raises:
            OSError: no port or no descriptor is free.
        """
        found = self._listeners.get(_key(pool_id, node_id))
        if found is not None and not found.has_failed():
            return found.port
        folders = None if self._users is None else self._users.folders
        with open_directory(self._data, [_SESSIONS], own=True, owner=folders):
            pass
        listening = _listen(port)
        bound: int = listening.getsockname()[1]
        node = LoginNode(
            root=node_root(self._data, pool_id, node_id),
            key=self._data / _KEYS / pool_id.lower() / node_id.lower(),
            sessions=self._data / _SESSIONS,
            find_user=lambda name: self._find_user(pool_id, node_id, name),
            processes=self._processes,
            tag=self._tag,
            group=0 if self._users is None else self._users.group,
        )
        starting = asyncio.create_task(_start(node, listening), name=f"ssh {node_id}")
        self._listeners[_key(pool_id, node_id)] = _Listener(bound, starting, node.key)
        return bound

    def disconnect(self, pool_id: str, node_id: str) -> None:
        """End all connections to a node."""
        listener = self._listeners.get(_key(pool_id, node_id))
        if listener is not None and listener.starting.done():
            server = listener.starting.result()
            if server is not None:
                server.disconnect()

    def close(self, pool_id: str, node_id: str) -> None:
        """Stop the server and delete the host key of a node that leaves its pool or is reimaged."""
        listener = self._listeners.pop(_key(pool_id, node_id), None)
        if listener is None:
            return
        task = asyncio.create_task(_close(listener))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)
        with contextlib.suppress(OSError):
            listener.key.unlink(missing_ok=True)
            listener.key.parent.rmdir()

    async def close_all(self) -> None:
        """Stop all servers; on return, all processes of sessions have ended."""
        closing = [_close(listener) for listener in self._listeners.values()]
        self._listeners.clear()
        await asyncio.gather(*closing, *self._ending)
        await self._processes.close()
        # This includes the files of an earlier run that was killed.
        await asyncio.to_thread(shutil.rmtree, self._data / _SESSIONS, ignore_errors=True)


def _key(pool_id: str, node_id: str) -> tuple[str, str]:
    return pool_id.lower(), node_id.lower()


def _listen(port: int) -> socket.socket:
    with contextlib.suppress(OSError):
        return socket.create_server((ADDRESS, port), backlog=_BACKLOG)
    return socket.create_server((ADDRESS, 0), backlog=_BACKLOG)


async def _start(node: LoginNode, listening: socket.socket) -> SshServer | None:
    """Serve the connections of ``listening``; on a failure, close the port and return ``None``."""
    try:
        # The import takes about 200 ms, so it runs in a thread.
        protocol: Any = await asyncio.to_thread(
            importlib.import_module, "batchspec.local.agent.ssh_protocol"
        )
        return cast("SshServer", await protocol.serve_node(node, listening))
    except Exception:  # noqa: BLE001  the service continues without this server
        _log.exception("the SSH server of %s cannot start", node.root)
        listening.close()
        return None
    except asyncio.CancelledError:
        listening.close()
        raise


async def _close(listener: _Listener) -> None:
    server = await listener.starting
    if server is not None:
        await server.close()
