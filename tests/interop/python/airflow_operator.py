"""A program that runs a task with Airflow's Batch operator, and prints the results as JSON.

The account is in AZURE_BATCH_URL, AZURE_BATCH_ACCOUNT and AZURE_BATCH_KEY.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

os.environ["AIRFLOW_CONN_AZURE_BATCH_DEFAULT"] = json.dumps(
    {
        "conn_type": "azure_batch",
        "login": os.environ["AZURE_BATCH_ACCOUNT"],
        "password": os.environ["AZURE_BATCH_KEY"],
        "extra": {"account_url": os.environ["AZURE_BATCH_URL"]},
    }
)

from airflow.providers.microsoft.azure.operators.batch import AzureBatchOperator


def main() -> dict[str, Any]:
    operator = AzureBatchOperator(
        task_id="batch",
        batch_pool_id="airflow",
        batch_pool_vm_size="standard_d2s_v3",
        batch_job_id="airflow",
        batch_task_id="one",
        batch_task_command_line="/bin/sh -c 'echo from airflow'",
        vm_publisher="canonical",
        vm_offer="ubuntu-24_04-lts",
        vm_sku="server",
        vm_version="latest",
        vm_node_agent_sku_id="batch.node.ubuntu 24.04",
        target_dedicated_nodes=1,
        should_delete_job=False,
    )
    operator.execute({})
    client = operator.hook.connection
    return {
        "pool": client.get_pool("airflow").id,
        "job": client.get_job("airflow").id,
        "tasks": [
            [task.id, task.execution_info.exit_code] for task in client.list_tasks("airflow")
        ],
    }


if __name__ == "__main__":
    # Airflow logs to the standard output; the last line is the result.
    found = main()
    sys.stdout.write(f"\n{json.dumps(found)}\n")
