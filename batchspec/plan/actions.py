"""What a step does: a closed union of frozen, complete values.

Bodies are in REST form and may contain deferred texts (:mod:`batchspec.spec.values`). Streams are
iterated when the step is performed, so that a step over a million files needs no more memory than a
step over three files. ``apply`` performs the actions; nothing here has an effect.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeAlias

from batchspec.frozen import frozen
from batchspec.plan.observed import LocalFile, Stream
from batchspec.plan.outputs import Outputs
from batchspec.plan.stage_tasks import StageTotals
from batchspec.plan.tasks import Task
from batchspec.spec import Record


@frozen
class CreateContainer:
    """Create a blob container for the spec ``user``, or use it if it exists in the meantime.

    ``applied`` are the provenance and version of the spec that its metadata records.
    """

    container: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    public_access: str | None = None
    user: str = ""
    applied: Mapping[str, str] = field(default_factory=dict)


@frozen
class UseContainer:
    """Record in the metadata of a container that the spec ``user`` uses it.

    ``applied`` are its provenance and version, which the metadata records as well.
    """

    container: str
    user: str
    applied: Mapping[str, str] = field(default_factory=dict)


@frozen
class ReleaseContainer:
    """Remove the spec ``user`` from the recorded users of a container that other specs use."""

    container: str
    user: str


@frozen
class UploadFiles:
    """Upload files to a container; ``size`` is their sum in bytes."""

    container: str
    files: Stream[LocalFile]
    size: int


@frozen
class UploadPackage:
    """Upload a version of an application package; ``size`` is the sum of its files in bytes.

    ``files`` are its content, or with ``is_archive`` the archive. ``content`` is their digest.
    """

    package: str
    version: str
    files: Stream[LocalFile]
    size: int
    content: str
    is_archive: bool = False


@frozen
class CreatePool:
    """Create a pool. ``sas`` is the time for which the URLs in the body must be valid.

    Here and in the other actions on pools, ``control_plane`` is whether the request goes to Azure
    Resource Manager, because the pool has or gets a managed identity.
    """

    pool: str
    body: Record
    sas: timedelta
    control_plane: bool = False


@frozen
class UpdatePool:
    """Change properties of a pool in place: ``patch`` is the body of Update Pool.

    With ``restart``, its nodes are restarted, so that the change applies to them, too. The digests
    in the metadata are written last, so that an interrupted update is detected and repeated.
    """

    pool: str
    patch: Record
    sas: timedelta
    restart: bool = False
    control_plane: bool = False


@frozen
class RestartNodes:
    """Restart these nodes of a pool, so that their start task runs again."""

    pool: str
    nodes: tuple[str, ...]


@frozen
class ResizePool:
    """Resize a pool. ``timeout`` (ISO 8601) is the time limit of the resize."""

    pool: str
    dedicated: int
    spot: int
    timeout: str | None = None
    control_plane: bool = False


@frozen
class ScalePool:
    """Enable autoscale, with an evaluation every ``interval`` (ISO 8601); ``None``: disable it."""

    pool: str
    formula: str | None
    interval: str | None = None
    control_plane: bool = False


@frozen
class ReplacePool:
    """Delete a pool, wait until it is deleted, and create it again.

    ``deletes_by_control_plane`` is ``control_plane`` of the existing pool.
    """

    pool: str
    body: Record
    sas: timedelta
    control_plane: bool = False
    deletes_by_control_plane: bool = False


@frozen
class WaitForPool:
    """Wait until a node of the pool can run tasks, or until it is certain that no node can."""

    pool: str
    nodes: int


@frozen
class CreateJob:
    """Create a job, in a later second than that of ``after``.

    Results of tasks that ended before are then older than the job, even in whole seconds.
    """

    job: str
    body: Record
    sas: timedelta
    after: datetime | None = None


@frozen
class ReplaceJob:
    """Terminate the job ``ended``, wait until it is completed, and create the next job."""

    ended: str
    job: str
    body: Record
    sas: timedelta


@frozen
class TerminateTasks:
    """End tasks of an earlier version of the spec, and wait until they no longer run.

    With ``whole`` the job is terminated with all its tasks. Otherwise each task of this spec in it
    is terminated and deleted, unless its id is in ``keep``, or it has succeeded and its id is not
    in ``replaced``: then it remains and is not counted.
    """

    job: str
    whole: bool = True
    keep: Stream[str] = ()
    replaced: Stream[str] = ()


@frozen
class DeleteOutputs:
    """Delete the blobs of a container that tasks of an earlier version wrote.

    Those are the blobs with a stamp that is not one of ``works``.
    """

    container: str
    works: Stream[str]


@frozen
class UpdateJob:
    """Change properties of a job in place: ``patch`` is the body of Update Job."""

    job: str
    patch: Record


@frozen
class CreateSchedule:
    """Create a job schedule. ``sas`` is the time for which the URLs in the body must be valid."""

    schedule: str
    body: Record
    sas: timedelta


@frozen
class UpdateSchedule:
    """Change a job schedule in place: ``patch`` is the body of Update Job Schedule."""

    schedule: str
    patch: Record
    sas: timedelta


@frozen
class ReplaceSchedule:
    """Delete a job schedule with its jobs, wait until it is deleted, and create it again."""

    schedule: str
    body: Record
    sas: timedelta


@frozen
class SubmitTasks:
    """Add the tasks of a stage to a job, in the order of the stream.

    ``arriving`` are the containers (key to id) to which files are uploaded at the same time: a task
    is added when its inputs in them are uploaded.
    """

    job: str
    stage: str
    tasks: Stream[Task]
    sas: timedelta
    arriving: Mapping[str, str] = field(default_factory=dict)


@frozen
class RetryTasks:
    """Reactivate failed tasks of an active job."""

    job: str
    stage: str
    tasks: Stream[Task]


@frozen
class CloseJob:
    """Let the job end when all its tasks are completed; no tasks are added afterwards."""

    job: str


@frozen
class WaitForTasks:
    """Wait until ``tasks`` tasks of a job are completed, or until ``limit`` has passed.

    ``pool`` is watched meanwhile: a pool that will never run a task ends the wait. A job that is
    not ``closed`` may get more tasks; the run waits until another client or the service ends it.

    ``kept`` tasks of the run succeeded in earlier jobs and are part of every total. ``superseded``
    tasks of the job succeeded in an earlier version of the spec and are part of none: they are
    subtracted from its counts. ``left`` tasks of the run are neither done nor in progress: the run
    is incomplete when this step is done. ``absent`` of them are not in the job, and
    ``failed_before`` of these failed in earlier jobs; both are part of every total. ``outputs`` are
    the outputs that the tasks must have written when all of them have succeeded. ``stages`` are the
    stages of the spec, if it has several.
    """

    job: str
    pool: str
    tasks: int
    limit: timedelta
    closed: bool = True
    kept: int = 0
    superseded: int = 0
    left: int = 0
    absent: int = 0
    failed_before: int = 0
    outputs: Outputs | None = None
    stages: tuple[StageTotals, ...] = ()


@frozen
class DownloadResults:
    """Download blobs to a folder; ``job`` is the job that wrote them.

    Blobs that were last modified before ``since`` belong to an earlier run and are not downloaded;
    ``None`` is the creation of the job. ``own`` are the names of the blobs that the spec uploads to
    the container, which are downloaded at any age. A blob with the digest of the work that wrote it
    is downloaded if that work is one of ``works``, if these are known. ``outputs`` are the outputs
    that the tasks of the job must have written, if no wait has checked them. Unless the results are
    ``complete``, more may follow, and the receipt does not name the job. ``entries`` is the digest
    of all `results` of the spec. ``sources`` are files that no result may replace.
    """

    container: str
    to: Path
    job: str
    match: tuple[str, ...] = ()
    flat: bool = False
    overwrite: bool = True
    since: datetime | None = None
    own: Stream[str] = ()
    outputs: Outputs | None = None
    works: Stream[str] | None = None
    complete: bool = True
    entries: str = ""
    sources: Stream[Path] = ()


@frozen
class DeletePool:
    """Delete a pool and wait until it is deleted; ``forced``: also if another job uses it."""

    pool: str
    control_plane: bool = field(default=False, compare=False)
    forced: bool = field(default=False, compare=False)


@frozen
class DeleteJob:
    """Delete a job with its tasks and wait until it is deleted."""

    job: str


@frozen
class DeleteSchedule:
    """Delete a job schedule with all its jobs and wait until it is deleted."""

    schedule: str


@frozen
class DeleteContainers:
    """Delete containers with their blobs.

    If specs other than ``user`` use a container at that time, only the record of the use is
    removed. ``read_by_nodes``: nodes of the pool read one of them when they start, so that a pool
    that is kept for another job needs them.
    """

    containers: tuple[str, ...]
    user: str = field(default="", compare=False)
    read_by_nodes: bool = field(default=False, compare=False)


Action: TypeAlias = (
    CreateContainer
    | UseContainer
    | ReleaseContainer
    | UploadFiles
    | UploadPackage
    | CreatePool
    | UpdatePool
    | RestartNodes
    | ResizePool
    | ScalePool
    | ReplacePool
    | WaitForPool
    | CreateJob
    | ReplaceJob
    | TerminateTasks
    | UpdateJob
    | CreateSchedule
    | UpdateSchedule
    | ReplaceSchedule
    | SubmitTasks
    | RetryTasks
    | CloseJob
    | WaitForTasks
    | DownloadResults
    | DeletePool
    | DeleteJob
    | DeleteSchedule
    | DeleteContainers
    | DeleteOutputs
)
"""All actions of steps."""
