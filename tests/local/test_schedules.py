"""Job schedules: operations, due times, and schedules run by the engine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from azure.batch import models as m
from azure.core.exceptions import HttpResponseError

from batchspec.local.engine.decisions import (
    CreateScheduledJob,
    Decision,
    DeletePool,
    RemoveSchedule,
    SetJobState,
    SetScheduleState,
    SkipScheduledJob,
)
from batchspec.local.engine.lifecycle import schedule_steps
from batchspec.local.engine.state import Delays, ScheduleView
from batchspec.local.model import Job, JobState, Schedule, ScheduleState
from batchspec.local.wire import next_run, read_time
from tests.local.engines import WAIT, pool, release_tasks, running_with_engine, task, wait_until
from tests.local.running import Service

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PATIENT = {"resizeTimeout": "P7D"}
"""Settings of a pool on a fast clock, where the default timeout of 15 minutes is 1.5 seconds."""
SCHEDULES = "/jobschedules"


def schedule(schedule_id: str = "s", when: Any = None, **jobs: Any) -> dict[str, Any]:
    """The JSON of a schedule."""
    return {
        "id": schedule_id,
        "schedule": when or {},
        "jobSpecification": {"poolInfo": {"poolId": "p"}, **jobs},
    }


# --- the operations


def test_a_new_schedule_has_the_recorded_defaults(service: Service) -> None:
    """azure-sdk-for-python, test_batch_job_schedules."""
    when = {"startWindow": "PT1H", "recurrenceInterval": "P1D"}
    body = schedule(when=when, onAllTasksComplete="terminatejob")
    created = service.request("POST", SCHEDULES, {**body, "displayName": "Every day"})
    assert (created.status, created.body) == (201, b"")
    assert created.headers["location"] == f"{service.url}/jobschedules/s"
    shown = service.request("GET", "/jobschedules/S")
    assert shown.headers["etag"] == created.headers["etag"]
    time = shown.json["creationTime"]
    assert list(shown.json.items()) == list(
        {
            "odata.metadata": f"{service.url}/$metadata#jobschedules/@Element",
            "id": "s",
            "displayName": "Every day",
            "url": f"{service.url}/jobschedules/s",
            "eTag": created.headers["etag"],
            "lastModified": time,
            "creationTime": time,
            "state": "active",
            "stateTransitionTime": time,
            "schedule": when,
            "jobSpecification": {
                "priority": 0,
                "maxParallelTasks": -1,
                "usesTaskDependencies": False,
                "allowTaskPreemption": False,
                "constraints": {
                    "maxWallClockTime": "P10675199DT2H48M5.4775807S",
                    "maxTaskRetryCount": 0,
                },
                "poolInfo": {"poolId": "p"},
                "onAllTasksComplete": "terminatejob",
                "onTaskFailure": "noaction",
            },
            "executionInfo": {"nextRunTime": time},
        }.items()
    )


def test_list_update_and_exists(service: Service) -> None:
    client = service.client
    until_ = datetime(2030, 1, 1, tzinfo=UTC)
    client.create_job_schedule(
        m.BatchJobScheduleCreateOptions(
            id="s",
            schedule=m.BatchJobScheduleConfiguration(do_not_run_until=until_),
            job_specification=m.BatchJobSpecification(pool_info=m.BatchPoolInfo(pool_id="p")),
            metadata=[m.BatchMetadataItem(name="k", value="v")],
        )
    )
    assert client.job_schedule_exists("s")
    found = client.get_job_schedule("s")
    assert found.execution_info is not None
    assert found.execution_info.next_run_time == until_
    client.update_job_schedule(
        "s",
        m.BatchJobScheduleUpdateOptions(
            schedule=m.BatchJobScheduleConfiguration(recurrence_interval=timedelta(hours=5))
        ),
    )
    (listed,) = client.list_job_schedules(select=["id", "schedule", "metadata"])
    assert listed.schedule is not None and listed.metadata is not None
    assert listed.schedule.recurrence_interval == timedelta(hours=5)
    client.replace_job_schedule(
        "s",
        m.BatchJobSchedule(
            schedule=m.BatchJobScheduleConfiguration(do_not_run_until=until_),
            job_specification=m.BatchJobSpecification(
                pool_info=m.BatchPoolInfo(pool_id="q"), priority=3
            ),
        ),
    )
    shown = client.get_job_schedule("s")
    assert shown.metadata is None
    assert shown.job_specification.priority == 3
    client.disable_job_schedule("s")
    assert client.get_job_schedule("s").state == "disabled"
    client.enable_job_schedule("s")
    assert client.get_job_schedule("s").previous_state == "disabled"


@pytest.mark.parametrize(
    ("when", "name"),
    [
        ({"startWindow": "PT59S"}, "startWindow"),
        ({"recurrenceInterval": "PT59S"}, "recurrenceInterval"),
        (
            {"doNotRunUntil": "2030-01-02T00:00:00Z", "doNotRunAfter": "2030-01-01T00:00:00Z"},
            "doNotRunAfter",
        ),
    ],
)
def test_invalid_times_are_rejected(service: Service, when: Any, name: str) -> None:
    refused = service.request("POST", SCHEDULES, schedule(when=when))
    assert (refused.status, refused.code) == (400, "InvalidPropertyValue")
    assert refused.values["PropertyName"] == name


def test_invalid_job_settings_are_rejected_at_once(service: Service) -> None:
    refused = service.request("POST", SCHEDULES, schedule(priority=1001))
    assert (refused.status, refused.values["PropertyName"]) == (400, "priority")


def test_a_job_and_a_schedule_cannot_have_the_same_id(service: Service) -> None:
    service.request("POST", SCHEDULES, schedule("One"))
    again = service.request("POST", SCHEDULES, schedule("ONE"))
    assert (again.status, again.code) == (409, "JobScheduleExists")
    taken = service.request("POST", "/jobs", {"id": "one", "poolInfo": {"poolId": "p"}})
    assert (taken.status, taken.code) == (409, "JobScheduleWithSameIdExists")
    service.request("POST", "/jobs", {"id": "two", "poolInfo": {"poolId": "p"}})
    taken = service.request("POST", SCHEDULES, schedule("TWO"))
    assert (taken.status, taken.code) == (409, "JobWithSameIdExists")


def test_operations_not_allowed_in_the_state_are_rejected(service: Service) -> None:
    missing = service.request("GET", "/jobschedules/s")
    assert (missing.status, missing.code) == (404, "JobScheduleNotFound")
    service.request("POST", SCHEDULES, schedule())
    assert service.request("POST", "/jobschedules/s/terminate").status == 202
    for verb in ("disable", "enable", "terminate"):
        refused = service.request("POST", f"/jobschedules/s/{verb}")
        assert (refused.status, refused.code) == (409, "JobScheduleBeingTerminated")
    assert service.request("POST", "/jobschedules/s/terminate", query="force=true").status == 202
    assert service.request("DELETE", "/jobschedules/s").status == 202
    refused = service.request("DELETE", "/jobschedules/s")
    assert (refused.status, refused.code) == (409, "JobScheduleBeingDeleted")


def test_conditional_headers(service: Service) -> None:
    etag = service.request("POST", SCHEDULES, schedule()).headers["etag"]
    headers = {"if-match": etag}
    change = {"schedule": {"recurrenceInterval": "PT5H"}}
    for status in (200, 412):
        answer = service.request("PATCH", "/jobschedules/s", change, headers=headers)
        assert answer.status == status


def test_a_missing_schedule_has_no_jobs(service: Service) -> None:
    with pytest.raises(HttpResponseError) as found:
        list(service.client.list_jobs_from_schedule("s"))
    assert found.value.error.code == "JobScheduleNotFound"


# --- decisions


def record(when: Any = None, **changes: Any) -> Schedule:
    one = Schedule(
        seq=1,
        id="s",
        body={"schedule": when or {}, "jobSpecification": {"poolInfo": {"poolId": "p"}}},
        created=NOW,
        modified=NOW,
        state=ScheduleState.ACTIVE,
        state_since=NOW,
        previous_state=None,
        previous_since=None,
        next_run=NOW,
        recent_job=None,
        runs=0,
        ended=None,
        pool_id=None,
        last_due=None,
    )
    return replace(one, **changes)


def a_job(state: JobState = JobState.ACTIVE) -> Job:
    return Job(
        seq=1,
        id="s:job-1",
        body={},
        created=NOW,
        modified=NOW,
        state=state,
        state_since=NOW,
        previous_state=None,
        previous_since=None,
        pool_id="p",
        priority=0,
        max_parallel=-1,
        started=NOW,
        ended=None,
        deadline=None,
        reason=None,
        scheduling_error=None,
        disable_tasks=None,
        schedule_id="s",
    )


def decided(one: Schedule, *jobs: Job, after: timedelta = timedelta()) -> list[Decision]:
    return list(schedule_steps(ScheduleView(one, jobs), Delays(), NOW + after))


DAILY = {"recurrenceInterval": "P1D"}
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def test_the_first_job_is_created_at_once_and_the_next_after_the_interval() -> None:
    one = record(DAILY)
    assert decided(one) == [CreateScheduledJob(one, NOW, NOW + DAY)]


def test_without_an_interval_there_is_one_job() -> None:
    one = record()
    assert decided(one) == [CreateScheduledJob(one, NOW, None)]
    waiting = record(next_run=None, runs=1)
    assert decided(waiting, a_job()) == []
    assert decided(waiting) == [SetScheduleState(waiting, ScheduleState.COMPLETED)]


def test_one_job_at_a_time_and_the_next_when_it_ends() -> None:
    one = record(DAILY)
    assert decided(one, a_job(), after=HOUR) == []
    assert decided(one, after=HOUR) == [CreateScheduledJob(one, NOW, NOW + DAY)]


def test_missed_jobs_are_skipped() -> None:
    one = record(DAILY)
    assert decided(one, after=3 * DAY + HOUR) == [CreateScheduledJob(one, NOW, NOW + 4 * DAY)]


@pytest.mark.parametrize(
    ("due", "interval", "following"),
    [
        ("2026-03-07T12:30:00-05:00", "P1D", "2026-03-08T17:30:00Z"),  # a day of 23 hours
        ("2026-10-31T12:30:00-04:00", "P1D", "2026-11-01T16:30:00Z"),  # a day of 25 hours
        ("2028-02-28T23:59:59Z", "P1D", "2028-02-29T23:59:59Z"),
        ("2028-02-29T00:00:00Z", "P365D", "2029-02-28T00:00:00Z"),
        ("2026-12-31T23:59:59Z", "PT1S", "2027-01-01T00:00:00Z"),
    ],
)
def test_an_interval_has_the_same_length_on_every_day(
    due: str, interval: str, following: str
) -> None:
    start = read_time(due)
    assert next_run({"recurrenceInterval": interval}, start, start) == read_time(following)


def test_no_job_is_created_after_its_start_window() -> None:
    one = record({**DAILY, "startWindow": "PT30M"})
    assert decided(one, after=HOUR) == [SkipScheduledJob(one, NOW, NOW + DAY)]
    assert decided(one, a_job(), after=HOUR) == [SkipScheduledJob(one, NOW, NOW + DAY)]
    assert decided(one, after=HOUR / 2) == [CreateScheduledJob(one, NOW, NOW + DAY)]
    single = record({"startWindow": "PT30M"})
    assert decided(single, after=HOUR) == [SkipScheduledJob(single, NOW, None)]


def test_no_job_is_created_after_do_not_run_after() -> None:
    one = record({**DAILY, "doNotRunAfter": "2026-01-01T12:00:00Z"})
    assert decided(one) == [CreateScheduledJob(one, NOW, None)]
    assert decided(one, after=DAY) == [SkipScheduledJob(one, NOW, None)]


def test_terminate_ends_the_job_first() -> None:
    one = record(DAILY, state=ScheduleState.TERMINATING)
    job = a_job()
    assert decided(one, job) == [SetJobState(job, JobState.TERMINATING, "TerminateJobSchedule")]
    assert decided(one, a_job(JobState.TERMINATING)) == []
    assert decided(one) == [SetScheduleState(one, ScheduleState.COMPLETED)]


def test_delete_deletes_all_jobs_first() -> None:
    one = record(DAILY, state=ScheduleState.DELETING)
    job = a_job(JobState.COMPLETED)
    assert decided(one, job) == [SetJobState(job, JobState.DELETING)]
    assert decided(one, a_job(JobState.DELETING)) == []
    assert decided(one) == [RemoveSchedule(one)]


def auto(lifetime: str = "jobschedule", **more: Any) -> dict[str, Any]:
    """The JSON of an auto pool."""
    settings = pool(**PATIENT)
    del settings["id"]
    return {
        "autoPoolSpecification": {
            "autoPoolIdPrefix": "mine",
            "poolLifetimeOption": lifetime,
            "pool": settings,
            **more,
        }
    }


def test_the_pool_of_a_schedule_is_deleted_with_it_unless_kept() -> None:
    for keep in (False, True):
        body = {"schedule": {}, "jobSpecification": {"poolInfo": auto(keepAlive=keep)}}
        one = record(body=body, state=ScheduleState.DELETING, pool_id="mine_1")
        gone = [] if keep else [DeletePool("mine_1")]
        assert decided(one) == [*gone, RemoveSchedule(one)]


# --- schedules with an engine


@pytest.fixture
def fast(tmp_path: Path) -> Iterator[Service]:
    """A service with its engine in which a minute takes a tenth of a second."""
    with running_with_engine(tmp_path / "batch", speed=600.0) as found:
        yield found


def jobs_of(service: Service) -> dict[str, str]:
    found = service.request("GET", "/jobschedules/s/jobs").json["value"]
    return {job["id"]: job["state"] for job in found}


def test_jobs_recur_until_the_schedule_is_deleted(fast: Service) -> None:
    fast.request("POST", "/pools", pool(**PATIENT))
    manager = {"id": "manager", "commandLine": "/bin/sh -c 'echo $AZ_BATCH_JOB_ID'"}
    body = schedule(when={"recurrenceInterval": "PT1M"}, jobManagerTask=manager)
    fast.request("POST", SCHEDULES, body)
    wait_until(lambda: list(jobs_of(fast).values()).count("completed") >= 3)
    assert {"s:job-1", "s:job-2", "s:job-3"} <= jobs_of(fast).keys()
    first = fast.request("GET", "/jobs/s:job-1").json
    assert first["executionInfo"]["terminateReason"] == "JMComplete"
    text = fast.request("GET", "/jobs/s:job-2/tasks/manager/files/stdout.txt").body
    assert text == b"s:job-2\n"
    shown = fast.request("GET", "/jobs/s:job-2/tasks/manager").json
    assert shown["nodeInfo"]["taskRootDirectory"] == "workitems/s/job-2/manager"
    recent = fast.request("GET", "/jobschedules/s").json["executionInfo"]["recentJob"]
    assert recent["url"].endswith(f"/jobs/{recent['id']}")
    fast.request("DELETE", "/jobschedules/s")
    wait_until(lambda: fast.request("GET", "/jobschedules/s").status == 404)
    assert fast.request("GET", "/jobs").json["value"] == []


def test_a_disabled_schedule_creates_no_jobs(fast: Service) -> None:
    fast.request("POST", SCHEDULES, schedule(when={"doNotRunUntil": "2100-01-01T00:00:00Z"}))
    fast.request("POST", "/jobschedules/s/disable")
    fast.request("PATCH", "/jobschedules/s", {"schedule": {"recurrenceInterval": "PT1M"}})
    fast.request("POST", SCHEDULES, schedule("other", when={"recurrenceInterval": "PT1M"}))
    wait_until(lambda: fast.request("GET", "/jobs/other:job-1").status == 200)
    assert jobs_of(fast) == {}
    fast.request("POST", "/jobschedules/s/enable")
    wait_until(lambda: bool(jobs_of(fast)))


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_changed_times_plan_the_next_job_again(fast: Service, method: str) -> None:
    """A daily schedule becomes a schedule that runs once, in the future."""
    fast.request("POST", "/pools", pool(**PATIENT))
    manager = {"id": "manager", "commandLine": "/bin/true"}
    body = schedule(when={"recurrenceInterval": "P1D"}, jobManagerTask=manager)
    fast.request("POST", SCHEDULES, body)
    wait_until(lambda: jobs_of(fast) == {"s:job-1": "completed"})
    specification = {"jobSpecification": body["jobSpecification"]} if method == "PUT" else {}

    def replan(when: str) -> Any:
        change = {"schedule": {"doNotRunUntil": when}, **specification}
        assert fast.request(method, "/jobschedules/s", change).status == 200
        return fast.request("GET", "/jobschedules/s").json

    shown = replan("2100-01-01T00:00:00Z")
    assert shown["state"] == "active"
    assert shown["executionInfo"]["nextRunTime"] == "2100-01-01T00:00:00Z"
    ended = fast.request("GET", "/jobs/s:job-1").json["executionInfo"]["endTime"]
    soon = datetime.fromisoformat(ended) + timedelta(hours=1)
    replan(soon.isoformat())
    wait_until(lambda: fast.request("GET", "/jobschedules/s").json["state"] == "completed")
    assert jobs_of(fast) == {"s:job-1": "completed", "s:job-2": "completed"}
    started = fast.request("GET", "/jobs/s:job-2").json["creationTime"]
    assert datetime.fromisoformat(started) >= soon


def test_a_schedule_that_has_run_once_does_not_run_again_without_a_time(fast: Service) -> None:
    fast.request("POST", SCHEDULES, schedule(when={"recurrenceInterval": "P1D"}))
    wait_until(lambda: bool(jobs_of(fast)))
    fast.request("PATCH", "/jobschedules/s", {"schedule": {"startWindow": "PT1H"}})
    shown = fast.request("GET", "/jobschedules/s").json
    assert "nextRunTime" not in shown["executionInfo"]


def test_terminate_ends_the_running_job(fast: Service) -> None:
    fast.request("POST", "/pools", pool(**PATIENT))
    fast.request("POST", SCHEDULES, schedule(when={"recurrenceInterval": "P1D"}))
    wait_until(lambda: jobs_of(fast) == {"s:job-1": "active"})
    fast.request("POST", "/jobs/s:job-1/tasks", task("t", WAIT))
    fast.request("POST", "/jobschedules/s/terminate")
    wait_until(lambda: fast.request("GET", "/jobschedules/s").json["state"] == "completed")
    ended = fast.request("GET", "/jobs/s:job-1").json
    assert (ended["state"], ended["executionInfo"]["terminateReason"]) == (
        "completed",
        "TerminateJobSchedule",
    )
    info = fast.request("GET", "/jobschedules/s").json["executionInfo"]
    assert "endTime" in info and "nextRunTime" not in info


def test_the_jobs_of_a_schedule_share_its_pool(fast: Service) -> None:
    manager = {"id": "manager", "commandLine": "true"}
    body = schedule(when={"recurrenceInterval": "PT1M"}, poolInfo=auto(), jobManagerTask=manager)
    fast.request("POST", SCHEDULES, body)
    wait_until(lambda: list(jobs_of(fast).values()).count("completed") >= 2)
    pools = {
        fast.request("GET", f"/jobs/{name}").json["executionInfo"]["poolId"]
        for name in jobs_of(fast)
    }
    assert len(pools) == 1
    (name,) = pools
    assert name.startswith("mine_")
    assert fast.request("GET", f"/pools/{name}").status == 200
    fast.request("POST", "/jobschedules/s/terminate")
    wait_until(lambda: fast.request("GET", f"/pools/{name}").status == 404)


def test_schedules_continue_after_a_restart(tmp_path: Path) -> None:
    with running_with_engine(tmp_path / "batch", speed=600.0) as first:
        first.request("POST", SCHEDULES, schedule(when={"recurrenceInterval": "PT1M"}))
        wait_until(lambda: bool(jobs_of(first)))
        first.request("POST", "/jobs/s:job-1/terminate", {})
    with running_with_engine(tmp_path / "batch", speed=600.0) as second:
        wait_until(lambda: "s:job-2" in jobs_of(second))


def test_a_single_job_completes_its_schedule(fast: Service) -> None:
    """The job outlives its job manager task; the schedule completes with the job."""
    fast.request("POST", "/pools", pool(**PATIENT))
    manager = {"id": "manager", "commandLine": "true", "killJobOnCompletion": False}
    body = schedule(jobManagerTask=manager, onAllTasksComplete="noaction")
    fast.request("POST", SCHEDULES, body)
    wait_until(lambda: bool(jobs_of(fast)))
    fast.request("POST", "/jobs/s:job-1/tasks", task("t", WAIT))
    counts = "/jobs/s:job-1/taskcounts"
    wait_until(lambda: fast.request("GET", counts).json["taskCounts"]["running"] == 1)
    release_tasks(fast)
    wait_until(lambda: fast.request("GET", counts).json["taskCounts"]["succeeded"] == 2)
    assert jobs_of(fast) == {"s:job-1": "active"}
    fast.request("POST", "/jobs/s:job-1/terminate", {})
    wait_until(lambda: fast.request("GET", "/jobschedules/s").json["state"] == "completed")
