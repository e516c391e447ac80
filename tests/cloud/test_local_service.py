"""A run through all resources of an account on the embedded service, with real processes."""

from __future__ import annotations

import asyncio
import hashlib
import shlex
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from batchspec.account import TaskAdded
from batchspec.cloud import AccountClient, LocalAccount, open_account
from batchspec.diagnostics import Secret, ServiceError
from batchspec.plan.observed import LocalFile
from batchspec.spec import BlobUrl, Quoted, Quoting, Record, Text, freeze

if TYPE_CHECKING:
    from batchspec.local import Endpoints

HOUR = timedelta(hours=1)


def record(**items: object) -> Record:
    frozen = freeze(items)
    assert isinstance(frozen, Record)
    return frozen


def marks(digest: str) -> list[dict[str, str]]:
    return [
        {"name": "batchspec:spec", "value": "t"},
        {"name": "batchspec:digest", "value": digest},
    ]


POOL = {
    "id": "p",
    "vmSize": "standard_d2s_v5",
    "virtualMachineConfiguration": {
        "imageReference": {
            "publisher": "canonical",
            "offer": "ubuntu-24_04-lts",
            "sku": "server",
            "version": "latest",
        },
        "nodeAgentSKUId": "batch.node.ubuntu 24.04",
    },
    "targetDedicatedNodes": 1,
}


@pytest.fixture
def account(local_home: Endpoints) -> LocalAccount:
    return LocalAccount(
        local_home.batch_url,
        local_home.batch_account,
        Secret(local_home.batch_key),
        local_home.blob_url,
        local_home.blob_account,
        Secret(local_home.blob_key),
    )


async def until(done: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(60):
        while not await done():
            await asyncio.sleep(0.05)


async def test_a_run(account: LocalAccount, tmp_path: Path) -> None:
    async with open_account(account) as cloud:
        await prepare(cloud, tmp_path)
        await run(cloud)
        await look(cloud, tmp_path)
        await clear(cloud)


async def prepare(cloud: AccountClient, tmp_path: Path) -> None:
    for name in ("input", "output"):
        assert await cloud.containers.create(name, {}, None)
    path = tmp_path / "a b.txt"
    path.write_bytes(b"hello")
    file = LocalFile("a b#1.txt", str(path), 5, hashlib.md5(b"hello").digest())
    await cloud.blobs.upload("input", file, lambda _: None)

    body = record(**POOL, metadata=marks("d1"))
    assert await cloud.pools.get("p") is None
    assert await cloud.pools.create(body, HOUR) is True
    assert await cloud.pools.create(body, HOUR) is False
    with pytest.raises(ServiceError) as caught:
        await cloud.pools.create(record(**POOL, metadata=marks("d2")), HOUR)
    assert caught.value.code == "PoolExists"

    job = record(id="j", poolInfo={"poolId": "p"}, metadata=marks("d1"))
    assert await cloud.jobs.create(job, HOUR) is True
    assert await cloud.jobs.create(job, HOUR) is False
    usage = await cloud.quotas.get_usage()
    assert usage.pools >= 1 and usage.jobs >= 1


async def run(cloud: AccountClient) -> None:
    program = (
        "import sys, urllib.request as web; body = open('in.txt', 'rb').read(); "
        "web.urlopen(web.Request(sys.argv[1], body, {'x-ms-blob-type': 'BlockBlob'}, method='PUT'))"
    )
    put = f"python3 -c {shlex.quote(program)} "
    target = Text(
        (
            "/bin/sh -c ",
            Quoted(
                Text((put, Quoted(Text((BlobUrl("output", "result", "cw"),)), Quoting.POSIX))),
                Quoting.POSIX,
            ),
        )
    )
    good = record(
        id="good",
        commandLine=target,
        resourceFiles=[{"httpUrl": BlobUrl("input", "a b#1.txt", "r"), "filePath": "in.txt"}],
    )
    bad = record(id="bad", commandLine="/bin/sh -c 'printf %02000d 7 >&2; echo €no >&2; exit 3'")
    wrong = record(id="not an id", commandLine="true")
    added = await cloud.tasks.create_collection("j", [good, wrong, bad], HOUR)
    assert added[0] == TaskAdded("good")
    assert added[2] == TaskAdded("bad")
    assert added[1].problem is not None
    assert added[1].problem.code == "invalid-property-value"
    assert await cloud.tasks.create_collection("j", [bad], HOUR) == [TaskAdded("bad", existed=True)]

    async def completed() -> bool:
        return (await cloud.jobs.get_task_counts("j")).completed == 2

    await until(completed)


async def look(cloud: AccountClient, tmp_path: Path) -> None:
    counts = await cloud.jobs.get_task_counts("j")
    assert (counts.succeeded, counts.failed) == (1, 1)
    (failed,) = [task async for task in cloud.tasks.list_failed("j")]
    assert (failed.id, failed.exit_code, failed.succeeded) == ("bad", 3, False)
    assert failed.code == "FailureExitCode"
    assert failed.node is not None
    tasks = {task.id: task async for task in cloud.tasks.list("j", missing_ok=True)}
    assert set(tasks) == {"good", "bad"}
    assert tasks["good"].succeeded
    ended = {
        task.facts.id: task.since
        async for task in cloud.tasks.list_ended("j", since=None, failed=False)
    }
    assert set(ended) == {"good", "bad"}
    last = max(ended.values()) + timedelta(seconds=1)
    assert not [1 async for _ in cloud.tasks.list_ended("j", since=last, failed=False)]
    first = min(ended.values())
    assert [t.facts.id async for t in cloud.tasks.list_ended("j", since=first, failed=True)] == [
        "bad"
    ]
    assert not [1 async for _ in cloud.tasks.list_running("j")]

    assert await cloud.tasks.get_file_tail("j", "bad", "stderr.txt", 8) == "07€no\n"
    assert await cloud.tasks.get_file_tail("j", "bad", "nothing.txt", 8) == ""
    assert await cloud.tasks.get_file_tail("j", "none", "stderr.txt", 8) == ""
    assert await cloud.nodes.get_file_tail("p", failed.node, "startup/stderr.txt", 8) == ""
    assert await cloud.pools.get_node_counts("p") == {"idle": 1}
    assert [node async for node in cloud.nodes.list_unhealthy("p")] == []
    assert await cloud.images.list()

    (blob,) = [blob async for blob in cloud.blobs.list("output")]
    await cloud.blobs.download("output", blob, tmp_path / "part", lambda _: None)
    assert (tmp_path / "part").read_bytes() == b"hello"


async def clear(cloud: AccountClient) -> None:
    await cloud.jobs.update("j", record(onAllTasksComplete="terminatejob"))

    async def ended() -> bool:
        job = await cloud.jobs.get("j")
        return job is not None and job.state == "completed"

    await until(ended)
    await cloud.jobs.terminate("j", "once more")
    (job,) = [job async for job in cloud.jobs.list("j")]
    assert job.terminate_reason == "AllTasksComplete"
    with pytest.raises(ServiceError) as caught:
        await cloud.tasks.create_collection("j", [record(id="late", commandLine="true")], HOUR)
    assert caught.value.code == "JobCompleted"

    await cloud.pools.resize("p", 0, 0)
    assert await cloud.jobs.delete("j") is True

    async def job_gone() -> bool:
        return await cloud.jobs.get("j") is None

    await until(job_gone)
    assert await cloud.jobs.delete("j") is False
    assert await cloud.pools.delete("p") is True

    async def pool_gone() -> bool:
        return await cloud.pools.get("p") is None

    await until(pool_gone)
    assert await cloud.pools.delete("p") is False
    assert await cloud.containers.delete("output") is True


async def test_a_wrong_key(account: LocalAccount) -> None:
    wrong = LocalAccount(
        account.batch_url,
        account.batch_account,
        Secret("d3Jvbmc="),
        account.blob_url,
        account.blob_account,
        Secret("d3Jvbmc="),
    )
    async with open_account(wrong) as cloud:
        for call in (cloud.pools.get("p"), cloud.containers.get_metadata("data")):
            with pytest.raises(ServiceError) as caught:
                await call
            assert caught.value.status == 403
            assert caught.value.code in ("AuthenticationFailed", "AuthorizationFailure")
            assert "AZURE_" in caught.value.problems[0].fix
