"""Text of reports, status, next steps, questions and the embedded service."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from batchspec.account import TaskCounts
from batchspec.apply import events as e
from batchspec.apply.events import FailedTasks, NodeFailed, Outcome, RunningTask, Stamped
from batchspec.apply.ports import Deletion
from batchspec.diagnostics import Diagnostic
from batchspec.exit_codes import Exit
from batchspec.observe import Failure
from batchspec.plan.observed import AccountNames, ScheduleFacts
from batchspec.render import (
    Page,
    Report,
    Status,
    StepState,
    Tally,
    TaskRow,
    diagnostics_text,
    next_commands,
    no_such_failure,
    status_json,
    status_text,
    summary_text,
    task_rows_json,
    task_rows_text,
)
from batchspec.render.local import (
    LocalStatus,
    local_status_json,
    local_status_text,
    phase_text,
    reset_question,
    reset_text,
    started_text,
    stopped_text,
)
from batchspec.render.questions import (
    delete_question,
    job_question,
    left_lines,
    plan_question,
    unanswered,
)
from batchspec.render.report import Phase, StepReport, TaskTally, fold, report_json
from batchspec.spec import Record
from tests.render.plans import AZURE, LOCAL, PLANS
from tests.render.recordings import RECORDINGS, START, Tape
from tests.render.terminal import Terminal


def test_report_of_a_good_run() -> None:
    report = fold(RECORDINGS["good"])
    assert (report.outcome, report.exit, report.seconds) == (Outcome.DONE, Exit.DONE, 4.2)
    assert (report.name, report.target, report.began) == ("topn", "local", START)
    assert report.tasks == TaskTally(total=3, succeeded=3)
    assert (report.uploaded, report.downloaded) == (12_345 + 9_000, 420)
    assert report.left == ("job topn",)
    states = [step.state for step in report.steps]
    assert states.count(StepState.DONE) == 13
    assert states.count(StepState.SKIPPED) == 1
    assert list(report.phases) == list(Phase)


def test_report_of_failures() -> None:
    report = fold(RECORDINGS["failed-task"])
    assert (report.outcome, report.exit) == (Outcome.TASKS_FAILED, Exit.TASKS_FAILED)
    assert [task.task for task in report.failures] == ["count-b-2f1c09aa"]
    assert report.tasks.failed == 1
    report = fold(RECORDINGS["start-task-failed"])
    assert report.exit == Exit.SERVICE
    assert [node.node for node in report.nodes] == [f"tvmps_{'0f' * 32}_d", f"tvmps_{'1e' * 32}_d"]
    assert [problem.code for problem in report.problems] == ["start-task-failed"]


def test_overlapping_steps_of_a_phase_count_once() -> None:
    """Steps of a phase overlap, and there are gaps between them."""
    tape = Tape()
    tape.at(0, e.StepStarted("a", "upload", "files to a"))
    tape.at(2, e.StepStarted("b", "upload", "files to b"))
    tape.at(5, e.StepDone("a", "upload", "files to a", 1, 5))
    tape.at(6, e.StepDone("b", "upload", "files to b", 1, 4))
    tape.at(10, e.StepStarted("c", "upload", "files to c"))
    tape.at(11, e.StepDone("c", "upload", "files to c", 1, 1))
    assert fold(tape.stamped).phases == {Phase.UPLOAD: 7.0}


def test_report_of_a_run_without_an_end() -> None:
    report = fold(RECORDINGS["good"][:10])
    assert (report.outcome, report.exit) == (None, Exit.BUG)
    assert any(step.state is StepState.RUNNING for step in report.steps)
    assert "stopped unexpectedly" in summary_text(report)


def test_a_report_keeps_few_failures_and_counts_all() -> None:
    tally = Tally()
    for number in range(1000):
        failed = e.TaskFailed("job", f"t{number}", 1, "", "")
        tally(Stamped(number + 1, START + timedelta(seconds=number), failed))
    report = tally.report()
    assert len(report.failures) == 20
    assert report.tasks.failed == 1000


def test_report_json_is_json() -> None:
    for stream in RECORDINGS.values():
        assert json.loads(json.dumps(report_json(fold(stream))))["version"] == 1


COUNTS = TaskCounts(active=30, running=8, succeeded=60, failed=2)
STATUS = Status(
    AZURE,
    "topn",
    job="topn",
    job_state="active",
    tasks=COUNTS,
    pool="topn",
    pool_state="active",
    nodes={"idle": 1, "waitingforstarttask": 2},
    rate=0.5,
    limit=1500.0,
)


def test_status_json() -> None:
    seen = json.loads(status_json(STATUS))
    assert seen["job"] == {"id": "topn", "state": "active"}
    assert seen["tasks"] == {
        "total": 100,
        "active": 30,
        "running": 8,
        "succeeded": 60,
        "failed": 2,
    }
    assert seen["nodes"] == {"idle": 1, "waitingforstarttask": 2}


def test_status_text() -> None:
    assert status_text(STATUS).splitlines()[1:] == [
        "pool   topn: active",
        "nodes  1 idle, 2 waiting for start task",
        "job    topn: active, limit in 25m 00s",
        "tasks  62 of 100 done, 60 succeeded, 2 failed, 8 running, 30 waiting, 0.5 tasks/s, "
        "1m 16s left",
    ]


def test_status_by_stage() -> None:
    stages = {
        "map": {"total": 99, "active": 29, "running": 8, "succeeded": 60, "failed": 2},
        "merge": {"total": 1, "active": 1, "running": 0, "succeeded": 0, "failed": 0},
    }
    status = replace(STATUS, stages=stages)
    assert status_text(status).splitlines()[-2:] == [
        "       map: 62 of 99 done, 60 succeeded, 2 failed, 8 running, 29 waiting, "
        "time left unknown",
        "       merge: 0 of 1 done, 1 waiting",
    ]
    unknown = {"rate": None, "left": None}
    found = json.loads(status_json(status))["stages"]
    assert found == {name: counts | unknown for name, counts in stages.items()}
    status = replace(status, rates={"map": 0.37})
    assert json.loads(status_json(status))["stages"]["map"]["left"] == 100
    assert "29 waiting, 0.4 tasks/s, 1m 40s left" in status_text(status).splitlines()[-2]
    assert json.loads(status_json(STATUS))["stages"] == {}


def test_status_names_the_longest_running_tasks_and_the_causes_of_failures() -> None:
    status = replace(
        STATUS,
        longest=(RunningTask("a", "n1", 200.0), RunningTask("b", "", 3.0)),
        causes=(FailedTasks("exit-7", 12, "c"), FailedTasks("timeout", 1, "d")),
    )
    assert status_text(status).splitlines()[-4:] == [
        "runs   a on node n1 for 3m 20s",
        "       b for 3.0s",
        "failed 12 exit-7 (c and 11 more)",
        "       1 timeout (d)",
    ]
    found = json.loads(status_json(status))
    assert found["longest"][0] == {"task": "a", "node": "n1", "seconds": 200.0}
    assert found["failures"][1] == {"cause": "timeout", "count": 1, "task": "d"}


def test_time_left_is_unknown_when_no_task_waits() -> None:
    last = replace(STATUS, tasks=TaskCounts(0, 8, 90, 2))
    assert status_text(last).splitlines()[-1].endswith("0.5 tasks/s, time left unknown")
    assert json.loads(status_json(last))["left"] is None


def test_tasks_of_a_status() -> None:
    rows = [
        TaskRow("a", "running", node="n", started="2026-01-02T03:04:05.000Z"),
        TaskRow(
            "bcd",
            "failed",
            cause="exit-7",
            started="2026-01-02T03:04:05.000Z",
            ended="2026-01-02T03:05:15.000Z",
            retries=2,
        ),
        TaskRow("e", "active"),
    ]
    assert [*task_rows_text(rows)] == [
        "running    a    n  since 2026-01-02 03:04 UTC",
        "failed     bcd  1m 10s  exit-7  2 retries",
        "active     e",
    ]
    assert json.loads(task_rows_json(rows))["tasks"][1]["cause"] == "exit-7"


def test_a_page_is_wrapped_and_removed() -> None:
    terminal = Terminal(40, 10)
    terminal.write("$ batchspec status\n")
    page = Page(terminal, monotonic=lambda: 0.0, size=lambda: (40, 10))
    page.show("tasks  62 of 100 done, 60 succeeded, 2 failed, 8 running")
    assert terminal.visible[:2] == [
        "tasks  62 of 100 done, 60 succeeded, 2",
        "         failed, 8 running",
    ]
    page.close()
    assert terminal.screen == "$ batchspec status\n"


def test_status_of_a_finished_run_names_missing_outputs() -> None:
    missing = Diagnostic(
        "output-missing",
        "output '*.csv' of stage map: no file matched",
        "Missing in container out: x",
        fix="fix it",
    )
    status = replace(STATUS, job_state="completed", missing=(missing,))
    assert status_text(status).splitlines()[-3:] == [
        "lacks  output '*.csv' of stage map: no file matched",
        "       Missing in container out: x",
        "       fix it",
    ]
    (found,) = json.loads(status_json(status))["missing_outputs"]
    assert found["code"] == "output-missing"


def test_status_of_a_job_that_has_ended_has_no_time_left() -> None:
    ended = replace(STATUS, job_state="completed", limit=None)
    assert status_text(ended).splitlines()[-1] == (
        "tasks  62 of 100 done, 60 succeeded, 2 failed, 8 terminated, 30 did not run"
    )


def test_next_commands_depend_on_the_outcome_and_the_command() -> None:
    assert next_commands(Report(outcome=Outcome.DONE), "apply") == {}
    stopped = next_commands(Report(outcome=Outcome.INTERRUPTED), "destroy")
    assert list(stopped) == ["destroy", "status"], "apply would create everything again"
    failed_run = Report(outcome=Outcome.FAILED)
    assert list(next_commands(failed_run, "apply")) == ["apply"]
    node = NodeFailed("topn", "tvm-1", "starttaskfailed", 1, "", "")
    assert list(next_commands(replace(failed_run, nodes=(node,)), "apply")) == ["failures", "apply"]
    failed = Report(outcome=Outcome.TASKS_FAILED)
    assert list(next_commands(failed, "apply")) == ["failures", "retry"]
    left = replace(failed, problems=(Diagnostic("tasks-left", "2 tasks are left"),))
    assert list(next_commands(left, "retry")) == ["apply", "retry"]
    assert list(next_commands(failed, "attach", scheduled=True)) == ["failures", "status"]
    deleted = StepReport("cleanup:job", "delete", "job topn", StepState.DONE)
    assert "retry" not in next_commands(replace(failed, steps=(deleted,)), "apply"), (
        "no job, no tasks"
    )


def test_status_of_nothing() -> None:
    nothing = Status(LOCAL, "topn")
    assert json.loads(status_json(nothing))["job"] is None
    assert status_text(nothing).splitlines()[1:] == [
        "pool   does not exist",
        "job    does not exist",
    ]


def test_status_of_a_schedule() -> None:
    due = START + timedelta(hours=3)
    found = ScheduleFacts("nightly", "active", START, Record(), {}, due, "nightly:job-2")
    seen = replace(STATUS, schedule=found)
    assert "next   2026-01-02 06:04 UTC: schedule nightly, active" in status_text(seen).splitlines()
    assert json.loads(status_json(seen))["schedule"] == {
        "id": "nightly",
        "state": "active",
        "next_run": "2026-01-02T06:04:05.000Z",
    }
    over = replace(STATUS, schedule=replace(found, state="completed", next_run=None))
    assert "next   no further job: schedule nightly, completed" in status_text(over).splitlines()


def test_questions_name_deleted_resources_and_the_cost_of_kept_ones() -> None:
    pool = Deletion("pool topn", 20, failed=True)
    question = delete_question(pool, target="azure")
    assert question == (
        "Delete pool topn? If it is kept, its 20 nodes stay: 20 node-hours per hour. [Y/n] "
    )
    assert "1 node-hour per hour, not" in delete_question(replace(pool, nodes=1), target="local")
    assert "it has no nodes and" in delete_question(replace(pool, nodes=0), target="azure")
    job = Deletion("job topn", None, failed=True)
    assert delete_question(job, target="azure") == (
        "Delete job topn? If it is kept, `batchspec failures` and `batchspec retry` need it. [y/N] "
    )
    question = delete_question(replace(job, failed=False), target="azure")
    assert "it costs nothing, but counts" in question
    assert question.endswith("[Y/n] ")
    question = plan_question(PLANS["changed"])
    assert AZURE.batch in question
    assert "This deletes pool topn and everything in it." in question
    assert "deletes" not in plan_question(PLANS["fresh"]), "clean-up is not named"


def test_the_question_of_destroy_is_about_what_it_deletes() -> None:
    question = plan_question(PLANS["changed"], verb="destroy")
    assert question == (
        f"Delete pool topn and everything in it from the Azure account {AZURE.batch}? [y/N] "
    )


def test_a_question_without_a_terminal_is_an_error_that_shows_the_question() -> None:
    problem = unanswered("Delete pool topn? [y/N] ", [Diagnostic("x", "another run is active")])
    assert diagnostics_text([problem]) == (
        "error: a question needs an answer, and there is no terminal [needs-answer]\n"
        "  another run is active\n"
        "  Delete pool topn?\n"
        "  fix: To answer yes to all of this, add `-y` to the command."
    )
    assert unanswered("Delete pool topn? [y/N] ").fix == "To answer yes, add `-y` to the command."


def test_a_question_names_what_the_command_does() -> None:
    fresh = PLANS["fresh"]
    assert plan_question(fresh, verb="download").startswith("Download the results from ")
    assert plan_question(fresh, verb="attach").startswith("Watch this run in the local account ")
    assert plan_question(fresh, verb="retry").startswith("Apply this plan to the local account ")
    assert " with 2 running tasks and 1 waiting task? " in job_question("topn", 2, 1)


@pytest.mark.parametrize("phase", ["waiting", "installing-azurite", "starting", "something-new"])
def test_every_phase_of_a_start_has_a_text(phase: str) -> None:
    assert phase_text(phase).endswith(" ...")
    assert "-" not in phase_text(phase)


def test_local_status() -> None:
    data, log = Path("/home/user/.local/share/batchspec"), Path("/home/user/log")
    status = LocalStatus(
        "running", data, log, "http://127.0.0.1:1", "http://127.0.0.1:2/x", START, 42, "0.1.0"
    )
    assert local_status_text(status).splitlines() == [
        "state    running",
        "batch    http://127.0.0.1:1",
        "storage  http://127.0.0.1:2/x",
        "since    2026-01-02 03:04:05 UTC",
        "process  42",
        "version  0.1.0",
        f"data     {data}",
        f"log      {log}",
    ]
    assert json.loads(local_status_json(status))["started"] == "2026-01-02T03:04:05+00:00"
    former = replace(status, former_clients=(("azure-batch/8.0.0", "2019-08-01.10.0"),))
    assert local_status_text(former).splitlines()[-1] == (
        "client   azure-batch/8.0.0 uses api-version 2019-08-01.10.0, which Azure will retire"
    )
    assert json.loads(local_status_json(former))["former_clients"] == [
        {"name": "azure-batch/8.0.0", "api_version": "2019-08-01.10.0"}
    ]
    for state in ("stopped", "stale", "busy"):
        assert local_status_text(LocalStatus(state, data, log)).count("\n") == 2


def test_messages_of_the_local_service() -> None:
    data = Path("/home/user/data")
    text = started_text(batch_url="http://127.0.0.1:1", blob_url="http://127.0.0.1:2", data=data)
    assert "http://127.0.0.1:1" in text
    assert "batchspec local env" in text
    assert stopped_text(was_running=True) != stopped_text(was_running=False)
    assert reset_question(data).endswith("[y/N] ")
    assert str(data) in reset_text(data)


def test_an_azure_account_has_a_text() -> None:
    account = AccountNames("azure", "b", "s")
    assert status_text(Status(account, "x")).startswith("azure: Batch b, Storage s")


def test_remaining_resources_are_singular_or_plural() -> None:
    subjects = ("containers in and out", "container in", "pool p", "job j")
    assert list(left_lines(subjects, target="local")) == [
        "containers in and out: they use disk space on this machine",
        "container in: it uses disk space on this machine",
        "pool p: it uses disk space on this machine",
        "job j: it costs nothing",
    ]
    jobs = [*left_lines(("job j", "pool p", "job j-r2"), target="local")]
    assert jobs[1:] == ["jobs j and j-r2: they cost nothing"]
    azure = list(left_lines(subjects, target="azure"))
    assert azure[0] == "containers in and out: their data is billed as storage"
    assert azure[1] == "container in: its data is billed as storage"


def test_an_error_of_retry_names_the_causes_of_the_run() -> None:
    found = (
        Failure("start-task-running", 1, ("n1",)),
        Failure("exit-1", 3, ("t1",), group="3f2a9c"),
    )
    other = no_such_failure(("exit-2",), found, look="look", apply="apply")
    assert other.summary == "no task of the current spec has failed with the cause exit-2"
    assert other.detail == (
        "Causes in this run: start-task-running (1 node) and exit-1:3f2a9c (3 tasks)."
    )
    known = no_such_failure(("exit-1",), found, look="look", apply="apply")
    assert known.summary == "retry finds nothing to run again for the cause exit-1"
