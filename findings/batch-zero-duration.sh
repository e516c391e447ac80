#!/usr/bin/env bash
# azure-batch writes a zero duration as "P", which is not a duration.
#
# Versions: azure-batch 15.1.0, azure-core 1.41.0, requests 2.34.2, isodate 0.7.2,
# Python 3.11.
# The service is a loopback stand-in that answers as the Batch REST reference describes.
#
# Behaviour: given a zero duration, here retention_time=timedelta(0) of a task, the SDK sends "P".
# ISO 8601 requires at least one component, and the parser of isodate, which the SDK itself uses
# for replies, rejects that text. A string is passed through unchanged, so "PT0S" can be given
# instead.
#
# Output seen:
#   timedelta(minutes=15) is sent as 'PT15M00S', which isodate reads: True
#   timedelta(0) is sent as 'P', which isodate reads: False
#   'PT0S' is sent as 'PT0S', which isodate reads: True
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
timeout 120 python3 -m venv venv
timeout 300 venv/bin/pip install -qq azure-batch==15.1.0 azure-core==1.41.0 requests==2.34.2 \
    isodate==0.7.2
timeout 60 venv/bin/python - <<'END'
import base64
import json
import sys
import threading
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import isodate
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


def sent(value):
    service = Service(lambda method, path, body: (201, {}, None))
    client = BatchClient(service.url, AzureNamedKeyCredential("account", KEY))
    constraints = models.BatchTaskConstraints(retention_time=value)
    client.create_task(
        "job",
        models.BatchTaskCreateOptions(id="t", command_line="/bin/true", constraints=constraints),
    )
    return json.loads(service.seen[0][3])["constraints"]["retentionTime"]


def readable(text):
    try:
        isodate.parse_duration(text)
    except isodate.ISO8601Error:
        return False
    return True


quarter, zero, text = sent(timedelta(minutes=15)), sent(timedelta(0)), sent("PT0S")
print(f"timedelta(minutes=15) is sent as {quarter!r}, which isodate reads: {readable(quarter)}")
print(f"timedelta(0) is sent as {zero!r}, which isodate reads: {readable(zero)}")
print(f"'PT0S' is sent as {text!r}, which isodate reads: {readable(text)}")
if (quarter, zero, text) != ("PT15M00S", "P", "PT0S") or readable(zero):
    sys.exit("the behaviour changed")
END
