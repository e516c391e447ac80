"""Locks, the processes that have them, and the remains of a killed daemon."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from batchspec import local
from batchspec.local import StartupPhase
from batchspec.local.daemon import Home, end_orphans, exclusive
from batchspec.local.process import Lock, Process, is_locked, wait_free


def test_a_lock_is_exclusive_and_ends_with_its_process(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert not is_locked(path)
    with Lock.take(path) or pytest.fail():
        assert is_locked(path)
        assert Lock.take(path, wait=0.01) is None
    assert not is_locked(path)


def test_concurrent_checks_of_a_lock_do_not_report_each_other(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.touch()
    seen: list[bool] = []

    def look() -> None:
        seen.extend(is_locked(path) for _ in range(500))

    watchers = [threading.Thread(target=look) for _ in range(4)]
    for watcher in watchers:
        watcher.start()
    for watcher in watchers:
        watcher.join()
    assert seen == [False] * 2000


def test_a_lock_can_be_taken_during_checks(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.touch()
    done = threading.Event()

    def look() -> None:
        while not done.wait(0.0001):
            is_locked(path)

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        for _ in range(20):
            lock = Lock.take(path)
            assert lock
            lock.release()
    finally:
        done.set()
        watcher.join()


def test_a_slow_check_does_not_count_as_a_holder(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with path.open("w") as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        timer = threading.Timer(0.2, lambda: fcntl.flock(looking, fcntl.LOCK_UN))
        timer.start()
        with Lock.take(path, wait=0) or pytest.fail():
            assert is_locked(path)
        timer.join()


def test_waiting_for_a_lock_ends_when_it_is_free(tmp_path: Path) -> None:
    lock = Lock.take(tmp_path / "lock")
    assert lock
    assert not wait_free(tmp_path / "lock", 0.02)
    lock.release()
    assert wait_free(tmp_path / "lock", 0.02)


def test_a_lock_file_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError):
        Lock.take(tmp_path / "lock")
    assert not (tmp_path / "elsewhere").exists()


def test_a_signal_reaches_only_the_intended_process(tmp_path: Path) -> None:
    with subprocess.Popen(["/bin/sleep", "60"]) as sleeper:
        real = Process.of(sleeper.pid)
        assert real
        assert not Process(real.pid, "0").signal(signal.SIGKILL), (
            "an id that belongs to another process"
        )
        assert sleeper.poll() is None

        (tmp_path / "pid").write_text(str(real))
        assert Process.read(tmp_path / "pid") == real
        assert real.signal(signal.SIGKILL)
        sleeper.wait()
    assert Process.of(sleeper.pid) is None
    assert real.ending
    assert not real.signal(signal.SIGKILL)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux shows it")
def test_a_killed_process_is_ending_before_it_releases_its_lock() -> None:
    # Its pipe closes while it ends; at that moment it must count as ending.
    listen, hold = os.pipe()
    sleeper = subprocess.Popen(["sleep", "600"], pass_fds=[hold])
    os.close(hold)
    process = Process.of(sleeper.pid)
    assert process and not process.ending
    sleeper.kill()
    assert os.read(listen, 1) == b""
    assert process.ending
    os.close(listen)
    sleeper.wait()


@pytest.mark.parametrize("text", ["", "12", "twelve 3", "12 "])
def test_a_lock_file_without_a_pid_has_no_process(tmp_path: Path, text: str) -> None:
    (tmp_path / "pid").write_text(text)
    assert Process.read(tmp_path / "pid") is None
    assert Process.read(tmp_path / "missing") is None


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_a_process_whose_name_is_not_text_has_an_identity() -> None:
    rename = "open('/proc/self/comm', 'wb').write(b') \\xff ('); print(flush=True); input()"
    command = [sys.executable, "-c", rename]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        found = Process.of(process.pid)
        assert found is not None
        assert not found.ending
        process.communicate(b"\n")


def test_waiting_for_another_start_is_a_phase(tmp_path: Path) -> None:
    home = Home(tmp_path / "local")
    home.create()
    phases: list[StartupPhase] = []
    first = Lock.take(home.start_lock)
    assert first

    def notify(phase: StartupPhase) -> None:
        phases.append(phase)
        first.release()

    with exclusive(home, notify):
        assert phases == [StartupPhase.WAITING]


BEGINNING = """
import os, sys, time
from pathlib import Path
from batchspec.local.process import Lock
from batchspec.local.process import Process
lock = Lock.take(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(0.5)
lock.note(str(Process.of(os.getpid())))
time.sleep(600)
"""


def test_a_starting_daemon_gets_the_signal_after_it_wrote_its_pid(tmp_path: Path) -> None:
    home = Home(tmp_path)
    command = [sys.executable, "-c", BEGINNING, str(home.daemon_lock)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as daemon:
        assert daemon.stdout
        assert daemon.stdout.readline() == "held\n"
        assert local.stop(tmp_path) is True
    assert daemon.returncode == -signal.SIGTERM


def test_reading_the_holder_during_a_write_returns_the_old_or_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, after = Process(123456, "a long time ago"), Process(7, "now")
    seen: list[Process | None] = []
    with Lock.take(tmp_path / "lock") or pytest.fail() as lock:
        lock.note(str(before))
        for name in ("ftruncate", "pwrite"):
            real = getattr(os, name)

            def look(*given: object, real: Callable[..., object] = real) -> None:
                seen.append(Process.read(lock.path))
                real(*given)
                seen.append(Process.read(lock.path))

            monkeypatch.setattr(os, name, look)
        lock.note(str(after))
    assert seen == [before, after, after, after]


STORE = """
import os, signal, sys, time
def end(*_):
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # as Azurite does
    os.write(1, b"closing\\n")
    time.sleep(0.5)
    os.write(1, b"saved\\n")
    sys.exit()
signal.signal(signal.SIGTERM, end)
os.write(1, b"ready\\n")  # the signal may come into a `print`, which takes no other then
time.sleep(600)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's death signal is Linux's")
def test_azurite_gets_only_one_sigterm(tmp_path: Path) -> None:
    home = Home(tmp_path)
    lock = Lock.take(home.azurite_lock)
    assert lock
    with subprocess.Popen(
        [sys.executable, "-c", STORE], stdout=subprocess.PIPE, text=True, pass_fds=[lock.fileno]
    ) as store:
        assert store.stdout
        assert store.stdout.readline() == "ready\n"
        lock.note(str(Process.of(store.pid)))
        lock.release()
        store.terminate()  # as the kernel does when the daemon was killed
        assert store.stdout.readline() == "closing\n"
        end_orphans(home)
        assert store.stdout.read() == "saved\n"
