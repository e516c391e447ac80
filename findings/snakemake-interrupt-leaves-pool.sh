#!/usr/bin/env bash
# Ctrl+C in Snakemake leaves the Batch pool and the running tasks when a task has completed before.
#
# Versions: snakemake-executor-plugin-azure-batch 0.3.0, snakemake-interface-executor-plugins
# 9.4.0, azure-batch 14.2.0, Python 3.11. The service is a loopback stand-in that answers as the
# Batch REST reference describes. The script calls cancel() of the plugin's executor, as Snakemake
# does when it is interrupted or when its scheduler fails.
#
# Behaviour: to cancel, the plugin terminates every task of the Batch job, and afterwards deletes
# the job and the pool. Batch answers 409 TaskCompleted for a task that has completed, and the
# plugin does not expect that. So with one completed task in the list, cancel() raises, the tasks
# after it run on, and the pool, whose size is fixed, is never deleted. It costs money until you
# delete it. The pool is the one named snakepool-TIME. Without a completed task all is removed.
#
# Output seen:
#   0 completed of 3: POST terminate a, POST terminate b, POST terminate c, DELETE job, DELETE pool
#   1 completed of 3: POST terminate a; BatchErrorException: TaskCompleted
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
timeout 120 python3 -m venv venv
timeout 300 venv/bin/pip install -qq --no-compile snakemake-executor-plugin-azure-batch==0.3.0 \
    snakemake-interface-executor-plugins==9.4.0 azure-mgmt-batch==17.3.0 azure-batch==14.2.0
mkdir .snakemake
timeout 60 venv/bin/python - <<'END'
import json
import logging
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from unittest.mock import MagicMock

from azure.batch import BatchServiceClient
from azure.batch.models import BatchErrorException
from msrest.authentication import Authentication
from snakemake_executor_plugin_azure_batch import Executor

requests = []
states = {}


class Service(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def answer(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = self.path.partition("?")[0].split("/")[1:]
        status, body = {"GET": 200, "DELETE": 202}.get(self.command, 204), None
        if self.command == "GET":
            body = {"value": [{"id": name, "state": state} for name, state in states.items()]}
        elif self.command == "DELETE":
            requests.append(f"DELETE {path[0][:-1]}")
        else:
            requests.append(f"POST {path[4]} {path[3]}")
            if states[path[3]] == "completed":
                status, body = 409, {"code": "TaskCompleted", "message": {"value": "Completed."}}
            else:
                states[path[3]] = "completed"
        content = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json; odata=minimalmetadata")
        if status != 204:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_DELETE = answer


server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
threading.Thread(target=server.serve_forever, daemon=True).start()


class WithoutSignIn(Executor):
    """The executor as it is after it has created its pool and job, for a service without sign-in."""

    def __post_init__(self):
        self.settings = SimpleNamespace(keep_pool=False)
        self.pool_id, self.job_id = "pool", "job"
        self.batch_client = BatchServiceClient(
            Authentication(), f"http://127.0.0.1:{server.server_port}"
        )


# The parts of Snakemake's workflow that the base class of the executor reads.
workflow = MagicMock()
workflow.main_snakefile = "Snakefile"
workflow.executor_plugin.common_settings.init_seconds_before_status_checks = 0
workflow.remote_execution_settings = SimpleNamespace(
    max_status_checks_per_second=1, seconds_between_status_checks=1, jobname="{jobid}",
    jobscript=None, immediate_submit=False,
)
seen = []
for completed in (0, 1):
    requests.clear()
    states.update({"a": "completed" if completed else "running", "b": "running", "c": "running"})
    executor = WithoutSignIn(workflow, logging.getLogger("plugin"))
    error = ""
    try:
        executor.cancel()
    except BatchErrorException as raised:
        error = f"; BatchErrorException: {raised.error.code}"
    print(f"{completed} completed of 3: {', '.join(requests)}{error}")
    seen.append((len(requests), "DELETE pool" in requests, error.rpartition(" ")[2]))
if seen != [(5, True, ""), (1, False, "TaskCompleted")]:
    sys.exit("the behaviour changed")
END
