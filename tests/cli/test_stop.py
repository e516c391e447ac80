"""A run or some of its tasks are ended with a reason, which every other terminal shows."""

from __future__ import annotations

import json
import time

import pytest

from tests.cli.conftest import Inside, Workplace
from tests.e2e.conftest import until

SPEC = """\
version: 1
name: long
pool: {vm_size: standard_d2s_v5, nodes: 1, task_slots_per_node: 4, image: ubuntu-24.04}
job: {max_wall_clock_time: 5m}
tasks:
  quick: {id: quick, command: echo done}
  wait:
    id: wait-{{ index }}
    for_each: {range: [0, 3]}
    command: until test -e FOLDER/go; do sleep 0.1; done
"""


@pytest.fixture
def running(place: Workplace) -> Workplace:
    """A folder with a spec whose tasks wait for a file; its commands run in this process."""
    place.spec.write_text(SPEC.replace("FOLDER", str(place.folder)), encoding="utf-8")
    return Inside(place.folder, place.home, place.environ)


def test_a_run_that_is_stopped_ends_with_the_reason_everywhere(running: Workplace) -> None:
    apply = running.start("apply", running.spec, "--progress", "plain")
    until(apply, "3 running")
    unasked = running.run("stop", running.spec)
    assert unasked.code == 2
    assert "Terminate job long with 3 running tasks and 0 waiting tasks?" in unasked.err
    done = running.run("stop", running.spec, "-y", "--reason", "wrong\ninput")
    assert done.code == 0, done.text
    assert "Job long has ended: stopped by " in done.out
    said = apply.communicate(timeout=60)[0]
    assert apply.returncode == 3, said
    assert ": wrong input" in said
    again = running.run("stop", running.spec)
    assert again.code == 0
    assert "Nothing to stop: job long has completed: stopped by " in again.out
    (cause,) = json.loads(running.run("failures", running.spec, "--format", "json").out)["causes"]
    assert (cause["cause"], cause["count"]) == ("job-ended", 3)
    assert ": wrong input" in cause["message"]
    running.let_go()
    rest = running.run("apply", running.spec, "--progress", "plain")
    assert rest.code == 0, rest.text
    assert "3 succeeded" in rest.out or "4 succeeded" in rest.out


def test_single_tasks_are_stopped_and_the_run_continues(running: Workplace) -> None:
    apply = running.start("apply", running.spec, "--progress", "plain")
    until(apply, "3 running")
    several = running.run("stop", running.spec, "wait", "-y")
    assert several.code == 2
    assert "wait-0" in several.err
    assert running.run("stop", running.spec, "nosuch", "-y").code == 2
    unasked = running.run("stop", running.spec, "t-1", "t-2")
    assert unasked.code == 2
    assert "Terminate 2 tasks (wait-1, wait-2)?" in unasked.err
    done = running.run("stop", running.spec, "t-1", "wait-2", "quick", "-y", "--reason", "too slow")
    assert done.code == 0, done.text
    assert "Task quick has already completed: it succeeded." in done.out
    assert "Terminated 2 tasks (wait-1, wait-2)." in done.out
    # The service terminates a task after it has accepted the request.
    end = time.monotonic() + 30
    again = running.run("stop", running.spec, "wait-1", "-y")
    while "Terminated" in again.out and time.monotonic() < end:
        again = running.run("stop", running.spec, "wait-1", "-y")
    assert again.code == 0
    assert "Task wait-1 has already completed: it failed." in again.out
    running.let_go()
    said = apply.communicate(timeout=60)[0]
    assert apply.returncode == 3, said
    (cause,) = json.loads(running.run("failures", running.spec, "--format", "json").out)["causes"]
    assert (cause["cause"], cause["ids"]) == ("ended", ["wait-1", "wait-2"])
    assert cause["message"].startswith("stopped by ")
    assert cause["message"].endswith(": too slow")
    retried = running.run("retry", running.spec, "--progress", "quiet")
    assert retried.code == 0, retried.text


def test_before_the_first_run_there_is_nothing_to_stop(running: Workplace) -> None:
    done = running.run("stop", running.spec)
    assert done.code == 0
    assert "Nothing to stop: the account has no job of the spec 'long'." in done.out
    assert running.run("stop", running.spec, "wait-1").code == 2


def test_a_run_that_waits_for_nodes_is_stopped(running: Workplace) -> None:
    running.edit("image: ubuntu-24.04}", "image: ubuntu-24.04, start_task: {command: sleep 100}}")
    apply = running.start("apply", running.spec, "--progress", "plain")
    until(apply, "waiting for start task", "done    update job")
    assert running.run("stop", running.spec, "-y", "--reason", "no budget").code == 0
    said = apply.communicate(timeout=60)[0]
    assert apply.returncode == 3, said
    assert ": no budget" in said


def test_the_job_of_another_spec_is_not_stopped(running: Workplace) -> None:
    apply = running.start("apply", running.spec, "--progress", "plain")
    until(apply, "3 running")
    other = running.spec.with_name("other.yaml")
    text = running.spec.read_text(encoding="utf-8").replace("name: long", "name: other")
    other.write_text(text.replace("job: {", "job: {id: long, "), encoding="utf-8")
    assert "the account has no job of the spec 'other'" in running.run("stop", other, "-y").out
    running.let_go()
    apply.communicate(timeout=60)
    assert apply.returncode == 0
