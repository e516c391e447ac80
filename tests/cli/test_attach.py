"""Runs that one terminal starts and another ends: detach, attach, Ctrl-C once and twice."""

from __future__ import annotations

import json

from tests.cli.conftest import Workplace
from tests.e2e.conftest import interrupt, until


def status(place: Workplace) -> dict[str, object]:
    seen = json.loads(place.run("status", place.spec, "--format", "json").out)
    assert isinstance(seen, dict)
    return seen


def test_attach_completes_a_detached_run(near: Workplace) -> None:
    near.hold()
    near.edit("nodes: 3", "nodes: 1\n  task_slots_per_node: 3")
    done = near.run("apply", near.spec, "--detach")
    assert done.code == 0, done.text
    assert "detached" in done.out
    assert f"batchspec attach {near.spec}" in done.out
    assert "the pool 'topn' remains when the job has ended" in done.out
    assert not near.results.exists()
    again = near.run("apply", near.spec, "--detach")
    assert again.code == 0, again.text
    assert "submit" not in again.out

    early = near.run("download", near.spec)
    assert early.code == 0, early.text
    assert "has not ended" in early.out

    other = near.start("attach", near.spec, "--progress", "plain")
    until(other, "3 running")
    near.let_go()
    rest, _ = other.communicate(timeout=60)
    assert other.returncode == 0, rest
    assert "done in" in rest
    assert len(list(near.results.glob("*.top.txt"))) == 3
    assert "Nothing to do" in near.run("apply", near.spec).out


def test_an_early_download_is_not_the_final_download(near: Workplace) -> None:
    """Existing results are downloaded; the record does not end the run."""
    near.edit(
        "command: python3",
        "command: test {{ file.stem }} = lighthouse || "
        f'until test -e "{near.folder}/go"; do sleep 0.1; done; python3',
    )
    near.edit("nodes: 3", "nodes: 1\n  task_slots_per_node: 3")
    run = near.start("apply", near.spec, "--progress", "plain")
    until(run, "1 of 3 tasks done")
    assert near.run("download", near.spec, "--progress", "quiet").code == 0
    assert [path.name for path in near.results.iterdir()] == ["lighthouse.txt.top.txt"]
    interrupt(run)
    assert run.wait(timeout=60) == 130
    near.let_go()
    assert near.run("attach", near.spec, "--progress", "quiet").code == 0
    assert len(list(near.results.iterdir())) == 3


def test_attach_ends_with_the_exit_code_of_the_run(mixed_alone: Workplace) -> None:
    mixed = mixed_alone  # A run of `attach` is recorded, too.
    done = mixed.run("attach", mixed.spec)
    assert done.code == 3, done.text
    assert "6 failed" in done.out
    assert f"batchspec failures {mixed.spec}" in done.out, "what to do next"


def test_without_a_job_there_is_nothing_to_attach_to(near: Workplace) -> None:
    for verb in ("attach", "download"):
        done = near.run(verb, near.spec)
        assert done.code == 2
        assert "batchspec apply" in done.err


def test_ctrl_c_once_detaches_and_deletes_nothing(near: Workplace) -> None:
    near.hold()
    near.edit("nodes: 3", "nodes: 1\n  task_slots_per_node: 3")
    near.edit("pool: ask", "pool: always")
    run = near.start("apply", near.spec, "-y", "--progress", "plain")
    until(run, "3 running")
    interrupt(run)
    rest, _ = run.communicate(timeout=60)
    assert run.returncode == 130, rest
    assert "Press Ctrl-C again" in rest
    assert "start   delete" not in rest
    assert f"batchspec apply {near.spec}" in rest, "the command that resumes"
    assert status(near)["tasks"] == {
        "total": 3,
        "active": 0,
        "running": 3,
        "succeeded": 0,
        "failed": 0,
    }
    near.let_go()
    assert near.run("apply", near.spec, "-y", "--progress", "quiet").code == 0
    assert status(near)["pool"] is None


def test_ctrl_c_twice_ends_immediately_and_deletes_nothing(near: Workplace) -> None:
    """The first Ctrl-C waits for an upload in progress; the second does not."""
    near.hold()
    big = near.folder / "specs" / "data" / "big.txt"
    with big.open("wb") as file:
        file.truncate(150 << 20)
    run = near.start("apply", near.spec, "-y", "--progress", "plain")
    until(run, "upload files to input: ")
    interrupt(run)
    until(run, "Press Ctrl-C again")
    interrupt(run)
    rest, _ = run.communicate(timeout=60)
    assert run.returncode == 130, rest
    assert "start   delete" not in rest
    big.unlink()
    near.let_go()
    assert near.run("apply", near.spec, "--progress", "quiet").code == 0
