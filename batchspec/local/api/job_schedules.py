"""Job schedules: operations, validation, defaults, JSON."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from batchspec.local.api.jobs import check_auto_pool, check_job_quota, complete_job
from batchspec.local.api.resources import (
    SCHEDULE_COLUMNS,
    Context,
    check_id,
    common_properties,
    find_schedule,
    next_state,
    page_reply,
    read_page,
    schedule_stats,
)
from batchspec.local.model import SCHEDULE, Schedule, ScheduleState
from batchspec.local.wire import (
    Fault,
    Reply,
    Request,
    bad_property,
    created_reply,
    empty_reply,
    first_run,
    next_run,
    read_time,
    resource_reply,
    version_headers,
    without_secrets,
    write_time,
)


def create_job_schedule(context: Context, request: Request) -> Reply:
    """``POST /jobschedules``: the engine creates the first job when it is due."""
    given = request.parse_body("BatchJobScheduleCreateOptions")
    schedule_id = check_id("id", given.pop("id"))
    body = complete_schedule(given)
    check_auto_pool(context, body["jobSpecification"]["poolInfo"])
    if context.store.jobs.get(schedule_id) is not None:
        raise Fault("JobWithSameIdExists")
    before = context.store.schedules.get(schedule_id)
    if before is not None:
        deleting = before.state is ScheduleState.DELETING
        raise Fault("JobScheduleBeingDeleted" if deleting else "JobScheduleExists")
    check_job_quota(context)
    first = first_run(body["schedule"], request.now)
    schedule = context.store.schedules.add(schedule_id, body, request.now, first)
    if schedule is None:
        raise Fault("JobScheduleExists")
    return created_reply(f"{context.base_url}/jobschedules/{schedule.id}", schedule.modified)


def list_job_schedules(context: Context, request: Request) -> Reply:
    """``GET /jobschedules``."""
    page = read_page(request, SCHEDULE_COLUMNS)
    stats = request.expands_stats()
    return page_reply(
        request,
        page,
        context.store.schedules.page(page),
        lambda schedule: _show(context, request, schedule, stats=stats),
        lambda schedule: schedule.id.lower(),
        model="BatchJobSchedule",
        metadata="jobschedules",
    )


def get_job_schedule(context: Context, request: Request) -> Reply:
    """``GET /jobschedules/{jobScheduleId}``."""
    stats = request.expands_stats()
    schedule = find_schedule(context, request)
    shown = _show(context, request, schedule, stats=stats)
    metadata = "jobschedules/@Element"
    return resource_reply(request, "BatchJobSchedule", shown, metadata, schedule.modified)


def job_schedule_exists(context: Context, request: Request) -> Reply:
    """``HEAD /jobschedules/{jobScheduleId}``."""
    return Reply(200, headers=version_headers(find_schedule(context, request).modified))


def update_job_schedule(context: Context, request: Request) -> Reply:
    """``PATCH /jobschedules/{jobScheduleId}``: properties of the request replace stored ones."""
    given = request.parse_body("BatchJobScheduleUpdateOptions")
    return _update(context, request, given, kept=("schedule", "jobSpecification", "metadata"))


def replace_job_schedule(context: Context, request: Request) -> Reply:
    """``PUT /jobschedules/{jobScheduleId}``: properties not in the request are reset."""
    return _update(context, request, request.parse_body("BatchJobSchedule"), kept=())


def disable_job_schedule(context: Context, request: Request) -> Reply:
    """``POST .../disable``: the schedule creates no jobs until it is enabled."""
    return _move(context, request, "disable", 204)


def enable_job_schedule(context: Context, request: Request) -> Reply:
    """``POST .../enable``."""
    return _move(context, request, "enable", 204)


def terminate_job_schedule(context: Context, request: Request) -> Reply:
    """``POST .../terminate``: the engine terminates its job, then completes the schedule."""
    return _move(context, request, "terminate", 202)


def delete_job_schedule(context: Context, request: Request) -> Reply:
    """``DELETE /jobschedules/{jobScheduleId}``: the engine deletes it with all its jobs."""
    _move(context, request, "delete", 202)
    return empty_reply(202, None)


def _update(
    context: Context, request: Request, given: Mapping[str, Any], kept: tuple[str, ...]
) -> Reply:
    schedule = find_schedule(context, request)
    next_state(SCHEDULE, "update", schedule.state)
    before = schedule.body
    # A replacement keeps the display name, which cannot change.
    stays = {name: before[name] for name in (*kept, "displayName") if name in before}
    body = complete_schedule({**stays, **given})
    check_auto_pool(context, body["jobSpecification"]["poolInfo"])
    following = _following(schedule, body, request.now)
    schedule = context.store.schedules.update(schedule, body, request.now, following)
    return empty_reply(200, request.url, schedule.modified)


def _following(schedule: Schedule, body: Mapping[str, Any], now: datetime) -> datetime | None:
    """The due time of the next job under new settings.

    With changed times, the schedule starts again at a ``doNotRunUntil`` later than its last job.
    Otherwise a recurrence continues from the last job, and a schedule without recurrence is done.
    """
    when = body["schedule"]
    if when == schedule.body["schedule"]:
        return schedule.next_run
    until, last = when.get("doNotRunUntil"), schedule.last_due
    if last is None or (until is not None and read_time(until) > last):
        return first_run(when, now)
    return next_run(when, last, now)


def _move(context: Context, request: Request, verb: str, status: int) -> Reply:
    force = request.flag("force")
    schedule = find_schedule(context, request)
    going = {"terminate": ScheduleState.TERMINATING, "delete": ScheduleState.DELETING}
    if not (force and schedule.state is going.get(verb)):
        state = next_state(SCHEDULE, verb, schedule.state)
        schedule = context.store.schedules.set_state(schedule, state, request.now)
    return empty_reply(status, request.url, schedule.modified)


def _show(context: Context, request: Request, schedule: Schedule, *, stats: bool) -> dict[str, Any]:
    shown = serialize_schedule(context, schedule)
    return shown | schedule_stats(context, schedule, request.now) if stats else shown


def complete_schedule(body: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a schedule with all defaults, in the service's order.

    Raises:
        Fault: a setting of the schedule or of its jobs is invalid.
    """
    when = body.get("schedule", {})
    until, after = when.get("doNotRunUntil"), when.get("doNotRunAfter")
    if until is not None and after is not None and read_time(after) <= read_time(until):
        raise bad_property("doNotRunAfter", after, "The value must be later than doNotRunUntil.")
    complete = {
        **body,
        "schedule": when,
        "jobSpecification": complete_job(body["jobSpecification"], scheduled=True),
    }
    return {name: value for name, value in complete.items() if value != []}


def serialize_schedule(context: Context, schedule: Schedule) -> dict[str, Any]:
    """A job schedule as JSON."""
    body = schedule.body
    jobs = without_secrets(body["jobSpecification"])
    shown = common_properties(schedule, f"{context.base_url}/jobschedules/{schedule.id}")
    shown |= {"schedule": body["schedule"], "jobSpecification": jobs}
    info: dict[str, Any] = {}
    if schedule.next_run is not None:
        info["nextRunTime"] = write_time(schedule.next_run)
    if schedule.recent_job is not None:
        url = f"{context.base_url}/jobs/{schedule.recent_job}"
        info["recentJob"] = {"url": url, "id": schedule.recent_job}
    if schedule.ended is not None:
        info["endTime"] = write_time(schedule.ended)
    shown["executionInfo"] = info
    if "metadata" in body:
        shown["metadata"] = body["metadata"]
    return shown
