"""The parts of the daemon, one at a time: locks, identities, keys, folders, variables."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import threading
import time
from io import StringIO
from pathlib import Path

import pytest
from dotenv import dotenv_values

from batchspec import local
from batchspec.local import Endpoints, Format, LocalError, Phase
from batchspec.local.daemon.account import Account
from batchspec.local.daemon.home import Home, write_private
from batchspec.local.daemon.report import Reporter, await_report
from batchspec.local.daemon.start import alone
from batchspec.local.lock import Lock, held, wait_free
from batchspec.local.process import Process
from batchspec.local.settings import Settings

ENDPOINTS = Endpoints(
    batch_url="http://127.0.0.1:1",
    batch_account="batch",
    batch_key="b'k==",
    blob_url="http://127.0.0.1:2/blob",
    blob_account="blob",
    blob_key="s$k/+==",
    pid=1,
    data=Path("/data"),
)
"""Keys with characters that shells treat in their own way, though base64 has no such."""


# -- locks and processes


def test_a_lock_is_exclusive_and_ends_with_its_holder(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert not held(path)
    with Lock.take(path) or pytest.fail():
        assert held(path)
        assert Lock.take(path, wait=0.01) is None
    assert not held(path)


def test_looks_at_a_lock_do_not_take_each_other_for_its_holder(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.touch()
    seen: list[bool] = []

    def look() -> None:
        seen.extend(held(path) for _ in range(500))

    watchers = [threading.Thread(target=look) for _ in range(4)]
    for watcher in watchers:
        watcher.start()
    for watcher in watchers:
        watcher.join()
    assert seen == [False] * 2000


def test_a_lock_can_be_taken_while_others_look_at_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.touch()
    done = threading.Event()

    def look() -> None:
        while not done.wait(0.0001):
            held(path)

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


def test_a_lock_file_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError):
        Lock.take(tmp_path / "lock")
    assert not (tmp_path / "elsewhere").exists()


def test_a_signal_reaches_only_the_process_that_was_meant(tmp_path: Path) -> None:
    with subprocess.Popen(["/bin/sleep", "60"]) as sleeper:
        real = Process.of(sleeper.pid)
        assert real
        assert not Process(real.pid, "0").signal(signal.SIGKILL), "a number that was given away"
        assert sleeper.poll() is None

        (tmp_path / "pid").write_text(str(real))
        assert Process.read(tmp_path / "pid") == real
        assert real.signal(signal.SIGKILL)
        sleeper.wait()
    assert Process.of(sleeper.pid) is None
    assert real.ending
    assert not real.signal(signal.SIGKILL)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
def test_a_process_that_was_killed_is_ending_before_it_lets_go() -> None:
    # Its pipe is closed on its way out, hence the moment in which it must be known to be ending.
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
def test_a_lock_file_without_a_process_in_it_names_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "pid").write_text(text)
    assert Process.read(tmp_path / "pid") is None
    assert Process.read(tmp_path / "missing") is None


def test_waiting_for_another_start_is_a_phase(tmp_path: Path) -> None:
    home = Home(tmp_path / "local")
    home.make()
    phases: list[Phase] = []
    first = Lock.take(home.starting)
    assert first
    timer = threading.Timer(0.7, first.release)
    timer.start()
    with alone(home, phases.append):
        assert phases == [Phase.WAITING]
    timer.join()


# -- the folder and the keys


def test_a_folder_with_other_files_is_neither_used_nor_deleted(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "thesis.tex").touch()
    (tmp_path / "batch").mkdir()
    for use in (local.start, local.reset):
        with pytest.raises(LocalError) as caught:
            use(tmp_path)
        assert caught.value.code == "data-foreign"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["batch", "thesis.tex"]
    assert tmp_path.stat().st_mode & 0o777 == 0o755


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LocalError) as caught:
        local.start(tmp_path / "file/local")
    assert caught.value.code == "data-unwritable"
    assert str(tmp_path / "file/local") in caught.value.summary


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(LocalError) as caught:
            local.start(tmp_path / "local")
    finally:
        tmp_path.chmod(0o700)
    assert caught.value.code == "data-unwritable"


def test_looking_and_stopping_make_nothing(tmp_path: Path) -> None:
    assert local.status(tmp_path / "none").state is local.State.STOPPED
    assert local.stop(tmp_path / "none") is False
    local.reset(tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_keys_are_random_as_long_as_azures_and_kept(tmp_path: Path) -> None:
    home = Home(tmp_path)
    assert Account.read(home) is None
    made = Account.make(home)
    assert Account.read(home) == made
    assert len({made.batch_key, made.blob_key, Account.make(home).batch_key}) == 3
    assert len(base64.b64decode(made.batch_key)) == 64
    assert home.account.stat().st_mode & 0o777 == 0o600


def test_a_key_that_others_could_read_is_refused(tmp_path: Path) -> None:
    home = Home(tmp_path)
    Account.make(home)
    home.account.chmod(0o640)
    with pytest.raises(LocalError) as caught:
        Account.read(home)
    assert caught.value.code == "account-exposed"


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"batch_key": "secret"}', b"\xff\x00"])
def test_a_damaged_account_is_named_and_not_shown(tmp_path: Path, data: bytes) -> None:
    home = Home(tmp_path)
    write_private(home.account, "")
    home.account.write_bytes(data)
    with pytest.raises(LocalError) as caught:
        Account.read(home)
    assert caught.value.code == "account-damaged"
    assert "secret" not in caught.value.summary
    assert caught.value.__cause__ is None


def test_a_private_file_is_replaced_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_private(path, "old")
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_private(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_data_folder_is_chosen_in_this_order(tmp_path: Path) -> None:
    environ = {"BATCHSPEC_LOCAL_HOME": str(tmp_path / "named")}
    assert Settings.read(environ, data=tmp_path / "given").data == tmp_path / "given"
    assert Settings.read(environ).data == tmp_path / "named"
    assert Settings.read({}).data.parts[-2:] == ("batchspec", "local")


# -- what is told


def test_no_key_is_in_the_text_of_endpoints() -> None:
    text = f"{ENDPOINTS!r} {ENDPOINTS}"
    assert ENDPOINTS.batch_key not in text
    assert ENDPOINTS.blob_key not in text


def test_a_shell_reads_what_env_writes() -> None:
    script = local.env(ENDPOINTS, "sh") + 'printf "%s\\n" "$AZURE_STORAGE_CONNECTION_STRING"; env'
    shell = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, check=True)
    assert shell.stdout.splitlines()[0] == ENDPOINTS.connection_string
    for name, value in local.variables(ENDPOINTS).items():
        assert f"{name}={value}" in shell.stdout.splitlines()


def test_other_readers_read_what_env_writes() -> None:
    expected = local.variables(ENDPOINTS)
    assert json.loads(local.env(ENDPOINTS, "json")) == expected
    dotenv = dotenv_values(stream=StringIO(local.env(ENDPOINTS, "dotenv")), interpolate=False)
    assert dotenv == expected
    assert "$env:AZURE_BATCH_ACCESS_KEY = 'b''k=='" in local.env(ENDPOINTS, "powershell")


@pytest.mark.parametrize("format_", ["sh", "powershell", "dotenv", "json"])
def test_every_format_names_what_the_azure_cli_reads(format_: Format) -> None:
    text = local.env(ENDPOINTS, format_)
    for name in ("AZURE_BATCH_ACCOUNT", "AZURE_BATCH_ENDPOINT", "AZURE_BATCH_ACCESS_KEY"):
        assert name in text
    assert text.endswith("\n")


def test_a_daemon_can_tell_that_it_is_ready_or_why_not(tmp_path: Path) -> None:
    error = LocalError("code", "What.", hint="Do.", log=tmp_path / "log", lines=["a", "b"])
    listen, tell = os.pipe()
    Reporter(tell).ready()
    assert await_report(listen, 5) is True
    os.close(listen)

    listen, tell = os.pipe()
    reporter = Reporter(tell)
    reporter.failed(error)
    reporter.failed(error)  # the second time nobody listens
    with pytest.raises(LocalError) as caught:
        await_report(listen, 5)
    os.close(listen)
    assert caught.value.to_json() == error.to_json()


def test_a_daemon_that_dies_or_hangs_is_noticed() -> None:
    listen, tell = os.pipe()
    before = time.monotonic()
    with pytest.raises(TimeoutError):
        await_report(listen, 0.05)
    assert time.monotonic() - before < 5
    os.close(tell)
    assert await_report(listen, 5) is False
    os.close(listen)


def test_a_starter_that_is_gone_does_not_disturb_the_daemon() -> None:
    listen, tell = os.pipe()
    os.close(listen)
    Reporter(tell).ready()


def test_importing_the_package_brings_no_server() -> None:
    code = (
        "import sys, batchspec.local; "
        "print([m for m in ('uvicorn', 'aiohttp', 'asyncio', 'sqlite3', 'azure') "
        "if m in sys.modules])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout == "[]\n"


def test_a_free_lock_is_waited_for_and_no_longer(tmp_path: Path) -> None:
    lock = Lock.take(tmp_path / "lock")
    assert lock
    assert not wait_free(tmp_path / "lock", 0.02)
    lock.release()
    assert wait_free(tmp_path / "lock", 0.02)
