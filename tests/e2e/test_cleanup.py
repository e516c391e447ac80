"""Questions, deletions and remaining objects at the end of a run that failed."""

from __future__ import annotations

import pytest

from tests.e2e.conftest import Workplace
from tests.e2e.terminal import answered
from tests.e2e.test_ownership import batch

FAILING = """\
version: 1
name: my-run
containers: {my-output: {}}
pool: {vm_size: standard_d2s_v5, nodes: 2, image: ubuntu-24.04}
job: {max_wall_clock_time: 10m}
tasks:
  say:
    command: exit 3
    outputs: [{files: "*.txt", container: my-output}]
    logs: false
cleanup: {containers: on_success, job: ask, pool: ask}
"""


def remaining(place: Workplace) -> tuple[list[str], list[str]]:
    """The jobs and the pools of the account."""
    client = batch(place)
    jobs = [job.id for job in client.list_jobs()]
    return jobs, [pool.id for pool in client.list_pools()]


@pytest.mark.parametrize(
    ("answers", "jobs", "pools"),
    [
        (("", ""), ["my-run"], []),
        (("n", "n"), ["my-run"], ["my-run"]),
        (("y", "n"), [], ["my-run"]),
        (("y", "y"), [], []),
    ],
    ids=["enter", "no", "job-only", "yes"],
)
def test_it_asks_after_failed_tasks(
    place: Workplace, answers: tuple[str, str], jobs: list[str], pools: list[str]
) -> None:
    place.spec.write_text(FAILING, encoding="utf-8")
    place.endpoints()
    code, text = answered(place, answers, "apply", place.spec, "--progress", "plain")
    assert code == 3, text
    words = " ".join(text.split())
    assert "Delete job my-run? If it is kept, `batchspec failures`" in words
    assert "its 2 nodes stay: 2 node-hours per hour" in words
    assert words.index("Delete job my-run?") < words.index("Delete pool my-run?")
    assert remaining(place) == (jobs, pools)
    left = words.partition("Left in the account:")[2]
    assert ("job my-run:" in left, "pool my-run:" in left) == (bool(jobs), bool(pools))


@pytest.mark.parametrize(
    ("options", "pools"), [((), ["my-run"]), (("-y",), [])], ids=["no-terminal", "yes"]
)
def test_without_questions_the_job_stays_after_failures(
    place: Workplace, options: tuple[str, ...], pools: list[str]
) -> None:
    place.spec.write_text(FAILING, encoding="utf-8")
    done = place.run("apply", place.spec, *options)
    assert done.code == 3, done.text
    assert remaining(place) == (["my-run"], pools)
    assert place.run("failures", place.spec).code == 0


def test_a_failed_start_task_is_asked_about_too(place: Workplace) -> None:
    text = FAILING.replace(
        "image: ubuntu-24.04", "image: ubuntu-24.04, start_task: {command: exit 7}"
    )
    place.spec.write_text(text, encoding="utf-8")
    place.endpoints()
    code, text = answered(place, ("n", "y"), "apply", place.spec, "--progress", "plain")
    assert code == 4, text
    assert remaining(place) == (["my-run"], [])
