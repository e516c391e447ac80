"""Job schedules between their wire form and their record: rules and defaults in, state out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from batchspec.local.api.context import Context
from batchspec.local.api.job_form import complete_job, with_manager
from batchspec.local.api.secrets import without_secrets
from batchspec.local.model.record import Schedule
from batchspec.local.wire.fault import bad_property
from batchspec.local.wire.times import TICKS, etag_of, read_time, ticks_of, write_time

_MINUTE = 60 * TICKS


def complete_schedule(body: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a schedule with those of its jobs complete, in the service's order.

    Raises:
        Fault: a rule of schedules or of jobs is broken.
    """
    when = body.get("schedule", {})
    for name in ("startWindow", "recurrenceInterval"):
        if name in when and ticks_of(when[name]) < _MINUTE:
            raise bad_property(name, when[name], "The value cannot be less than 1 minute.")
    until, after = when.get("doNotRunUntil"), when.get("doNotRunAfter")
    if until is not None and after is not None and read_time(after) <= read_time(until):
        raise bad_property("doNotRunAfter", after, "The value must be later than doNotRunUntil.")
    complete = {
        **body,
        "schedule": when,
        "jobSpecification": complete_job(body["jobSpecification"], scheduled=True),
    }
    return {name: value for name, value in complete.items() if value != []}


def write_schedule(context: Context, schedule: Schedule, *, older: bool) -> dict[str, Any]:
    """A schedule as the service shows it."""
    body = schedule.body
    jobs = without_secrets(with_manager(body["jobSpecification"], older=older))
    shown: dict[str, Any] = {"id": schedule.id}
    if "displayName" in body:
        shown["displayName"] = body["displayName"]
    shown |= {
        "url": f"{context.base_url}/jobschedules/{schedule.id}",
        "eTag": etag_of(schedule.modified),
        "lastModified": write_time(schedule.modified),
        "creationTime": write_time(schedule.created),
        "state": schedule.state,
        "stateTransitionTime": write_time(schedule.state_since),
    }
    if schedule.previous_state is not None and schedule.previous_since is not None:
        shown |= {
            "previousState": schedule.previous_state,
            "previousStateTransitionTime": write_time(schedule.previous_since),
        }
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
