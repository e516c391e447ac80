"""The data folder: its paths, and the account with its credentials."""

from __future__ import annotations

import base64
import errno
import json
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, field, replace
from pathlib import Path
from typing import Self

from batchspec.frozen import frozen
from batchspec.local.startup import LocalError, check_writable
from batchspec.local.task_users import private_mode

_TRASH = "trash-"
_STATE_FOLDERS = ("batch", "blobs")
_FAILURE_SIZE = 4096
_LONGEST_PATH = 495
"""Bytes of :attr:`Home.batch`. Paths of SQLite's databases have at most 504 (version 3.40.1)."""


@frozen
class Home:
    """The data folder of one local account; it contains all of its state."""

    root: Path

    @property
    def account(self) -> Path:
        """The names and keys of the two accounts; created once."""
        return self.root / "account.json"

    @property
    def token(self) -> Path:
        """The token that replaces a sign-in with Microsoft Entra ID; created once."""
        return self.root / "token"

    @property
    def endpoints(self) -> Path:
        """The addresses of the service; exists while it is ready."""
        return self.root / "endpoints.json"

    @property
    def ports(self) -> Path:
        """The ports of the last run; the next run uses them again if they are free."""
        return self.root / "ports.json"

    @property
    def log(self) -> Path:
        """The output of the daemon since its start; ``daemon.log.1`` has that of the last run."""
        return self.root / "daemon.log"

    @property
    def failure(self) -> Path:
        """The error that ended the service; blank while it runs, and not there after a stop."""
        return self.root / "failure.json"

    @property
    def azurite_log(self) -> Path:
        """The output of Azurite since the daemon's start."""
        return self.root / "azurite.log"

    @property
    def batch(self) -> Path:
        """The state of the Batch service and the directories of its nodes."""
        return self.root / "batch"

    @property
    def blobs(self) -> Path:
        """The blobs of Azurite."""
        return self.root / "blobs"

    @property
    def applications(self) -> Path:
        """Application packages, which the user adds; ``reset`` keeps them."""
        return self.root / "applications"

    @property
    def identities(self) -> Path:
        """The rights of managed identities, which the user writes; ``reset`` keeps the file."""
        return self.root / "identities"

    @property
    def certificates(self) -> Path:
        """The certificate for https and its private key; created once, and ``reset`` keeps them."""
        return self.root / "certificates"

    @property
    def start_lock(self) -> Path:
        """The lock of a process that starts, stops or resets the service."""
        return self.root / "start.lock"

    @property
    def daemon_lock(self) -> Path:
        """The lock of the running daemon; the file contains its pid."""
        return self.root / "daemon.lock"

    @property
    def azurite_lock(self) -> Path:
        """The lock that Azurite inherits, since two Azurites would destroy the blob folder."""
        return self.root / "azurite.lock"

    def create(self) -> None:
        """Create the folder with access only for its owner, and for separate users of tasks.

        Raises:
            LocalError: the folder cannot be created or written (``data-unwritable``), belongs to
                another user or contains other files (``data-foreign``).
        """
        with self.disk_errors():
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._check_origin()
            self.root.chmod(private_mode(self.root.stat()))
            check_writable(self.root)

    def check(self) -> None:
        """Check that the service could start with this folder, without changing it.

        Raises:
            LocalError: as :meth:`create` and :meth:`Account.read`.
        """
        with self.disk_errors():
            check_writable(self.root)
            if not self.root.exists():
                return
            self._check_origin()
            for path in (self.start_lock, self.daemon_lock, self.batch, self.blobs):
                if path.exists() and not os.access(path, os.W_OK):
                    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        Account.read(self)

    def _check_origin(self) -> None:
        """Raise ``LocalError`` if another user or program has created the folder."""
        if (error := self.owner_error(self.root)) is not None:
            raise error
        if not self.account.exists() and _foreign_files(self.root):
            raise LocalError(
                "data-foreign",
                f"The folder {self.root} was not created by the embedded service.",
                fix="Set BATCHSPEC_LOCAL_HOME to an empty or new folder.",
            )

    def owner_error(self, path: Path) -> LocalError | None:
        """The error if another user owns ``path``, which is the folder or a file in it."""
        try:
            owner = path.stat().st_uid
        except OSError:
            return None
        if owner == os.geteuid():
            return None
        return LocalError(
            "data-foreign",
            f"The data folder {self.root} belongs to another user ({_user_name(owner)}).",
            fix="Run the command as that user, or use another folder:"
            " `export BATCHSPEC_LOCAL_HOME=FOLDER`",
        )

    def set_state_aside(self) -> tuple[Path, ...]:
        """Rename the state folders atomically, and return all folders to delete."""
        for name in _STATE_FOLDERS:
            state = self.root / name
            if state.is_dir():
                state.rename(self.root / f"{_TRASH}{name}-{secrets.token_hex(4)}")
        return tuple(self.root.glob(f"{_TRASH}*"))

    @contextmanager
    def disk_errors(self) -> Iterator[None]:
        """Convert an ``OSError`` in the folder to ``data-unwritable``."""
        try:
            yield
        except OSError as error:
            raise self.unusable(error) from error

    def unusable(self, error: Exception) -> LocalError:
        """The error for a data folder that the system or SQLite refuses to read or write."""
        if isinstance(error, PermissionError) and (foreign := self.owner_error(self.root)):
            return foreign
        why = getattr(error, "strerror", None) or str(error)
        number, sqlite = getattr(error, "errno", None), getattr(error, "sqlite_errorname", "")
        if number in {errno.ENOSPC, errno.EDQUOT} or sqlite == "SQLITE_FULL":
            fix = "Free disk space, or use another folder"
        elif number in {errno.ENAMETOOLONG, errno.EROFS, errno.ENOTDIR}:
            fix = "Use another folder"
        elif sqlite == "SQLITE_CANTOPEN" and len(os.fsencode(self.batch)) > _LONGEST_PATH:
            why, fix = f"its path is too long for SQLite ({why})", "Use another folder"
        else:
            fix = "Fix its permissions, or use another folder"
        return LocalError(
            "data-unwritable",
            f"The data folder {self.root} cannot be used: {why}.",
            fix=f"{fix}: `export BATCHSPEC_LOCAL_HOME=FOLDER`",
        )

    def reserve_failure(self) -> None:
        """Reserve the space of :attr:`failure`, which can then be written to a full disk."""
        write_private(self.failure, " " * _FAILURE_SIZE)

    def save_failure(self, error: LocalError) -> None:
        """Record the error that ended the service; not without a reserved file."""
        text = json.dumps(error.to_json()).ljust(_FAILURE_SIZE)
        # The log contains the error, too, unless the disk is full.
        with suppress(OSError), self.failure.open("r+", encoding="utf-8") as file:
            file.write(text)

    def read_failure(self) -> LocalError | None:
        """The error that ended the service; ``None`` if it was stopped, killed or still runs."""
        try:
            return LocalError.from_json(json.loads(self.failure.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError, KeyError):
            return None


def write_private(path: Path, text: str) -> None:
    """Replace a file atomically and durably; only its owner can read it at any time."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _user_name(uid: int) -> str:
    import pwd  # noqa: PLC0415  not on Windows

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def is_private(path: Path) -> bool:
    """Whether a file belongs to this user and no other user can read or write it."""
    status = path.lstat()
    return (
        stat.S_ISREG(status.st_mode)
        and status.st_uid == os.geteuid()
        and not status.st_mode & (stat.S_IRWXG | stat.S_IRWXO)
    )


def _foreign_files(root: Path) -> set[str]:
    home = Home(root)
    ours = {home.start_lock.name, home.daemon_lock.name, home.azurite_lock.name, home.log.name}
    # Users can create these before the first start.
    ours |= {home.applications.name, home.identities.name}
    # The token stays if a user deletes the account file to get a new account.
    ours.add(home.token.name)
    return {
        name
        for name in os.listdir(root)  # noqa: PTH208  names are enough
        if name not in ours and not name.startswith(".account.json.")
    }


_ACCOUNT_NAME = "batchspeclocal"
_KEY_BYTES = 64  # as long as Azure's
_TOKEN_BYTES = 48


@frozen
class Account:
    """Names and credentials of the Batch account and the storage account; keys are base64.

    ``token`` replaces a sign-in with Microsoft Entra ID; it is empty until a service that supports
    tokens has started. The first start creates the credentials, which then never change.
    """

    batch_account: str
    batch_key: str = field(repr=False)
    blob_account: str
    blob_key: str = field(repr=False)
    token: str = field(repr=False, default="")

    @classmethod
    def read(cls, home: Home) -> Self | None:
        """The account of ``home``; ``None`` if it has not been created yet.

        Raises:
            LocalError: a file is damaged (``account-damaged``), belongs to another user
                (``data-foreign``), or other users can read it (``account-exposed``).
        """
        data = _read_private(home, home.account, "account key")
        if data is None:
            return None
        token = _read_private(home, home.token, "token") or b""
        try:
            account = cls(**json.loads(data), token=token.decode("ascii").strip())
            base64.b64decode(account.batch_key, validate=True)
            base64.b64decode(account.blob_key, validate=True)
        except (TypeError, ValueError):
            # The cause is omitted, since its text can contain the key.
            raise LocalError(
                "account-damaged",
                f"The account key file {home.account} is damaged.",
                fix=f"Run rm {home.account} to get a new key; the state of the service is kept.",
            ) from None
        return account

    @classmethod
    def open(cls, home: Home) -> Self:
        """The account of ``home``; missing credentials are created and saved.

        Raises:
            LocalError: as :meth:`read`.
        """
        account = cls.read(home)
        with home.disk_errors():
            if account is None:
                account = cls(_ACCOUNT_NAME, _new_key(), _ACCOUNT_NAME, _new_key())
                saved = asdict(account)
                del saved["token"]
                write_private(home.account, json.dumps(saved, indent=1) + "\n")
            if not account.token:
                account = replace(account, token=secrets.token_urlsafe(_TOKEN_BYTES))
                write_private(home.token, account.token + "\n")
        return account


def _read_private(home: Home, path: Path, what: str) -> bytes | None:
    """The content of a file that only its owner can read; ``None`` if it does not exist."""
    try:
        with home.disk_errors():
            data, private = path.read_bytes(), is_private(path)
    except LocalError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return None
        raise
    if not private:
        raise home.owner_error(path) or LocalError(
            "account-exposed",
            f"Other users can read or write the {what} in {path}.",
            fix=f"Run rm {path} to get a new one, or chmod 600 {path} if no one has read it.",
        )
    return data


def _new_key() -> str:
    return base64.b64encode(secrets.token_bytes(_KEY_BYTES)).decode()
