#!/usr/bin/env bash
# BatchClient keeps the old account key after AzureNamedKeyCredential.update().
#
# Versions: azure-batch 15.1.0, azure-core 1.41.0, requests 2.34.2, Python 3.11.
# The service is a loopback stand-in that answers as the Batch REST reference describes.
#
# Behaviour: azure-core documents AzureNamedKeyCredential.update(name, key) as the way to replace
# a key that was regenerated without building new clients. BatchClient copies the key when it is
# constructed, so update() has no effect: the next request carries a signature of the old key,
# which the service refuses once the key is regenerated. A client made after the update signs
# with the new key. All requests here have the same date and content, so that equal signatures
# mean equal keys.
#
# Output seen:
#   signature after update equals the one before: True
#   signature of a new client equals the one before: False
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
from datetime import datetime, timezone
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


def key(byte):
    return base64.b64encode(byte * 32).decode()


def signature(client):
    client.get_job("job", ocp_date=datetime(2026, 1, 1, tzinfo=timezone.utc))
    return service.seen[-1][2]["authorization"]


service = Service(lambda method, path, body: (200, {}, {"id": "job"}))
credential = AzureNamedKeyCredential("account", key(b"1"))
client = BatchClient(service.url, credential)
before = signature(client)
credential.update("account", key(b"2"))
after, fresh = signature(client), signature(BatchClient(service.url, credential))
print("signature after update equals the one before:", after == before)
print("signature of a new client equals the one before:", fresh == before)
if after != before or fresh == before:
    sys.exit("the behaviour changed")
END
