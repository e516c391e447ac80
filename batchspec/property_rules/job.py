"""Rules of jobs, job schedules and all kinds of tasks."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from batchspec.property_rules.rule import (
    JOBS,
    MANAGER,
    MISSING,
    RELEASE,
    TASK,
    Found,
    Properties,
    PropertyRule,
    in_range,
    lasts,
    matches,
    max_length,
    one_of,
    ordered,
    requires,
    rule,
)

_JOBS = (*JOBS, "BatchJobUpdateOptions", "BatchJob")
_SCHEDULE = ("BatchJobScheduleConfiguration",)
_PREPARATION = "jobpreparation"
_RELEASE = "jobrelease"
"""The ids that the service gives to tasks without an id."""


@rule(
    "job-task-ids",
    JOBS,
    ("jobManagerTask.id", "jobPreparationTask.id", "jobReleaseTask.id"),
    "same-id",
    "The job manager, preparation and release tasks of a job have different ids.",
    fix="Change or remove one of the ids.",
)
def job_task_ids(given: Properties) -> Iterator[Found]:
    """Two tasks of a job with the same id; case is ignored."""
    seen: set[str] = set()
    defaults = {"jobPreparationTask": _PREPARATION, "jobReleaseTask": _RELEASE}
    for task in ("jobPreparationTask", "jobReleaseTask", "jobManagerTask"):
        if not isinstance(given.get(task), Properties):
            continue
        id_ = given.word(task, "id")
        if id_ is None and not given.has(task, "id"):
            id_ = defaults.get(task)
        if id_ is not None and id_ in seen:
            yield Found((task, "id"), f"another task of the job has the id {id_!r}")
        if id_ is not None:
            seen.add(id_)


@rule(
    "metadata-name",
    ("BatchMetadataItem",),
    ("name",),
    "empty",
    "The `name` of metadata is not empty.",
    fix="Write a name, or remove the entry.",
    faults=("EmptyMetadataKey",),
)
def metadata_name(given: Properties) -> Iterator[Found]:
    """Metadata without a name."""
    if given.text("name") == "":
        yield Found(("name",), "the `name` of metadata is empty")


JOB: tuple[PropertyRule, ...] = (
    in_range("job-priority", _JOBS, "priority", -1000, 1000),
    in_range("parallel-tasks", _JOBS, "maxParallelTasks", 1, also=-1),
    in_range(
        "retries",
        ("BatchJobConstraints", "BatchTaskConstraints", "BatchStartTask"),
        "maxTaskRetryCount",
        0,
        also=-1,
    ),
    lasts("time-limit", ("BatchJobConstraints", "BatchTaskConstraints"), "maxWallClockTime"),
    lasts("retention", ("BatchTaskConstraints", RELEASE), "retentionTime", timedelta()),
    lasts("release-time-limit", (RELEASE,), "maxWallClockTime", None, timedelta(minutes=15)),
    requires(
        "release-task",
        JOBS,
        "jobReleaseTask",
        "jobPreparationTask",
        fix="Add `prepare: {command: exit 0}`.",
    ),
    job_task_ids,
    one_of("job-pool", ("BatchPoolInfo",), ("poolId", "autoPoolSpecification"), required=True),
    max_length(
        "auto-pool-prefix", ("BatchAutoPoolSpecification",), "autoPoolIdPrefix", 20, "long-id"
    ),
    lasts("start-window", _SCHEDULE, "startWindow", timedelta(minutes=1)),
    lasts("recurrence", _SCHEDULE, "recurrenceInterval", timedelta(minutes=1)),
    metadata_name,
)


_FILE = ("ResourceFile",)
_SOURCES = ("httpUrl", "storageContainerUrl", "autoStorageContainerName")


@rule(
    "instances-slots",
    (TASK,),
    ("requiredSlots", "multiInstanceSettings"),
    "either-or",
    "`requiredSlots` of a multi-instance task must be 1.",
    fix="Remove it: a multi-instance task takes whole nodes.",
)
def instances_slots(given: Properties) -> Iterator[Found]:
    """Slots of a task on several nodes."""
    slots = given.number("requiredSlots")
    if given.has("multiInstanceSettings") and slots is not None and slots != 1:
        yield Found(
            ("requiredSlots",), f"`requiredSlots` must be 1 for a multi-instance task, not {slots}"
        )


@rule(
    "blob-prefix",
    _FILE,
    ("blobPrefix", "httpUrl"),
    "either-or",
    "`blobPrefix` requires `storageContainerUrl` or `autoStorageContainerName`.",
    fix="Remove it, or refer to the container instead of a single URL.",
)
def blob_prefix(given: Properties) -> Iterator[Found]:
    """A prefix for a single file."""
    if given.has("blobPrefix") and given.has("httpUrl"):
        yield Found(("blobPrefix",), "`blobPrefix` and `httpUrl` cannot be combined")


@rule(
    "file-path",
    _FILE,
    ("filePath",),
    "leaves-directory",
    "`filePath` is relative and does not leave the working directory of the task.",
    fix="Write a relative path without `..`.",
)
def file_path(given: Properties) -> Iterator[Found]:
    """A path outside the working directory."""
    text = given.text("filePath")
    if text is None:
        return
    leaves = ".." in text and ".." in text.replace("\\", "/").split("/")
    if leaves or text.startswith(("/", "\\")) or text[1:2] == ":":
        yield Found(("filePath",), "`filePath` is outside the working directory of the task")


@rule(
    "output-destination",
    ("OutputFileDestination",),
    ("container",),
    "missing-key",
    "The `destination` of an output file has a `container`.",
    fix="Add `container: {container_url: ...}`.",
    faults=(MISSING,),
)
def output_destination(given: Properties) -> Iterator[Found]:
    """An output file without a place."""
    if not given.has("container"):
        message = "the `destination` of an output file requires `container`"
        yield Found((), message, missing="container")


TASKS: tuple[PropertyRule, ...] = (
    one_of("user-identity", ("UserIdentity",), ("username", "autoUser"), required=False),
    in_range("required-slots", (TASK, MANAGER), "requiredSlots", 1, 256),
    instances_slots,
    in_range("instances", ("MultiInstanceSettings",), "numberOfInstances", 1),
    one_of("file-source", _FILE, _SOURCES, required=True),
    requires("file-of-url", _FILE, "httpUrl", "filePath"),
    blob_prefix,
    file_path,
    matches("file-mode", _FILE, "fileMode", r"(?:0o?)?[0-7]{1,4}", "an octal mode, such as 0770"),
    output_destination,
    ordered("task-id-range", ("BatchTaskIdRange",), "start", "end"),
    ordered("exit-code-range", ("ExitCodeRangeMapping",), "start", "end"),
)
