#!/usr/bin/env bash
# begin_delete_job of azure-batch deletes the job and then raises TypeError for a keyword.
#
# Versions: azure-batch 15.1.0, azure-core 1.41.0, requests 2.34.2, Python 3.11.
# The service is a loopback stand-in that answers as the Batch REST reference describes.
#
# Behaviour: other operations of the client accept the per-call keywords of azure-core, such as
# headers= or retry_total=. The begin_ operations accept them too and send the request with
# them. Then they pass the same keywords to the constructor of LROPoller, which raises
# TypeError. The caller sees a programming error while the service has started the deletion.
#
# Output seen:
#   get_job(headers=...): GET, returned
#   begin_delete_job(headers=...): sent [('DELETE', '1')], then TypeError: LROPoller.__init__()
#     got an unexpected keyword argument 'headers'
#   begin_delete_job(retry_total=...): sent [('DELETE', None)], then TypeError: LROPoller.__init__()
#     got an unexpected keyword argument 'retry_total'
# (method and x-trace header of each request)
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
    return (202, {}, None) if method == "DELETE" else (200, {}, {"id": "job"})


service = Service(answer)
client = BatchClient(service.url, AzureNamedKeyCredential("account", KEY))
client.get_job("job", headers={"x-trace": "1"})
print("get_job(headers=...): GET, returned")
for keywords in ({"headers": {"x-trace": "1"}}, {"retry_total": 0}):
    del service.seen[:]
    name = next(iter(keywords))
    try:
        client.begin_delete_job("job", **keywords)
        outcome = "returned"
    except TypeError as problem:
        outcome = f"TypeError: {problem}"
    sent = [(seen[0], seen[2].get("x-trace")) for seen in service.seen]
    print(f"begin_delete_job({name}=...): sent {sent}, then {outcome}")
    trace = "1" if name == "headers" else None
    if sent != [("DELETE", trace)] or not outcome.startswith("TypeError"):
        sys.exit("the behaviour changed")
END
