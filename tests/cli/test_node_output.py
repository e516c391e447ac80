"""The output of failed start tasks is shown after the pool and everything else is deleted."""

from __future__ import annotations

import json
from typing import Any

from tests.cli.conftest import Workplace

SPEC = """\
version: 1
name: nodes
containers: {out: {}}
pool:
  vm_size: standard_d2s_v5
  nodes: 3
  image: ubuntu-24.04
  start_task: {command: "echo on stdout; echo no disk >&2; exit 3", wait_for_success: true}
job: {max_wall_clock_time: 5m}
tasks:
  one: {id: one, command: echo hi}
cleanup: {pool: always, job: always}
"""


def ran(place: Workplace, spec: str, code: int = 4) -> str:
    place.spec.write_text(spec, encoding="utf-8")
    done = place.run("apply", place.spec, "--progress", "plain", "-y")
    assert done.code == code, done.text
    return done.text


def causes(place: Workplace) -> list[dict[str, Any]]:
    done = place.run("failures", place.spec, "--format", "json")
    assert done.code == 0, done.text
    found: list[dict[str, Any]] = json.loads(done.out)["causes"]
    return found


def test_equal_failures_of_start_tasks_are_one_entry_after_the_pool_is_deleted(
    near: Workplace,
) -> None:
    said = ran(near, SPEC)
    assert "still" not in said, "no word that the pool exists, which is deleted next"
    assert f"batchspec failures {near.spec}" in said
    (cause,) = causes(near)
    assert (cause["cause"], cause["kind"], cause["count"]) == ("start-task", "node", 3)
    assert cause["sample"]["text"] == "no disk\n"
    first, second, _ = cause["ids"]
    out = near.run("logs", near.spec, "--start-task", first)
    assert (out.code, out.out) == (0, "on stdout\n")
    # Equal output of several nodes is stored once.
    err = near.run("logs", near.spec, "--start-task", second, "--stderr")
    assert (err.code, err.out) == (0, "no disk\n")
    wrong = near.run("logs", near.spec, "--start-task", "nowhere")
    assert wrong.code == 2
    assert f"  {first[:14]} (" in wrong.err
    text = near.run("failures", near.spec).out
    assert "no job of the spec 'nodes'" in text
    assert "| no disk" in text


def test_a_fixed_start_task_deletes_the_earlier_output(near: Workplace) -> None:
    ran(near, SPEC)
    ran(near, SPEC.replace("exit 3", "true").replace("job: always", "job: never"), code=0)
    assert causes(near) == []


def test_a_restart_of_nodes_deletes_the_earlier_output(near: Workplace) -> None:
    kept = SPEC.replace("cleanup: {pool: always, job: always}", "")
    ran(near, kept)
    assert [cause["count"] for cause in causes(near)] == [3]
    ran(near, kept.replace("exit 3", "true"), code=0)
    assert causes(near) == []
    near.run("destroy", near.spec, "-y")
    assert causes(near) == []


def test_without_logs_the_record_of_the_run_shows_what_failed(near: Workplace) -> None:
    ran(near, SPEC.replace("echo hi}", "echo hi, logs: false}"))
    assert causes(near) == []
    text = near.run("failures", near.spec).out
    assert f"batchspec report {near.spec}" in text
    assert "no disk" in near.run("report", near.spec, "--out", "-").out


def test_containers_that_clean_up_deletes_take_the_output_with_them(near: Workplace) -> None:
    said = ran(near, SPEC.replace("job: always", "job: always, containers: always"))
    assert "node-output" not in said, "no warning"
    assert causes(near) == []
    assert f"batchspec report {near.spec}" in near.run("failures", near.spec).out


def test_output_of_nodes_of_a_scaled_pool_is_kept(near: Workplace) -> None:
    spec = SPEC.replace("nodes: 3", "nodes: {scale: {min: 0, max: 2}}")
    near.spec.write_text(spec.replace("5m", "20s"), encoding="utf-8")
    assert near.run("apply", near.spec, "--progress", "quiet", "-y").code in {4, 7}
    (cause,) = causes(near)
    assert (cause["cause"], cause["sample"]["text"]) == ("start-task", "no disk\n")


def test_output_of_nodes_of_an_auto_pool_is_kept(near: Workplace) -> None:
    spec = SPEC.replace("nodes: 3", "nodes: 2\n  lifetime: job")
    near.spec.write_text(spec.replace("cleanup: {pool: always, job: always}", ""), encoding="utf-8")
    assert near.run("apply", near.spec, "--progress", "quiet", "-y").code == 4
    near.run("stop", near.spec, "-y")
    (cause,) = causes(near)
    assert (cause["cause"], cause["count"]) == ("start-task", 2)
    assert near.run("destroy", near.spec, "-y").code == 0
    assert causes(near) == [], "destroy deletes the container for logs"


def test_output_of_a_failed_preparation_task_is_kept(near: Workplace) -> None:
    spec = SPEC.replace("; exit 3", "").replace(
        "{max_wall_clock_time: 5m}",
        "{max_wall_clock_time: 5m, prepare: {command: echo no licence >&2; exit 9}}",
    )
    ran(near, spec)
    (cause,) = causes(near)
    assert (cause["cause"], cause["kind"]) == ("preparation-task", "node")
    assert cause["sample"]["text"] == "no licence\n"
    assert "Fix `job.prepare`" in near.run("failures", near.spec).out


def test_a_start_task_that_runs_at_the_time_limit_is_the_cause_everywhere(
    near: Workplace,
) -> None:
    """The job ends at its limit, and clean-up deletes the pool with the output of the node."""
    spec = SPEC.replace("echo no disk >&2; exit 3", "sleep 300").replace("nodes: 3", "nodes: 1")
    spec = spec.replace("5m", "4s").replace("job: always", "job: never")
    said = ran(near, spec, 7)
    assert "the start task still ran after " in said
    assert "At the end: the start task runs on 1 of 1 node of the pool 'nodes', for " in said
    (cause,) = causes(near)
    assert (cause["cause"], cause["kind"], cause["count"]) == ("start-task-running", "node", 1)
    assert cause["message"].startswith("the start task still ran after ")
    assert cause["sample"]["file"] == "startup/stdout.txt"
    assert cause["sample"]["text"] == "on stdout\n"
    (node,) = cause["ids"]
    assert f"batchspec logs {near.spec} --start-task {node[:14]}`" in said
    assert near.run("logs", near.spec, "--start-task", node).out == "on stdout\n"
    status = near.run("status", near.spec).out
    assert "cause  the start task still ran after " in status


def test_status_after_clean_up_names_the_start_task_that_failed(near: Workplace) -> None:
    ran(near, SPEC.replace("job: always", "job: never"))
    done = near.run("status", near.spec)
    assert "waits  start task failed on 3 nodes of the pool 'nodes' (exit code 3)" in done.out
    assert f"`batchspec failures {near.spec}` shows the output" in done.out
    assert "another apply" not in done.out
