"""The state of a run: by stage, its failures, its tasks, and again until the end."""

from __future__ import annotations

import json

from tests.cli.conftest import Workplace


def test_stages_and_failures_by_cause(mixed: Workplace) -> None:
    text = mixed.run("status", mixed.spec).out
    assert "bad: 3 of 3 done, 3 failed" in text
    assert "failed 3 exit-7 (bad-0 and 2 more)" in text
    found = json.loads(mixed.run("status", mixed.spec, "--format", "json").out)
    assert found["failures"][0] == {"cause": "exit-7", "count": 3, "task": "bad-0"}
    assert found["stages"]["good"] == {
        "total": 2,
        "active": 0,
        "running": 0,
        "succeeded": 2,
        "failed": 0,
        "rate": None,
        "left": None,
    }


def test_tasks_in_a_state(mixed: Workplace) -> None:
    failed = mixed.run("status", mixed.spec, "--tasks", "failed").out.splitlines()
    assert len(failed) == 6
    (slow,) = [line for line in failed if " slow " in line]
    assert slow.endswith("timeout")
    text = mixed.run("status", mixed.spec, "--tasks", "succeeded", "--format", "json").out
    tasks = json.loads(text)["tasks"]
    assert [(task["id"], task["state"], task["stage"]) for task in tasks] == [
        ("good-0", "succeeded", "good"),
        ("good-1", "succeeded", "good"),
    ]
    none = mixed.run("status", mixed.spec, "--tasks", "running")
    assert (none.code, none.out, none.err) == (0, "", "no task is running\n")


def test_a_finished_run_is_watched_once(mixed: Workplace) -> None:
    once = mixed.run("status", mixed.spec)
    watched = mixed.run("status", mixed.spec, "--watch")
    assert (watched.code, watched.out.strip()) == (0, once.out.strip())
    (line,) = mixed.run("status", mixed.spec, "--watch", "--format", "json").out.splitlines()
    assert json.loads(line)["job"]["state"] == "completed"
