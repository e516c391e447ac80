"""Containers as FUSE file systems: on a machine with rclone, fusermount and /dev/fuse."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from azure.batch import BatchClient
from azure.core.credentials import AzureNamedKeyCredential
from azure.storage.blob import (
    BlobServiceClient,
    ContainerClient,
    ContainerSasPermissions,
    generate_container_sas,
)

from batchspec import local
from batchspec.local.agent import StorageAccount
from batchspec.local.agent.fuse import FuseMounts
from batchspec.local.process import Process, unmount_below
from batchspec.local.task_users import UserIds, is_root, separate
from tests.conftest import BlobStore
from tests.local.engines import job, pool, running_with_engine, task, wait_until
from tests.local.running import Service

IN = "$AZ_BATCH_NODE_MOUNTS_DIR/data"


@pytest.fixture(scope="module", autouse=True)
def fuse(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Skip the tests that mount, with the reason, if FUSE does not work."""
    if reason := asyncio.run(FuseMounts(tmp_path_factory.mktemp("try")).obstacle()):
        pytest.skip(reason)


@pytest.fixture
def container(azurite: BlobStore) -> ContainerClient:
    """A new container with the blob ``in/a.txt``."""
    account = BlobServiceClient.from_connection_string(azurite.connection_string)
    found = account.create_container(f"c{os.urandom(6).hex()}")
    found.upload_blob("in/a.txt", b"one\n")
    return found


@pytest.fixture
def service(tmp_path: Path, azurite: BlobStore) -> Iterator[Service]:
    data = tmp_path / "batch"
    with running_with_engine(data, storage=azurite.connection_string, fuse=True) as found:
        yield found
    assert mounted(data) == []


def mounted(folder: Path) -> list[str]:
    """The mount points below a folder."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [point for line in lines if (point := line.split()[4]).startswith(str(folder))]


def mount(azurite: BlobStore, container: ContainerClient, **more: Any) -> dict[str, Any]:
    settings = {
        "accountName": azurite.account,
        "containerName": container.container_name,
        "accountKey": azurite.key,
        "relativeMountPath": "data",
        **more,
    }
    given = {name: value for name, value in settings.items() if value is not None}
    return {"azureBlobFileSystemConfiguration": given}


def create(service: Service, mounting: dict[str, Any], pool_id: str = "p", nodes: int = 1) -> None:
    given = pool(pool_id, nodes=nodes, mountConfiguration=[mounting])
    assert service.request("POST", "/pools", given).status == 201
    service.client.create_job(job(f"j-{pool_id}", pool_id))


def run(service: Service, task_id: str, script: str, pool_id: str = "p") -> str:
    """The output of a task that succeeds."""
    return attempt(service, task_id, script, pool_id, "success")


def attempt(service: Service, task_id: str, script: str, pool_id: str, result: str) -> str:
    job_id, client = f"j-{pool_id}", service.client
    client.create_task(job_id, task(task_id, script))
    wait_until(lambda: client.get_task(job_id, task_id).state == "completed")
    assert client.get_task(job_id, task_id).execution_info.result == result
    return b"".join(client.download_task_file(job_id, task_id, "stdout.txt")).decode()


def in_node_log(service: Service, text: str) -> bool:
    """Whether the log of a node of the pool ``p`` has this text."""
    found = service.data.glob("agent-logs/p/*/agent-debug.log")
    return any(text in path.read_text() for path in found)


def content(container: ContainerClient, name: str) -> bytes:
    return container.download_blob(name).readall()


def test_tasks_and_clients_see_each_others_files(
    service: Service, azurite: BlobStore, container: ContainerClient
) -> None:
    create(service, mount(azurite, container), nodes=2)
    create(service, mount(azurite, container), "q")
    assert run(service, "t1", f"cat {IN}/in/a.txt; mkdir {IN}/out; echo b > {IN}/out/b") == "one\n"
    assert content(container, "out/b") == b"b\n"
    # Another node sees the file immediately, even while other clients change the container.
    container.upload_blob("in/a.txt", b"second", overwrite=True)
    container.delete_blob("out/b")
    container.upload_blob("out/c", b"c")
    assert run(service, "t2", f"cat {IN}/in/a.txt; ls {IN}/out", "q") == "secondc\n"
    script = f"echo more >> {IN}/out/c; rm {IN}/in/a.txt; mv {IN}/out/c {IN}/d; touch {IN}/empty"
    run(service, "t3", script, "q")
    assert sorted(container.list_blob_names()) == ["d", "empty"]
    assert content(container, "d") == b"cmore\n"
    assert run(service, "t4", f"stat --file-system --format=%T {IN}/") == "fuseblk\n"
    wait_until(lambda: in_node_log(service, "containers are FUSE file systems by rclone"))
    # One mount for all nodes, until the last one has left.
    assert len(mounted(service.data)) == 1
    assert service.request("DELETE", "/pools/p").status == 202
    wait_until(lambda: service.request("GET", "/pools/p").status == 404)
    assert run(service, "t5", f"cat {IN}/d", "q") == "cmore\n"
    service.request("DELETE", "/pools/q")
    wait_until(lambda: mounted(service.data) == [])
    assert sorted(container.list_blob_names()) == ["d", "empty"]


async def test_a_container_is_mounted_again_while_it_is_unmounted(
    tmp_path: Path, azurite: BlobStore, container: ContainerClient
) -> None:
    storage = StorageAccount.read(azurite.connection_string)
    (settings,) = mount(azurite, container).values()
    url = storage.mount(azurite.account, container.container_name, azurite.key, None)
    assert url is not None
    mounts = FuseMounts(tmp_path)
    try:
        await mounts.mount(tmp_path / "one", settings, url)
        mounts.leave(tmp_path / "one")
        point = await mounts.mount(tmp_path / "two", settings, url)
        assert [path.name for path in point.iterdir()] == ["in"]
        assert mounted(tmp_path) == [str(point)]
    finally:
        await mounts.close()


def test_a_big_file_is_streamed(
    service: Service, azurite: BlobStore, container: ContainerClient
) -> None:
    container.upload_blob("big", bytes(32 << 20))
    create(service, mount(azurite, container))
    assert run(service, "t", f"head -c 5 {IN}/big | wc -c; tail -c 5 {IN}/big | wc -c") == "5\n5\n"
    cached = [path for path in service.data.glob("fuse/*/cache/**/big") if path.is_file()]
    assert cached == []


def test_options_of_blobfuse_have_an_effect(
    service: Service, azurite: BlobStore, container: ContainerClient
) -> None:
    options = "--subdirectory=in -o ro,attr_timeout=9 --use-attr-cache=true"
    create(service, mount(azurite, container, blobfuseOptions=options))
    assert run(service, "t", f"ls {IN}; touch {IN}/b || echo refused") == "a.txt\nrefused\n"


def test_a_write_without_permission_fails_its_task(
    service: Service, azurite: BlobStore, container: ContainerClient
) -> None:
    sas = generate_container_sas(
        azurite.account,
        container.container_name,
        account_key=azurite.key,
        permission=ContainerSasPermissions(read=True, list=True),
        expiry="2100-01-01T00:00:00Z",
    )
    create(service, mount(azurite, container, accountKey=None, sasKey=sas))
    attempt(service, "t", f"echo x > {IN}/b", "p", "failure")
    found = service.client.get_task("j-p", "t").execution_info.failure_info
    assert found.code == "MountConfigurationError"
    (detail,) = found.details
    assert "b was not uploaded: AuthorizationPermissionMismatch" in detail.value
    # The failure is reported once; later tasks are not affected.
    assert run(service, "t2", f"cat {IN}/in/a.txt") == "one\n"


def test_no_credential_can_be_read_by_others(
    service: Service, azurite: BlobStore, container: ContainerClient
) -> None:
    create(service, mount(azurite, container))
    run(service, "t", f"ls {IN}")
    (point,) = mounted(service.data)
    commands = [
        path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if readable(path)
    ]
    ours = [command for command in commands if point.encode() in command]
    secret = [b"sig=", azurite.key.encode()]
    assert ours
    assert not any(word in command for command in ours for word in secret)
    for path in Path(point).parent.rglob("*"):
        if path.is_file() and not path.is_relative_to(point):
            assert not any(word in path.read_bytes() for word in secret)
            assert path.stat().st_mode & 0o077 == 0


def readable(path: Path) -> bool:
    try:
        path.read_bytes()
    except OSError:
        return False
    return True


def test_an_ended_rclone_is_started_again(
    service: Service, azurite: BlobStore, container: ContainerClient
) -> None:
    create(service, mount(azurite, container))
    run(service, "t1", f"ls {IN}")
    kill_rclone(service.data)
    assert run(service, "t2", f"cat {IN}/in/a.txt") == "one\n"


def test_a_container_that_does_not_exist_makes_the_node_unusable(
    service: Service, azurite: BlobStore, container: ContainerClient
) -> None:
    create(service, mount(azurite, container, containerName="none"))
    wait_until(lambda: nodes(service)[0]["state"] == "unusable")
    (error,) = nodes(service)[0]["errors"]
    assert "404 ContainerNotFound" in error["errorDetails"][0]["value"]
    assert mounted(service.data) == []


def nodes(service: Service) -> Any:
    return service.request("GET", "/pools/p/nodes").json["value"] or [{"state": ""}]


def test_separate_users_read_and_write(azurite: BlobStore, container: ContainerClient) -> None:
    if not is_root():
        pytest.skip("only root can start processes of other users")
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    before = os.umask(0o077)
    try:
        users = separate(folder, [folder]).ids
        assert isinstance(users, UserIds)
        config = {"storage": azurite.connection_string, "fuse": True, "users": users}
        with running_with_engine(folder, **config) as service:
            create(service, mount(azurite, container))
            uid = run(service, "t1", f"id -u; cat {IN}/in/a.txt; echo b > {IN}/b").split()
            assert int(uid[0]) >= users.first
            assert content(container, "b") == b"b\n"
            (point,) = mounted(folder)
            assert f"cat: {point}" in run(service, "t2", f"cat {point}/../rclone.log 2>&1 || true")
    finally:
        os.umask(before)
        assert mounted(folder) == []
        shutil.rmtree(folder)


def test_nothing_stays_mounted_after_a_stop_a_kill_or_a_reset(
    azurite_installed: Path, tmp_path: Path
) -> None:
    data = tmp_path / "local"
    try:
        for end in (local.stop, kill, local.reset):
            endpoints = local.start(data)
            prepare(endpoints)
            wait_until(lambda: len(mounted(data)) == 1)
            end(data)
            if end is kill:
                # The kernel ends rclone with the service, unless that is killed, too.
                kill_rclone(data)
                local.start(data)
                assert len(mounted(data)) <= 1  # of the start task, which runs again
                local.stop(data)
            assert mounted(data) == []
        assert not (data / "batch").exists()
    finally:
        local.stop(data)
        unmount_below(data)


def prepare(endpoints: local.Endpoints) -> None:
    """A pool with a node that has mounted a container, and whose start task does not end."""
    storage = BlobServiceClient.from_connection_string(endpoints.connection_string)
    if not storage.get_container_client("data").exists():
        storage.create_container("data")
    credential = AzureNamedKeyCredential(endpoints.batch_account, endpoints.batch_key)
    settings = {
        "accountName": endpoints.blob_account,
        "containerName": "data",
        "accountKey": endpoints.blob_key,
        "relativeMountPath": "data",
    }
    with BatchClient(endpoints.batch_url, credential) as batch:
        if not list(batch.list_pools()):
            mounting = [{"azureBlobFileSystemConfiguration": settings}]
            start = {"commandLine": f"/bin/sh -c 'cd {IN} && exec sleep 1000'"}
            batch.create_pool(pool(mountConfiguration=mounting, startTask=start))


def kill(data: Path) -> None:
    found = Process.read(data / "daemon.lock")
    assert found is not None
    found.signal(signal.SIGSTOP)
    kill_rclone(data)
    found.signal(signal.SIGKILL)
    wait_until(lambda: found.ending)


def kill_rclone(folder: Path) -> None:
    """Kill each rclone that has a file system below a folder."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        command = path.read_bytes() if readable(path) else b""
        if b"rclone\0mount\0" in command and f"{folder}/".encode() in command:
            found = Process.of(int(path.parent.name))
            if found is not None:
                found.signal(signal.SIGKILL)
                wait_until(lambda found=found: found.ending)
