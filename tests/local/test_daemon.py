"""The embedded service as a whole: start, discovery, stop, and recovery after a kill."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from azure.core.exceptions import HttpResponseError
from azure.storage.blob import BlobServiceClient

from batchspec import local
from batchspec.local import Endpoints, LocalError, StartupPhase, State
from batchspec.local.daemon import Home
from batchspec.local.process import Process, is_locked, wait_free

pytestmark = pytest.mark.usefixtures("azurite_installed")


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def listens(url: str) -> bool:
    port = int(url.split(":")[2].partition("/")[0])
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def kill(data: Path) -> None:
    """Kill the daemon as the kernel does when memory runs out, and wait for its end."""
    pid = local.status(data).pid
    assert pid
    os.kill(pid, signal.SIGKILL)
    assert wait_free(Home(data).daemon_lock, 60)


def starter(data: Path) -> subprocess.Popen[str]:
    """A process that starts the service of ``data`` and prints the pid of the daemon."""
    source = f"import pathlib; from batchspec import local; print(local.start({data!r}).pid)"
    return subprocess.Popen(
        [sys.executable, "-c", source.replace("PosixPath", "pathlib.PosixPath")],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "local"
    yield folder
    local.stop(folder)


@pytest.fixture(scope="module")
def shared(
    azurite_installed: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Endpoints]:
    """One service for all tests that do not change it."""
    folder = tmp_path_factory.mktemp("shared")
    yield local.start(folder)
    local.stop(folder)


def test_a_second_start_finds_the_first(shared: Endpoints) -> None:
    phases: list[StartupPhase] = []
    assert local.start(shared.data, notify=phases.append) == shared
    assert phases == []


def test_services_of_two_users_do_not_meet(shared: Endpoints, tmp_path: Path) -> None:
    """The folder of each user is in their home, and nothing else is shared."""
    other = local.start(tmp_path / "home")
    try:
        assert len({shared.batch_url, other.batch_url, shared.blob_url, other.blob_url}) == 4
        with BlobServiceClient.from_connection_string(shared.connection_string) as store:
            mixed = BlobServiceClient(
                other.blob_url,
                {"account_name": store.account_name, "account_key": store.credential.account_key},
            )
            with mixed, pytest.raises(HttpResponseError, match="authenticate"):
                list(mixed.list_containers())
    finally:
        local.stop(other.data)
    assert listens(shared.batch_url), "that of the other user still runs"


def test_both_services_answer(shared: Endpoints) -> None:
    assert listens(shared.batch_url)
    with BlobServiceClient.from_connection_string(shared.connection_string) as store:
        assert list(store.list_containers()) == []


def test_the_service_listens_only_on_loopback(shared: Endpoints) -> None:
    for url in (shared.batch_url, shared.blob_url):
        assert url.startswith("http://127.0.0.1:")
        port = int(url.split(":")[2].partition("/")[0])
        with socket.socket() as other:  # free there: no process has the port on all addresses
            other.bind(("127.0.0.2", port))


def test_status_contains_everything_except_keys(shared: Endpoints) -> None:
    status = local.status(shared.data)
    assert status.state is State.RUNNING
    assert status.endpoints == shared
    assert status.pid == shared.pid
    assert status.azurite_pid not in {None, status.pid}
    assert status.version
    assert status.started is not None
    assert timedelta(0) <= datetime.now(UTC) - status.started < timedelta(minutes=10)
    assert shared.batch_key not in repr(status)
    assert shared.blob_key not in repr(status)
    assert shared.token and shared.token not in repr(status)


def test_only_the_owner_can_read_the_folder_and_the_keys(shared: Endpoints) -> None:
    assert shared.data.stat().st_mode & 0o777 == 0o700
    for file in shared.data.iterdir():
        assert file.stat().st_mode & 0o077 == 0, file.name


def test_credentials_are_in_two_files_only(shared: Endpoints) -> None:
    found = {}
    for file in filter(Path.is_file, shared.data.rglob("*")):
        data = file.read_bytes()
        secrets = (shared.batch_key, shared.blob_key, shared.token)
        if which := [number for number, each in enumerate(secrets) if each.encode() in data]:
            found[file.name] = which
    assert found == {"account.json": [0, 1], "token": [2]}


def test_a_start_on_another_port_is_rejected(shared: Endpoints) -> None:
    with pytest.raises(LocalError) as caught:
        local.start(shared.data, port=1)
    assert caught.value.code == "running-elsewhere"
    assert shared.batch_url in caught.value.summary


def test_a_second_daemon_on_the_same_folder_exits(shared: Endpoints) -> None:
    second = subprocess.run(
        [sys.executable, "-m", "batchspec.local", "serve", "--data", shared.data],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert second.returncode == 1
    assert "already-running" in second.stderr
    assert local.status(shared.data).endpoints == shared


def test_stop_ends_all_processes_and_loses_nothing(data: Path) -> None:
    first = local.start(data)
    azurite = local.status(data).azurite_pid
    with BlobServiceClient.from_connection_string(first.connection_string) as store:
        store.create_container("box").upload_blob("b", b"hello")
    assert local.stop(data) is True

    assert not listens(first.batch_url)
    assert not listens(first.blob_url)
    assert azurite
    assert Process.of(azurite) is None
    assert local.status(data).state is State.STOPPED
    assert not (data / "endpoints.json").exists()
    assert local.stop(data) is False

    again = local.start(data)
    assert again.pid != first.pid
    assert again.batch_url == first.batch_url
    assert again.connection_string == first.connection_string
    assert again.batch_key == first.batch_key
    with BlobServiceClient.from_connection_string(again.connection_string) as store:
        assert store.get_blob_client("box", "b").download_blob().readall() == b"hello"


def test_concurrent_starts_share_one_service(data: Path) -> None:
    starters = [starter(data) for _ in range(3)]
    pids = {process.communicate(timeout=60)[0] for process in starters}
    assert [process.returncode for process in starters] == [0, 0, 0]
    assert pids == {f"{local.status(data).pid}\n"}


def test_the_daemon_outlives_its_starter_and_the_terminal(data: Path) -> None:
    process = starter(data)
    assert process.stdout
    pid = int(process.stdout.readline())
    process.communicate(timeout=60)
    assert os.getsid(pid) != process.pid
    assert Path(f"/proc/{pid}/cwd").readlink() == Path("/")
    assert local.status(data).state is State.RUNNING


def test_the_daemon_outlives_a_killed_starter(data: Path) -> None:
    process = starter(data)
    until(lambda: is_locked(Home(data).daemon_lock))
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    until(lambda: local.status(data).state is State.RUNNING)
    assert local.start(data).pid == local.status(data).pid


def test_after_sigkill_the_next_start_uses_the_same_addresses(data: Path) -> None:
    first = local.start(data)
    kill(data)
    assert local.status(data).state is State.STALE
    until(lambda: not listens(first.blob_url))  # the kernel sent Azurite a signal

    again = local.start(data)
    assert again.pid != first.pid
    assert (again.batch_url, again.batch_key) == (first.batch_url, first.batch_key)
    assert again.connection_string == first.connection_string


def test_the_next_start_ends_an_azurite_that_hangs_after_sigkill(data: Path) -> None:
    local.start(data)
    hanging = local.status(data).azurite_pid
    assert hanging
    os.kill(hanging, signal.SIGSTOP)
    kill(data)
    assert is_locked(Home(data).azurite_lock)
    # The timeout is ten seconds; a shorter one is enough here.
    waker = subprocess.Popen(["/bin/sh", "-c", f"sleep 1.5; kill -CONT {hanging}"])
    again = local.start(data)
    waker.wait()
    assert Process.of(hanging) is None
    assert listens(again.blob_url)


def test_stop_cleans_up_after_sigkill(data: Path) -> None:
    first = local.start(data)
    kill(data)
    assert local.stop(data) is True
    assert not listens(first.blob_url)
    assert local.status(data).state is State.STOPPED
    assert local.stop(data) is False


def test_a_killed_azurite_is_restarted_at_its_address(data: Path) -> None:
    endpoints = local.start(data)
    before = local.status(data).azurite_pid
    assert before
    os.kill(before, signal.SIGKILL)
    until(lambda: local.status(data).azurite_pid not in {None, before})
    until(lambda: listens(endpoints.blob_url))
    assert local.status(data).endpoints == endpoints
    assert "ended unexpectedly (exit code -9)" in (data / "daemon.log").read_text()


def test_repeated_ends_of_azurite_end_the_service_with_a_reason(data: Path) -> None:
    endpoints = local.start(data)
    seen: set[int | None] = {None}

    def kill_each() -> bool:
        status = local.status(data)
        if status.azurite_pid not in seen and listens(endpoints.blob_url):
            seen.add(status.azurite_pid)
            os.kill(status.azurite_pid or 0, signal.SIGKILL)
        return status.state is State.STOPPED

    until(kill_each)
    assert len(seen) - 1 == 4
    assert "azurite-keeps-ending" in (data / "daemon.log").read_text()
    assert not listens(endpoints.batch_url)


def test_the_daemon_ends_when_its_data_folder_is_deleted(data: Path) -> None:
    endpoints = local.start(data)
    daemon = Process.of(endpoints.pid)

    def deleted() -> bool:  # possibly in several attempts: the daemon may be writing
        shutil.rmtree(data, ignore_errors=True)
        return not data.exists()

    until(deleted)
    until(lambda: Process.of(endpoints.pid) != daemon)
    assert not listens(endpoints.batch_url)
    assert not listens(endpoints.blob_url)


def test_ports_of_the_last_run_are_replaced_if_in_use(data: Path) -> None:
    first = local.start(data)
    local.stop(data)
    ports = json.loads((data / "ports.json").read_text())
    taken = [socket.create_server(("127.0.0.1", ports[name])) for name in ("blob", "batch")]
    with taken[0], taken[1]:
        again = local.start(data)
    assert again.blob_url != first.blob_url
    assert again.batch_url != first.batch_url


def test_a_requested_port_in_use_is_an_error(data: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(LocalError) as caught:
            local.start(data, port=port)
    assert caught.value.code == "port-taken"
    assert str(port) in caught.value.summary
    assert local.status(data).state is State.STOPPED
    assert local.start(data, port=port).batch_url == f"http://127.0.0.1:{port}"


def test_reset_deletes_the_state_and_keeps_the_key(data: Path) -> None:
    first = local.start(data)
    with BlobServiceClient.from_connection_string(first.connection_string) as store:
        store.create_container("box")
    outside = data.parent / "outside"
    outside.mkdir()
    (outside / "precious").touch()
    closed = data / "batch/closed/inner"
    closed.mkdir(parents=True)
    (closed / "link").symlink_to(outside)
    (closed / "file").touch()
    closed.chmod(0o500)

    local.reset(data)
    assert not (data / "batch").exists()
    assert not (data / "blobs").exists()
    assert (outside / "precious").exists()

    again = local.start(data)
    assert again.blob_key == first.blob_key
    with BlobServiceClient.from_connection_string(again.connection_string) as store:
        assert list(store.list_containers()) == []


def test_an_interrupted_reset_is_completed_by_the_next(data: Path) -> None:
    local.start(data)
    local.stop(data)
    (data / "batch").rename(data / "trash-batch-1234")
    local.reset(data)
    assert not list(data.glob("trash-*"))


def test_a_daemon_in_the_foreground_ends_with_ctrl_c(data: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "batchspec.local", "serve", "--data", data],
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        until(lambda: local.status(data).state is State.RUNNING)
        assert local.start(data).pid == process.pid
        process.send_signal(signal.SIGINT)
        errors = process.communicate(timeout=60)[1]
    assert process.returncode == 0, errors
    assert local.status(data).state is State.STOPPED


def test_a_failed_start_reports_the_cause(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = tmp_path / "node"
    fake.write_text(
        "#!/bin/sh\n[ $1 = --version ] && echo v24.0.0 || { echo no memory; exit 3; }\n"
    )
    fake.chmod(0o755)
    monkeypatch.setenv("BATCHSPEC_NODE", str(fake))
    with pytest.raises(LocalError) as caught:
        local.start(data)
    assert caught.value.code == "azurite-exited"
    assert caught.value.lines == ("no memory",)
    assert caught.value.log == data / "azurite.log"
    assert local.status(data).state is State.STOPPED

    monkeypatch.delenv("BATCHSPEC_NODE")
    assert listens(local.start(data).blob_url)
