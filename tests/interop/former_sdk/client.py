"""A program that knows nothing of batchspec: the former Python SDK, azure-batch 14.2.

    python client.py look POOL JOB     # what a run left behind, as JSON
    python client.py trip              # pool, job, tasks and files, there and back

The account comes as AZURE_BATCH_URL, AZURE_BATCH_ACCOUNT and AZURE_BATCH_KEY. Runs in an
environment of its own, which has that SDK and not this project.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

from azure.batch import BatchServiceClient
from azure.batch import models as m
from azure.batch.batch_auth import SharedKeyCredentials

PATIENCE = 30.0


def connect() -> BatchServiceClient:
    credentials = SharedKeyCredentials(
        os.environ["AZURE_BATCH_ACCOUNT"], os.environ["AZURE_BATCH_KEY"]
    )
    return BatchServiceClient(credentials, batch_url=os.environ["AZURE_BATCH_URL"])


def read(stream: Any) -> str:
    return b"".join(stream).decode()


def look(client: BatchServiceClient, pool_id: str, job_id: str) -> dict[str, Any]:
    tasks = list(client.task.list(job_id))
    return {
        "pools": [pool.id for pool in client.pool.list()],
        "nodes": [node.state.value for node in client.compute_node.list(pool_id)],
        "jobs": [[job.id, job.state.value] for job in client.job.list()],
        "tasks": [[task.id, task.state.value, task.execution_info.exit_code] for task in tasks],
        "stdout": [
            read(client.file.get_from_task(job_id, task.id, "stdout.txt")) for task in tasks
        ],
    }


def trip(client: BatchServiceClient) -> dict[str, Any]:
    said: dict[str, Any] = {}
    client.pool.add(
        m.PoolAddParameter(
            id="peer",
            vm_size="standard_d2s_v3",
            target_dedicated_nodes=1,
            task_slots_per_node=2,
            virtual_machine_configuration=m.VirtualMachineConfiguration(
                image_reference=m.ImageReference(
                    publisher="canonical",
                    offer="0001-com-ubuntu-server-jammy",
                    sku="22_04-lts",
                    version="latest",
                ),
                node_agent_sku_id="batch.node.ubuntu 22.04",
            ),
            start_task=m.StartTask(command_line="/bin/sh -c 'echo ready'", wait_for_success=True),
            metadata=[m.MetadataItem(name="made-by", value="a peer")],
        )
    )
    said["pool_there"] = client.pool.exists("peer")
    said["pool_absent"] = client.pool.exists("nobody")
    client.job.add(m.JobAddParameter(id="peer", pool_info=m.PoolInformation(pool_id="peer")))
    try:
        client.job.add(m.JobAddParameter(id="peer", pool_info=m.PoolInformation(pool_id="peer")))
    except m.BatchErrorException as error:
        said["again"] = error.error.code
    added = client.task.add_collection(
        "peer",
        [
            m.TaskAddParameter(id="good", command_line="/bin/sh -c 'echo naïve; echo x > out.txt'"),
            m.TaskAddParameter(id="bad", command_line="/bin/sh -c 'echo why >&2; exit 3'"),
        ],
    )
    said["added"] = sorted([result.task_id, result.status.value] for result in added.value)
    try:
        client.task.add_collection("peer", [m.TaskAddParameter(id="a b", command_line="true")])
    except m.CreateTasksErrorException as error:
        said["refused"] = [failure.error.code for failure in error.failure_tasks]
    end = time.monotonic() + PATIENCE
    while client.job.get_task_counts("peer").task_counts.completed < 2:
        assert time.monotonic() < end, "the tasks did not end"
        time.sleep(0.05)
    said["ended"] = {
        task.id: [task.execution_info.result.value, task.execution_info.exit_code]
        for task in client.task.list(
            "peer", m.TaskListOptions(filter="state eq 'completed'", select="id,executionInfo")
        )
    }
    bad = client.task.get("peer", "bad").execution_info.failure_info
    said["failure"] = [bad.category.value, bad.code]
    said["stdout"] = read(client.file.get_from_task("peer", "good", "stdout.txt"))
    said["part"] = read(
        client.file.get_from_task(
            "peer", "bad", "stderr.txt", m.FileGetFromTaskOptions(ocp_range="bytes=0-1")
        )
    )
    listed = client.file.list_from_task("peer", "good", recursive=True)
    said["files"] = sorted(file.name for file in listed if not file.is_directory)
    raw = client.file.get_properties_from_task("peer", "good", "wd/out.txt", raw=True)
    said["size"] = int(raw.headers["Content-Length"])
    client.file.delete_from_task("peer", "good", "wd/out.txt")
    try:
        client.file.get_properties_from_task("peer", "good", "wd/out.txt")
    except m.BatchErrorException as error:
        said["deleted"] = error.response.status_code
    job = client.job.get("peer")
    client.job.patch(
        "peer",
        m.JobPatchParameter(priority=7),
        m.JobPatchOptions(if_match=job.e_tag),
    )
    try:
        client.job.patch(
            "peer", m.JobPatchParameter(priority=8), m.JobPatchOptions(if_match=job.e_tag)
        )
    except m.BatchErrorException as error:
        said["overtaken"] = [error.response.status_code, error.error.code]
    said["priority"] = client.job.get("peer").priority
    client.job.terminate("peer")
    client.job.delete("peer")
    client.pool.delete("peer")
    while client.pool.exists("peer"):
        assert time.monotonic() < end, "the pool did not go"
        time.sleep(0.05)
    said["pools"] = [pool.id for pool in client.pool.list()]
    return said


if __name__ == "__main__":
    action, *arguments = sys.argv[1:]
    print(json.dumps({"look": look, "trip": trip}[action](connect(), *arguments)))
