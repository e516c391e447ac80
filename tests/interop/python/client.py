"""A program without batchspec that uses an earlier Python SDK, azure-batch 8 to 14.

    python client.py show POOL JOB     # resources and outputs of a run, as JSON
    python client.py run               # run a job with tasks and print the results
    python client.py models            # the api-version, and the properties of the models

The account is in AZURE_BATCH_URL, AZURE_BATCH_ACCOUNT and AZURE_BATCH_KEY. The program runs in a
separate environment with that SDK and without this project.
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


SLOTS = "task_slots_per_node"
if SLOTS not in m.PoolAddParameter._attribute_map:
    SLOTS = "max_tasks_per_node"  # until api-version 2020-03-01.11.0


def read(stream: Any) -> str:
    return b"".join(stream).decode()


def show(client: BatchServiceClient, pool_id: str, job_id: str) -> dict[str, Any]:
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


def counts(client: BatchServiceClient) -> Any:
    found = client.job.get_task_counts("interop")
    return getattr(found, "task_counts", found)  # until 2020-03-01.11.0 without slots


def models(client: BatchServiceClient) -> dict[str, Any]:
    shapes = {
        name: sorted(attribute["key"] for attribute in model._attribute_map.values())
        for name, model in vars(m).items()
        if isinstance(model, type) and getattr(model, "_attribute_map", None)
    }
    return {"version": client.pool.api_version, "models": shapes}


def run(client: BatchServiceClient) -> dict[str, Any]:
    result: dict[str, Any] = {"version": client.pool.api_version}
    client.pool.add(
        m.PoolAddParameter(
            id="interop",
            vm_size="standard_d2s_v3",
            target_dedicated_nodes=1,
            **{SLOTS: 2},
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
            metadata=[m.MetadataItem(name="made-by", value="interop test")],
        )
    )
    result["slots"] = getattr(client.pool.get("interop"), SLOTS)
    result["pool_exists"] = client.pool.exists("interop")
    result["missing_pool_exists"] = client.pool.exists("missing")
    client.job.add(m.JobAddParameter(id="interop", pool_info=m.PoolInformation(pool_id="interop")))
    try:
        client.job.add(
            m.JobAddParameter(id="interop", pool_info=m.PoolInformation(pool_id="interop"))
        )
    except m.BatchErrorException as error:
        result["again"] = error.error.code
    added = client.task.add_collection(
        "interop",
        [
            m.TaskAddParameter(id="good", command_line="/bin/sh -c 'echo naïve; echo x > out.txt'"),
            m.TaskAddParameter(id="bad", command_line="/bin/sh -c 'echo why >&2; exit 3'"),
        ],
    )
    result["added"] = sorted([item.task_id, item.status.value] for item in added.value)
    try:
        client.task.add_collection("interop", [m.TaskAddParameter(id="a b", command_line="true")])
    except m.CreateTasksErrorException as error:
        result["refused"] = [failure.error.code for failure in error.failure_tasks]
    except TypeError:  # azure-batch 8 fails while it builds this exception
        try:
            client.task.add("interop", m.TaskAddParameter(id="a b", command_line="true"))
        except m.BatchErrorException as error:
            result["refused"] = [error.error.code]
    end = time.monotonic() + PATIENCE
    while counts(client).completed < 2:
        assert time.monotonic() < end, "the tasks did not end"
        time.sleep(0.05)
    result["ended"] = {
        task.id: [task.execution_info.result.value, task.execution_info.exit_code]
        for task in client.task.list(
            "interop", m.TaskListOptions(filter="state eq 'completed'", select="id,executionInfo")
        )
    }
    bad = client.task.get("interop", "bad").execution_info.failure_info
    result["failure"] = [bad.category.value, bad.code]
    result["stdout"] = read(client.file.get_from_task("interop", "good", "stdout.txt"))
    result["part"] = read(
        client.file.get_from_task(
            "interop", "bad", "stderr.txt", m.FileGetFromTaskOptions(ocp_range="bytes=0-1")
        )
    )
    listed = client.file.list_from_task("interop", "good", recursive=True)
    result["files"] = sorted(file.name for file in listed if not file.is_directory)
    raw = client.file.get_properties_from_task("interop", "good", "wd/out.txt", raw=True)
    result["size"] = int(raw.headers["Content-Length"])
    client.file.delete_from_task("interop", "good", "wd/out.txt")
    try:
        client.file.get_properties_from_task("interop", "good", "wd/out.txt")
    except m.BatchErrorException as error:
        result["deleted"] = error.response.status_code
    job = client.job.get("interop")
    client.job.patch(
        "interop",
        m.JobPatchParameter(priority=7),
        m.JobPatchOptions(if_match=job.e_tag),
    )
    try:
        client.job.patch(
            "interop", m.JobPatchParameter(priority=8), m.JobPatchOptions(if_match=job.e_tag)
        )
    except m.BatchErrorException as error:
        result["overtaken"] = [error.response.status_code, error.error.code]
    result["priority"] = client.job.get("interop").priority
    client.job.terminate("interop")
    client.job.delete("interop")
    client.pool.delete("interop")
    while client.pool.exists("interop"):
        assert time.monotonic() < end, "the pool was not deleted"
        time.sleep(0.05)
    result["pools"] = [pool.id for pool in client.pool.list()]
    return result


if __name__ == "__main__":
    action, *arguments = sys.argv[1:]
    print(json.dumps({"show": show, "run": run, "models": models}[action](connect(), *arguments)))
