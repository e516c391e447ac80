"""Plans that submit nothing: their waits, downloads and deletions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from batchspec.diagnostics import UsageError
from batchspec.plan import Plan, build_attach, build_download, detached
from batchspec.plan.actions import (
    CloseJob,
    CreateJob,
    DeleteContainers,
    DeleteJob,
    DeletePool,
    DownloadResults,
    WaitForTasks,
)
from batchspec.plan.metadata import OWNER, VERSION, version
from batchspec.plan.observed import (
    ContainerFacts,
    JobFacts,
    Observed,
    PoolFacts,
    Receipt,
    ScheduleFacts,
)
from batchspec.plan.receipt import receipt_name
from batchspec.spec import Cleanup, Record, Result, Spec, When
from tests.plan.making import NOW, WHERE, observed, spec, stage

CLOSED = Record(onAllTasksComplete="terminatejob")


def a_spec() -> Spec:
    return replace(
        spec(stage()),
        results=(Result("output", Path("results"), WHERE),),
        cleanup=Cleanup(When.ON_SUCCESS, When.ASK, When.ALWAYS),
    )


def a_job(state: str = "active", body: Record = CLOSED, scope: str = "whole") -> JobFacts:
    present = version(a_spec(), observed())
    metadata = {"batchspec:spec": "demo", "batchspec:scope": scope, VERSION: present}
    return JobFacts("job-1", state, NOW, body, metadata)


def world(*jobs: JobFacts, pool: bool = True, receipt: Receipt | None = None) -> Observed:
    own = ContainerFacts({OWNER: "demo"})
    metadata = {"batchspec:spec": "demo"}
    found = PoolFacts("pool-1", "active", "steady", Record(), metadata, 1, 0, 1, 0)
    base = observed()
    return replace(
        base,
        jobs=jobs,
        pool=found if pool else None,
        containers={**base.containers, "output": own},
        receipt=receipt,
    )


def actions(plan: Plan) -> Sequence[type]:
    return [type(step.action) for step in plan.steps]


def test_attach_waits_downloads_and_cleans_up() -> None:
    plan = build_attach(a_spec(), world(a_job()), 7)
    assert actions(plan) == [
        WaitForTasks,
        DownloadResults,
        DeletePool,
        DeleteContainers,
        DeleteJob,
    ]
    wait = plan.steps[0].action
    assert isinstance(wait, WaitForTasks)
    assert (wait.tasks, wait.closed) == (7, True)
    assert plan.findings == ()


def test_downloaded_results_are_not_downloaded_again() -> None:
    plan = build_attach(
        a_spec(), world(a_job("completed"), receipt=Receipt(receipt_name("job-1", NOW), 3, 0)), 7
    )
    assert DownloadResults not in actions(plan)


def test_missing_resources_are_not_deleted() -> None:
    plan = build_attach(a_spec(), world(a_job(), pool=False), 7)
    assert DeletePool not in actions(plan)


def test_a_plan_waits_until_an_open_job_is_closed() -> None:
    plan = build_attach(a_spec(), world(a_job(body=Record(onAllTasksComplete="noaction"))), 7)
    wait = plan.steps[0].action
    assert isinstance(wait, WaitForTasks)
    assert not wait.closed
    assert [finding.code for finding in plan.findings] == ["job-open"]


def test_a_partial_run_deletes_only_with_cleanup_always() -> None:
    plan = build_attach(a_spec(), world(a_job(scope="rest")), 7)
    assert actions(plan) == [WaitForTasks, DownloadResults, DeletePool]
    assert [finding.code for finding in plan.findings] == ["part-of-run"]


@pytest.mark.parametrize(
    ("state", "complete", "codes"),
    [("completed", True, []), ("active", False, ["not-all-results"])],
)
def test_results_of_a_running_job_are_not_recorded_as_final(
    state: str, complete: bool, codes: list[str]
) -> None:
    plan = build_download(a_spec(), world(a_job(state)))
    (step,) = plan.steps
    assert isinstance(step.action, DownloadResults)
    assert (step.action.job, step.action.complete) == ("job-1", complete)
    assert [finding.code for finding in plan.findings] == codes


@pytest.mark.parametrize("jobs", [(), (a_job("deleting"),)])
def test_without_a_job_attach_and_download_are_usage_errors(jobs: tuple[JobFacts, ...]) -> None:
    for build in (lambda: build_attach(a_spec(), world(*jobs), 0), lambda: _download(jobs)):
        with pytest.raises(UsageError) as caught:
            build()
        assert caught.value.problems[0].code == "no-run"


def _download(jobs: tuple[JobFacts, ...]) -> Plan:
    return build_download(a_spec(), world(*jobs))


def test_a_spec_without_results_downloads_nothing() -> None:
    with pytest.raises(UsageError) as caught:
        build_download(replace(a_spec(), results=()), world(a_job()))
    assert caught.value.problems[0].code == "no-results"


def test_a_detached_plan_ends_when_the_job_is_closed() -> None:
    whole = build_attach(a_spec(), world(a_job()), 7)
    made = replace(
        whole.steps[0], id="job", action=CreateJob("job-1", Record(), a_spec().job.limit)
    )
    close = replace(whole.steps[0], id="close", action=CloseJob("job-1"), after=("job", "ready"))
    plan = detached(replace(whole, steps=(made, close, *whole.steps)), a_spec())
    assert actions(plan) == [CreateJob, CloseJob]
    assert plan.steps[1].after == ("job",)
    assert plan.detached
    assert [finding.code for finding in plan.findings] == ["pool-stays"]


# --- the jobs of a schedule


def scheduled() -> Spec:
    base = a_spec()
    return replace(base, job=replace(base.job, schedule=Record(recurrenceInterval="P1D")))


def test_after_a_job_of_a_schedule_nothing_is_cleaned_up() -> None:
    job = replace(a_job(), id="job-1:job-7")
    plan = build_attach(scheduled(), world(job), 1)
    assert actions(plan) == [WaitForTasks, DownloadResults]
    assert plan.findings == ()


def test_a_plan_waits_until_a_job_ends_with_its_job_manager() -> None:
    manager = Record(id="m", killJobOnCompletion=True)
    job = a_job(body=Record(onAllTasksComplete="noaction", jobManagerTask=manager))
    plan = build_attach(scheduled(), world(job), 1)
    wait = plan.steps[0].action
    assert isinstance(wait, WaitForTasks) and wait.closed
    assert plan.findings == ()


def test_a_recreated_job_of_a_schedule_is_another_job() -> None:
    job = a_job("completed")
    for created, fetched in ((NOW, []), (NOW + timedelta(hours=1), [DownloadResults])):
        receipt = Receipt(f"job-1 of {NOW.isoformat()}", 3, 0)
        plan = build_attach(scheduled(), world(replace(job, created=created), receipt=receipt), 1)
        assert actions(plan) == [WaitForTasks, *fetched]


def test_before_its_first_job_there_is_nothing_to_attach_to() -> None:
    found = ScheduleFacts("job-1", "active", NOW, Record(), {})
    with pytest.raises(UsageError) as caught:
        build_attach(scheduled(), replace(world(), schedule=found), 0)
    assert caught.value.problems[0].code == "no-job-yet"
