#!/usr/bin/env bash
# create_tasks of azure-batch submits a list of tasks from its end to its beginning.
#
# Versions: azure-batch 15.1.0, azure-core 1.41.0, requests 2.34.2, Python 3.11.
# The service is a loopback stand-in that answers as the Batch REST reference describes.
#
# Behaviour: 250 tasks, t000 to t249, are submitted in three requests. The first request
# contains the last 100 tasks, and each request lists its tasks backwards. The result list has
# the same reversed order. So the tasks listed first are created last, and after an interruption
# it is the head of the list that is missing, not the tail.
#
# Output seen:
#   request 1: t249 ... t150 (100 tasks)
#   request 2: t149 ... t050 (100 tasks)
#   request 3: t049 ... t000 (50 tasks)
#   results: t249 ... t000
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
timeout 120 python3 -m venv venv
timeout 300 venv/bin/pip install -qq azure-batch==15.1.0 azure-core==1.41.0 requests==2.34.2
timeout 60 venv/bin/python - <<'END'
import base64
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from azure.batch import BatchClient, models
from azure.core.credentials import AzureNamedKeyCredential


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


KEY = base64.b64encode(b"0123456789abcdef").decode()


def answer(method, path, body):
    tasks = json.loads(body)["value"]
    return 200, {}, {"value": [{"taskId": t["id"], "status": "Success"} for t in tasks]}


service = Service(answer)
client = BatchClient(service.url, AzureNamedKeyCredential("account", KEY))
tasks = [
    models.BatchTaskCreateOptions(id=f"t{i:03}", command_line="/bin/true") for i in range(250)
]
results = [r.task_id for r in client.create_tasks("job", tasks).result_values]
requests = [[t["id"] for t in json.loads(seen[3])["value"]] for seen in service.seen]
for number, ids in enumerate(requests, 1):
    print(f"request {number}: {ids[0]} ... {ids[-1]} ({len(ids)} tasks)")
print(f"results: {results[0]} ... {results[-1]}")
expected = [t.id for t in reversed(tasks)]
if [i for ids in requests for i in ids] != expected or results != expected:
    sys.exit("the behaviour changed: the order is no longer reversed")
END
