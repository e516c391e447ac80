"""A job that consists of its job manager task and of the tasks that are added to it."""

from __future__ import annotations

from azure.batch import models

from tests.e2e.conftest import Inside, Workplace, until
from tests.e2e.test_ownership import batch, containers

SPEC = """\
version: 1
name: managed
containers: {output: {id: managed-output}}
pool: {vm_size: standard_d2s_v5, nodes: 1, image: ubuntu-24.04, task_slots_per_node: 2}
job:
  max_wall_clock_time: 10m
  job_manager_task:
    id: manager
    command_line: /bin/sh -c 'until test -e "GO"; do sleep 0.1; done; echo managed > out.txt'
    kill_job_on_completion: false
    output_files:
      - file_pattern: out.txt
        destination: {container: {container_url: "{{ containers.output.write_url }}", path: a.txt}}
        upload_options: {upload_condition: taskcompletion}
results: [{container: output, to: results/}]
cleanup: {pool: always, job: never, containers: on_success}
"""


def test_a_job_manager_task_alone(place: Workplace) -> None:
    inside = Inside(place.folder, place.home, place.environ)
    inside.spec.write_text(SPEC.replace("GO", str(place.folder / "go")), encoding="utf-8")
    detached = inside.run("apply", inside.spec, "--detach")
    assert detached.code == 0, detached.text
    client = batch(inside)
    added = models.BatchTaskCreateOptions(id="added", command_line="/bin/sh -c 'exit 0'")
    client.create_task("managed", added)
    # Released when the second run waits for the tasks, so that its report has their counts.
    run = inside.start("apply", inside.spec, "--progress", "plain")
    until(run, "running")
    inside.let_go()
    rest, _ = run.communicate(timeout=60)
    assert run.returncode == 0, rest
    assert "2 succeeded" in rest
    assert (inside.spec.parent / "results/a.txt").read_text(encoding="utf-8") == "managed\n"
    assert not list(client.list_pools())
    assert not containers(inside)
    again = inside.run("apply", inside.spec)
    assert "Nothing to do" in again.text, again.text
    assert again.code == 0
    report = inside.run("report", inside.spec, "--out", "-")
    assert report.code == 0, report.text
    assert "2 succeeded" in report.out
    nothing = inside.run("retry", inside.spec)
    assert (nothing.code, "has failed" in nothing.text) == (0, True), nothing.text
    assert inside.run("destroy", inside.spec, "-y").code == 0
    assert not list(client.list_jobs())


def test_a_failed_job_manager_task_is_retried(place: Workplace) -> None:
    inside = Inside(place.folder, place.home, place.environ)
    text = SPEC.replace("GO", str(place.folder)).replace("echo managed", "cat MARK && echo managed")
    text = text.replace("MARK", str(place.folder / "mark"))
    inside.spec.write_text(text, encoding="utf-8")
    failed = inside.run("apply", inside.spec)
    assert failed.code == 3, failed.text
    (place.folder / "mark").touch()
    done = inside.run("retry", inside.spec)
    assert done.code == 0, done.text
    assert [job.id for job in batch(inside).list_jobs()] == ["managed", "managed-r2"]
