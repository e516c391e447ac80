#!/usr/bin/env bash
# `az batch node user create --ssh-public-key FILE` sends the name of the file as the key.
#
# Versions: azure-cli 2.91.0, azure-cli-core 2.91.0, azure-batch 15.0.0b1, azure-core 1.39.0,
# Python 3.11. Of azure-cli's dependencies, the script installs only those of `az batch`.
# The service is a loopback stand-in that accepts every user.
#
# Behaviour: `az vm create --ssh-key-values` takes the path of a public key or the key itself. The
# option of `az batch` takes only the key: a path is sent as it is, the request succeeds, and the
# exit code is 0. The user exists, has no key that anyone owns, and the sign-in fails much later.
# Pass the content: --ssh-public-key "$(cat FILE)".
#
# Output seen:
#   --ssh-public-key id.pub: sshPublicKey is "id.pub"; exit code 0
#   --ssh-public-key "$(cat id.pub)": sshPublicKey is the key; exit code 0
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
import pathlib
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

users = []


class Service(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def do_POST(self):
        users.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(201)
        self.send_header("Content-Length", "0")
        self.end_headers()


server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
threading.Thread(target=server.serve_forever, daemon=True).start()
public = Ed25519PrivateKey.generate().public_key()
key = public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
pathlib.Path("id.pub").write_text(key + "\n", encoding="ascii")
seen = []
for shown, given in (("id.pub", "id.pub"), ('"$(cat id.pub)"', key)):
    run = subprocess.run(
        [sys.executable, "-m", "azure.cli", "batch", "node", "user", "create",
         "--pool-id", "pool", "--node-id", "node", "--name", "ada", "--ssh-public-key", given,
         "--account-name", "account",
         "--account-key", base64.b64encode(bytes(32)).decode(),
         "--account-endpoint", f"http://127.0.0.1:{server.server_port}"],
        capture_output=True, text=True, timeout=100,
    )
    if not users:
        sys.exit(f"no request:\n{run.stdout}{run.stderr}")
    sent = users.pop()["sshPublicKey"]
    what = "the key" if sent == key else f'"{sent}"'
    print(f"--ssh-public-key {shown}: sshPublicKey is {what}; exit code {run.returncode}")
    seen.append((sent == given, run.returncode))
    if sent != given:
        sys.exit("the behaviour changed")
server.shutdown()
if seen != [(True, 0), (True, 0)]:
    sys.exit("the behaviour changed")
END
