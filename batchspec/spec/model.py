"""The parts of a spec as frozen dataclasses: complete, with defaults and source positions.

``read`` creates a :class:`Spec` from text; later stages do not use YAML. Properties of pool, job
and task have the names of the REST API (camelCase): they are compared and sent under these names.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Mapping, Sequence
from dataclasses import field
from datetime import timedelta
from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from batchspec.diagnostics import Diagnostic, Place, Secret
from batchspec.frozen import frozen
from batchspec.spec.values import Record, Template, Value

if TYPE_CHECKING:
    from batchspec.pricing import PriceTable


@frozen
class UploadGlob:
    """One entry of ``containers.NAME.upload``.

    ``root`` is the folder that a relative pattern starts from (the folder of the spec). ``prefix``
    is prepended to the blob name; the folder structure below the fixed part of the pattern is kept.
    """

    pattern: str
    root: Path
    where: Place
    exclude: tuple[str, ...] = ()
    prefix: str = ""
    content_type: str | None = None

    @property
    def fixed(self) -> str:
        """The folders of the pattern before its first wildcard; for a plain path, its folder."""
        fixed = []
        for part in self.pattern.split("/")[:-1]:
            if glob.has_magic(part):
                break
            fixed.append(part)
        return "/".join(fixed) or ("/" if self.pattern.startswith("/") else "")

    def excludes(self, below: str) -> bool:
        """Whether the entry excludes a file; ``below`` is its path below the fixed part."""
        name = below.rpartition("/")[2]
        return any(fnmatchcase(name, x) or fnmatchcase(below, x) for x in self.exclude)

    def includes(self, path: Path) -> bool:
        """Whether the entry uploads a file with this absolute path; the file need not exist."""
        base = Path(os.path.normpath(self.root / self.fixed))
        if not path.is_relative_to(base):
            return False
        names = path.relative_to(base).parts
        rest = self.pattern[len(self.fixed) :].lstrip("/")
        return _matches(names, rest.split("/")) and not self.excludes("/".join(names))


def _matches(names: Sequence[str], parts: Sequence[str]) -> bool:
    """Whether the names of a path match the parts of a glob pattern; hidden ones must be named."""
    if not parts or not names:
        return not parts and not names
    part, rest = parts[0], parts[1:]
    hidden = names[0].startswith(".") and not part.startswith(".")
    if part == "**":
        return _matches(names, rest or ["*"]) or (not hidden and _matches(names[1:], parts))
    return not hidden and fnmatchcase(names[0], part) and _matches(names[1:], rest)


@frozen
class Container:
    """A blob container: ``key`` is its name in the spec, ``id`` its name in the account.

    ``implied``: the spec does not declare it; it is added for the logs of tasks.
    """

    key: str
    id: str
    where: Place
    existing: bool = False
    upload: tuple[UploadGlob, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    public_access: str | None = None
    implied: bool = False


@frozen
class Package:
    """An application package: a version of the application ``name``, with these files.

    ``is_archive``: the only file is the archive itself.
    """

    name: str
    version: str
    where: Place
    files: tuple[UploadGlob, ...]
    is_archive: bool = False

    @property
    def source(self) -> Container:
        """The files as those of a container, under a key that no container has."""
        key = f"package {self.name}"
        return Container(key, key, self.where, upload=self.files)


class PoolKind(StrEnum):
    """The owner of a pool, and its lifetime."""

    OWN = "own"
    EXISTING = "existing"
    JOB = "job"


@frozen
class ImageAlias:
    """An ``image:`` alias, resolved from the account's list of supported images."""

    name: str
    where: Place


@frozen
class Pool:
    """The pool. ``properties`` is the body of Create Pool without the result of ``image``.

    ``windows`` is ``None`` for an existing pool. ``start_containers`` are the keys of the
    containers whose blobs the start task reads. ``auto`` are the additional properties of an auto
    pool: ``poolLifetimeOption``, ``keepAlive``, ``autoPoolIdPrefix``.
    """

    id: str
    kind: PoolKind
    where: Place
    properties: Record = field(default_factory=Record)
    image: ImageAlias | None = None
    windows: bool | None = False
    start_containers: tuple[str, ...] = ()
    auto: Record = field(default_factory=Record)


@frozen
class Job:
    """The job. ``properties`` is the body of Create Job without the pool.

    ``limit`` is the maximum wall-clock time, which every run has. ``schedule`` is the ``schedule``
    of Create Job Schedule for a job schedule; ``schedule_properties`` are its display name and
    metadata. ``prepare_containers`` and ``release_containers`` are the keys of the containers whose
    blobs the preparation and release tasks read.
    """

    id: str
    where: Place
    limit: timedelta
    properties: Record = field(default_factory=Record)
    schedule: Record | None = None
    schedule_properties: Record = field(default_factory=Record)
    prepare_containers: tuple[str, ...] = ()
    release_containers: tuple[str, ...] = ()


@frozen
class Once:
    """No ``for_each``: one task."""


@frozen
class EachFile:
    """``{files: CONTAINER}``: the files that this spec uploads there, ``group`` files per task."""

    container: str
    match: tuple[str, ...] = ()
    group: int | None = None


@frozen
class EachBlob:
    """``{blobs: CONTAINER}``: the existing blobs of the container."""

    container: str
    prefix: str = ""
    match: tuple[str, ...] = ()
    group: int | None = None


@frozen
class NumberRange:
    """``[start, stop, step]``: the numbers from ``start`` to ``stop``, exclusive."""

    start: int | float
    stop: int | float
    step: int | float = 1


@frozen
class Matrix:
    """All combinations of the axes, the last one fastest; ``exclude`` removes, ``include`` adds."""

    axes: tuple[tuple[str, tuple[Value, ...] | NumberRange], ...]
    exclude: tuple[Record, ...] = ()
    include: tuple[Record, ...] = ()


@frozen
class Rows:
    """``{rows: FILE}``: one task per row; the columns (or keys) are the variables."""

    path: Path
    where: Place


@frozen
class EachNumber:
    """``{range: [start, stop, step]}``: the variable is ``value``."""

    numbers: NumberRange


@frozen
class EachValue:
    """``{list: [...]}``: the variable is ``value``; keys of an object are also variables."""

    values: tuple[Value, ...]


ForEach: TypeAlias = Once | EachFile | EachBlob | Matrix | Rows | EachNumber | EachValue


class Shell(StrEnum):
    """The program that interprets a command on the node."""

    DEFAULT = "default"
    """``/bin/sh -c`` on Linux, ``cmd /c`` on Windows."""
    NONE = "none"
    """No shell: the service splits the command line."""


@frozen
class Command:
    """A command line before its templates are evaluated.

    ``template`` is the text of a string command; ``arguments`` are the items of a list command.
    Exactly one of the two is set.
    """

    shell: Shell
    template: Template | None = None
    arguments: tuple[Template, ...] = ()


@frozen
class Stage:
    """One entry of ``tasks``: a source of items, and the task to create for each item.

    ``body`` is the body of Create Task with templates, without ``id``, ``commandLine``,
    ``dependsOn`` and the resource files for ``resources``. ``resources`` are the keys of containers
    whose blobs the task downloads; ``None`` means the file of its item. ``logs`` is the key of the
    container for stdout and stderr (``body`` has the OutputFile); ``None`` if logs are off.
    ``required`` are the indices of the required outputs in the ``outputFiles`` of the body.
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
    """The condition on which clean-up deletes a resource."""

    ALWAYS = "always"
    ON_SUCCESS = "on_success"
    NEVER = "never"
    ASK = "ask"


@frozen
class Result:
    """One entry of ``results``: the files to download and their folder. ``container`` is a key."""

    container: str
    to: Path
    where: Place
    match: tuple[str, ...] = ()
    flat: bool = False
    overwrite: bool = True


@frozen
class Cleanup:
    """The resources that a run deletes at its end, after it has downloaded the results."""

    containers: When = When.NEVER
    job: When = When.NEVER
    pool: When = When.NEVER


@frozen
class OtherRates:
    """Costs that the user expects in addition to the price of nodes; ``None``: not known.

    ``network_per_hour`` is for the load balancer and public IP addresses of a pool,
    ``disk_per_node_hour`` for the disks of a node; a GB is 10^9 bytes.
    """

    network_per_hour: float | None = None
    disk_per_node_hour: float | None = None
    storage_per_gb_month: float | None = None
    egress_per_gb: float | None = None


@frozen
class Cost:
    """The ``cost`` section. Amounts are in ``currency``.

    ``max`` is the maximum cost of the run. ``shorten``: a run that could cost more is shortened
    instead of refused. An empty ``region`` is the region of the account.
    """

    where: Place
    currency: str
    max: float | None = None
    shorten: bool = False
    region: str = ""
    prices: PriceTable | None = None
    rates: OtherRates = field(default_factory=OtherRates)


class NotifyWhen(StrEnum):
    """The results of a run that cause a notification."""

    ALWAYS = "always"
    ON_SUCCESS = "on_success"
    ON_FAILURE = "on_failure"


@frozen
class Webhook:
    """The receiver of the summary of a run (POST).

    The URL is never shown. ``server`` is the scheme and host of a URL in the spec, and empty for a
    URL from a secret parameter.
    """

    url: Secret
    server: str = ""
    headers: Mapping[str, Secret] = field(default_factory=dict)


@frozen
class Notify:
    """The ``notify`` section. ``command`` is a complete command line of this machine.

    ``timeout`` limits the time of the command, and of the webhook with its retries.
    """

    timeout: timedelta
    command: Secret | None = None
    webhook: Webhook | None = None
    when: NotifyWhen = NotifyWhen.ALWAYS


@frozen
class Spec:
    """A complete spec.

    ``digest`` is the hexadecimal SHA-256 of the expanded spec with its parameters, without the
    values of secrets and without ``cost`` and ``notify``, which do not affect the work. Secret
    ``parameters`` are :class:`~batchspec.diagnostics.Secret`. ``storage_identity`` is the resource
    id of the managed identity with which nodes access the Storage account; if it is empty, nodes
    get signed URLs. ``warnings`` do not prevent a run. ``places`` are the positions of the keys by
    dotted path.
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
    storage_identity: str = ""
    warnings: tuple[Diagnostic, ...] = ()
    places: Mapping[str, Place] = field(default_factory=dict)
    cost: Cost | None = None
    notify: Notify | None = None
    packages: Mapping[str, Package] = field(default_factory=dict)

    @property
    def setup_containers(self) -> tuple[str, ...]:
        """The containers (keys) that nodes read before tasks run."""
        return (*self.pool.start_containers, *self.job.prepare_containers)

    @property
    def node_containers(self) -> tuple[str, ...]:
        """The containers (keys) that nodes read before and after tasks run."""
        return (*self.setup_containers, *self.job.release_containers)

    def container_id(self, key: str) -> str:
        """The name in the account of the container with this key."""
        return self.containers[key].id

    def place(self, *paths: str) -> Place | None:
        """The position of the first of these keys that the spec contains."""
        return next((self.places[path] for path in paths if path in self.places), None)
