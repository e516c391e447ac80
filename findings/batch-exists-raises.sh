#!/usr/bin/env bash
# pool_exists of azure-batch raises ResourceNotFoundError where it should return False.
#
# Versions: azure-batch 15.1.0, azure-core 1.41.0, requests 2.34.2, Python 3.11.
# The service is a loopback stand-in that answers as the Batch REST reference describes.
#
# Behaviour: pool_exists and job_schedule_exists send HEAD and are declared to return a bool.
# They return True for 200. The service answers 404 when the object does not exist, and the
# client raises ResourceNotFoundError; the generated code that would return False for 404 is
# never reached, because an earlier policy of the same client raises for every error status.
#
# Output seen:
#   pool_exists, 200: True
#   pool_exists, 404: ResourceNotFoundError
#   job_schedule_exists, 200: True
#   job_schedule_exists, 404: ResourceNotFoundError
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
timeout 120 python3 -m venv venv
timeout 300 venv/bin/pip install -qq azure-batch==15.1.0 azure-core==1.41.0 requests==2.34.2
timeout 60 venv/bin/python - <<'END'
import base64
import json
import logging
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from azure.batch import BatchClient, models
from azure.core.credentials import AzureNamedKeyCredential
from azure.core.exceptions import ResourceNotFoundError


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


logging.disable(logging.CRITICAL)  # the SDK also logs a traceback for the empty body of a HEAD


def outcome(operation, status):
    service = Service(lambda method, path, body: (status, {}, None))
    client = BatchClient(service.url, AzureNamedKeyCredential("account", KEY))
    try:
        return repr(getattr(client, operation)("name"))
    except ResourceNotFoundError:
        return "ResourceNotFoundError"


found = []
for operation in ("pool_exists", "job_schedule_exists"):
    for status in (200, 404):
        found.append(outcome(operation, status))
        print(f"{operation}, {status}: {found[-1]}")
if found != ["True", "ResourceNotFoundError"] * 2:
    sys.exit("the behaviour changed")
END
