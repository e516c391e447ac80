"""The failures of a run, in the words of the service.

Messages and details are recorded ones where there is a recording (``FailureExitCode``,
``CommandProgramNotFound``, ``TaskEnded``, ``FileUploadContainerNotFound``), else in the same style.
Whether something has failed is decided elsewhere.
"""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import urlsplit, urlunsplit

from batchspec.local.agent.launch import Failure, Package
from batchspec.local.settings import Limits

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
