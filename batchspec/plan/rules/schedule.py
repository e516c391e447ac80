"""Rules about job schedules."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from batchspec.plan.changes import Difference
from batchspec.plan.metadata import SPEC
from batchspec.plan.observed import JobFacts, Observed, ScheduleFacts
from batchspec.plan.rules.account import not_created
from batchspec.plan.rules.rule import ERROR, WARNING, Finding, RuleGroup
from batchspec.plan.rules.sas import is_endless, is_over
from batchspec.spec import BlobUrl, Record, Spec, Stage, Text, Value

SCHEDULE = RuleGroup(
    "Job schedules", "Jobs that the service creates for `job.schedule`, without a client."
)

_UNTIL_KEYS = ("job.schedule.until", "job.schedule.do_not_run_after", "job.schedule")

SCHEDULE.describe(
    "no-cleanup",
    WARNING,
    "`cleanup` has no effect on a schedule",
    "Nothing is deleted after a job, because more jobs follow.",
    "Remove `cleanup`; `batchspec destroy` deletes the schedule and everything else.",
)
SCHEDULE.describe(
    "not-of-manager",
    ERROR,
    "The task of a schedule has a property that a job manager task cannot have",
    "The first task of each job is its job manager task, which supports fewer properties.",
    "Remove the property, or let a `job_manager_task` add a task that has it.",
)


@SCHEDULE.rule(
    "one-task",
    ERROR,
    title="The spec of a schedule does not have exactly one task",
    why="The service creates the jobs, each with one task; no client submits others.",
    fix="Do everything in one command, let a `job_manager_task` add tasks, or remove `schedule` and"
    " apply the spec with cron or CI.",
)
def one_task(stage: Stage, tasks: int) -> Iterator[Finding]:
    """A number of tasks other than one."""
    if tasks != 1:
        yield Finding(
            f"each job of a schedule starts with one task; {stage.name} has {tasks:,}", stage.where
        )


@SCHEDULE.rule(
    "endless-schedule",
    ERROR,
    title="The schedule has no end, and its jobs use signed URLs",
    why="A signature expires; after that, no job could read or write its data.",
    fix="Set `until`, or let the nodes authenticate with a managed identity of the pool:"
    " `storage: {identity: ID}`.",
)
def endless_schedule(spec: Spec, *bodies: Record) -> Iterator[Finding]:
    """Signed URLs in ``bodies``, which contain all URLs that nodes and tasks of the jobs use."""
    schedule = spec.job.schedule
    if schedule is None or not is_endless(schedule):
        return
    signed = {url.container for body in bodies for url in _urls(body) if url.permissions}
    if signed:
        yield Finding(
            "the schedule has no end, and the signed URLs of its jobs expire",
            spec.place("job.schedule"),
            "Signed: " + ", ".join(f"container {name}" for name in sorted(signed)) + ".",
        )


def _urls(value: Value) -> Iterator[BlobUrl]:
    """Every blob URL in a value."""
    match value:
        case BlobUrl():
            yield value
        case Text():
            yield from value.urls()
        case Record():
            for item in value.values():
                yield from _urls(item)
        case tuple():
            for item in value:
                yield from _urls(item)


@SCHEDULE.rule(
    "schedule-over",
    ERROR,
    title="The end of the schedule has passed",
    why="The service would accept the schedule and end it immediately.",
    fix="Set a later `until`; `batchspec destroy` deletes the existing schedule.",
)
def schedule_over(spec: Spec, observed: Observed) -> Iterator[Finding]:
    """``until`` is in the past."""
    if spec.job.schedule is not None and is_over(spec.job.schedule, observed.now):
        yield Finding("the schedule creates no jobs: `until` has passed", spec.place(*_UNTIL_KEYS))


@SCHEDULE.rule(
    "schedule-not-ours",
    ERROR,
    title="The schedule id belongs to a job schedule that this spec did not create",
    why="Schedules that another spec or client created are never changed.",
    fix="Change `id`, or delete that schedule.",
)
def schedule_not_ours(spec: Spec, schedule: ScheduleFacts) -> Iterator[Finding]:
    """A schedule of another spec or client."""
    yield Finding(
        f"the job schedule {schedule.id!r} {not_created(schedule.metadata)}", spec.job.where
    )


@SCHEDULE.rule(
    "schedule-there",
    ERROR,
    title="A job schedule has the id of the job",
    why="Jobs and job schedules share their ids. An earlier version of this spec may have had a"
    " `schedule`.",
    fix="Change the `id` of the job, or delete that schedule.",
)
def schedule_exists(spec: Spec, schedule: ScheduleFacts | None) -> Iterator[Finding]:
    """A schedule with the id of a job to create."""
    if schedule is not None and schedule.state != "deleting":
        own = schedule.metadata.get(SPEC) == spec.name
        yield Finding(
            f"a job cannot have the id {schedule.id!r}: a job schedule has it,"
            f" which {_created(spec, schedule.metadata)}",
            spec.job.where,
            fix="`batchspec destroy` deletes everything that this spec created." if own else "",
        )


def _created(spec: Spec, metadata: Mapping[str, Value]) -> str:
    own = metadata.get(SPEC) == spec.name
    return "was created by this spec" if own else not_created(metadata)


@SCHEDULE.rule(
    "job-in-the-way",
    ERROR,
    title="A job has the id of the schedule",
    why="Jobs and job schedules share their ids, and a job keeps its id until it is deleted.",
    fix="Change the `id` of the schedule, or delete that job.",
)
def job_exists(spec: Spec, jobs: Sequence[JobFacts]) -> Iterator[Finding]:
    """A job with the id of a schedule to create."""
    for job in jobs:
        if job.id.lower() == spec.job.id.lower():
            yield Finding(
                f"a job schedule cannot have the id {job.id!r}: a job has it,"
                f" which {_created(spec, job.metadata)}",
                spec.job.where,
            )


@SCHEDULE.rule(
    "schedule-goes-on",
    ERROR,
    title="`--rerun` does not apply to an active schedule",
    why="The schedule runs its tasks again automatically.",
    fix="`batchspec apply --replace job` deletes the schedule with its jobs, and creates it again.",
)
def schedule_active(spec: Spec, schedule: ScheduleFacts) -> Iterator[Finding]:
    """``--rerun`` with a schedule that has not ended."""
    yield Finding(
        f"the schedule {schedule.id!r} runs its tasks again automatically: nothing to rerun",
        spec.place("job.schedule"),
    )


@SCHEDULE.rule(
    "schedule-drift",
    WARNING,
    title="Another client changed the schedule after this spec created it",
    why="The spec has not changed, so the schedule does not change.",
    fix="`batchspec apply --replace job` creates it again from the spec.",
)
def schedule_drift(
    spec: Spec, schedule: ScheduleFacts, differences: Sequence[Difference]
) -> Iterator[Finding]:
    """The properties that another client changed."""
    if differences:
        yield Finding(
            f"another client changed the schedule {schedule.id!r} after this spec created it",
            spec.place("job.schedule"),
            "\n".join(difference.words for difference in differences),
        )


@SCHEDULE.rule(
    "schedule-disabled",
    WARNING,
    title="The schedule is disabled",
    why="A disabled schedule creates no jobs.",
    fix="Enable it (`az batch job-schedule enable --job-schedule-id ID`), or create it again with"
    " `batchspec apply --replace job`.",
)
def schedule_disabled(spec: Spec, schedule: ScheduleFacts) -> Iterator[Finding]:
    """A schedule that another client has disabled."""
    if schedule.state == "disabled":
        yield Finding(
            f"the schedule {schedule.id!r} is disabled: it creates no jobs",
            spec.place("job.schedule"),
        )
