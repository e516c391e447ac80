"""A full disk or closed streams: the command ends with an error, and leaves no partial file."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import Workplace
from tests.e2e.conftest import separate_place as separate_place  # noqa: PLC0414 - a fixture

QUICK = """\
version: 1
name: quick
containers:
  out: {id: quick-out}
pool: {vm_size: standard_d2s_v5, nodes: 1, image: ubuntu-24.04}
job: {max_wall_clock_time: 10m}
tasks:
  make:
    command: echo made > made.txt
    outputs: [{files: made.txt, container: out}]
results: [{container: out, to: results}]
"""


def batchspec(*words: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "batchspec", *map(str, words)]
    return subprocess.run(  # type: ignore[call-overload, no-any-return]
        line, check=False, stderr=subprocess.PIPE, text=True, **options
    )


PRINTING = [
    ("schema",),
    ("explain", "bug"),
    ("--help",),
    ("apply", "--help"),
    ("local",),
    ("--version", "-v"),
    ("--show-completion", "bash"),
]


@pytest.mark.parametrize("words", PRINTING)
def test_output_on_a_full_disk_is_an_error_and_not_a_bug(words: tuple[str, ...]) -> None:
    with Path("/dev/full").open("w") as full:
        done = batchspec(*words, stdout=full)
    assert done.returncode == 4
    assert "cannot be written: No space left on device [output-unwritable]" in done.stderr
    assert "Traceback" not in done.stderr
    assert "[bug]" not in done.stderr


@pytest.mark.parametrize("words", PRINTING)
def test_closed_output_is_an_error_and_not_a_bug(words: tuple[str, ...]) -> None:
    done = batchspec(*words, preexec_fn=lambda: os.close(1))
    assert done.returncode == 4
    assert "cannot be written: standard output is closed [output-unwritable]" in done.stderr
    assert "fix: Redirect it to a file or to `/dev/null`, and run the command again." in done.stderr


@pytest.mark.parametrize("words", [("--help",), ("apply", "--help"), ("schema",)])
def test_a_reader_that_closes_the_output_of_a_command_that_only_prints_is_no_error(
    words: tuple[str, ...],
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as file:
        done = batchspec(*words, stdout=file)
    assert (done.returncode, done.stderr) == (0, "")


def test_errors_are_not_written_to_standard_output_if_standard_error_is_closed(
    tmp_path: Path,
) -> None:
    line = [sys.executable, "-m", "batchspec", "validate", str(tmp_path / "missing.yaml")]
    done = subprocess.run(line, stdout=subprocess.PIPE, check=False, preexec_fn=lambda: os.close(2))
    assert (done.returncode, done.stdout) == (2, b"")


def test_files_and_connections_do_not_get_the_descriptors_of_closed_streams() -> None:
    program = (
        "import os\n"
        "from batchspec.cli.console import prepare_streams\n"
        "prepare_streams()\n"
        "os._exit(os.open('/dev/null', os.O_RDONLY))"
    )
    line = [sys.executable, "-c", program]
    done = subprocess.run(line, check=False, preexec_fn=lambda: os.closerange(0, 3))
    assert done.returncode == 3


def test_the_exit_code_remains_if_errors_cannot_be_written(tmp_path: Path) -> None:
    line = [sys.executable, "-m", "batchspec", "validate", str(tmp_path / "missing.yaml")]
    with Path("/dev/full").open("w") as full:
        assert subprocess.run(line, stdout=full, stderr=full, check=False).returncode == 2


def test_a_bug_is_printed_if_its_log_cannot_be_written(tmp_path: Path) -> None:
    program = (
        "import batchspec.cli.main as main\n"
        "main.app = lambda **_: 1 / 0\n"
        "raise SystemExit(main.run())"
    )
    environ = {**os.environ, "TMPDIR": os.fspath(tmp_path / "missing")}
    line = [sys.executable, "-c", f"import tempfile; tempfile.tempdir = '/missing'\n{program}"]
    done = subprocess.run(line, capture_output=True, text=True, env=environ, check=False)
    assert done.returncode == 1
    assert "internal error in batchspec: ZeroDivisionError [bug]" in done.stderr
    assert "ZeroDivisionError: division by zero" in done.stderr


@pytest.mark.parametrize("progress", ["plain", "json"])
def test_a_run_whose_output_cannot_be_written_stops_and_resumes(
    place: Workplace, progress: str
) -> None:
    place.spec.write_text(QUICK, encoding="utf-8")
    log = place.folder / "log"

    def limit() -> None:
        # The plan fits, the events of the run do not.
        resource.setrlimit(resource.RLIMIT_FSIZE, (1500, resource.RLIM_INFINITY))

    with log.open("w") as file:
        stopped = batchspec(
            "apply",
            place.spec,
            "--progress",
            progress,
            stdout=file,
            env=place.environ,
            preexec_fn=limit,
        )
    assert stopped.returncode == 4, stopped.stderr
    assert "cannot be written: File too large [output-unwritable]" in stopped.stderr
    assert "Traceback" not in stopped.stderr
    assert place.run("apply", place.spec).code == 0
    assert (place.spec.parent / "results" / "made.txt").read_text() == "made\n"


def test_a_report_that_does_not_fit_leaves_no_partial_page(place: Workplace) -> None:
    place.spec.write_text(QUICK, encoding="utf-8")

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, resource.RLIM_INFINITY))

    done = batchspec(
        "apply",
        place.spec,
        "--progress",
        "plain",
        stdout=subprocess.DEVNULL,
        env=place.environ,
        preexec_fn=limit,
    )
    assert done.returncode == 0, done.stderr
    assert "the record of this run cannot be written: File too large [unrecorded]" in done.stderr
    (run,) = (place.spec.parent / ".batchspec" / "quick" / "runs").iterdir()
    assert (run / "events.jsonl").exists()
    assert not [path.name for path in run.iterdir() if path.name.startswith("report")]


WAITING = """\
version: 1
name: waiting
pool: {vm_size: standard_d2s_v5, nodes: 1, image: ubuntu-24.04}
job: {max_wall_clock_time: 10m}
tasks:
  wait:
    command: while [ ! -e $AZ_BATCH_NODE_SHARED_DIR/go ]; do sleep 0.05; done
"""
_FILE_SIZE = 4096


@pytest.mark.parametrize("when", ["before the pool", "while a task runs"])
def test_a_service_that_cannot_write_stops_with_the_cause_and_continues_later(
    separate_place: Workplace, when: str
) -> None:
    place = separate_place
    place.spec.write_text(WAITING, encoding="utf-8")
    pid = place.endpoints().pid

    def refuse_writes() -> None:
        limit = (_FILE_SIZE, resource.RLIM_INFINITY)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, limit)

    if when == "before the pool":
        refuse_writes()
    run = place.start("apply", place.spec, "--progress", "plain")
    if when == "while a task runs":
        assert run.stdout is not None
        assert any(" 1 running" in line for line in run.stdout)
        refuse_writes()
        (shared,) = place.home.rglob("shared")
        (shared / "go").touch()
    said, _ = run.communicate(timeout=100)
    assert run.returncode == 4, said
    assert "stopped because of an error [data-unwritable] [local-stopped]" in said
    assert f"The data folder {place.home} cannot be used: " in said

    status = place.run("local", "status")
    assert f"reason   The data folder {place.home} cannot be used: " in status.out
    for shared in place.home.rglob("shared"):
        (shared / "go").touch()
    again = place.start("apply", place.spec, "--progress", "plain")
    if when == "before the pool":
        assert again.stdout is not None
        assert any(" 1 running" in line for line in again.stdout)
        (shared,) = place.home.rglob("shared")
        (shared / "go").touch()
    said, _ = again.communicate(timeout=100)
    assert again.returncode == 0, said
    assert "reason" not in place.run("local", "status").out


def test_a_request_log_on_a_full_disk_is_one_warning(place: Workplace) -> None:
    place.spec.write_text(QUICK, encoding="utf-8")

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (300, resource.RLIM_INFINITY))

    done = batchspec(
        "--debug",
        "plan",
        place.spec,
        stdout=subprocess.DEVNULL,
        env=place.environ,
        preexec_fn=limit,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("warning: the log of requests cannot be written: ") == 1
    assert "Traceback" not in done.stderr
