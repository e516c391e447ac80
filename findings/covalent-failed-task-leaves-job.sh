#!/usr/bin/env bash
# Each failed task of Covalent leaves an active Batch job, until the account takes no more jobs.
#
# Versions: covalent-azurebatch-plugin 0.17.0, covalent 0.240.0, azure-batch 13.0.0,
# azure-storage-blob 12.14.1, Python 3.11.
#
# Behaviour: AzureBatchExecutor creates one Batch job for each task and terminates it after the task
# has ended with exit code 0. With any other exit code it raises an exception before it terminates the
# job, so that the job stays active although its only task has completed. Batch limits the number of
# active jobs in an account (100 to 300 by default): after so many failures, also over weeks, no
# client can create a job. Terminate the jobs covalent-batch-* yourself.
#
# Output seen:
#   5 tasks with exit code 0: 5 jobs created, 0 active
#   5 tasks with exit code 1: 5 x BatchTaskFailedException, 5 jobs created, 5 active
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
export HOME=$work
timeout 120 python3 -m venv venv
timeout 500 venv/bin/pip install -qq covalent-azurebatch-plugin==0.17.0 covalent==0.240.0 \
    azure-batch==13.0.0 azure-storage-blob==12.14.1
timeout 120 venv/bin/python - <<'END'
import asyncio
import json
import pickle
import re
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from azure.batch import BatchServiceClient
from azure.batch.batch_auth import SharedKeyCredentials
from azure.storage.blob import BlobServiceClient
from covalent_azurebatch_plugin.azurebatch import AzureBatchExecutor

JOBS = {}  # id: state
EXIT_CODE = 0


class Service(BaseHTTPRequestHandler):
    """Batch and Blob Storage: each task has completed as soon as it is added."""

    protocol_version = "HTTP/1.1"

    def answer(self, status, body=b"", headers=()):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def json(self, value):
        self.answer(200, json.dumps(value).encode(), [("Content-Type", "application/json")])

    def content(self):
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def do_POST(self):
        content = self.content()
        if found := re.match(r"/jobs/([^/]+)/terminate\?", self.path):
            JOBS[found[1]] = "completed"
            self.answer(202)
        elif self.path.startswith("/jobs?"):
            JOBS[json.loads(content)["id"]] = "active"
            self.answer(201)
        else:
            self.answer(201)  # a task

    def do_GET(self):
        if self.path.startswith("/blobs/"):
            body = pickle.dumps("result")
            self.answer(200, body, [
                ("x-ms-blob-type", "BlockBlob"),
                ("ETag", '"1"'),
                ("Last-Modified", "Wed, 02 Dec 2026 12:00:00 GMT"),
                ("Content-Range", f"bytes 0-{len(body) - 1}/{len(body)}"),
            ])
            return
        job, task = re.match(r"/jobs/([^/]+)/tasks(/[^/?]+)?\?", self.path).groups()
        body = {
            "id": job,
            "state": "completed",
            "executionInfo": {"exitCode": EXIT_CODE, "retryCount": 0, "requeueCount": 0},
        }
        self.json(body if task else {"value": [body]})

    def do_PUT(self):
        self.content()
        self.answer(201, headers=[("ETag", '"1"')])

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
threading.Thread(target=server.serve_forever, daemon=True).start()
ADDRESS = f"http://127.0.0.1:{server.server_port}"


class Executor(AzureBatchExecutor):
    """The executor with the addresses of the stand-in."""

    def _get_batch_service_client(self):
        return BatchServiceClient(SharedKeyCredentials("account", "a2V5"), ADDRESS)

    def _get_blob_service_client(self):
        return BlobServiceClient(f"{ADDRESS}/blobs", credential="a2V5")


async def run(number):
    executor = Executor(
        tenant_id="tenant", client_id="client", client_secret="secret", pool_id="pool",
        batch_account_url=ADDRESS, batch_account_domain="-", storage_account_name="account",
        storage_account_domain="-", base_image_uri="image", retries=1, time_limit=60,
        cache_dir="cache", poll_freq=1,
    )
    task = {"dispatch_id": f"{EXIT_CODE}-{number}", "node_id": 0}
    return await executor.run(print, [], {}, task)


async def run_all():
    return await asyncio.gather(*map(run, range(5)), return_exceptions=True)


good = asyncio.run(run_all())
active = [*JOBS.values()].count("active")
print(f"5 tasks with exit code 0: {len(JOBS)} jobs created, {active} active")
first = (good, len(JOBS), active)

JOBS.clear()
EXIT_CODE = 1
names = [type(error).__name__ for error in asyncio.run(run_all())]
active = [*JOBS.values()].count("active")
print(
    f"5 tasks with exit code 1: {len(names)} x {names[0]}, {len(JOBS)} jobs created,"
    f" {active} active"
)
if first != (["result"] * 5, 5, 0) or set(names) != {"BatchTaskFailedException"} or active != 5:
    sys.exit("the behaviour changed")
END
