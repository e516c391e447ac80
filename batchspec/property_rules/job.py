"""Rules of jobs, their preparation and release tasks, and job schedules."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from batchspec.property_rules.rule import (
    JOBS,
    RELEASE,
    Found,
    Properties,
    PropertyRule,
    in_range,
    lasts,
    max_length,
    one_of,
    requires,
    rule,
)

_JOBS = (*JOBS, "BatchJobUpdateOptions", "BatchJob")
_SCHEDULE = ("BatchJobScheduleConfiguration",)
_PREPARATION = "jobpreparation"
_RELEASE = "jobrelease"
"""The ids that the service gives to tasks without one."""


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
