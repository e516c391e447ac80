#!/usr/bin/env bash
# A poller of azure-batch ends as if the job were deleted when it is not allowed to look.
#
# Versions: azure-batch 15.1.0, azure-core 1.41.0, requests 2.34.2, Python 3.11.
# The service is a loopback stand-in that answers as the Batch REST reference describes.
#
# Behaviour: begin_delete_job answers 202 and a poller then reads the job until it is gone. When
# a read is refused with 403 (for example because access was withdrawn in the meantime),
# result() returns None, wait() returns, done() is True, and nothing is raised. That is the same
# as after a real deletion. Only status() differs: "Failed" instead of "Succeeded". In azure-core,
# result() of a poller raises on failure.
#
# Output seen:
#   job gone (404): result None, done True, status Succeeded
#   read refused (403): result None, done True, status Failed
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


def error(code):
    return {"code": code, "message": {"lang": "en-US", "value": code}}


KEY = base64.b64encode(b"0123456789abcdef").decode()


def delete(status, code):
    def answer(method, path, body):
        return (202, {}, None) if method == "DELETE" else (status, {}, error(code))

    client = BatchClient(Service(answer).url, AzureNamedKeyCredential("account", KEY))
    poller = client.begin_delete_job("job", polling_interval=0.1)
    return poller.result(), poller.done(), poller.status()


gone, refused = delete(404, "JobNotFound"), delete(403, "Forbidden")
for name, outcome in (("job gone (404)", gone), ("read refused (403)", refused)):
    print("{}: result {}, done {}, status {}".format(name, *outcome))
if (gone, refused) != ((None, True, "Succeeded"), (None, True, "Failed")):
    sys.exit("the behaviour changed")
END
