#!/usr/bin/env bash
# create_tasks of azure-batch returns normally although the service refused a task.
#
# Versions: azure-batch 15.1.0, azure-core 1.41.0, requests 2.34.2, Python 3.11.
# The service is a loopback stand-in that answers as the Batch REST reference describes.
#
# Behaviour: addtaskcollection reports one status per task. Published recordings of the service
# spell the values "Success" and "ClientError". The SDK compares with "clienterror", so a
# refused task is counted as added and no CreateTasksError is raised. The refusal is only
# visible in the error field of each result. The same reply in lower case does raise.
#
# Output seen:
#   status 'clienterror': CreateTasksError
#   status 'ClientError': returned normally; t1 Success, t2 ClientError InvalidPropertyValue
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
from azure.batch.models import CreateTasksError
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


def submit(status):
    def answer(method, path, body):
        return 200, {}, {
            "value": [
                {"taskId": "t1", "status": "Success"},
                {
                    "taskId": "t2",
                    "status": status,
                    "error": {
                        "code": "InvalidPropertyValue",
                        "message": {"lang": "en-US", "value": "One value is invalid."},
                    },
                },
            ]
        }

    client = BatchClient(Service(answer).url, AzureNamedKeyCredential("account", KEY))
    tasks = [models.BatchTaskCreateOptions(id=i, command_line="/bin/true") for i in ("t1", "t2")]
    try:
        results = client.create_tasks("job", tasks).result_values
    except CreateTasksError:
        return "CreateTasksError"
    words = [
        f"{r.task_id} {r.status} {r.error.code if r.error else ''}".strip()
        for r in sorted(results, key=lambda r: r.task_id)
    ]
    return "returned normally; " + ", ".join(words)


lower, real = submit("clienterror"), submit("ClientError")
print(f"status 'clienterror': {lower}")
print(f"status 'ClientError': {real}")
if lower != "CreateTasksError" or not real.endswith("t2 ClientError InvalidPropertyValue"):
    sys.exit("the behaviour changed")
END
