#!/usr/bin/env bash
# Listing Batch accounts with azure-mgmt-batch can register the provider and block for 10 s.
#
# Versions: azure-mgmt-batch 19.0.0, azure-mgmt-core 1.6.0, azure-core 1.41.0, requests 2.34.2,
# Python 3.11. The service is a loopback stand-in for Azure Resource Manager that answers 409
# MissingSubscriptionRegistration until the provider Microsoft.Batch is registered.
#
# Behaviour: on that error every management client sends POST .../Microsoft.Batch/register by
# itself, a lasting change of the subscription caused by a GET. It then sleeps ten seconds before
# it looks for the first time (even if the registration is instant), and repeats the read. The
# async client does the same. Tools that promise to only read have to count with this; there is no
# argument of the client for it. The stand-in needs no sign-in, so the script replaces the
# authentication policy.
#
# Output seen (and two lines of log about the registration):
#   GET .../providers/Microsoft.Batch/batchAccounts (0 s later)
#   POST .../providers/Microsoft.Batch/register (0 s later)
#   GET .../providers/Microsoft.Batch (10 s later)
#   GET .../providers/Microsoft.Batch/batchAccounts (0 s later)
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
timeout 120 python3 -m venv venv
timeout 300 venv/bin/pip install -qq azure-mgmt-batch==19.0.0 azure-mgmt-core==1.6.0 \
    azure-core==1.41.0 \
    requests==2.34.2
timeout 60 venv/bin/python - <<'END'
import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from azure.core.credentials import AccessToken
from azure.core.pipeline.policies import SansIOHTTPPolicy
from azure.mgmt.batch import BatchManagementClient


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


SUBSCRIPTION = "00000000-0000-0000-0000-000000000000"
PROVIDER = f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Batch"
times = []
registered = False


def answer(method, path, body):
    global registered
    times.append(time.monotonic())
    path = path.split("?")[0]
    if path == f"{PROVIDER}/register":
        registered = True
        return 200, {}, {"registrationState": "Registering"}
    if path == PROVIDER:
        return 200, {}, {"registrationState": "Registered"}
    if not registered:
        code = "MissingSubscriptionRegistration"
        message = "The subscription is not registered to use namespace 'Microsoft.Batch'."
        return 409, {}, {"error": {"code": code, "message": message}}
    return 200, {}, {"value": []}


class Credential:
    def get_token(self, *scopes, **options):
        return AccessToken("unused", int(time.time()) + 3600)


service = Service(answer)
client = BatchManagementClient(
    Credential(), SUBSCRIPTION, base_url=service.url, authentication_policy=SansIOHTTPPolicy()
)
list(client.batch_account.list())
requests = [(seen[0], seen[1].split("?")[0]) for seen in service.seen]
for (method, path), moment, previous in zip(requests, times, [times[0], *times]):
    short = path.removeprefix(f"/subscriptions/{SUBSCRIPTION}")
    print(f"{method} ...{short} ({moment - previous:.0f} s later)")
if ("POST", f"{PROVIDER}/register") not in requests or times[2] - times[1] < 9:
    sys.exit("the behaviour changed")
END
