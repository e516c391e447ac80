#!/usr/bin/env bash
# The async client of azure-batch signs a different path from the one that aiohttp sends.
#
# Versions: azure-batch 15.1.0, azure-core 1.41.0, aiohttp 3.14.5, yarl 1.25.1, Python 3.11. The
# service is a loopback stand-in that checks the shared-key signature over the path it received.
#
# Behaviour: the jobs of a job schedule are named by the service, as in "nightly:job-1". The SDK
# writes the colon as %3A and signs that path. aiohttp (through yarl) sends a plain colon, so by
# the documented rule the signature does not fit the request. The same happens to files whose
# names contain characters such as "=" or ",". The synchronous client signs what it sends. With
# a token instead of an account key, no path is signed.
#
# Output seen:
#   async get_job 'plain': /jobs/plain, signature valid
#   async get_job 'nightly:job-1': /jobs/nightly:job-1, signature NOT valid
#   async file 'wd/day=1/out.txt': .../files/wd%2Fday=1%2Fout.txt, signature NOT valid
#   sync get_job 'nightly:job-1': /jobs/nightly%3Ajob-1, signature valid
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
timeout 120 python3 -m venv venv
timeout 300 venv/bin/pip install -qq azure-batch==15.1.0 azure-core==1.41.0 aiohttp==3.14.5 \
    yarl==1.25.1 requests==2.34.2
timeout 60 venv/bin/python - <<'END'
import asyncio
import base64
import hashlib
import hmac
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

from azure.batch import BatchClient
from azure.batch.aio import BatchClient as AsyncBatchClient
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
SIGNED = (
    "content-encoding content-language content-length content-md5 content-type date "
    "if-modified-since if-match if-none-match if-unmodified-since range"
).split()


def valid(method, path, headers, body):
    """Whether the signature fits the request, by the rule of the Batch REST reference."""
    url = urlsplit(path)
    lines = [method, *(headers.get(name, "") for name in SIGNED)]
    lines += [f"{n}:{v}" for n, v in sorted(headers.items()) if n.startswith("ocp-")]
    lines.append("/account" + url.path)
    lines += [f"{name}:{value}" for name, value in sorted(parse_qsl(url.query))]
    digest = hmac.digest(base64.b64decode(KEY), "\n".join(lines).encode(), hashlib.sha256)
    return headers["authorization"] == f"SharedKey account:{base64.b64encode(digest).decode()}"


service = Service(lambda method, path, body: (200, {}, {"id": "job"}))
credential = AzureNamedKeyCredential("account", KEY)


async def asynchronous():
    async with AsyncBatchClient(service.url, credential) as client:
        await client.get_job("plain")
        await client.get_job("nightly:job-1")
        await client.get_task_file_properties("job", "task", "wd/day=1/out.txt")


asyncio.run(asynchronous())
BatchClient(service.url, credential).get_job("nightly:job-1")
names = [
    "async get_job 'plain'",
    "async get_job 'nightly:job-1'",
    "async file 'wd/day=1/out.txt'",
    "sync get_job 'nightly:job-1'",
]
found = []
for name, seen in zip(names, service.seen, strict=True):
    found.append(valid(*seen))
    verdict = "valid" if found[-1] else "NOT valid"
    path = seen[1].split("?")[0].replace("/jobs/job/tasks/task", "...")
    print(f"{name}: {path}, signature {verdict}")
if found != [True, False, False, True]:
    sys.exit("the behaviour changed")
END
