#!/usr/bin/env bash
# A retry by azure-batch carries the date of the first attempt; azure-storage-blob renews it.
#
# Versions: azure-batch 15.1.0, azure-storage-blob 12.31.1, azure-core 1.41.0, requests 2.34.2,
# Python 3.11. The service is a loopback stand-in that always answers 503.
#
# Behaviour: with a shared key, both services refuse a request whose date is more than 15 minutes
# old. The Batch client sets ocp-date on the first attempt only and leaves it alone afterwards.
# The default retry policy may wait up to two minutes between attempts, ten times, so a service
# that recovers after 15 minutes is met by requests that fail authentication, and the error that
# the caller sees is about the key. The Storage client writes a new x-ms-date for each attempt.
#
# Output seen:
#   azure-batch: 3 attempts over 3 s, 1 date(s)
#   azure-storage-blob: 3 attempts over 4 s, 3 date(s)
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
timeout 120 python3 -m venv venv
timeout 300 venv/bin/pip install -qq azure-batch==15.1.0 azure-core==1.41.0 requests==2.34.2 \
    azure-storage-blob==12.31.1
timeout 60 venv/bin/python - <<'END'
import base64
import json
import logging
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from azure.batch import BatchClient, models
from azure.core.credentials import AzureNamedKeyCredential
from azure.core.exceptions import HttpResponseError
from azure.storage.blob import BlobClient, LinearRetry


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


logging.disable(logging.CRITICAL)  # the SDK logs a traceback for each reply without a body
KEY = base64.b64encode(b"0123456789abcdef").decode()


def attempts(call, header):
    times = []

    def answer(method, path, body):
        times.append(time.monotonic())
        return 503, {}, None

    service = Service(answer)
    try:
        call(service.url)
    except HttpResponseError:
        pass
    dates = {seen[2][header] for seen in service.seen}
    return len(service.seen), times[-1] - times[0], len(dates)


def batch(url):
    credential = AzureNamedKeyCredential("account", KEY)
    BatchClient(url, credential, retry_total=2, retry_backoff_factor=1.5).get_job("job")


def blob(url):
    credential = {"account_name": "account", "account_key": KEY}
    retry = LinearRetry(backoff=2, retry_total=2, random_jitter_range=0)
    client = BlobClient(
        url, "container", "blob", credential=credential, retry_policy=retry
    )
    client.get_blob_properties()


found = {}
for name, call, header in (
    ("azure-batch", batch, "ocp-date"),
    ("azure-storage-blob", blob, "x-ms-date"),
):
    found[name] = attempts(call, header)
    print("{}: {} attempts over {:.0f} s, {} date(s)".format(name, *found[name]))
if found["azure-batch"][::2] != (3, 1) or found["azure-storage-blob"][::2] != (3, 3):
    sys.exit("the behaviour changed")
END
