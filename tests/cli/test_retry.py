"""Only failed tasks run again."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.conftest import Workplace
from tests.e2e.conftest import until


def causes(place: Workplace) -> dict[str, int]:
    seen = json.loads(place.run("failures", place.spec, "--format", "json").out)
    return {cause["cause"]: cause["count"] for cause in seen["causes"]}


def shared(place: Workplace, pool: str) -> Path:
    (folder,) = place.home.glob(f"batch/nodes/{pool}/*/shared")
    return folder


def test_retry_by_cause_and_by_id_until_all_tasks_succeed(mixed_alone: Workplace) -> None:
    mixed = mixed_alone
    wrong = mixed.run("retry", mixed.spec, "--cause", "exit-1")
    assert wrong.code == 2
    assert f"batchspec failures {mixed.spec}" in wrong.err
    fine = mixed.run("retry", mixed.spec, "--task", "good-0")
    assert fine.code == 2
    assert "it succeeded" in fine.err

    one = mixed.run("retry", mixed.spec, "--task", "bad-1")
    assert one.code == 3, "nothing was fixed"
    assert "tasks of bad (1)" in one.out

    (shared(mixed, "mixed") / "fixed").touch()
    done = mixed.run("retry", mixed.spec, "--cause", "exit-7", "--progress", "json")
    assert done.code == 3, "others are left"
    events = [json.loads(line) for line in done.out.splitlines()]
    (submitted,) = (e for e in events if e["type"] == "step_done" and e["verb"] == "submit")
    assert submitted["items"] == 3
    assert causes(mixed) == {"command-program-not-found": 1, "timeout": 1, "upload": 1}

    assert mixed.run("retry", mixed.spec, "--progress", "quiet").code == 3
    assert causes(mixed) == {"command-program-not-found": 1, "timeout": 1, "upload": 1}


def test_nothing_is_cleaned_up_while_others_have_failed(near: Workplace) -> None:
    near.edit("command: python3", "command: test -e $AZ_BATCH_NODE_SHARED_DIR/fixed && python3")
    near.edit("nodes: 3", "nodes: 1")
    assert near.run("apply", near.spec, "--progress", "quiet").code == 3
    (shared(near, "topn") / "fixed").touch()
    some = near.run("retry", near.spec, "--task", "lighthouse")
    assert some.code == 3, some.text
    assert "containers application, input, output" in some.out.partition("Left in the account")[2]
    assert [path.name for path in near.results.iterdir()] == ["lighthouse.txt.top.txt"]
    rest = near.run("retry", near.spec, "-y")
    assert rest.code == 0, rest.text
    assert "tasks of count (2)" in rest.out
    assert "delete containers" in rest.out
    assert len(list(near.results.iterdir())) == 3


def test_failed_tasks_of_a_running_job_run_in_that_job(place: Workplace) -> None:
    place.spec.write_text(
        """\
version: 1
name: two
pool: {vm_size: standard_d2s_v5, nodes: 1, task_slots_per_node: 2, image: ubuntu-24.04}
job: {max_wall_clock_time: 5m}
tasks:
  bad: {id: bad, command: test -e "$AZ_BATCH_NODE_SHARED_DIR/fixed"}
  slow: {id: slow, command: 'until test -e "$AZ_BATCH_NODE_SHARED_DIR/fixed"; do sleep 0.1; done'}
""",
        encoding="utf-8",
    )
    run = place.start("apply", place.spec, "--progress", "plain")
    until(run, "FAILED")
    retry = place.start("retry", place.spec, "--progress", "plain")
    # Otherwise the job would end with its last task and accept no more tasks.
    seen = until(retry, "done    submit failed tasks of bad")
    assert "create  job" not in seen
    (shared(place, "two") / "fixed").touch()
    assert retry.wait(timeout=60) in {0, 3}, "it may have run before it was fixed"
    run.communicate(timeout=60)
    again = place.run("retry", place.spec, "--progress", "quiet")
    assert again.code == 0, again.text
    assert place.run("apply", place.spec).code == 0


def test_without_failures_nothing_is_retried(near: Workplace) -> None:
    never = near.run("retry", near.spec)
    assert never.code == 2
    assert "the account has no job of the spec 'topn'" in never.err
    assert f"`batchspec apply {near.spec}` creates one" in " ".join(never.err.split())
    assert near.run("apply", near.spec, "--progress", "quiet").code == 0
    done = near.run("retry", near.spec)
    assert done.code == 0
    assert "No task of topn has failed" in done.out


FAILS = """\
version: 1
name: fails
pool: {vm_size: standard_d2s_v5, nodes: 1, image: ubuntu-24.04}
job: {max_wall_clock_time: 5m}
tasks: {bad: {id: bad, command: exit 7}}
cleanup: {pool: always, job: JOB}
"""


def test_after_clean_up_has_deleted_the_job_no_failed_task_is_known(near: Workplace) -> None:
    near.spec.write_text(FAILS.replace("JOB", "always"), encoding="utf-8")
    assert near.run("apply", near.spec, "--progress", "quiet", "-y").code == 3
    for options in ((), ("--cause", "exit-7"), ("--task", "bad")):
        done = near.run("retry", near.spec, *options)
        assert done.code == 2
        assert "the account has no job of the spec 'fails'" in done.err


def test_after_destroy_no_failed_task_is_known(near: Workplace) -> None:
    near.spec.write_text(FAILS.replace("JOB", "never"), encoding="utf-8")
    assert near.run("apply", near.spec, "--progress", "quiet", "-y").code == 3
    # The job and its failed tasks still exist without the pool, which is created again.
    again = near.run("retry", near.spec, "--progress", "quiet", "-y")
    assert again.code == 3, again.text
    assert near.run("destroy", near.spec, "-y").code == 0
    done = near.run("retry", near.spec)
    assert done.code == 2
    assert "the account has no job of the spec 'fails'" in done.err
