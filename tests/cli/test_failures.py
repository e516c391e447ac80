"""Failed tasks by cause, as text and as JSON."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from batchspec.observe import Failure
from batchspec.plan import Selection
from batchspec.plan.failures import cause_of
from batchspec.plan.observed import AccountNames, JobFacts, TaskFacts
from batchspec.render import Failures, failures_text
from batchspec.spec import Record
from tests.cli.conftest import Workplace
from tests.render import golden

GOLDEN = Path(__file__).parent / "golden"
NOW = datetime(2026, 1, 2, tzinfo=UTC)


def failed(exit_code: int | None, code: str | None, message: str = "") -> TaskFacts:
    return TaskFacts("t", "completed", False, exit_code, code, message)


def job(reason: str) -> JobFacts:
    return JobFacts("j", "completed", NOW, Record(), {}, NOW, reason)


@pytest.mark.parametrize(
    ("task", "reason", "cause"),
    [
        (failed(1, "FailureExitCode"), "AllTasksComplete", "exit-1"),
        (failed(-9, None), "", "exit--9"),
        (failed(None, "CommandProgramNotFound"), "", "command-program-not-found"),
        (failed(0, "FileUploadMiscError"), "", "upload"),
        (failed(3, "FileUploadAccessDenied"), "", "upload"),
        (failed(-1073741510, "TaskEnded"), "", "timeout"),
        (failed(137, "TaskEnded", "ran longer than its maximum wall clock time"), "", "timeout"),
        (failed(None, "TaskEnded", "Ended by User Request"), "MaxWallClockTimeExpiry", "timeout"),
        (failed(None, "TaskEnded", "Ended by User Request"), "TimeLimit", "timeout"),
        (failed(None, "TaskEnded", "Ended by User Request"), "TaskFailed", "job-ended"),
        (failed(None, "TaskEnded", "Ended by User Request"), "AllTasksComplete", "ended"),
        (failed(None, "NodePreempted"), "", "preempted"),
        (failed(None, "DiskFull"), "", "disk-full"),
        (failed(None, None), "", "unknown"),
    ],
)
def test_a_cause_is_one_word(task: TaskFacts, reason: str, cause: str) -> None:
    assert cause_of(task, job(reason) if reason else None) == cause


def test_a_task_that_was_stopped_before_its_job_is_not_attributed_to_the_job() -> None:
    ended = failed(None, "TaskEnded", "Ended by User Request")
    stopped = job("stopped by ada@host")
    stopped = replace(stopped, metadata={f"batchspec:stopped:{ended.id}": "stopped by ada@host"})
    assert cause_of(ended, stopped) == "ended"
    assert cause_of(replace(ended, id="another"), stopped) == "job-ended"


def test_only_failed_tasks_are_selected() -> None:
    every = Selection()
    assert every.picks(failed(1, None), "j")
    assert not every.picks(TaskFacts("t", "completed", True, 0), "j")
    assert not every.picks(TaskFacts("t", "running"), "j")
    assert not every.picks(None, None)
    some = Selection(frozenset({"exit-1"}), frozenset({"t"}))
    assert some.picks(failed(1, None), "j")
    assert not some.picks(failed(2, None), "j")
    assert not Selection(ids=frozenset({"other"})).picks(failed(1, None), "j")


def test_the_reason_of_a_terminated_job_is_a_selectable_cause() -> None:
    ended = failed(None, "TaskEnded")
    timeout = Selection(frozenset({"timeout"}), jobs={"j": job("MaxWallClockTimeExpiry")})
    assert timeout.picks(ended, "j")
    assert not timeout.picks(ended, "other")


def test_the_text() -> None:
    found = (
        Failure("start-task", 1, ("tvm-1",), "exited", "startup/stderr.txt", "no disk\n"),
        Failure(
            "exit-7",
            12_345,
            tuple(f"count-{number}" for number in range(10)),
            "The task exited with an exit code representing a failure",
            "stderr.txt",
            "Traceback\n  see http://x/y?sig=secret\n\x1b[31mred\n",
        ),
        Failure("upload", 1, ("merge",), "Access was denied", "fileuploaderr.txt", "", 1),
        Failure("timeout", 3, ("a", "b", "c"), "", "stderr.txt", "", 2),
        Failure("exit-1", 1, ("d",), "", "stderr.txt", "", 1),
    )
    seen = Failures(
        AccountNames("azure", "acct.westeurope.batch.azure.com", "store"),
        "topn",
        "topn",
        found,
        lambda cause: "batchspec retry s.yaml" + (f" --cause {cause}" if cause else ""),
        "batchspec apply s.yaml",
    )
    golden.check("failures.txt", failures_text(seen), GOLDEN)


def test_every_cause_has_a_sample_and_a_command(mixed: Workplace) -> None:
    done = mixed.run("failures", mixed.spec, "--format", "json")
    assert done.code == 0, done.text
    seen = json.loads(done.out)
    assert (seen["version"], seen["job"], seen["failed"]) == (1, "mixed", 6)
    causes = {cause["cause"]: cause for cause in seen["causes"]}
    assert {name: cause["count"] for name, cause in causes.items()} == {
        "exit-7": 3,
        "command-program-not-found": 1,
        "timeout": 1,
        "upload": 1,
    }
    assert seen["causes"][0]["cause"] == "exit-7", "the most frequent first"
    assert causes["exit-7"]["ids"] == ["bad-0", "bad-1", "bad-2"]
    assert causes["exit-7"]["sample"] == {
        "id": "bad-0",
        "file": "stderr.txt",
        "text": "no luck 0\n",
    }
    assert causes["exit-7"]["command"] == f"batchspec retry {mixed.spec} --cause exit-7"
    assert "AccessDenied" in causes["upload"]["sample"]["text"]


def test_the_text_names_the_command_with_the_options_given(mixed: Workplace) -> None:
    done = mixed.run("failures", mixed.spec, "--target", "local")
    assert f"batchspec retry {mixed.spec} --cause timeout --target local" in done.out
    assert "sig=" not in done.out.replace("sig=***", "")


def test_failures_of_removed_stages_are_attributed_to_earlier_jobs(near: Workplace) -> None:
    bad = "{{ 'none' if file.stem == 'lighthouse' else top }}"
    near.edit("{{ file.name }} {{ top }}", f"{{{{ file.name }}}} {bad}")
    assert near.run("apply", near.spec, "--progress", "quiet").code == 3
    (cause,) = json.loads(near.run("failures", near.spec, "--format", "json").out)["causes"]
    assert (cause["count"], cause["earlier"]) == (1, 0)
    near.edit(bad, "{{ top }}")
    data = near.spec.parent / "data"
    (data / "lighthouse.txt").rename(data / "tower.txt")
    assert near.run("apply", near.spec, "--progress", "quiet").code == 0
    seen = near.run("failures", near.spec).out
    assert f"{cause['cause']}  1 task (of an earlier job)" in seen
    assert "Tasks of earlier jobs that have since changed in the spec are not retried." in seen
    retry = near.run("retry", near.spec, "--cause", cause["cause"])
    assert retry.code == 2
    assert f"`batchspec apply {near.spec}` runs tasks that have changed" in retry.err
    nothing = near.run("retry", near.spec, "--task", "nosuch")
    assert f"`batchspec logs {near.spec}` lists them" in nothing.err


def test_nodes_whose_start_task_failed_are_a_cause(near: Workplace) -> None:
    near.edit('cp topn.py "$AZ_BATCH_NODE_SHARED_DIR/"', "echo no disk >&2; exit 3")
    assert near.run("apply", near.spec, "--progress", "quiet").code == 4
    seen = json.loads(near.run("failures", near.spec, "--format", "json").out)
    (cause,) = seen["causes"]
    assert (cause["cause"], cause["kind"], cause["count"]) == ("start-task", "node", 3)
    assert cause["sample"]["text"] == "no disk\n"
    assert cause["command"] == f"batchspec apply {near.spec}"
    assert seen["failed"] == 0
    near.edit("exit 3", 'cp topn.py "$AZ_BATCH_NODE_SHARED_DIR/"')
    assert near.run("apply", near.spec, "-y", "--progress", "quiet").code == 0
    assert "The account has no job of the spec 'topn'." in near.run("failures", near.spec).out
