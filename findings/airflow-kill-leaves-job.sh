#!/usr/bin/env bash
# Stopping an AzureBatchOperator task in Airflow does not terminate its Batch job.
#
# Versions: apache-airflow 3.3.2, apache-airflow-providers-microsoft-azure 15.2.1,
# azure-batch 15.1.0, azure-core 1.41.0, Python 3.11. Installing them takes a few minutes and
# 460 MB. The service is a loopback stand-in that answers as the Batch REST reference describes.
#
# Behaviour: when a user stops or clears a running task, Airflow calls on_kill, which calls
# begin_terminate_job(job_id). azure-batch 15.1 declares the second argument of that method as
# optional, and raises ValueError without it before it sends anything. So the nodes go on running
# the job. The provider accepts azure-batch from 15.0.0 on, of which 15.1.0 is the only release.
# The method works with a reason, for example options={"terminateReason": "UserTerminate"}.
#
# Output seen:
#   on_kill: ValueError: No value for given attribute; 0 requests sent
#   with a reason: POST /jobs/job/terminate
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
    if method == "POST":
        return 202, {}, None
    return 200, {}, {"id": "job", "state": "completed"}


service = Service(answer)
stopped = operator(service.url)
try:
    stopped.on_kill()
    outcome = "no error"
except ValueError as problem:
    outcome = f"ValueError: {problem}"
sent = len(service.seen)
print(f"on_kill: {outcome}; {sent} requests sent")
stopped.hook.connection.begin_terminate_job("job", {"terminateReason": "UserTerminate"}).result()
method, path = service.seen[0][:2]
print(f"with a reason: {method} {path.split('?')[0]}")
if not outcome.startswith("ValueError") or sent != 0:
    sys.exit("the behaviour changed")
END
