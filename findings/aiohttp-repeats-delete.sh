#!/usr/bin/env bash
# With aiohttp, azure-batch reports 404 for the deletion of a job that it has just deleted.
#
# Versions: azure-batch 15.1.0, azure-core 1.41.0, aiohttp 3.14.5, requests 2.34.2, Python 3.11.
# The service is a loopback stand-in that carries out a DELETE and closes the connection without an
# answer, as a load balancer that is being replaced does; the connection was used before.
#
# Behaviour: aiohttp repeats GET, PUT and DELETE by itself when a kept-alive connection is closed
# before an answer. It does so below the retry policy of azure-core: retry_total=0 does not stop
# it, and the repetition appears in no log or retry history. The second DELETE finds no job, so the
# caller gets ResourceNotFoundError for a deletion that succeeded. The synchronous client sends the
# request once and reports a lost answer (ServiceResponseError).
#
# Output seen (retry_total=0):
#   async: DELETE, DELETE; ResourceNotFoundError
#   sync: DELETE; ServiceResponseError
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
timeout 120 python3 -m venv venv
timeout 300 venv/bin/pip install -qq azure-batch==15.1.0 azure-core==1.41.0 aiohttp==3.14.5 \
    requests==2.34.2
timeout 60 venv/bin/python - <<'END'
import asyncio
import base64
import logging
import socketserver
import sys
import threading

from azure.batch import BatchClient
from azure.batch.aio import BatchClient as AsyncBatchClient
from azure.core.credentials import AzureNamedKeyCredential
from azure.core.exceptions import AzureError


logging.disable(logging.CRITICAL)  # the SDK logs a traceback for each reply without a body
CREDENTIAL = AzureNamedKeyCredential("account", base64.b64encode(b"0123456789abcdef").decode())
JOB = b'{"id": "job"}'
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 13\r\n\r\n" + JOB
GONE = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"


class Connection(socketserver.StreamRequestHandler):
    """One job: GET returns it; the first DELETE removes it and is not answered."""

    def handle(self):
        while line := self.rfile.readline():
            while self.rfile.readline().strip():
                pass  # headers; these requests have no body
            method = line.split()[0].decode()
            if method == "GET":
                self.wfile.write(OK)
                continue
            self.server.deletes.append(method)
            if len(self.server.deletes) == 1:
                return
            self.wfile.write(GONE)


def serve():
    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Connection)
    server.daemon_threads = True
    server.deletes = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, f"http://127.0.0.1:{server.server_address[1]}"


async def asynchronous():
    server, url = serve()
    async with AsyncBatchClient(url, CREDENTIAL, retry_total=0) as client:
        await client.get_job("job")
        try:
            await client.begin_delete_job("job")
        except AzureError as error:
            return server.deletes, type(error).__name__
    return server.deletes, "no error"


def synchronous():
    server, url = serve()
    with BatchClient(url, CREDENTIAL, retry_total=0) as client:
        client.get_job("job")
        try:
            client.begin_delete_job("job")
        except AzureError as error:
            return server.deletes, type(error).__name__
    return server.deletes, "no error"


found = {"async": asyncio.run(asynchronous()), "sync": synchronous()}
for name, (deletes, outcome) in found.items():
    print(f"{name}: {', '.join(deletes)}; {outcome}")
if found != {
    "async": (["DELETE", "DELETE"], "ResourceNotFoundError"),
    "sync": (["DELETE"], "ServiceResponseError"),
}:
    sys.exit("the behaviour changed")
END
