"""The users of tasks: separate users when the service runs as root on Linux.

Each data folder has a separate range of user ids, from :data:`_FIRST` on, where distributions and
container managers assign no ids (systemd, ``UIDS-GIDS.md``). The users are only numbers: they are
not in ``/etc/passwd``, and the deletion of a node deletes no user. Each task has an id of the range
(auto-user with scope ``task``). Each node has further ids: for its tasks with scope ``pool``, its
start task, each named user, each user who signs in, and the preparation and release task of each
job. Ids are used again after 262,144 tasks and 1,023 nodes. An elevated user is root.

All these users are in one group, the last id of the range, as on a node on Azure. Only this group
can enter the data folder. Access follows the article "Run tasks under user accounts in Batch": a
user can read and write the directory of the task and ``shared``. All users can read the directories
of the start task and of preparation tasks; only the user of the task can write to them.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import shutil
import subprocess
import sys
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Self

from batchspec.frozen import frozen
from batchspec.local.safe_paths import Owner
from batchspec.local.settings import TASK_USERS

_log = logging.getLogger(__name__)

_FIRST = 1_879_048_192
_RANGES = 500
_TASKS = 1 << 18
_SIZE = 2 * _TASKS
_NODES, _NODE_SIZE = 1023, 256
_START, _NAMED, _LOGINS, _JOBS = 1, 2, 66, 130
AUTO_USER = "_azbatch"
"""The name of auto-users that are not elevated."""
_PRIVATE, _READABLE, _WRITABLE = 0o700, 0o750, 0o770
NODE_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""The search path for programs on a node."""
_PROBE = 'cd "$1" || exit 3; test -x "$2" || exit 4'


@frozen
class TaskUser:
    """A user: the ids of the user, its group and its other groups; ``uid`` 0 is elevated."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...] = ()


ELEVATED = TaskUser("root", 0, 0)
"""The elevated auto-user."""


class UnknownUserError(Exception):
    """The pool has no user account with this name."""


@frozen
class Owners:
    """The owners of a task's ``directory``, and of the ``folders`` of the service above it."""

    directory: Owner
    folders: Owner


@frozen
class UserIds:
    """The range of ids of a data folder; it begins with ``first``."""

    first: int

    @classmethod
    def of(cls, data: Path) -> Self:
        """The range of the data folder ``data``; two folders can share a range."""
        number = int.from_bytes(hashlib.sha256(os.fsencode(data.resolve())).digest()[:8], "big")
        return cls(_FIRST + number % _RANGES * _SIZE)

    @property
    def group(self) -> int:
        """The id of the group of all users."""
        return self.first + _SIZE - 1

    @property
    def folders(self) -> Owner:
        """The owner of directories of the service that all tasks can read."""
        return Owner(0, self.group, _READABLE)

    @property
    def shared_folders(self) -> Owner:
        """The owner of directories of the service to which all tasks can write."""
        return Owner(0, self.group, _WRITABLE)

    def owners(self, user: TaskUser, *, readable: bool) -> Owners:
        """The owners of a task's directory; with ``readable``, other tasks can read it."""
        directory = Owner(user.uid, self.group, _READABLE if readable else _PRIVATE)
        return Owners(directory, self.folders)

    def of_task(self, seq: int) -> int:
        """The id of the user of the task ``seq`` alone."""
        return self.first + seq % _TASKS

    def of_start_task(self, node: int) -> int:
        """The id of the user of the start task alone, on the node with the ``seq`` ``node``."""
        return self._of_node(node, _START)

    def of_job_task(self, node: int, job: int, *, release: bool) -> int:
        """The id of the user of a job's preparation or release task alone, on a node."""
        return self._of_node(node, _JOBS + job % 63 * 2 + release)

    def user(
        self, body: Mapping[str, Any], pool: Mapping[str, Any], node: int, own: int
    ) -> TaskUser:
        """The user of a task with this ``body`` on the node with the ``seq`` ``node``.

        ``own`` is the id of the user of the task alone, for the scope ``task``.

        Raises:
            UnknownUserError: the pool has no such account.
        """
        identity = body.get("userIdentity", {})
        if (name := identity.get("username")) is not None:
            return self._named(name, pool.get("userAccounts", ()), node)
        auto = identity.get("autoUser", {})
        if _is_elevated(auto):
            return ELEVATED
        by_task = auto.get("scope", "pool").lower() == "task"
        uid = own if by_task else self._of_node(node, 0)
        return TaskUser(AUTO_USER, uid, self.group)

    def of_login(self, name: str, node: int, *, admin: bool) -> TaskUser:
        """The user of the SSH sessions of ``name`` on the node with the ``seq`` ``node``.

        Two names share an id with a probability of 1 in 64.
        """
        if admin:
            return TaskUser(name, 0, 0)
        at = _LOGINS + zlib.crc32(name.encode(errors="surrogatepass")) % (_JOBS - _LOGINS)
        return TaskUser(name, self._of_node(node, at), self.group)

    def _named(self, name: str, accounts: Sequence[Mapping[str, Any]], node: int) -> TaskUser:
        for at, account in enumerate(accounts):
            if account["name"] != name:
                continue
            if _is_elevated(account):
                return TaskUser(name, 0, 0)
            given = account.get("linuxUserConfiguration", {})
            uid = given.get("uid", self._of_node(node, _NAMED + at % (_LOGINS - _NAMED)))
            return TaskUser(name, uid, given.get("gid", self.group), (self.group,))
        raise UnknownUserError(name)

    def _of_node(self, node: int, at: int) -> int:
        return self.first + _TASKS + node % _NODES * _NODE_SIZE + at


def _is_elevated(account: Mapping[str, Any]) -> bool:
    return bool(account.get("elevationLevel", "nonadmin").lower() == "admin")


@frozen
class Separation:
    """The ``ids`` of separate users, or the ``reason`` why tasks do not run as separate users.

    Both are empty if the service does not run as root.
    """

    ids: UserIds | None = None
    reason: str = ""


ALL_AS_SERVICE = Separation()
"""Tasks run as the user of the service, which is not root."""


def separate_users(
    data: Path, folders: Iterable[Path], bundle: Path | None, *, wanted: bool
) -> Separation:
    """Let the tasks of this service run as separate users, if this is ``wanted`` and possible.

    ``data`` and ``folders`` are the arguments of :func:`separate`. ``bundle`` is a file with
    certificates that tasks read.

    Raises:
        OSError: a folder or a file cannot be changed.
    """
    if not wanted:
        return Separation(reason=f"{TASK_USERS} is 0" if is_root() else "")
    found = separate(data, folders)
    if found.ids is not None:
        leave_groups()
        if bundle is not None:
            share_file(bundle, found.ids)
        _log.info("tasks run as separate users with ids from %d", found.ids.first)
    elif found.reason:
        _log.warning("tasks run as root: %s", found.reason)
    return found


def separate(data: Path, folders: Iterable[Path], path: str = NODE_PATH) -> Separation:
    """Let other users enter the ``folders`` of the service, and check that they can.

    ``data`` is one of these folders; it contains the directories of nodes. ``path`` is the search
    path of tasks. If other users cannot enter, the folders become private again.
    """
    if not is_root():
        return ALL_AS_SERVICE
    ids = UserIds.of(data)
    opened = tuple(folders)
    try:
        for folder in opened:
            os.chown(folder, 0, ids.group)
            folder.chmod(0o710)
        reason = _obstacle(ids, data, path)
    except OSError as error:  # such as a file system without owners, or a user namespace
        reason = f"{error.filename} cannot be given to the group {ids.group}: {error.strerror}"
    if not reason:
        return Separation(ids)
    for folder in opened:
        folder.chmod(0o700)
    return Separation(None, reason)


def private_mode(found: os.stat_result) -> int:
    """The mode of a private folder; with the group of task users, they can still enter it."""
    return 0o710 if found.st_gid >= _FIRST else 0o700


def share_file(path: Path, ids: UserIds) -> None:
    """Let all tasks read a file of the service in a folder that they can enter.

    Raises:
        OSError: the file cannot be changed.
    """
    os.chown(path, 0, ids.group, follow_symlinks=False)
    path.chmod(0o640)


def is_root() -> bool:
    """Whether this process runs as root on Linux, which is required for separate users."""
    return sys.platform == "linux" and os.geteuid() == 0


def _obstacle(ids: UserIds, data: Path, path: str) -> str:
    """The reason why tasks cannot run as other users; empty if they can."""
    python = shutil.which("python3", path=path) or "/bin/sh"
    try:
        code = subprocess.run(
            ["/bin/sh", "-c", _PROBE, "sh", data, python],
            user=ids.first,
            group=ids.group,
            extra_groups=[],
            cwd="/",
            env={},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
        ).returncode
    except OSError as error:
        if error.errno == errno.EINVAL:
            return f"this system has no user id {ids.first}"
        return f"processes of other users cannot be started: {error.strerror}"
    if code == 0:
        return ""
    if code == 4:
        return f"other users cannot run {python}, the python3 of tasks"
    return f"other users cannot enter {_closed_folder(data, ids.group)}"


def _closed_folder(path: Path, group: int) -> Path:
    """The first folder above ``path`` that the users cannot enter, or else ``path``."""
    for folder in (*reversed(path.resolve().parents), path):
        found = folder.stat()
        if not found.st_mode & (0o010 if found.st_gid == group else 0o001):
            return folder
    return path


def leave_groups() -> None:
    """Leave all supplementary groups of this process, which root does not need."""
    os.setgroups([])


@contextmanager
def file_access_of(user: TaskUser | None, group: int) -> Iterator[None]:
    """Within the context this thread opens files with the rights of ``user`` instead of root's.

    The context must not contain an ``await``. It has no effect for ``None`` and an elevated user.
    Call :func:`leave_groups` first, since the rights of supplementary groups stay.
    """
    if user is None or user.uid == 0:
        yield
        return
    # setfsuid(2) applies to one thread; the effective ids apply to all threads.
    libc = _libc()
    try:
        libc.setfsgid(group)
        libc.setfsuid(user.uid)
        # setfsuid(2) reports no error; for an invalid id it keeps the previous one.
        if libc.setfsuid(-1) != user.uid:
            raise PermissionError(errno.EPERM, f"files cannot be opened as user {user.uid}")
        yield
    finally:
        libc.setfsuid(0)
        libc.setfsgid(0)


@cache
def _libc() -> Any:
    import ctypes  # noqa: PLC0415  not needed to read the status

    # PyDLL keeps the interpreter lock: a thread that releases it for one of these short calls waits
    # for the thread of the event loop, for up to 5 ms.
    libc = ctypes.PyDLL(None)
    libc.setfsuid.restype = ctypes.c_uint32
    return libc
