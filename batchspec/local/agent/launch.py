"""What a node is asked to run, and the outcome.

A :class:`Launch` goes in, an :class:`Outcome` comes out. Nothing here knows HTTP, the store or how
a task is scheduled.
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


@dataclass(frozen=True, slots=True)
class Installation:
    """Packages to install on a node, with nothing to run. ``key`` is as in :class:`Launch`."""

    key: str
    packages: tuple[Package, ...]


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
    ``limits`` apply to the command, and in a multi-instance task to each instance. ``start_delay``
    passes before the command begins, on a node that is slow by fault injection.
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
    start_delay: timedelta = timedelta()


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
