#!/usr/bin/env bash
# `az batch pool resize --if-match` and `az batch task reset --if-match` send no condition.
#
# Versions: azure-cli 2.91.0, azure-cli-core 2.91.0, azure-batch 15.0.0b1, azure-core 1.39.0,
# Python 3.11. Of azure-cli's dependencies, the script installs only those of `az batch`.
# The service is a loopback stand-in that answers 412 ConditionNotMet when If-Match is not the
# current ETag, as the Batch REST reference describes.
#
# Behaviour: with --if-match, a command has an effect only if the pool or task is unchanged since
# you read it. These two commands set the kind of the condition and do not pass the ETag on, and
# azure-batch then leaves the header out without an error. So the pool is resized, and the task's
# constraints are replaced, whatever the ETag, and the exit code is 0. `az batch pool delete` is
# generated in another way and sends the header. To resize with a condition, use another client.
#
# Output seen ("old" is not the current ETag):
#   az batch pool delete --if-match old: If-Match: "old"; 412; exit code 1
#   az batch pool resize --if-match old: no condition; 202; exit code 0
#   az batch task reset --if-match old: no condition; 200; exit code 0
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
timeout 120 python3 -m venv venv
timeout 300 venv/bin/pip install -qq --no-compile azure-cli-core==2.91.0 azure-batch==15.0.0b1 \
    azure-mgmt-batch==17.3.0 azure-core==1.39.0 msrest==0.7.1
timeout 300 venv/bin/pip install -qq --no-compile --no-deps azure-cli==2.91.0
export AZURE_CONFIG_DIR="$work/config" AZURE_CORE_COLLECT_TELEMETRY=false
timeout 240 venv/bin/python - <<'END'
import base64
import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CURRENT = '"new"'
requests = []


class Service(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def change(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        condition = self.headers.get("If-Match")
        status, body = {"PUT": 200}.get(self.command, 202), b""
        if condition not in (None, "*", CURRENT):
            status = 412
            body = json.dumps({"code": "ConditionNotMet", "message": {"value": "Changed."}}).encode()
        requests.append((condition, status))
        self.send_response(status)
        if body:
            self.send_header("Content-Type", "application/json; odata=minimalmetadata")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_PUT = do_DELETE = change


server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
threading.Thread(target=server.serve_forever, daemon=True).start()
account = [
    "--account-name", "account",
    "--account-key", base64.b64encode(bytes(32)).decode(),
    "--account-endpoint", f"http://127.0.0.1:{server.server_port}",
]
commands = {
    "pool delete": ["--pool-id", "pool", "--yes"],
    "pool resize": ["--pool-id", "pool", "--target-dedicated-nodes", "50"],
    "task reset": ["--job-id", "job", "--task-id", "task", "--max-task-retry-count", "3"],
}
seen = []
for name, options in commands.items():
    requests.clear()
    run = subprocess.run(
        [sys.executable, "-m", "azure.cli", "batch", *name.split(), *options,
         "--if-match", '"old"', *account],
        capture_output=True, text=True, timeout=100,
    )
    if len(requests) != 1:
        sys.exit(f"{name} sent {len(requests)} requests:\n{run.stdout}{run.stderr}")
    condition, status = requests[0]
    sent = f"If-Match: {condition}" if condition else "no condition"
    print(f"az batch {name} --if-match old: {sent}; {status}; exit code {run.returncode}")
    seen.append((condition, status, run.returncode))
server.shutdown()
if seen != [('"old"', 412, 1), (None, 202, 0), (None, 200, 0)]:
    sys.exit("the behaviour changed")
END
