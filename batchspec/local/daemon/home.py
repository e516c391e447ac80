"""The data folder: paths, and files that only their owner can read."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from batchspec.local.error import LocalError

_TRASH = "trash-"
_STATE = ("batch", "blobs")


@dataclass(frozen=True, slots=True)
class Home:
    """The data folder of one local account; it contains all of its state."""

    root: Path

    @property
    def account(self) -> Path:
        """Names and keys of the two accounts; created once."""
        return self.root / "account.json"

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
        """The output of the daemon since its start; that of the last run is in ``daemon.log.1``."""
        return self.root / "daemon.log"

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
        """Azurite's blobs."""
        return self.root / "blobs"

    @property
    def applications(self) -> Path:
        """Application packages, placed there by the user; ``reset`` keeps them."""
        return self.root / "applications"

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
        """The lock that Azurite inherits: two Azurites would destroy the blob folder."""
        return self.root / "azurite.lock"

    def create(self) -> None:
        """Create the folder with access only for its owner.

        Raises:
            LocalError: it cannot be created or written (``data-unwritable``), belongs to another
                user or contains other files (``data-foreign``), which ``reset`` would delete.
        """
        with self.disk_errors():
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            owner = self.root.stat().st_uid
            foreign = owner != os.geteuid() or (
                not self.account.exists() and sorted(_strangers(self.root))
            )
            if foreign:
                raise LocalError(
                    "data-foreign",
                    f"The folder {self.root} was not created by the local service.",
                    fix="Set BATCHSPEC_LOCAL_HOME to an empty or new folder",
                )
            self.root.chmod(0o700)
            if not os.access(self.root, os.W_OK | os.X_OK):
                raise PermissionError(13, os.strerror(13))

    def set_state_aside(self) -> tuple[Path, ...]:
        """Rename the state folders atomically, and return all folders to be deleted."""
        for name in _STATE:
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
            raise LocalError(
                "data-unwritable",
                f"The data folder {self.root} cannot be used: {error.strerror or error}.",
                fix="Fix its permissions, or set BATCHSPEC_LOCAL_HOME to another folder",
            ) from error


def write_private(path: Path, text: str) -> None:
    """Replace a file atomically and durably; only its owner can ever read it."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def is_private(path: Path) -> bool:
    """Whether a file belongs to this user and no other user can read or write it."""
    status = path.lstat()
    return (
        stat.S_ISREG(status.st_mode)
        and status.st_uid == os.geteuid()
        and not status.st_mode & (stat.S_IRWXG | stat.S_IRWXO)
    )


def _strangers(root: Path) -> set[str]:
    home = Home(root)
    ours = {home.start_lock.name, home.daemon_lock.name, home.azurite_lock.name, home.log.name}
    ours.add(home.applications.name)  # the user may fill it before the first start
    return {
        name
        for name in os.listdir(root)  # noqa: PTH208  names are enough
        if name not in ours and not name.startswith(".account.json.")
    }
