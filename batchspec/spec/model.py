"""The nouns of a spec: complete, frozen, defaults filled in, positions kept for messages.

``read`` makes a :class:`Spec` from text; nobody looks at YAML after it. Properties of pool, job and
task are in the form of the REST API (camelCase), since that is what is compared and sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import TypeAlias

from batchspec.problems import Place, Problem
from batchspec.spec.values import Record, Template, Value


@dataclass(frozen=True, slots=True)
class UploadGlob:
    """One entry of ``containers.NAME.upload``.

    ``root`` is the folder the relative pattern starts from (the spec's own folder); ``prefix`` goes
    before the blob's name; the tree below the fixed part of the pattern is kept.
    """

    pattern: str
    root: Path
    where: Place
    exclude: tuple[str, ...] = ()
    prefix: str = ""
    content_type: str | None = None


@dataclass(frozen=True, slots=True)
class Container:
    """A blob container: ``key`` is its name in the spec, ``id`` its name in the account.

    ``implied`` is one that nobody declared: it keeps the logs of tasks.
    """

    key: str
    id: str
    where: Place
    existing: bool = False
    upload: tuple[UploadGlob, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    public_access: str | None = None
    implied: bool = False


class PoolKind(StrEnum):
    """Whose a pool is, and how long it lives."""

    OWN = "own"
    EXISTING = "existing"
    JOB = "job"


@dataclass(frozen=True, slots=True)
class ImageAlias:
    """An ``image:`` alias, to be looked up among the account's supported images."""

    name: str
    where: Place


@dataclass(frozen=True, slots=True)
class Pool:
    """The pool: ``properties`` is the body of Create Pool without what ``image`` resolves to.

    ``windows`` is ``None`` where only the account knows (``existing``). ``start_containers`` names
    (by key) the containers whose blobs the start task reads. ``auto`` is what an auto pool has
    beside its own properties: ``poolLifetimeOption``, ``keepAlive``, ``autoPoolIdPrefix``.
    """

    id: str
    kind: PoolKind
    where: Place
    properties: Record = field(default_factory=Record)
    image: ImageAlias | None = None
    windows: bool | None = False
    start_containers: tuple[str, ...] = ()
    auto: Record = field(default_factory=Record)


@dataclass(frozen=True, slots=True)
class Job:
    """The job: ``properties`` is the body of Create Job without the pool it runs on.

    ``limit`` is the finite wall-clock limit every run has. ``schedule`` is the body of Create Job
    Schedule's ``schedule`` when this is a job schedule; ``schedule_properties`` are the display
    name and metadata of the schedule itself. ``prepare_containers`` and ``release_containers`` name
    (by key) the containers whose blobs the preparation and the release task read.
    """

    id: str
    where: Place
    limit: timedelta
    properties: Record = field(default_factory=Record)
    schedule: Record | None = None
    schedule_properties: Record = field(default_factory=Record)
    prepare_containers: tuple[str, ...] = ()
    release_containers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Once:
    """No ``for_each``: one task."""


@dataclass(frozen=True, slots=True)
class EachFile:
    """``{files: CONTAINER}``: what this spec uploads there; ``group`` files a task (1: each)."""

    container: str
    match: tuple[str, ...] = ()
    group: int | None = None


@dataclass(frozen=True, slots=True)
class EachBlob:
    """``{blobs: CONTAINER}``: what is in the container already."""

    container: str
    prefix: str = ""
    match: tuple[str, ...] = ()
    group: int | None = None


@dataclass(frozen=True, slots=True)
class NumberRange:
    """``[start, stop, step]``: the numbers from ``start`` up to but without ``stop``."""

    start: int | float
    stop: int | float
    step: int | float = 1


@dataclass(frozen=True, slots=True)
class Matrix:
    """Every combination of the axes, the first axis slowest, less ``exclude``, then ``include``."""

    axes: tuple[tuple[str, tuple[Value, ...] | NumberRange], ...]
    exclude: tuple[Record, ...] = ()
    include: tuple[Record, ...] = ()


@dataclass(frozen=True, slots=True)
class Rows:
    """``{rows: FILE}``: a task for each row; the columns (or keys) are the variables."""

    path: Path
    where: Place


@dataclass(frozen=True, slots=True)
class EachNumber:
    """``{range: [start, stop, step]}``: the variable is ``value``."""

    numbers: NumberRange


@dataclass(frozen=True, slots=True)
class EachValue:
    """``{list: [...]}``: the variable is ``value``; the keys of an object are variables too."""

    values: tuple[Value, ...]


ForEach: TypeAlias = Once | EachFile | EachBlob | Matrix | Rows | EachNumber | EachValue


class Shell(StrEnum):
    """Who reads a command on the node."""

    DEFAULT = "default"
    """``/bin/sh -c`` on Linux, ``cmd /c`` on Windows."""
    NONE = "none"
    """The bare program: the service splits the line itself."""


@dataclass(frozen=True, slots=True)
class Command:
    """A command line before its templates are evaluated.

    ``template`` is the text of a string command; ``arguments`` are those of a list command, each
    one argument. Exactly one of the two is set.
    """

    shell: Shell
    template: Template | None = None
    arguments: tuple[Template, ...] = ()


@dataclass(frozen=True, slots=True)
class Stage:
    """One entry of ``tasks``: a source of items and the task that is made of each.

    ``body`` is the task in REST form, with templates, without ``id``, ``commandLine``,
    ``dependsOn`` and the resource files that follow from ``resources``. ``resources`` are the keys
    of containers whose every blob the task gets; ``None`` means the item's own file. ``logs`` is
    the key of the container that keeps stdout and stderr, where the service puts them (``body`` has
    the OutputFile); ``None`` where logs are off. ``required`` are the indices in the body's
    ``outputFiles`` of those that every task must have written.
    """

    name: str
    where: Place
    command: Command
    for_each: ForEach = field(default_factory=Once)
    id: Template | None = None
    body: Record = field(default_factory=Record)
    resources: tuple[str, ...] | None = None
    needs: tuple[str, ...] = ()
    logs: str | None = None
    required: frozenset[int] = frozenset()


class When(StrEnum):
    """When clean-up deletes something."""

    ALWAYS = "always"
    ON_SUCCESS = "on_success"
    NEVER = "never"
    ASK = "ask"


@dataclass(frozen=True, slots=True)
class Result:
    """One entry of ``results``: what is downloaded, where to. ``container`` is a key."""

    container: str
    to: Path
    where: Place
    match: tuple[str, ...] = ()
    flat: bool = False
    overwrite: bool = True


@dataclass(frozen=True, slots=True)
class Cleanup:
    """What is deleted at the end, after the results are safe."""

    containers: When = When.NEVER
    job: When = When.NEVER
    pool: When = When.NEVER


@dataclass(frozen=True, slots=True)
class Spec:
    """A whole run, as written down.

    ``digest`` is a hash of the spec with its parameters set (secret values left out), hexadecimal.
    ``parameters`` hold secrets as :class:`~batchspec.problems.Secret`. ``warnings`` are what was
    found while reading that does not stop a run. ``places`` are those of its keys, by dotted path.
    """

    path: Path
    name: str
    digest: str
    parameters: Mapping[str, Value]
    containers: Mapping[str, Container]
    pool: Pool
    job: Job
    stages: tuple[Stage, ...]
    description: str = ""
    results: tuple[Result, ...] = ()
    cleanup: Cleanup = field(default_factory=Cleanup)
    warnings: tuple[Problem, ...] = ()
    places: Mapping[str, Place] = field(default_factory=dict)

    def container_id(self, key: str) -> str:
        """The name in the account of the container that the spec calls ``key``."""
        return self.containers[key].id

    def place(self, *paths: str) -> Place | None:
        """Where the first of these keys stands that is written down."""
        return next((self.places[path] for path in paths if path in self.places), None)
