"""Signed requests to the Batch service, without a client library."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import format_datetime

from batchspec.local.wire import SignedRequest, strings_to_sign

VERSION = "api-version=2025-06-01"


def signed_headers(
    method: str,
    path: str,
    body: bytes,
    environ: Mapping[str, str] = os.environ,
    *,
    query: str = VERSION,
) -> dict[str, str]:
    """The headers of a request, signed with the key in the environment."""
    account = environ["AZURE_BATCH_ACCOUNT"]
    headers = {
        "ocp-date": format_datetime(datetime.now(UTC), usegmt=True),
        "content-type": "application/json; odata=minimalmetadata",
        "content-length": str(len(body)),
    }
    text = next(strings_to_sign(SignedRequest(method, path, query, headers), account))
    key = base64.b64decode(environ["AZURE_BATCH_ACCESS_KEY"])
    mac = base64.b64encode(hmac.new(key, text.encode(), hashlib.sha256).digest()).decode()
    return {**headers, "authorization": f"SharedKey {account}:{mac}"}


def task_body(number: int, container: str) -> dict[str, object]:
    """A task like those that batchspec adds; ``container`` is a URL."""
    return {
        "id": f"work-{number}",
        "commandLine": f"/bin/sh -c 'work --number {number}'",
        "displayName": f"work {number} [work item 0123456789abcdef work 0123456789abcdef]",
        "environmentSettings": [
            {"name": "NUMBER", "value": str(number)},
            {"name": "MODE", "value": "fast"},
        ],
        "resourceFiles": [{"storageContainerUrl": container}],
        "outputFiles": [
            {
                "filePattern": "out/*.txt",
                "destination": {"container": {"containerUrl": container, "path": str(number)}},
                "uploadOptions": {"uploadCondition": "tasksuccess"},
            }
        ],
    }
