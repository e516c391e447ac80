"""File systems that a pool mounts on its nodes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from batchspec.local.agent import StorageAccount
from batchspec.local.agent.fuse import BlobfuseOptions, FuseError
from batchspec.local.agent.mounts import MountError, Mounts
from batchspec.local.agent.storage import BlobClient, StorageError, blob_url
from tests.local.blobs import Blobs, blob_store
from tests.local.engines import engine_with, job, pool, running_with_engine, task, wait_until
from tests.local.running import Service, running

MOUNT = "$AZ_BATCH_NODE_MOUNTS_DIR/data"


@dataclass(frozen=True)
class Access:
    """Access to the containers of a store as the account ``own``."""

    blobs: Blobs

    def container(self, name: str) -> str:
        return self.blobs.container(name)

    def allows(self, identity: str, url: str, *, write: bool) -> bool:
        return True

    def identity(self, url: str) -> str:
        return url

    def mount(self, account: str, name: str, key: str | None, sas: str | None) -> str | None:
        return self.blobs.container(name) if account == "own" else None


def blob_mount(container: str = "c", account: str = "own") -> dict[str, Any]:
    settings = {"accountName": account, "containerName": container, "accountKey": "a2V5"}
    return {"azureBlobFileSystemConfiguration": {**settings, "relativeMountPath": "data"}}


def nfs_mount(source: str) -> dict[str, Any]:
    return {"nfsMountConfiguration": {"source": source, "relativeMountPath": "data"}}


@asynccontextmanager
async def mounted(path: Path) -> AsyncIterator[tuple[Service, Blobs]]:
    """A service whose account has the containers of a store."""
    async with blob_store() as blobs:
        blobs.containers = {"c": {"in/a.txt": b"one"}}
        with running(path / "batch", engine_with(Access(blobs))) as service:
            yield service, blobs
            assert service.violations == []


def node(service: Service) -> Any:
    return service.request("GET", "/pools/p/nodes").json["value"][0]


def run(service: Service, task_id: str, script: str) -> str:
    """Run a task and return its output."""
    service.client.create_task("j", task(task_id, script))
    wait_until(lambda: service.client.get_task("j", task_id).state == "completed")
    assert service.client.get_task("j", task_id).execution_info.result == "success"
    return b"".join(service.client.download_task_file("j", task_id, "stdout.txt")).decode()


def unusable(service: Service) -> str:
    """The message of the error of the node, once it is unusable."""
    wait_until(lambda: [one["state"] for one in list_nodes(service)] == ["unusable"])
    (error,) = node(service)["errors"]
    assert error["code"] == "MountConfigurationError"
    (detail,) = error["errorDetails"]
    return str(detail["value"])


def list_nodes(service: Service) -> Any:
    return service.request("GET", "/pools/p/nodes").json["value"]


async def test_tasks_read_and_write_a_container(tmp_path: Path) -> None:
    async with mounted(tmp_path) as (service, blobs):
        given = pool(nodes=2, mountConfiguration=[blob_mount()])
        assert service.request("POST", "/pools", given).status == 201
        shown = service.request("GET", "/pools/p").json["mountConfiguration"]
        assert "accountKey" not in shown[0]["azureBlobFileSystemConfiguration"]
        service.client.create_job(job())

        def work() -> None:
            script = f"cat {MOUNT}/in/a.txt; mkdir -p {MOUNT}/out; echo new > {MOUNT}/out/b.txt"
            assert run(service, "t1", script) == "one"
            assert blobs.containers["c"]["out/b.txt"] == b"new\n"
            # The next task sees the changes of other clients.
            blobs.containers["c"]["in/a.txt"] = b"two"
            del blobs.containers["c"]["out/b.txt"]
            assert run(service, "t2", f"cat {MOUNT}/in/a.txt; ls {MOUNT}/out") == "two"
            assert blobs.containers["c"] == {"in/a.txt": b"two"}

        await asyncio.to_thread(work)


@pytest.mark.parametrize(
    ("mount", "message"),
    [
        (blob_mount("none"), "Container none: 404 ContainerNotFound"),
        (blob_mount(account="other"), "only containers of the account's own storage"),
        (blob_mount(".."), "'..' is not the name of a container"),
        (blob_mount("c?comp=list"), "'c?comp=list' is not the name of a container"),
        (blob_mount("\N{KELVIN SIGN}"), "'\N{KELVIN SIGN}' is not the name of a container"),
    ],
)
async def test_a_container_that_cannot_be_mounted_makes_the_node_unusable(
    tmp_path: Path, mount: dict[str, Any], message: str
) -> None:
    async with mounted(tmp_path) as (service, _):
        service.request("POST", "/pools", pool(mountConfiguration=[mount]))
        assert message in await asyncio.to_thread(unusable, service)


SETTINGS = {
    "azureBlobFileSystemConfiguration": {
        "accountName": "own",
        "containerName": "c",
        "relativeMountPath": "c",
    }
}


Pull = Callable[[], Awaitable[None]]


@asynccontextmanager
async def mounts_of(data: Path) -> AsyncIterator[tuple[Pull, Mounts, Blobs, Path]]:
    """The mounts of a node, their settings, a store with the container ``c``, and its folder."""
    async with blob_store() as blobs:
        blobs.containers = {"c": {}}
        client = BlobClient()
        data.mkdir(exist_ok=True)
        mounts = Mounts(data, client, Access(blobs))
        yield lambda: mounts.pull(data / "nodes", (SETTINGS,)), mounts, blobs, data / "mounts" / "c"
        await client.close()


@pytest.mark.parametrize("name", ["../x", "/x", "a//b", "a/./b"])
async def test_a_blob_whose_name_is_not_a_path_is_named(tmp_path: Path, name: str) -> None:
    data = tmp_path / "data"
    data.mkdir()
    async with mounts_of(data) as (pull, _, blobs, _):
        blobs.containers["c"][name] = b"x"
        with pytest.raises(MountError, match=f"the blob name '{name}' cannot be the path"):
            await pull()
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


async def test_a_file_name_that_is_not_utf_8_is_named(tmp_path: Path) -> None:
    async with mounts_of(tmp_path) as (pull, mounts, _, folder):
        await pull()
        Path(os.fsdecode(os.fsencode(folder) + b"/\xff")).touch()
        with pytest.raises(MountError, match="is not UTF-8"):
            await mounts.push((SETTINGS,))


async def test_a_file_that_disappears_during_the_upload_fails_no_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = BlobClient.upload

    async def upload_one(client: BlobClient, source: int, url: str, headers: Any) -> str:
        for path in folder.glob("*"):
            if f"/{path.name}?" not in url:
                path.unlink()
        return await upload(client, source, url, headers)

    monkeypatch.setattr(BlobClient, "upload", upload_one)
    async with mounts_of(tmp_path) as (pull, mounts, blobs, folder):
        await pull()
        (folder / "a").write_text("a")
        (folder / "b").write_text("b")
        await mounts.push((SETTINGS,))
        assert len(blobs.containers["c"]) == 1


async def test_no_file_outside_of_the_folder_is_removed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    async with mounts_of(tmp_path / "data") as (pull, _, blobs, folder):
        blobs.containers["c"]["d/f"] = b"x"
        await pull()
        (folder / "d").rename(outside / "d")
        (folder / "d").symlink_to(outside / "d")
        blobs.containers["c"].clear()
        await pull()
    assert (outside / "d" / "f").read_bytes() == b"x"


def test_a_local_path_takes_the_place_of_an_nfs_file_system(tmp_path: Path) -> None:
    share = tmp_path / "share"
    share.mkdir()
    (share / "in").write_text("here")
    with running_with_engine(tmp_path / "batch") as service:
        mounts = [nfs_mount(f"localhost:{share}")]
        service.request("POST", "/pools", pool(mountConfiguration=mounts))
        service.client.create_job(job())
        assert run(service, "t", f"cat {MOUNT}/in; echo out > {MOUNT}/out") == "here"
        assert (share / "out").read_text() == "out\n"
        # Neither a reboot nor the end of the pool touches the folder.
        path = f"/pools/p/nodes/{node(service)['id']}"
        service.request("POST", f"{path}/reimage", {})
        wait_until(lambda: node(service)["state"] == "idle")
        assert run(service, "again", f"cat {MOUNT}/in") == "here"
        service.client.begin_delete_pool("p").result()
    assert sorted(one.name for one in share.iterdir()) == ["in", "out"]


@pytest.mark.parametrize(
    ("mount", "message"),
    [
        (nfs_mount("server.example:/x"), "only paths of this machine"),
        (nfs_mount("/does/not/exist"), "the folder does not exist"),
        (
            {
                "cifsMountConfiguration": {
                    "username": "u",
                    "password": "hidden",
                    "source": "//server/x",
                    "relativeMountPath": "data",
                }
            },
            "cifsMountConfiguration cannot be mounted",
        ),
    ],
)
def test_other_file_systems_make_the_node_unusable(
    tmp_path: Path, mount: dict[str, Any], message: str
) -> None:
    with running_with_engine(tmp_path / "batch") as service:
        service.request("POST", "/pools", pool(mountConfiguration=[mount]))
        found = unusable(service)
        assert message in found
        assert "hidden" not in found


def test_a_mount_needs_the_credentials_of_its_account() -> None:
    account = StorageAccount("own", "http://127.0.0.1:1/own", "a2V5")
    assert account.mount("OWN", "c", "a2V5", None) is not None
    assert account.mount("own", "c", None, None) is not None
    assert account.mount("own", "c", None, "?sv=1") == "http://127.0.0.1:1/own/c?sv=1"
    assert account.mount("own", "c", "b3RoZXI=", None) is None
    assert account.mount("other", "c", "a2V5", None) is None


def test_an_invalid_url_is_a_storage_error() -> None:
    account = StorageAccount("own", "http://127.0.0.1:1/own", "a2V5")
    assert account.identity("http://[::1/c") == "http://[::1/c"
    with pytest.raises(StorageError, match="InvalidUrl"):
        blob_url("http://[::1/c", "x")


def test_options_of_blobfuse_are_read_as_on_a_command_line() -> None:
    parse = BlobfuseOptions.parse
    assert parse("") == BlobfuseOptions()
    assert parse("-o ro").read_only
    assert parse("--read-only=true -oattr_timeout=240").kernel_seconds == 240
    assert parse("--file-cache-timeout-in-seconds=120").cache_seconds == 120
    assert parse("-o attr_timeout=x --tmp-path=/mnt --read-only=false") == BlobfuseOptions()
    with pytest.raises(FuseError, match="No closing quotation"):
        parse("-o 'ro")
