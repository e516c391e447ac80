"""What a node is asked to run, and what came of it.

Two frozen values: a :class:`Launch` goes in, an :class:`Outcome` comes out. Nothing here knows of
HTTP, of the store, or of how a task is scheduled.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from batchspec.local.model import NO_USAGE, Usage
from batchspec.local.settings import NO_LIMITS, Limits


@dataclass(frozen=True, slots=True)
class Failure:
    """A ``failureInfo`` as the service reports it.

    ``category`` is ``UserError`` or ``ServerError``; ``code`` is one of the documented task failure
    codes (``FailureExitCode``, ``CommandProgramNotFound``, ``TaskEnded``, ``BlobNotFound`` ...).
    """

    category: str
    code: str
    message: str
    details: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Package:
    """An application package that has to be on a node, in the directory ``target``.

    ``application`` and ``version`` are as the reference to it says; ``source`` is its zip file,
    ``None`` where there is no such package.
    """

    application: str
    version: str | None
    source: Path | None
    target: Path


@dataclass(frozen=True, slots=True)
class Installation:
    """Packages to be put on a node, and nothing to be run. ``key`` is as in :class:`Launch`."""

    key: str
    packages: tuple[Package, ...]


@dataclass(frozen=True, slots=True)
class Registry:
    """Credentials for a registry of images."""

    server: str
    user: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Container:
    """The container that a command runs in.

    ``mounts`` are directories of the node, seen in the container under the same path, and whether
    they can only be read there; ``directory`` is where the command runs, ``None`` for where the
    image says; ``options`` are further ones of the engine's ``create``. ``environment`` holds
    nothing of the machine's: an image has its own.
    """

    image: str
    mounts: tuple[tuple[Path, bool], ...]
    directory: Path | None
    environment: Mapping[str, str]
    options: tuple[str, ...] = ()
    registries: tuple[Registry, ...] = ()


@dataclass(frozen=True, slots=True)
class TaskInstance:
    """The part that one node has in a multi-instance task.

    ``number`` is 0 for the node of the primary. ``directory``, ``environment`` and ``packages`` are
    as in :class:`Launch`.
    """

    number: int
    directory: Path
    environment: Mapping[str, str]
    packages: tuple[Package, ...] = ()


@dataclass(frozen=True, slots=True)
class MultiInstance:
    """What precedes the command of a multi-instance task: the coordination on all its nodes.

    ``common_files`` are resource files for the directory of each member, the primary first.
    """

    command_line: str
    common_files: tuple[Mapping[str, Any], ...]
    members: tuple[TaskInstance, ...]


@dataclass(frozen=True, slots=True)
class Launch:
    """One process to run on a node: a start task, a task, a job preparation or release task.

    ``directory`` is the task's directory (``stdout.txt``, ``stderr.txt`` and ``wd/`` lie in it);
    ``command_line`` is split into arguments without a shell, as on a real node;
    ``environment`` is complete: the process sees nothing of the service's own environment.
    ``resource_files`` and ``output_files`` are in wire form (``httpUrl``, ``filePath`` ...).
    ``packages`` are put on the node before anything else.
    ``key`` names the run while it lasts; two that go on at the same time must differ in it.
    ``fresh`` empties the directory first; a retry runs in the directory as it was left.
    ``gang`` is that of a multi-instance task; the launch is its primary. ``container`` is what the
    command runs in, if it is no plain process; ``refused`` is why it shall not run at all.
    ``limits`` are those of the command, and in a gang of each member. ``lag`` passes before the
    command begins, on a node that is made to be slow.
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
    gang: MultiInstance | None = None
    container: Container | None = None
    refused: Failure | None = None
    limits: Limits = NO_LIMITS
    lag: timedelta = timedelta()


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a :class:`Launch` or an :class:`Installation` ended.

    ``exit_code`` is ``None`` when no process ran (resource file missing, program not found); for
    a process that a signal ended it is 128 and its number, as shells count (contract 15).
    ``failure`` is ``None`` exactly when the run counts as a success; an upload that failed gives
    ``exit_code == 0`` *and* a failure. ``subtasks`` are the outcomes of the rest of a gang,
    ``container`` is what is told of the container, in wire form. ``usage`` is that of all its
    processes, and nothing for a container, whose processes are its engine's.
    """

    started: datetime
    ended: datetime
    exit_code: int | None
    failure: Failure | None = None
    uploads: tuple[str, ...] = field(default=())
    subtasks: tuple[Outcome, ...] = ()
    container: Mapping[str, Any] | None = None
    usage: Usage = NO_USAGE
