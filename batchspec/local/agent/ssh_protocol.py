"""The SSH server of one node, with asyncssh: authentication, sessions, file transfer.

A session is a run of the host (:mod:`host`), so that all its processes end with the session or the
service. Sessions and file transfers start in the directory of the node. If the service runs as
root, they run as the user of the account. As on Azure, a session has no variables of tasks. The
server refuses forwarding of ports and agents.

The input and output of a session are pipes or a terminal. The program opens them by their paths;
the service has the other ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import itertools
import logging
import os
import socket
import struct
import tempfile
import termios
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from io import FileIO
from pathlib import Path
from typing import Any, Self, TypeVar

import asyncssh

from batchspec.local.agent.node_login import LoginNode, NodeUser, SshServer, refuse_password
from batchspec.local.agent.processes import Exited, Killed, ProcessEnd, Processes, Program
from batchspec.local.process import TAG_VARIABLE
from batchspec.local.task_users import NODE_PATH, TaskUser, file_access_of

_CONTROL_D = b"\x04"
T = TypeVar("T")
_log = logging.getLogger(__name__)


class Streams:
    """The service's ends of the streams. Use it as a context, which closes all files.

    ``paths`` are the files of standard input, output and error of the program. A ``terminal``
    replaces them.
    """

    paths: tuple[Path, Path, Path] = (Path(os.devnull),) * 3
    terminal: Path | None = None

    def __init__(self) -> None:
        self._opened = ExitStack()
        self._input: FileIO
        self._outputs: tuple[FileIO, ...] = ()
        self._program_ends: tuple[FileIO, ...] = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def resize(self, width: int, height: int, pixel_width: int, pixel_height: int) -> None:
        """Set the size of the terminal in characters and in pixels; pipes have no size."""

    async def end_input(self) -> None:
        """Pass the end of the input to the program."""
        self._input.close()

    def program_ended(self) -> None:
        """Record the end of the program: :meth:`read` returns the rest of the output, then ends."""
        for file in self._program_ends:
            file.close()

    async def write(self, data: bytes) -> None:
        """Pass ``data`` to the program; wait until the program has read enough.

        Raises:
            OSError: the program has closed its input.
        """
        rest, loop = memoryview(data), asyncio.get_running_loop()
        while rest:
            # A non-blocking file returns None instead of raising BlockingIOError.
            written = self._input.write(rest)
            if written is None:
                await _ready(self._input, loop.add_writer, loop.remove_writer)
            rest = rest[written or 0 :]

    async def read(self, number: int) -> bytes:
        """The next bytes of standard output (0) or error (1); empty at the end."""
        if number >= len(self._outputs):
            return b""
        file, loop = self._outputs[number], asyncio.get_running_loop()
        while True:
            try:
                data = file.read(_SIZE)
            except OSError:  # EIO: no process has the terminal open
                return b""
            if data is not None:
                return data
            await _ready(file, loop.add_reader, loop.remove_reader)

    def _open(self, file: FileIO) -> FileIO:
        self._opened.callback(file.close)
        os.set_blocking(file.fileno(), False)
        return file


async def _ready(
    file: FileIO, add: Callable[..., None], remove: Callable[[FileIO], object]
) -> None:
    ready = asyncio.Event()
    add(file, ready.set)
    try:
        await ready.wait()
    finally:
        remove(file)


class Pipes(Streams):
    """Named pipes in a new directory in ``folder``, for binary data."""

    def __init__(self, folder: Path, user: TaskUser | None) -> None:
        """``user`` is the user of the program, ``None`` for the user of the service."""
        super().__init__()
        directory = Path(self._opened.enter_context(tempfile.TemporaryDirectory(dir=folder)))
        self._owner = (-1, -1) if user is None else (user.uid, user.gid)
        os.chown(directory, *self._owner)
        self.paths = (directory / "in", directory / "out", directory / "err")
        # The service keeps both ends open while the program runs: a pipe without a writer ends, and
        # a write to a pipe without a reader fails.
        (taken, self._input), *outputs = map(self._make, self.paths)
        self._outputs = tuple(reader for reader, _ in outputs)
        self._program_ends = (taken, *(writer for _, writer in outputs))

    def _make(self, path: Path) -> tuple[FileIO, FileIO]:
        os.mkfifo(path, 0o600)
        os.chown(path, *self._owner)
        reader = self._open(FileIO(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb"))
        return reader, self._open(FileIO(os.open(path, os.O_WRONLY | os.O_NONBLOCK), "wb"))


class Terminal(Streams):
    """A pseudo-terminal, for interactive programs."""

    def __init__(self, user: TaskUser | None) -> None:
        """``user`` is the user of the program, ``None`` for the user of the service."""
        super().__init__()
        ours, theirs = (FileIO(descriptor, "r+b") for descriptor in os.openpty())
        self.terminal = Path(os.ttyname(theirs.fileno()))
        if user is not None:
            os.fchown(theirs.fileno(), user.uid, user.gid)
        self._input = self._open(ours)
        self._outputs = (ours,)
        self._program_ends = (self._open(theirs),)

    def resize(self, width: int, height: int, pixel_width: int, pixel_height: int) -> None:
        """Set the size of the terminal."""
        size = struct.pack("4H", height, width, pixel_width, pixel_height)
        fcntl.ioctl(self._input, termios.TIOCSWINSZ, size)

    async def end_input(self) -> None:
        """Send control-D."""
        await self.write(_CONTROL_D)


_MAX_PASSWORDS = 6
"""Maximum number of passwords per connection, as in OpenSSH."""
_LOGIN_SECONDS = 60
_MAX_WRONG, _WRONG_SECONDS = 12, 300.0
"""Maximum number of wrong passwords for a user of a node in this time, over all connections."""
_NOT_RUN = 255
"""The exit code of ssh for a program with an unknown exit code."""
_SIZE = 1 << 16
_numbers = itertools.count()

asyncssh.set_log_level("WARNING")  # lower levels log each connection and request


async def serve_node(node: LoginNode, listening: socket.socket) -> SshServer:
    """Serve the connections of ``listening``.

    Raises:
        OSError: the host key cannot be read or written.
        asyncssh.KeyImportError: the file of the host key is damaged.
    """
    key = await asyncio.to_thread(_host_key, node.key)
    server = _Server(node)
    await server.listen(listening, key)
    return server


def _host_key(path: Path) -> asyncssh.SSHKey:
    """The host key in ``path``; a new key is created with access only for its owner."""
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        key = asyncssh.generate_private_key("ssh-ed25519")
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(key.export_private_key())
        return key
    return asyncssh.read_private_key(path)


class _Server:
    """The server and its open connections."""

    def __init__(self, node: LoginNode) -> None:
        self._node = node
        self._connections: set[asyncssh.SSHServerConnection] = set()
        self._wrong = WrongPasswords(time.monotonic)
        self._acceptor: asyncssh.SSHAcceptor | None = None

    async def listen(self, listening: socket.socket, key: asyncssh.SSHKey) -> None:
        node = self._node
        self._acceptor = await asyncssh.listen(
            sock=listening,
            server_host_keys=[key],
            server_factory=lambda: _Connection(node, self._connections, self._wrong),
            process_factory=lambda process: _run(node, process),
            sftp_factory=lambda channel: _Files(channel, node),
            allow_scp=True,
            encoding=None,
            line_editor=False,
            agent_forwarding=False,
            gss_host=None,
            login_timeout=_LOGIN_SECONDS,
            server_version="batchspec",
        )

    def disconnect(self) -> None:
        for connection in tuple(self._connections):
            connection.abort()

    async def close(self) -> None:
        if self._acceptor is not None:
            self._acceptor.close()
        open_ = tuple(self._connections)
        self.disconnect()
        await asyncio.gather(*(connection.wait_closed() for connection in open_))


class WrongPasswords:
    """The attempts to sign in to a node with a password, by user name.

    After 12 wrong passwords within 5 minutes, further passwords of this user are refused until the
    first attempt is 5 minutes old. Keys are not affected. Unknown user names count too, so that
    refusals reveal no user names. ``clock`` returns seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._tried: dict[str, list[float]] = {}

    def may_try(self, name: str) -> bool:
        """Whether another password is allowed; it counts as wrong until :meth:`forget`."""
        start = self._clock() - _WRONG_SECONDS
        recent = {
            known: [one for one in tried if one > start] for known, tried in self._tried.items()
        }
        self._tried = {known: tried for known, tried in recent.items() if tried}
        tried = self._tried.setdefault(name, [])
        if len(tried) >= _MAX_WRONG:
            return False
        tried.append(self._clock())
        if len(tried) == _MAX_WRONG:
            _log.warning(
                "%d wrong passwords for a user of a node: no more are accepted for some time",
                _MAX_WRONG,
            )
        return True

    def forget(self, name: str) -> None:
        """Forget the attempts of a user who has signed in."""
        self._tried.pop(name, None)


class _Connection(asyncssh.SSHServer):
    """One connection: authentication by the accounts of the node."""

    def __init__(
        self,
        node: LoginNode,
        connections: set[asyncssh.SSHServerConnection],
        wrong: WrongPasswords,
    ) -> None:
        self._node = node
        self._wrong = wrong
        self._connections = connections
        self._own: asyncssh.SSHServerConnection | None = None
        self._tried = 0

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._own = conn
        self._connections.add(conn)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        if self._own is not None:
            self._connections.discard(self._own)

    def password_auth_supported(self) -> bool:
        return True

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        user = self._node.find_user(username)
        return user is not None and user.has_key(key.public_data)

    async def validate_password(self, username: str, password: str) -> bool:
        self._tried += 1
        if self._tried > _MAX_PASSWORDS or not self._wrong.may_try(username):
            return False
        user = self._node.find_user(username)
        right = await asyncio.to_thread(_is_right, user, password)
        if right:
            self._wrong.forget(username)
        return right


def _is_right(user: NodeUser | None, password: str) -> bool:
    if user is None or user.password is None:
        refuse_password(password)
        return False
    return user.has_password(password)


class _Files(asyncssh.SFTPServer):
    """File transfer as the user of the account, with paths as in a session."""

    def __init__(self, channel: asyncssh.SSHServerChannel[bytes], node: LoginNode) -> None:
        super().__init__(channel)
        self._root = os.fsencode(node.root)
        user = node.find_user(channel.get_extra_info("username"))
        if user is None:  # the account was deleted after the sign-in
            raise asyncssh.SFTPPermissionDenied("The account does not exist.")
        for name in _FILE_OPERATIONS:
            act = partial(_act_as, user.runs_as, node.group, getattr(super(), name))
            setattr(self, name, act)
        # By default, asyncssh lists in a coroutine, which cannot act as another user.
        self.listdir = partial(_act_as, user.runs_as, node.group, self._list)

    def _list(self, path: bytes) -> list[bytes]:
        return [b".", b"..", *os.listdir(self.map_path(path))]  # noqa: PTH208  bytes

    def map_path(self, path: bytes) -> bytes:
        return os.path.join(self._root, path)  # noqa: PTH118  bytes

    def reverse_map_path(self, path: bytes) -> bytes:
        return path


_FILE_OPERATIONS = (
    "open", "open56", "stat", "lstat", "setstat", "lsetstat", "fsetstat", "statvfs", "remove",
    "mkdir", "rmdir", "realpath", "readlink", "symlink", "link", "rename", "posix_rename",
)  # fmt: skip
"""The methods of ``SFTPServer`` that need rights; reads and writes of open files do not."""


def _act_as(user: TaskUser | None, group: int, operation: Callable[..., T], *given: Any) -> T:
    with file_access_of(user, group):
        return operation(*given)


async def _run(node: LoginNode, process: asyncssh.SSHServerProcess[bytes]) -> None:
    """Run the command of a session, or a login shell, until it ends or the client disconnects."""
    if process.subsystem:
        process.stderr.write(f"The subsystem {process.subsystem} is not supported.\n".encode())
        process.exit(1)
        return
    key = f"ssh{next(_numbers)}"
    account = node.find_user(process.get_extra_info("username"))
    if account is None:  # the account was deleted after the sign-in
        process.exit(_NOT_RUN)
        return
    user = account.runs_as
    streams: Streams
    with Pipes(node.sessions, user) if process.term_type is None else Terminal(user) as streams:
        if process.term_type is not None:
            streams.resize(*process.term_size)
        running = asyncio.create_task(
            node.processes.run(key, _program(node, process, streams, user))
        )
        leaving = asyncio.create_task(process.wait_closed())
        passing_input = asyncio.create_task(_pass_input(streams, process, node.processes, key))
        passing = asyncio.create_task(_pass_outputs(streams, process))
        try:
            await asyncio.wait({running, leaving}, return_when=asyncio.FIRST_COMPLETED)
            node.processes.kill(key)  # without effect on a run that has ended
            code = _exit_code(*await asyncio.gather(running, return_exceptions=True))
            streams.program_ended()
            await asyncio.wait({passing, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            others = (leaving, passing_input, passing)
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)
            node.processes.used(key)
    process.exit(code)


async def _pass_input(
    streams: Streams,
    process: asyncssh.SSHServerProcess[bytes],
    processes: Processes,
    key: str,
) -> None:
    """Pass the input of the client to the program, until the program closes its input."""
    with contextlib.suppress(OSError):
        while True:
            try:
                data = await process.stdin.read(_SIZE)
            except asyncssh.TerminalSizeChanged as size:
                streams.resize(size.width, size.height, size.pixwidth, size.pixheight)
            except asyncssh.SignalReceived:
                processes.kill(key)
            except asyncssh.BreakReceived:
                continue
            else:
                if not data:
                    await streams.end_input()
                    return
                await streams.write(data)


async def _pass_outputs(streams: Streams, process: asyncssh.SSHServerProcess[bytes]) -> None:
    writers = (process.stdout, process.stderr)
    await asyncio.gather(*(_pass_output(streams, *one) for one in enumerate(writers)))


async def _pass_output(streams: Streams, number: int, writer: asyncssh.SSHWriter[bytes]) -> None:
    """Pass the output of the program to the client, until the program or the connection ends."""
    with contextlib.suppress(OSError, asyncssh.Error):
        while data := await streams.read(number):
            writer.write(data)
            await writer.drain()


def _exit_code(ended: ProcessEnd | BaseException) -> int:
    """The exit code of a session, with the conventions of shells and ssh."""
    match ended:
        case Exited(code):
            return code
        case Killed(signal):
            return 128 + signal
    return _NOT_RUN


def _program(
    node: LoginNode,
    process: asyncssh.SSHServerProcess[bytes],
    streams: Streams,
    user: TaskUser | None,
) -> Program:
    shell = "/bin/bash" if Path("/bin/bash").exists() else "/bin/sh"
    name = process.get_extra_info("username")
    environment = {
        "PATH": NODE_PATH,
        "HOME": str(node.root),
        "USER": name,
        "LOGNAME": name,
        "SHELL": shell,
        "LANG": "C.UTF-8",
        "HISTFILE": os.devnull,  # all users share the home directory, the directory of the node
        TAG_VARIABLE: node.tag,
    }
    if process.term_type is not None:
        environment["TERM"] = process.term_type
    command = process.command
    argv = [shell, "-l"] if command is None else [shell, "-c", command]
    stdin, stdout, stderr = streams.paths
    return Program(
        argv,
        environment,
        node.root,
        stdout,
        stderr,
        stdin=stdin,
        terminal=streams.terminal,
        user=user,
    )
