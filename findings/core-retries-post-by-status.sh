#!/usr/bin/env bash
# azure-core repeats a POST that may have worked, and gives up one that was turned away.
#
# Versions: azure-batch 15.1.0, azure-core 1.41.0, requests 2.34.2, Python 3.11.
# The service is a loopback stand-in that answers as the Batch REST reference describes.
#
# Behaviour: the default retry policy repeats POST and PATCH after 500, 503 and 504. A request
# answered 500 or 504 may have been carried out, so the repetition of create_task can be answered
# 409 TaskExists for the task that the first attempt created. After 429, where the request was
# certainly not carried out, the policy does not repeat POST or PATCH unless the reply has a
# Retry-After header. So a burst of throttling fails at once, without one retry.
#
# Output seen (attempts for one create_task with retry_total=2):
#   500: 3
#   503: 3
#   504: 3
#   429: 1
#   429 with Retry-After: 3
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
from azure.core.exceptions import HttpResponseError


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


KEY = base64.b64encode(b"0123456789abcdef").decode()


def attempts(status, headers):
    service = Service(lambda method, path, body: (status, headers, error("Refused")))
    client = BatchClient(
        service.url,
        AzureNamedKeyCredential("account", KEY),
        retry_total=2,
        retry_backoff_factor=0.01,
    )
    try:
        client.create_task("job", models.BatchTaskCreateOptions(id="t", command_line="/bin/true"))
    except HttpResponseError:
        pass
    return len(service.seen)


found = {status: attempts(status, {}) for status in (500, 503, 504, 429)}
waited = attempts(429, {"Retry-After": "1"})
print("attempts for one create_task with retry_total=2")
for status, count in found.items():
    print(f"{status}: {count}")
print(f"429 with Retry-After: {waited}")
if found != {500: 3, 503: 3, 504: 3, 429: 1} or waited != 3:
    sys.exit("the behaviour changed")
END
