"""Output that is closed, signals and questions: the command stops at a safe point."""

from __future__ import annotations

import asyncio
import os
import pty
import signal
import subprocess
import sys

import pytest

from batchspec.cli.execute import Interrupts, interruptible
from tests.e2e.conftest import Workplace, until

WAITING = """\
version: 1
name: waiting
pool: {vm_size: standard_d2s_v5, nodes: 1, image: ubuntu-24.04}
job: {max_wall_clock_time: 10m}
tasks:
  wait:
    command: while [ ! -e $AZ_BATCH_NODE_SHARED_DIR/go ]; do sleep 0.05; done
"""


def test_a_closed_output_is_not_an_error() -> None:
    line = [sys.executable, "-m", "batchspec", "schema"]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"{\n"
        process.stdout.close()
        said = process.stderr.read()
    assert (process.returncode, said) == (0, b"")


_INTERRUPTED_IMPORT = """
import os, runpy, signal, sys

class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == "typer":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupt())
runpy.run_module("batchspec", run_name="__main__")
"""


def test_ctrl_c_during_the_imports_prints_no_traceback() -> None:
    line = [sys.executable, "-c", _INTERRUPTED_IMPORT]
    ended = subprocess.run(line, capture_output=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (-signal.SIGINT, b"", b"")


def test_a_run_with_closed_output_stops_like_after_ctrl_c_and_resumes(place: Workplace) -> None:
    place.spec.write_text(WAITING, encoding="utf-8")
    user = Workplace(place.folder, place.home, place.environ)
    unread = user.start("apply", place.spec, "--progress", "plain")
    assert unread.stdout is not None
    unread.stdout.readline()
    unread.stdout.close()
    assert unread.wait(timeout=60) == 130, "the plan was not read, so nothing was begun"
    unread = user.start("apply", place.spec, "--progress", "plain")
    until(unread, " running, limit in")
    assert unread.stdout is not None
    unread.stdout.close()
    # The next line is written when the state of the nodes changes.
    again = user.start("apply", place.spec, "--progress", "plain")
    until(again, " running, limit in")
    os.kill(again.pid, signal.SIGTERM)
    said, _ = again.communicate(timeout=60)
    assert again.returncode == 130, said
    assert f"`batchspec apply {place.spec}` resumes" in said
    (shared,) = place.home.rglob("shared")
    (shared / "go").touch()
    # The interval between polls is up to two seconds when nothing changes.
    assert unread.wait(timeout=60) == 130
    assert place.run("apply", place.spec).code == 0


@pytest.mark.parametrize("ignored", [False, True], ids=["terminal", "nohup"])
async def test_a_closed_terminal_stops_a_run_unless_nohup_is_used(*, ignored: bool) -> None:
    interrupts, said = Interrupts(), asyncio.Event()
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else signal.SIG_DFL)
    try:
        with interruptible(interrupts, said.set):
            handler = signal.getsignal(signal.SIGHUP)
            if ignored:
                assert handler is signal.SIG_IGN
            else:
                os.kill(os.getpid(), signal.SIGHUP)
                await asyncio.wait_for(said.wait(), timeout=10)
        assert interrupts.cancellation.requested is not ignored
    finally:
        signal.signal(signal.SIGHUP, before)


async def test_one_signal_ends_a_run_that_waits_for_a_silent_service() -> None:
    interrupts, said = Interrupts(), asyncio.Event()
    with pytest.raises(asyncio.CancelledError), interruptible(interrupts, said.set, patience=0):
        signal.raise_signal(signal.SIGTERM)
        await asyncio.Event().wait()
    assert (interrupts.immediate, said.is_set()) == (True, True)


async def test_ctrl_c_after_the_end_of_a_run_has_no_effect() -> None:
    """The loop handles the signal after the run has ended: there is nothing to stop or cancel."""
    interrupts, said = Interrupts(), asyncio.Event()
    with interruptible(interrupts, said.set):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert (interrupts.cancellation.requested, interrupts.immediate, said.is_set()) == (
        False,
        False,
        False,
    )


def test_ctrl_c_at_a_question_ends_the_command_immediately() -> None:
    """The Ctrl-C handler of a running loop would wait for a line that is never entered."""
    program = (
        "import asyncio\n"
        "from batchspec.cli.console import confirm\n"
        "async def ask():\n"
        "    confirm('Sure? ', default=False)\n"
        "asyncio.run(ask())\n"
    )
    ours, theirs = pty.openpty()
    asking = subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    os.close(theirs)
    assert asking.stderr is not None
    assert asking.stderr.read(6) == b"Sure? "
    os.kill(asking.pid, signal.SIGINT)
    _, said = asking.communicate(timeout=30)
    os.close(ours)
    assert asking.returncode == -signal.SIGINT
    assert b"KeyboardInterrupt" in said
