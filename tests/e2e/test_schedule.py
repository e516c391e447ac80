"""A job schedule on the service: it creates jobs, and deleting it deletes them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from azure.batch import BatchClient
from azure.core.credentials import AzureNamedKeyCredential

from batchspec import local
from tests.cli.conftest import Inside
from tests.e2e.conftest import Workplace

SPEC = """\
version: 1
name: often
containers:
  application: {upload: [hello.sh]}
  output: {}
pool:
  vm_size: standard_d2s_v5
  nodes: 1
  image: ubuntu-24.04
job:
  max_wall_clock_time: 20h
  env: {WORD: first}
  prepare: {command: mkdir -p "$AZ_BATCH_NODE_SHARED_DIR/scratch"}
  release: {command: ls "$AZ_BATCH_NODE_SHARED_DIR/scratch"}
  schedule: {every: 1m, until: 2100-01-01T00:00:00Z, metadata: [{name: of, value: nights}]}
tasks:
  say:
    resources: [application]
    env: {TO: you}
    max_wall_clock_time: 10h
    command: sh hello.sh > "$AZ_BATCH_JOB_ID.txt" && echo said
    outputs: [{files: "often*.txt", container: output, path: words}]
results: [{container: output, to: results/}]
"""
PATIENCE = 60.0
FAST = local.SimulationOptions(speed=120, allocation="0s")
"""One minute passes in half a second."""


def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition of the service."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.02)


@pytest.fixture
def there(separate_place: Workplace) -> Iterator[tuple[Workplace, BatchClient]]:
    """The spec in a separate folder, and an independent client of the service."""
    near = Inside(separate_place.folder, separate_place.home, separate_place.environ)
    near.spec.write_text(SPEC, encoding="utf-8")
    (near.spec.parent / "hello.sh").write_text('echo "hello $TO, the $WORD"\n', encoding="utf-8")
    ends = local.start(near.home, options=FAST)
    credential = AzureNamedKeyCredential(ends.batch_account, ends.batch_key)
    with BatchClient(ends.batch_url, credential) as client:
        yield near, client


def results(place: Workplace) -> dict[str, str]:
    """The results on disk after a download."""
    done = place.run("download", place.spec, "--progress", "quiet")
    assert done.code == 0, done.text
    folder = place.spec.parent / "results" / "words"
    return {path.name: path.read_text("utf-8") for path in folder.iterdir()}


def status(place: Workplace) -> Any:
    return json.loads(place.run("status", place.spec, "--format", "json").out)


def test_its_jobs_come_and_change_and_go_with_it(there: tuple[Workplace, BatchClient]) -> None:
    place, client = there
    done = place.run("apply", place.spec, "--progress", "plain")
    assert done.code == 0, done.text
    assert "schedule often: active, " in done.out
    assert "often: scheduled in" in done.out
    made = client.get_job_schedule("often").creation_time

    until(lambda: "often:job-2" in {job.id for job in client.list_jobs()})
    until(lambda: client.get_job("often:job-2").state == "completed")
    found = results(place)
    assert found["often:job-1.txt"] == found["often:job-2.txt"] == "hello you, the first\n"
    (task,) = client.list_tasks("often:job-1")
    assert task.id is not None and task.id.startswith("say-")
    assert client.get_job("often:job-1").execution_info.termination_reason == "AllTasksComplete"

    done = place.run("attach", place.spec, "--progress", "quiet")
    assert done.code == 0, done.text
    assert place.run("logs", place.spec, "say", "-f").out == "said\n"
    assert "No task of often has failed." in place.run("failures", place.spec).out
    seen = status(place)
    assert (seen["schedule"]["id"], seen["schedule"]["state"]) == ("often", "active")
    assert seen["job"]["id"].startswith("often:job-")
    assert place.run("retry", place.spec).code == 2
    assert place.run("apply", place.spec, "--rerun").code == 2

    again = place.run("apply", place.spec)
    assert again.code == 0, again.text
    assert "Nothing to do: the job schedule is up to date." in again.out

    place.edit("WORD: first", "WORD: second")
    done = place.run("apply", place.spec, "--progress", "quiet")
    assert done.code == 0, done.text
    assert client.get_job_schedule("often").creation_time == made, "it was changed in place"
    until(lambda: "hello you, the second\n" in results(place).values())

    gone = place.run("destroy", place.spec, "-y", "--force", "--progress", "quiet")
    assert gone.code == 0, gone.text
    assert list(client.list_job_schedules()) == []
    assert list(client.list_jobs()) == []
    assert list(client.list_pools()) == []
    assert "The account has no resource that batchspec created." in place.run("list").out


def test_a_saved_plan_of_a_schedule_holds_while_its_jobs_come(
    there: tuple[Workplace, BatchClient],
) -> None:
    place, client = there
    saved = place.folder / "saved.plan"
    assert place.run("plan", place.spec, "--out", saved).code == 0
    done = place.run("apply", saved, "-y", "--progress", "quiet")
    assert done.code == 0, done.text
    place.edit("every: 1m", "every: 2m")
    assert place.run("plan", place.spec, "--out", saved).code == 0
    number = len(list(client.list_jobs()))
    until(lambda: len(list(client.list_jobs())) > number)
    done = place.run("apply", saved, "-y", "--progress", "quiet")
    assert done.code == 0, done.text
    assert client.get_job_schedule("often").schedule.recurrence_interval.total_seconds() == 120
    stale = place.run("apply", saved, "-y", "--progress", "quiet")
    assert stale.code == 5, stale.text
    assert "schedule often" in stale.text
    assert place.run("destroy", place.spec, "-y", "--force", "--progress", "quiet").code == 0
