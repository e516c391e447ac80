"""The embedded service works with both clients of the newest SDK, azure-batch 15.1."""

from __future__ import annotations

import asyncio
from typing import Any

from azure.batch import BatchClient
from azure.batch.aio import BatchClient as AsyncBatchClient
from azure.core.credentials import AzureNamedKeyCredential
from azure.core.pipeline.transport import AsyncioRequestsTransport

from batchspec import local
from tests.local.engines import pool, wait_until

TASKS = [
    {"id": "good", "commandLine": "/bin/sh -c 'echo done'"},
    {"id": "bad", "commandLine": "/bin/sh -c 'exit 3'"},
]
ENDED = {"good": 0, "bad": 3}


def test_the_synchronous_client_runs_a_job(local_home: local.Endpoints) -> None:
    key = AzureNamedKeyCredential(local_home.batch_account, local_home.batch_key)
    with BatchClient(local_home.batch_url, key, polling_interval=0) as client:
        client.create_pool(pool("p", nodes=1))
        client.create_job({"id": "j", "poolInfo": {"poolId": "p"}})
        assert len(client.create_tasks("j", TASKS).result_values) == 2
        wait_until(lambda: client.get_job_task_counts("j").task_counts.completed == 2)
        found = {task.id: task.execution_info.exit_code for task in client.list_tasks("j")}
        assert found == ENDED
        assert b"".join(client.download_task_file("j", "good", "stdout.txt")) == b"done\n"
        client.begin_delete_job("j", polling_interval=0).result()
        client.begin_delete_pool("p", polling_interval=0).result()
        assert list(client.list_pools()) == []
    assert local.status(local_home.data).former_clients == ()


def test_the_asynchronous_client_runs_a_job(local_home: local.Endpoints) -> None:
    asyncio.run(_run(local_home))
    assert local.status(local_home.data).former_clients == ()


async def _run(ends: local.Endpoints) -> None:
    key = AzureNamedKeyCredential(ends.batch_account, ends.batch_key)
    # The transport of requests: the default one needs another package.
    transport: Any = AsyncioRequestsTransport()
    async with AsyncBatchClient(ends.batch_url, key, transport=transport) as client:
        await client.create_pool(pool("p", nodes=1))
        await client.create_job({"id": "j", "poolInfo": {"poolId": "p"}})
        assert len((await client.create_tasks("j", TASKS)).result_values) == 2
        while (await client.get_job_task_counts("j")).task_counts.completed < 2:
            await asyncio.sleep(0.05)
        found = {task.id: task.execution_info.exit_code async for task in client.list_tasks("j")}
        assert found == ENDED
        stream = await client.download_task_file("j", "good", "stdout.txt")
        assert b"".join([part async for part in stream]) == b"done\n"
        poller = await client.begin_delete_job("j", polling_interval=0)
        await poller.result()
        poller = await client.begin_delete_pool("p", polling_interval=0)
        await poller.result()
        assert [one async for one in client.list_pools()] == []
