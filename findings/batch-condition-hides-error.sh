#!/usr/bin/env bash
# With an ETag condition, azure-batch reports every error as "modified" or "not found".
#
# Versions: azure-batch 15.1.0, azure-core 1.41.0, requests 2.34.2, Python 3.11.
# The service is a loopback stand-in that answers as the Batch REST reference describes.
#
# Behaviour: the exception class depends on the condition that the caller sent, not on the
# status. With match_condition=IfNotModified, a job that is being deleted (409), a missing job
# (404), a refused request (403) and a busy service (503) all raise ResourceModifiedError, so a
# loop that reads the job again and repeats on "modified" never sees the cause. With IfPresent
# the same replies raise ResourceNotFoundError, so "not found" may mean "busy". The status code
# and the service's code in the exception are right.
#
# Output seen:
#   condition       status  exception
#   none            409     ResourceExistsError
#   none            404     ResourceNotFoundError
#   none            403     HttpResponseError
#   none            503     HttpResponseError
#   IfNotModified   each    ResourceModifiedError
#   IfPresent       each    ResourceNotFoundError
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
from azure.core import MatchConditions
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


REPLIES = {409: "JobBeingDeleted", 404: "JobNotFound", 403: "Forbidden", 503: "ServerBusy"}
CONDITIONS = {
    "none": {},
    "IfNotModified": {"etag": "0x1", "match_condition": MatchConditions.IfNotModified},
    "IfPresent": {"match_condition": MatchConditions.IfPresent},
}


def raised(status, condition):
    service = Service(lambda method, path, body: (status, {}, error(REPLIES[status])))
    client = BatchClient(service.url, AzureNamedKeyCredential("account", KEY), retry_total=0)
    try:
        client.update_job("job", models.BatchJobUpdateOptions(priority=1), **condition)
    except HttpResponseError as problem:
        return type(problem).__name__
    return "nothing"


found = {}
for name, condition in CONDITIONS.items():
    found[name] = [raised(status, condition) for status in REPLIES]
    for status, exception in zip(REPLIES, found[name]):
        print(f"{name:15} {status}     {exception}")
if (
    set(found["IfNotModified"]) != {"ResourceModifiedError"}
    or set(found["IfPresent"]) != {"ResourceNotFoundError"}
    or len(set(found["none"])) != 3
):
    sys.exit("the behaviour changed")
END
