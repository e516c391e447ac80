#!/usr/bin/env bash
# AzureBatchOperator of Airflow succeeds although Batch refused its task.
#
# Versions: apache-airflow 3.3.2, apache-airflow-providers-microsoft-azure 15.2.1,
# azure-batch 15.1.0, azure-core 1.41.0, Python 3.11. Installing them takes a few minutes and
# 460 MB. The service is a loopback stand-in that answers as the Batch REST reference describes.
#
# Behaviour: the operator treats each ResourceExistsError of create_task as "task already exists".
# azure-batch raises that class for every 409, and Batch also answers 409 JobCompleted,
# JobBeingTerminated or JobBeingDeleted. So when the job of an earlier run has completed, the new
# task is refused, the log says that it already exists, and the operator then waits for the tasks of
# the old job. These are complete, so the Airflow task ends as a success and nothing has run.
#
# Output seen:
#   (log) Task tuesday already exists
#   create_task 'tuesday': 409 JobCompleted
#   tasks of the job: ['monday']
#   execute: returned without an error
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
timeout 120 python3 -m venv venv
timeout 600 venv/bin/pip install -qq --no-compile \
    apache-airflow-providers-microsoft-azure==15.2.1 apache-airflow==3.3.2 \
    azure-batch==15.1.0 azure-core==1.41.0
export AIRFLOW_HOME="$work/airflow"
timeout 120 venv/bin/python - <<'END'
import base64
import json
import logging
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from airflow.providers.microsoft.azure.operators.batch import AzureBatchOperator


class Service:
    """A loopback stand-in: answer(method, path, body) returns status, headers and body."""

    def __init__(self, answer):
        seen = self.seen = []

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args):
                pass

            def handle_one(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                seen.append((self.command, self.path, headers, body))
                status, extra, reply = answer(self.command, self.path, body)
                data = b"" if reply is None else json.dumps(reply).encode()
                self.send_response(status)
                for name, value in extra.items():
                    self.send_header(name, value)
                if data:
                    self.send_header("Content-Type", "application/json; odata=minimalmetadata")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(data)

            do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = handle_one

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{server.server_port}"


def error(code):
    return {"code": code, "message": {"lang": "en-US", "value": code}}


logging.disable(logging.CRITICAL)

OPERATOR = {
    "task_id": "nightly",
    "batch_pool_id": "pool",
    "batch_pool_vm_size": "standard_d2s_v3",
    "batch_job_id": "job",
    "batch_task_id": "tuesday",
    "batch_task_command_line": "/bin/true",
    "vm_publisher": "canonical",
    "vm_offer": "ubuntu-24_04-lts",
    "vm_sku": "server",
    "vm_node_agent_sku_id": "batch.node.ubuntu 24.04",
    "target_dedicated_nodes": 1,
}


def operator(url):
    os.environ["AIRFLOW_CONN_AZURE_BATCH_DEFAULT"] = json.dumps(
        {
            "conn_type": "azure_batch",
            "login": "account",
            "password": base64.b64encode(b"0123456789abcdef").decode(),
            "extra": {"account_url": url},
        }
    )
    return AzureBatchOperator(**OPERATOR)


def answer(method, path, body):
    path = path.split("?")[0]
    if (method, path) == ("POST", "/pools"):
        return 409, {}, error("PoolExists")
    if (method, path) == ("POST", "/jobs"):
        return 409, {}, error("JobExists")
    if (method, path) == ("POST", "/jobs/job/tasks"):
        return 409, {}, error("JobCompleted")
    if path == "/pools/pool":
        return 200, {}, {"id": "pool", "targetDedicatedNodes": 1}
    if path == "/pools/pool/nodes":
        return 200, {}, {"value": [{"id": "node", "state": "idle"}]}
    if (method, path) == ("GET", "/jobs/job/tasks"):
        done = {"exitCode": 0, "result": "success", "retryCount": 0, "requeueCount": 0}
        return 200, {}, {
            "value": [{"id": "monday", "state": "completed", "executionInfo": done}]
        }
    return 404, {}, error("ResourceNotFound")


service = Service(answer)
try:
    operator(service.url).execute({})
    outcome = "returned without an error"
except Exception as problem:
    outcome = f"{type(problem).__name__}: {problem}"
posts = [json.loads(seen[3])["id"] for seen in service.seen if "/tasks?" in seen[1] and seen[3]]
print(f"create_task {posts[0]!r}: 409 JobCompleted")
print("tasks of the job: ['monday']")
print(f"execute: {outcome}")
if posts != ["tuesday"] or outcome != "returned without an error":
    sys.exit("the behaviour changed")
END
