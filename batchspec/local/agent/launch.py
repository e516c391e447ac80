"""Launches (requests to run something on a node), their outcomes, and the failures by code."""

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
    """A ``failureInfo`` as the service reports it.

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

    ``application`` and ``version`` are as in the reference to it. ``source`` is its zip file,
    ``None`` if the package does not exist.
    """

    application: str
    version: str | None
    source: Path | None
    target: Path


Mount: TypeAlias = Wire
"""An item of a pool's ``mountConfiguration``: one kind of file system, and its settings."""


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
    """The container that a command runs in.

    ``mounts`` are directories of the node, mounted at the same path, each with whether it is
    read-only. ``directory`` is the working directory, ``None`` for the image's own. ``options`` are
    further options of the engine's ``create`` command. ``environment`` has no variable of the
    machine, because an image has its own.
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

    ``number`` is 0 for the primary task, else the id of the subtask. ``directory``, ``environment``
    and ``packages`` are as in :class:`Launch`.
    """

    number: int
    directory: Path
    environment: Mapping[str, str]
    packages: tuple[Package, ...] = ()


@dataclass(frozen=True, slots=True)
class MultiInstance:
    """The coordination command of a multi-instance task, which precedes the command of the task.

    ``common_files`` are resource files for the directory of each instance; the primary comes first.
    """

    command_line: str
    common_files: tuple[Mapping[str, Any], ...]
    instances: tuple[TaskInstance, ...]


@dataclass(frozen=True, slots=True)
class Launch:
    """One process to run on a node: a start task, a task, a job preparation or release task.

    ``directory`` is the task's directory, with ``stdout.txt``, ``stderr.txt`` and ``wd/``.
    ``command_line`` is split into arguments without a shell, as on a real node. ``environment`` is
    complete: the process sees nothing of the service's own environment. ``resource_files`` and
    ``output_files`` are in wire form (``httpUrl``, ``filePath`` ...). ``packages`` are installed on
    the node first. ``key`` names the run while it lasts and is unique among the runs of that time.
    ``fresh`` empties the directory first; a retry runs in the directory as it was left.
    ``multi_instance`` is set for a multi-instance task, whose primary the launch is. ``container``
    is what the command runs in, if any. ``refused`` is why the launch must fail without running.
    ``limits`` apply to the command, and in a multi-instance task to each instance. ``mounts`` are
    the file systems of the node. ``start_delay`` passes before the command starts, on a node that
    is slow by fault injection. ``identities`` are the resource ids of those of the pool. ``user``
    is the user of its processes and files, ``None`` that of the service; other tasks of the node
    can read its directory if it is ``readable``.
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
        """The owners of its directory; ``None`` without separate users."""
        if users is None:
            return None
        return users.owners(self.user or ELEVATED, readable=self.readable)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a :class:`Launch` or an :class:`Installation` ended.

    ``exit_code`` is ``None`` when no process ran (resource file missing, program not found); for a
    process that a signal ended it is 128 plus the signal number, as in shells (contract 15).
    ``failure`` is ``None`` exactly when the run counts as a success; a failed upload gives
    ``exit_code == 0`` *and* a failure. ``subtasks`` are the outcomes of the subtasks of a
    multi-instance task, ``container`` is the ``containerInfo`` in wire form. ``usage`` is that of
    all its processes, and zero for a container, whose processes belong to the container engine.
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
    """The failure ``code`` of a file, with its details in the given order."""
    category, message = _MESSAGES[code]
    shown = tuple((name, _as_unicode(value)) for name, value in details.items())
    return Failure(category, code, message, shown)


def _as_unicode(text: str) -> str:
    """``text`` with bytes of a file name that are not UTF-8 replaced, for JSON."""
    return text.encode("utf-8", "replace").decode("utf-8")


def exit_failure() -> Failure:
    """The program exited with a code other than 0."""
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
    """The processes of a task exceeded a limit: a failure as for a process that was killed."""
    why = f"more than {limits.processes} processes"
    if over == "memory":
        why = f"more than {limits.memory} bytes of memory"
    known = exit_failure()
    details = (("Message", f"The task was killed for {why}, its limit"), *known.details[1:])
    return replace(known, details=details)


def program_failure(command_line: str) -> Failure:
    """The program of the command line does not exist."""
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
    """The program did not start although it exists, or the command line cannot be parsed."""
    return Failure(
        _USER,
        "CommandLaunchFailed",
        "Failed to launch the specified command line",
        (("CommandLine", command_line), ("Message", why)),
    )


def package_failure(package: Package, why: str) -> Failure:
    """An application package is not on the node; the code is the documented one."""
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
"""The first and the last message are quoted by users (Azure/Batch#4,
MicrosoftDocs/azure-docs#16473).
"""


def container_failure(code: str, why: str = "") -> Failure:
    """A container cannot be created, or is not allowed."""
    return Failure(_USER, code, _CONTAINER[code], (("Message", why),) if why else ())


def ended_by_user() -> Failure:
    """The end was requested."""
    return Failure(_USER, "TaskEnded", "Task Was Ended by User Request")


def ended_by_limit() -> Failure:
    """``maxWallClockTime`` has passed."""
    return Failure(
        _USER,
        "TaskEnded",
        "The task was ended because it ran longer than its maximum wall clock time",
    )


def without_query(url: str) -> str:
    """``url`` without its query, which may contain a signature."""
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
