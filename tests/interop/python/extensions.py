"""A program that runs a job template with azure-batch-extensions 9, and prints the results as JSON.

The account is in AZURE_BATCH_URL, AZURE_BATCH_ACCOUNT and AZURE_BATCH_KEY.
"""

from __future__ import annotations

import json
import os
import time
from typing import Any

from azext.batch import BatchExtensionsClient
from azure.batch.batch_auth import SharedKeyCredentials

PATIENCE = 60.0
POOL = {
    "id": "[parameters('poolId')]",
    "vmSize": "standard_d2s_v3",
    "targetDedicatedNodes": "1",
    "taskSlotsPerNode": 4,
    "virtualMachineConfiguration": {
        "imageReference": {"publisher": "canonical", "offer": "ubuntu-24_04-lts", "sku": "server"},
        "nodeAgentSKUId": "batch.node.ubuntu 24.04",
    },
}
PARAMETERS = {
    "poolId": {"type": "string", "metadata": {"description": "The pool"}},
    "last": {"type": "int", "defaultValue": 3},
}
POOL_TEMPLATE = {
    "parameters": PARAMETERS,
    "pool": {"type": "Microsoft.Batch/batchAccounts/pools", "apiVersion": "2018-12-01",
             "properties": POOL},
}  # fmt: skip
JOB_TEMPLATE = {
    "parameters": PARAMETERS,
    "job": {
        "type": "Microsoft.Batch/batchAccounts/jobs",
        "apiVersion": "2018-12-01",
        "properties": {
            "id": "sweep",
            "poolInfo": {"poolId": "[parameters('poolId')]"},
            "onAllTasksComplete": "terminateJob",
            "taskFactory": {
                "type": "parametricSweep",
                "parameterSets": [{"start": 1, "end": "[parameters('last')]", "step": 1}],
                "repeatTask": {"commandLine": "/bin/sh -c 'echo number {0}'"},
            },
        },
    },
}


def main() -> dict[str, Any]:
    credentials = SharedKeyCredentials(
        os.environ["AZURE_BATCH_ACCOUNT"], os.environ["AZURE_BATCH_KEY"]
    )
    client = BatchExtensionsClient(
        credentials=credentials,
        batch_url=os.environ["AZURE_BATCH_URL"],
        batch_account=os.environ["AZURE_BATCH_ACCOUNT"],
        subscription_id="none",
        mgmt_credentials=credentials,
    )
    values = {"poolId": "templates", "last": 3}
    pool = client.pool.expand_template(POOL_TEMPLATE, values)
    client.pool.add(client.pool.poolparameter_from_json(pool))
    job = client.job.expand_template(JOB_TEMPLATE, values)
    client.job.add(client.job.jobparameter_from_json(job))
    end = time.monotonic() + PATIENCE
    while client.job.get("sweep").state.value != "completed":
        assert time.monotonic() < end, "the job did not end"
        time.sleep(0.1)
    tasks = list(client.task.list("sweep"))
    texts = [
        b"".join(client.file.get_from_task("sweep", task.id, "stdout.txt")).decode()
        for task in tasks
    ]
    return {
        "version": client.pool.api_version,
        "reason": client.job.get("sweep").execution_info.terminate_reason,
        "tasks": [[task.id, task.execution_info.exit_code] for task in tasks],
        "stdout": texts,
    }


if __name__ == "__main__":
    print(json.dumps(main()))
