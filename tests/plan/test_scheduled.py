"""Job schedules: their job manager task, end and signatures; when they are up to date."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from batchspec.diagnostics import SpecError, UsageError
from batchspec.plan import Plan, PlanOptions, Selection, build_destroy, build_plan
from batchspec.plan.actions import CreateSchedule, UpdateSchedule
from batchspec.plan.observed import JobFacts, Receipt
from batchspec.plan.rules.sas import run_ends, sas_lifetime
from batchspec.spec import BlobUrl, Record, Text
from tests.plan.situation import NOW, Situation, read_case, situation

CASES = Path(__file__).parent / "cases"
DAY = timedelta(days=1)


def case(**more: Any) -> dict[str, Any]:
    """The case of a new schedule, with the changes of ``more``."""
    return {**read_case(CASES / "schedule.yaml"), **more}


def planned(folder: Path, **more: Any) -> Plan:
    with situation(case(**more), folder) as found:
        return build_plan(found.spec, found.observed)


def created(plan: Plan) -> CreateSchedule:
    action = plan.steps[-1].action
    assert isinstance(action, CreateSchedule)
    return action


def jobs_of(body: Record) -> Record:
    jobs = body["jobSpecification"]
    assert isinstance(jobs, Record)
    return jobs


def manager_of(body: Record) -> Record:
    manager = jobs_of(body)["jobManagerTask"]
    assert isinstance(manager, Record)
    return manager


def test_the_schedule_is_created_after_everything_that_it_needs(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    assert set(plan.steps[-1].after) == {step.id for step in plan.steps[:-1]}
    assert (plan.scheduled, plan.detached) == (True, False)


WHOLE = """\
version: 1
name: demo
containers:
  data: {existing: true}
  output: {}
pool: {existing: shared}
job:
  max_wall_clock_time: 2h
  max_retries: 3
  priority: 7
  display_name: jobs
  env: {ALL: "1"}
  metadata: [{name: of, value: jobs}]
  prepare: {command: ./prepare, resources: [data]}
  release: {command: ./release}
  schedule: {every: 1d, until: 2026-06-01T00:00:00Z, display_name: nightly}
tasks:
  report:
    command: ./report {{ containers.output.write_url }}
    resources: [data]
    env: {ONE: "1"}
    elevated: true
    slots: 2
    retries: 1
    retention: 1d
    max_wall_clock_time: 1h
    display_name: the report
    outputs: [{files: "*.txt", container: output}]
    application_package_references: [{application_id: tool, version: "2"}]
"""


POOL = {"by": None, "set": {"taskSlotsPerNode": 4}}


def whole(folder: Path, **change: str) -> Record:
    given = {"spec": WHOLE, "containers": {"data": {}}, "pool": POOL, "about": ""}
    with situation({**given, "change": change}, folder) as found:
        return created(build_plan(found.spec, found.observed)).body


def test_the_job_manager_task_has_all_properties_of_the_task(tmp_path: Path) -> None:
    manager = manager_of(whole(tmp_path))
    assert str(manager["id"]).startswith("report-")
    assert manager["displayName"] == "the report"
    assert manager["requiredSlots"] == 2
    assert manager["constraints"] == Record(
        maxWallClockTime="PT1H", maxTaskRetryCount=1, retentionTime="P1D"
    )
    assert manager["applicationPackageReferences"] == (Record(applicationId="tool", version="2"),)
    assert manager["userIdentity"] == Record(autoUser=Record(scope="pool", elevationLevel="admin"))
    environment, files, outputs = (
        manager[key] for key in ("environmentSettings", "resourceFiles", "outputFiles")
    )
    assert environment == (
        Record(name="ONE", value="1"),
        Record(name="BATCHSPEC_URL_1", value=Text((BlobUrl("output", None, "cw"),))),
    )
    assert isinstance(files, tuple) and isinstance(outputs, tuple)
    assert (len(files), len(outputs)) == (1, 2), "the container; the files and the logs"
    # It shares its node like other tasks, and the job waits for the tasks that it adds.
    assert (manager["runExclusive"], manager["killJobOnCompletion"]) == (False, False)


def test_the_job_specification_has_all_properties_of_the_job(tmp_path: Path) -> None:
    body = whole(tmp_path)
    jobs = jobs_of(body)
    assert (body["id"], body["displayName"]) == ("demo", "nightly")
    assert "id" not in jobs
    assert (jobs["displayName"], jobs["priority"]) == ("jobs", 7)
    assert jobs["poolInfo"] == Record(poolId="shared")
    assert jobs["constraints"] == Record(maxWallClockTime="PT2H", maxTaskRetryCount=3)
    assert jobs["commonEnvironmentSettings"] == (Record(name="ALL", value="1"),)
    preparation = jobs["jobPreparationTask"]
    assert isinstance(preparation, Record) and preparation["resourceFiles"]
    assert "jobReleaseTask" in jobs
    assert jobs["onAllTasksComplete"] == "terminatejob"
    pairs = jobs["metadata"]
    assert isinstance(pairs, tuple)
    assert Record(name="of", value="jobs") in pairs
    assert Record(name="batchspec:spec", value="demo") in pairs


def test_a_job_may_continue_after_its_tasks(tmp_path: Path) -> None:
    body = whole(tmp_path, **{"priority: 7": "all_tasks_complete_mode: noaction"})
    assert jobs_of(body)["onAllTasksComplete"] == "noaction"


def test_an_explicit_job_manager_task_is_sent_unchanged(tmp_path: Path) -> None:
    with situation(read_case(CASES / "schedule-manager.yaml"), tmp_path) as found:
        manager = manager_of(created(build_plan(found.spec, found.observed)).body)
    assert {key: manager[key] for key in manager if key != "environmentSettings"} == {
        "id": "manager",
        "commandLine": "./manage",
        "killJobOnCompletion": False,
    }


def at(found: Situation, moment: datetime) -> Situation:
    return Situation(found.spec, replace(found.observed, now=moment))


@pytest.mark.parametrize("pool", ["nodes: 2", "nodes: 2\n  lifetime: job"], ids=["own", "auto"])
def test_a_schedule_stays_up_to_date_over_time(tmp_path: Path, pool: str) -> None:
    given = case(
        change={"nodes: 2": pool},
        containers={"application": {"as_uploaded": True}, "output": {}},
        schedule={},
        **({"pool": {}} if pool == "nodes: 2" else {}),
    )
    with situation(given, tmp_path) as found:
        later = at(found, NOW + 60 * DAY)
        plan = build_plan(later.spec, later.observed)
    assert [step.id for step in plan.steps] == []


def test_an_endless_schedule_stays_up_to_date_over_time(tmp_path: Path) -> None:
    """The expiry of the URLs of its auto pool differs in every plan."""
    given = dict(read_case(CASES / "schedule-endless-unsigned.yaml"))
    given["change"] = {**given["change"], "nodes: 2": "nodes: 2\n  lifetime: job"}
    there = {"application": {"as_uploaded": True}, "output": {}}
    with situation({**given, "containers": there, "schedule": {}}, tmp_path) as found:
        later = at(found, NOW + 60 * DAY)
        assert build_plan(later.spec, later.observed).empty


def test_a_schedule_of_a_single_job_stays_up_to_date_while_it_runs(tmp_path: Path) -> None:
    once = {"every: 1d, start: 2026-03-02T02:00:00Z, until: 2026-06-01T00:00:00Z": "window: 1h"}
    there = {"application": {"as_uploaded": True}, "output": {}}
    given = case(change=once, containers=there, schedule={}, pool={})
    with situation(given, tmp_path) as found:
        later = at(found, NOW + timedelta(hours=3))
        plan = build_plan(later.spec, later.observed)
    assert plan.empty


def lasts(folder: Path, times: str) -> tuple[timedelta, timedelta]:
    """The remaining time of a schedule with these times, and the lifetime of its signatures."""
    given = case(
        change={"every: 1d, start: 2026-03-02T02:00:00Z, until: 2026-06-01T00:00:00Z": times}
    )
    with situation(given, folder) as found:
        return run_ends(found.spec, NOW) - NOW, sas_lifetime(found.spec, NOW)


def test_signatures_are_valid_after_the_last_job(tmp_path: Path) -> None:
    limit, margin = timedelta(hours=1), timedelta(hours=1)
    until = datetime(2026, 6, 1, tzinfo=UTC) - NOW
    start = datetime(2026, 3, 9, tzinfo=UTC) - NOW
    for times, last in (
        ("every: 1d, until: 2026-06-01T00:00:00Z", until),
        ("start: 2026-03-09T00:00:00Z, window: 2h", start + timedelta(hours=2)),
        ("start: 2026-03-09T00:00:00Z", start),
        ("start: 2026-02-01T00:00:00Z", timedelta()),
        ("window: 1h", timedelta(hours=1)),
    ):
        assert lasts(tmp_path, times) == (last + limit, last + limit + margin), times


def test_the_body_is_signed_for_the_lifetime_of_the_schedule(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    wanted = datetime(2026, 6, 1, 2, tzinfo=UTC) - NOW
    lengths = {step.action.sas for step in plan.steps if hasattr(step.action, "sas")}
    assert lengths == {wanted}


def test_a_schedule_beyond_the_longest_signature_is_reported_at_its_end(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        planned(tmp_path, longest_sas=167)
    (problem,) = [p for p in caught.value.problems if p.code == "sas-too-long"]
    assert problem.where is not None
    assert problem.where.text[problem.where.column - 1 :].startswith("2026-06-01")
    assert "until" in problem.fix


def test_a_schedule_counts_against_the_quota_of_jobs(tmp_path: Path) -> None:
    plan = planned(tmp_path, target="azure", usage={"pools": 1, "jobs": 99})
    assert "jobs-near-quota" in {finding.code for finding in plan.findings}


def test_a_partial_plan_without_the_schedule_is_not_scheduled(tmp_path: Path) -> None:
    with situation(case(), tmp_path) as found:
        for step, scheduled in (("upload:application", False), ("schedule:demo", True)):
            plan = build_plan(found.spec, found.observed, options=PlanOptions(step=step))
            assert plan.scheduled is scheduled


def test_an_update_renews_signatures_and_keeps_the_recurrence(tmp_path: Path) -> None:
    plan = planned(
        tmp_path,
        containers={"application": {"as_uploaded": True}, "output": {}},
        pool={},
        schedule={},
        before={"change": {"WORD: one": "WORD: two"}},
    )
    (step,) = plan.steps
    assert isinstance(step.action, UpdateSchedule)
    assert set(step.action.patch) == {"jobSpecification", "metadata"}


def test_new_content_of_a_file_is_a_change(tmp_path: Path) -> None:
    plan = planned(
        tmp_path,
        containers={"application": {"as_uploaded": True}, "output": {}},
        pool={},
        schedule={},
        before={"files": {"app/count.py": "print(0)\n"}},
    )
    reasons = {step.id: step.reason for step in plan.steps}
    assert reasons["schedule:demo"].startswith("content of the task's files changed")


def test_failed_tasks_are_not_run_again(tmp_path: Path) -> None:
    with situation(case(schedule={}), tmp_path) as found, pytest.raises(UsageError) as caught:
        build_plan(found.spec, found.observed, only=Selection())
    assert caught.value.problems[0].code == "not-retried"


# --- deletion


def a_job(name: str, metadata: Mapping[str, str], state: str = "completed") -> JobFacts:
    return JobFacts(name, state, NOW, Record(), metadata)


OURS = {"batchspec:spec": "demo"}


def destroyed(found: Situation, *, force: bool = True, **more: Any) -> dict[str, str]:
    plan = build_destroy(found.spec, replace(found.observed, **more), force=force)
    return {step.id: step.verb.value for step in (*plan.steps, *plan.kept)}


def test_jobs_are_deleted_with_the_schedule_and_the_pool_after_it(tmp_path: Path) -> None:
    given = case(schedule={}, pool={}, containers={"output": {}})
    with situation(given, tmp_path) as found:
        assert found.observed.schedule is not None
        schedule = replace(found.observed.schedule, recent_job="demo:job-7")
        jobs = (a_job("demo-r2", OURS), a_job("demo:job-7", OURS))
        plan = build_destroy(
            found.spec, replace(found.observed, schedule=schedule, jobs=jobs), force=True
        )
    ids = [step.id for step in plan.steps]
    assert ids == ["schedule:demo", "job:demo-r2", "pool:demo", "containers"]
    assert plan.steps[2].after == ("schedule:demo", "job:demo-r2")


def test_a_schedule_of_another_spec_is_not_deleted(tmp_path: Path) -> None:
    with situation(case(schedule={"by": "other"}), tmp_path) as found:
        assert destroyed(found) == {"schedule:demo": "keep"}


def test_a_schedule_that_the_spec_no_longer_has_is_deleted(tmp_path: Path) -> None:
    with situation(read_case(CASES / "schedule-removed.yaml"), tmp_path) as found:
        assert destroyed(found) == {"schedule:demo": "delete"}


def test_results_that_were_not_downloaded_prevent_the_deletion(tmp_path: Path) -> None:
    results = "results: [{container: output, to: results/}]\ntasks:"
    given = case(change={"tasks:": results}, schedule={}, containers={"output": {}})
    job = a_job("demo:job-7", OURS)
    with situation(given, tmp_path) as found:
        there = {"jobs": (job,)}
        with pytest.raises(SpecError) as caught:
            destroyed(found, force=False, **there)
        assert caught.value.problems[0].code == "results-missing"
        assert "download" in caught.value.problems[0].fix
        other = Receipt(f"{job.id} of {(NOW - DAY).isoformat()}", 3, 0)
        with pytest.raises(SpecError):
            destroyed(found, force=False, receipt=other, **there)
        same = Receipt(f"{job.id} of {NOW.isoformat()}", 3, 0)
        assert "schedule:demo" in destroyed(found, force=False, receipt=same, **there)
