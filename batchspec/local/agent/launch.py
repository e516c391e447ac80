"""Launches (requests to run a process on a node), their outcomes, and failures by code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit, urlunsplit

from batchspec.local.model import NO_USAGE, Usage, Wire
from batchspec.local.settings import NO_LIMITS, Limits
from batchspec.local.task_users import ELEVATED, Owners, TaskUser, UserIds


@dataclass(frozen=True, slots=True)
class Failure:
    """The ``failureInfo`` of a task.

    ``category`` is ``UserError`` or ``ServerError``; ``code`` is a documented task failure code
    (``FailureExitCode``, ``CommandProgramNotFound``, ``TaskEnded``, ``BlobNotFound`` ...).
    """

    category: str
    code: str
    message: str
    details: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Package:
    """An application package that a node needs in the directory ``target``.

    ``application`` and ``version`` are as in the package reference. ``source`` is the zip file, or
    ``None`` if the package does not exist.
    """

    application: str
    version: str | None
    source: Path | None
    target: Path


Mount: TypeAlias = Wire
"""An item of a pool's ``mountConfiguration``: one kind of file system with its settings."""


@dataclass(frozen=True, slots=True)
class Installation:
    """Packages to install and file systems to mount on the node at ``node_root``.

    ``key`` is as in :class:`Launch`.
    """

    key: str
    node_root: Path
    packages: tuple[Package, ...]
    mounts: tuple[Mount, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Registry:
    """Credentials for a container registry."""

    server: str
    user: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Container:
    """The container of a command.

    ``mounts`` are directories of the node, mounted at the same path; the second value is true if
    the mount is read-only. ``directory`` is the working directory, ``None`` for the directory in
    the image. ``options`` are further options of the engine's ``create`` command. ``environment``
    has no variables of the machine, because an image sets them itself.
    """

    image: str
    mounts: tuple[tuple[Path, bool], ...]
    directory: Path | None
    environment: Mapping[str, str]
    options: tuple[str, ...] = ()
    registries: tuple[Registry, ...] = ()


@dataclass(frozen=True, slots=True)
class TaskInstance:
    """The part of a multi-instance task on one node.

    ``number`` is 0 for the primary task, or else the id of the subtask. ``directory``,
    ``environment`` and ``packages`` are as in :class:`Launch`.
    """

    number: int
    directory: Path
    environment: Mapping[str, str]
    packages: tuple[Package, ...] = ()


@dataclass(frozen=True, slots=True)
class MultiInstance:
    """The coordination command of a multi-instance task, which runs before the task's command.

    ``common_files`` are resource files for the directory of each instance; the primary comes first.
    """

    command_line: str
    common_files: tuple[Mapping[str, Any], ...]
    instances: tuple[TaskInstance, ...]


@dataclass(frozen=True, slots=True)
class Launch:
    """One process to run on a node: a start task, a task, a job preparation or release task.

    ``key`` is the name of the run, unique among the runs in progress. ``directory`` is the task's
    directory, with ``stdout.txt``, ``stderr.txt`` and ``wd/``. With ``fresh``, the directory is
    emptied first; a retry uses the directory of the failed run. ``command_line`` is split into
    arguments without a shell, as on an Azure node. ``environment`` is complete: the process gets no
    variable of the service. ``resource_files`` and ``output_files`` are in wire form (``httpUrl``,
    ``filePath`` ...). ``packages`` are installed on the node first.

    ``multi_instance`` is set for a multi-instance task; the launch is its primary task.
    ``container`` is the container of the command, if any. ``refused`` is the failure of a launch
    that must not run. ``limits`` apply to the command, and in a multi-instance task to each
    instance. ``mounts`` are the file systems of the node. ``start_delay`` passes before the command
    starts (fault injection). ``identities`` are the resource ids of the managed identities of the
    pool. ``user`` is the user of its processes and files, ``None`` for the user of the service.
    With ``readable``, other tasks of the node can read the directory.
    """

    key: str
    node_root: Path
    directory: Path
    command_line: str
    environment: Mapping[str, str]
    resource_files: tuple[Mapping[str, Any], ...] = ()
    output_files: tuple[Mapping[str, Any], ...] = ()
    max_wall_clock_time: timedelta | None = None
    fresh: bool = True
    packages: tuple[Package, ...] = ()
    multi_instance: MultiInstance | None = None
    container: Container | None = None
    refused: Failure | None = None
    limits: Limits = NO_LIMITS
    mounts: tuple[Mount, ...] = field(default=(), repr=False)
    start_delay: timedelta = timedelta()
    identities: tuple[str, ...] = ()
    user: TaskUser | None = None
    readable: bool = False

    def owners(self, users: UserIds | None) -> Owners | None:
        """The owners of the directory; ``None`` without separate users."""
        if users is None:
            return None
        return users.owners(self.user or ELEVATED, readable=self.readable)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a :class:`Launch` or an :class:`Installation`.

    ``exit_code`` is ``None`` if no process ran (resource file missing, program not found). For a
    process that a signal ended, it is 128 plus the signal number, as in shells (contract 15).
    ``failure`` is ``None`` exactly if the run is a success; a failed upload gives
    ``exit_code == 0`` *and* a failure. ``subtasks`` are the outcomes of the subtasks of a
    multi-instance task; ``container`` is the ``containerInfo`` in wire form. ``usage`` is the usage
    of all processes of the run, without the processes of a container.
    """

    started: datetime
    ended: datetime
    exit_code: int | None
    failure: Failure | None = None
    uploads: tuple[str, ...] = field(default=())
    subtasks: tuple[Outcome, ...] = ()
    container: Mapping[str, Any] | None = None
    usage: Usage = NO_USAGE


_USER, _SERVER = "UserError", "ServerError"

_MESSAGES: dict[str, tuple[str, str]] = {
    "BlobNotFound": (_USER, "One of the specified Azure Blob(s) is not found"),
    "BlobAccessDenied": (_USER, "Access for one of the specified Azure Blob(s) is denied"),
    "BlobDownloadTimedOut": (
        _SERVER,
        "A time-out occurred while downloading one of the specified Azure Blob(s)",
    ),
    "BlobDownloadMiscError": (
        _SERVER,
        "A miscellaneous error was encountered while downloading one of the specified Azure "
        "Blob(s)",
    ),
    "ResourceContainerAccessDenied": (
        _USER,
        "Access for one of the specified Azure Blob container(s) is denied",
    ),
    "ResourceContainerListMiscError": (
        _USER,
        "A miscellaneous error was encountered while listing one of the specified Azure Blob "
        "container(s)",
    ),
    "ResourceDirectoryCreateFailed": (
        _SERVER,
        "A directory for a resource file could not be created",
    ),
    "ResourceFileCreateFailed": (_SERVER, "A resource file could not be created"),
    "ResourceFileWriteFailed": (_SERVER, "A resource file could not be written"),
    "DiskFull": (_SERVER, "There is not enough disk space on the node"),
    "FileUploadContainerNotFound": (
        _USER,
        "One of the specified Azure container(s) was not found while attempting to upload an "
        "output file",
    ),
    "FileUploadAccessDenied": (
        _USER,
        "Access was denied to one of the specified Azure container(s) while attempting to upload "
        "an output file",
    ),
    "FileUploadMiscError": (
        _USER,
        "A miscellaneous error was encountered while attempting to upload an output file",
    ),
}


def failure(code: str, **details: str) -> Failure:
    """The failure ``code`` of a file transfer, with its details in the given order."""
    category, message = _MESSAGES[code]
    shown = tuple((name, _as_unicode(value)) for name, value in details.items())
    return Failure(category, code, message, shown)


def _as_unicode(text: str) -> str:
    """``text`` for JSON, with replacements for bytes of a file name that are not UTF-8."""
    return text.encode("utf-8", "replace").decode("utf-8")


def exit_failure() -> Failure:
    """The failure of a program that exited with a code other than 0."""
    return Failure(
        _USER,
        "FailureExitCode",
        "The task exited with an exit code representing a failure",
        (
            ("Message", "The task process exited with an unexpected exit code"),
            ("AdditionalErrorCode", "FailureExitCode"),
        ),
    )


def limit_failure(limits: Limits, over: str) -> Failure:
    """The failure of a task whose processes exceeded a limit, as for a killed process."""
    why = f"more than {limits.processes} processes"
    if over == "memory":
        why = f"more than {limits.memory} bytes of memory"
    known = exit_failure()
    details = (("Message", f"The task was killed for {why}, its limit"), *known.details[1:])
    return replace(known, details=details)


def program_failure(command_line: str) -> Failure:
    """The failure of a command line whose program does not exist."""
    return Failure(
        _USER,
        "CommandProgramNotFound",
        "The specified command program is not found",
        (
            ("CommandLine", command_line),
            ("Message", "The system cannot find the file specified."),
        ),
    )


def launch_failure(command_line: str, why: str) -> Failure:
    """The failure of a command line that cannot be parsed, or whose program does not start."""
    return Failure(
        _USER,
        "CommandLaunchFailed",
        "Failed to launch the specified command line",
        (("CommandLine", command_line), ("Message", why)),
    )


def package_failure(package: Package, why: str) -> Failure:
    """The failure of an application package that is not on the node, with the documented code."""
    version = () if package.version is None else (("Version", package.version),)
    return Failure(
        _USER,
        "ApplicationPackageError",
        "One of the specified application package(s) could not be installed on the node",
        (("ApplicationId", package.application), *version, ("Message", why)),
    )


_CONTAINER: dict[str, str] = {
    "ContainerInvalidSettings": (
        "At least one value of specified task container settings is invalid"
    ),
    "ContainerInvalidImage": "The specified container image is invalid",
    "ContainerPoolNotSupported": "The specified pool does not support container tasks.",
    "ContainerTaskSettingsNotFound": (
        "Container-enabled compute node requires task container settings"
    ),
}
"""User reports contain the first and the last message (Azure/Batch#4,
MicrosoftDocs/azure-docs#16473).
"""


def container_failure(code: str, why: str = "") -> Failure:
    """The failure of a container that cannot be created or is not allowed."""
    return Failure(_USER, code, _CONTAINER[code], (("Message", why),) if why else ())


def ended_by_user() -> Failure:
    """The failure of a task after a request to end it."""
    return Failure(_USER, "TaskEnded", "Task Was Ended by User Request")


def ended_by_limit() -> Failure:
    """The failure of a task that exceeded its ``maxWallClockTime``."""
    return Failure(
        _USER,
        "TaskEnded",
        "The task was ended because it ran longer than its maximum wall clock time",
    )


def without_query(url: str) -> str:
    """``url`` without its query, which can contain a signature."""
    return urlunsplit(urlsplit(url)._replace(query="", fragment=""))


def node_error_json(failure: Failure) -> Wire:
    """A failure as an item of a node's ``errors``."""
    details = [{"name": name, "value": value} for name, value in failure.details]
    return {"code": failure.code, "message": failure.message, "errorDetails": details}


def failure_json(failure: Failure | None) -> Wire | None:
    """A failure in wire form."""
    if failure is None:
        return None
    shown: dict[str, Any] = {
        "category": failure.category,
        "code": failure.code,
        "message": failure.message,
    }
    if failure.details:
        shown["details"] = [{"name": name, "value": value} for name, value in failure.details]
    return shown
