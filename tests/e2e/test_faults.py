"""Failures as users see them: exit code, message, and no hang."""

from __future__ import annotations

import os
import signal
import socket
import stat
import time

import pytest

from batchspec import local
from batchspec.api import NoNotices, RunOptions, Target, open_session
from batchspec.cli.execute import execute
from batchspec.cli.options import ProgressKind
from batchspec.cli.resume_command import always_resume_with
from batchspec.plan import build_plan
from tests.e2e.conftest import Workplace, interrupt, until

COMMAND = 'command: python3 "$AZ_BATCH_NODE_SHARED_DIR/topn.py" {{ file.name }} {{ top }}'


def test_a_task_that_exits_1_is_reported_with_its_stderr(place: Workplace) -> None:
    place.edit(COMMAND, "command: \"echo 'no luck today' >&2; exit 1\"")
    done = place.run("apply", place.spec)
    assert done.code == 3, done.text
    assert "no luck today" in done.out
    assert "exit code 1" in done.out
    assert "batchspec destroy" in done.out, "what is left, and what removes it"


def test_a_missing_program_is_reported(place: Workplace) -> None:
    place.edit(COMMAND, "command: [no-such-program, '{{ file.name }}']")
    done = place.run("apply", place.spec)
    assert done.code == 3, done.text
    assert "CommandProgramNotFound" in done.out or "not found" in done.out


def test_a_task_that_hangs_is_ended_at_the_limit(place: Workplace) -> None:
    place.edit(COMMAND, "command: sleep 600")
    # After the job is created, since its tasks must be in it.
    place.edit("max_wall_clock_time: 30m", "max_wall_clock_time: 8s")
    done = place.run("apply", place.spec, timeout=60)
    assert done.code == 7, done.text
    assert "time limit" in done.out


def test_a_start_task_that_fails_ends_the_run_soon(place: Workplace) -> None:
    place.edit('cp topn.py "$AZ_BATCH_NODE_SHARED_DIR/"', "echo no disk >&2; exit 3")
    done = place.run("apply", place.spec, timeout=60)
    assert done.code == 4, done.text
    assert "no disk" in done.out
    assert "start task" in done.out


def test_the_end_of_the_blob_store_is_named_as_a_cause_of_a_failure(
    separate_place: Workplace,
) -> None:
    place = separate_place
    place.spec.write_text(
        """\
version: 1
name: lost
pool: {vm_size: standard_d2s_v5, nodes: 1, image: ubuntu-24.04}
job: {max_wall_clock_time: 10m}
tasks:
  fail:
    command: until test -e $AZ_BATCH_NODE_SHARED_DIR/go; do sleep 0.05; done; exit 3
""",
        encoding="utf-8",
    )
    place.endpoints()
    blob_store = local.status(place.home).azurite_pid
    assert blob_store is not None
    run = place.start("apply", place.spec, "--progress", "plain")
    assert run.stdout is not None
    assert any(" 1 running" in line for line in run.stdout)
    os.kill(blob_store, signal.SIGKILL)
    deadline = time.monotonic() + 60
    while local.status(place.home).azurite_pid in {None, blob_store}:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    (shared,) = place.home.rglob("shared")
    (shared / "go").touch()
    said, _ = run.communicate(timeout=100)
    assert run.returncode == 3, said
    assert "ended during this run and was restarted [azurite-restarted]" in said
    assert "creates and uploads them again, and repeats tasks without `results`" in said


def test_after_the_start_task_is_mended_the_same_command_goes_on(place: Workplace) -> None:
    place.edit('cp topn.py "$AZ_BATCH_NODE_SHARED_DIR/"', "exit 3")
    assert place.run("apply", place.spec).code == 4
    place.edit("exit 3", 'cp topn.py "$AZ_BATCH_NODE_SHARED_DIR/"')
    done = place.run("apply", place.spec)
    assert done.code == 0, done.text
    assert "startTask" in done.out, "the nodes are restarted, and the plan says why"
    assert len(list(place.results.glob("*.top.txt"))) == 3


def test_a_service_that_does_not_answer_is_reported_within_seconds(place: Workplace) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
        place.environ.update(
            AZURE_BATCH_ACCOUNT="nobody",
            AZURE_BATCH_ENDPOINT=address,
            AZURE_BATCH_ACCESS_KEY="bm90aGluZw==",
            AZURE_STORAGE_CONNECTION_STRING=(
                "DefaultEndpointsProtocol=http;AccountName=nobody;AccountKey=bm90aGluZw==;"
                f"BlobEndpoint={address}/nobody;"
            ),
        )
        done = place.run("plan", place.spec, "--target", "azure", timeout=60)
    assert done.code == 4, done.text
    assert address in done.err
    assert "fix: " in done.err


def test_a_wrong_key_is_reported(place: Workplace) -> None:
    ends = place.endpoints()
    place.environ.update(
        AZURE_BATCH_ACCOUNT=ends.batch_account,
        AZURE_BATCH_ENDPOINT=ends.batch_url,
        AZURE_BATCH_ACCESS_KEY="d3Jvbmc=",
        AZURE_STORAGE_CONNECTION_STRING=ends.connection_string,
    )
    done = place.run("plan", place.spec, "--target", "azure")
    assert done.code == 4, done.text
    assert "AZURE_BATCH_ACCESS_KEY" in done.err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_is_reported_at_its_place_in_the_spec(place: Workplace) -> None:
    path = place.folder / "specs" / "data" / "lighthouse.txt"
    path.chmod(0)
    done = place.run("validate", place.spec)
    path.chmod(stat.S_IRUSR | stat.S_IWUSR)
    assert done.code == 2
    assert "Permission denied" in done.err


def test_two_inputs_of_one_name_are_told_before_anything_is_sent(
    separate_place: Workplace,
) -> None:
    place = separate_place
    other = place.folder / "specs" / "more"
    other.mkdir()
    (other / "lighthouse.txt").write_text("other\n")
    place.edit("      - files: data/*.txt", "      - more/*.txt\n      - files: data/*.txt")
    done = place.run("plan", place.spec)
    assert done.code == 2
    assert "lighthouse.txt" in done.err
    assert not place.home.exists(), "the service was not even started"


@pytest.mark.parametrize(
    "words",
    [
        "create container",
        "start   upload files",
        "start   create pool",
        "start   submit tasks",
        "start   wait for tasks",
        "nodes   pool",
    ],
)
def test_ctrl_c_in_every_phase_and_the_same_command_goes_on(place: Workplace, words: str) -> None:
    place.hold()
    process = place.start("apply", place.spec, "--progress", "plain")
    until(process, words)
    interrupt(process)
    rest, _ = process.communicate(timeout=60)
    assert process.returncode == 130, rest
    place.let_go()
    done = place.run("apply", place.spec)
    assert done.code == 0, done.text
    assert len(list(place.results.glob("*.top.txt"))) == 3


NAMES = [
    "a b.txt",
    "ünïcode-日本.txt",
    "c#1.txt",
    "d?.txt",
    "e%20f.txt",
    "g..h.txt",
    "i+j&k='l.txt",
]


def test_odd_names_go_there_and_back(place: Workplace) -> None:
    data = place.folder / "specs" / "data"
    for name in NAMES:
        (data / name).write_text(f"odd odd {name.split('.', maxsplit=1)[0]}\n", encoding="utf-8")
    done = place.run("apply", place.spec)
    assert done.code == 0, done.text
    for name in NAMES:
        lines = (place.results / f"{name}.top.txt").read_text(encoding="utf-8").splitlines()
        assert "odd\t2" in lines


async def test_a_file_that_is_deleted_after_the_plan_is_reported(place: Workplace) -> None:
    """An input is deleted after the plan was made and before it is applied."""
    wanted = RunOptions(place.spec, {}, (), Target.LOCAL, place.environ)
    async with open_session(wanted, NoNotices()) as found:
        plan = build_plan(found.spec, found.observed)
        (place.folder / "specs" / "data" / "lighthouse.txt").unlink()
        again = always_resume_with("apply")
        code = await execute(plan, found, ProgressKind.QUIET, again, yes=False)
    assert code == 5
    # In a separate process: this one already runs an event loop.
    second = Workplace(place.folder, place.home, place.environ).run("apply", place.spec)
    assert second.code == 0, second.text
    assert len(list(place.results.glob("*.top.txt"))) == 2
