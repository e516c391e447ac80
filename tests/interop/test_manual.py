"""The JavaScript code of ``docs/local.md`` runs as written (its Python code: ``tests/local``)."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from azure.batch import BatchClient
from azure.core.credentials import AzureNamedKeyCredential
from azure.storage.blob import BlobServiceClient

from batchspec import local
from tests.interop.conftest import OtherClient
from tests.local.engines import pool

MANUAL = Path(__file__).parents[2] / "docs" / "local.md"
(PROGRAM,) = re.findall(r"```javascript\n(.*?)```", MANUAL.read_text("utf-8"), re.DOTALL)


# The first test that uses the client installs it.
@pytest.mark.timeout(600)
def test_its_javascript_code_runs(
    javascript: OtherClient, local_home: local.Endpoints, tmp_path: Path
) -> None:
    variables = local.variables(local_home)
    key = AzureNamedKeyCredential(local_home.batch_account, local_home.batch_key)
    with BatchClient(local_home.batch_url, key) as client:
        client.create_pool(pool("created-in-python", nodes=0))
    text = variables["AZURE_STORAGE_CONNECTION_STRING"]
    with BlobServiceClient.from_connection_string(text) as blobs:
        blobs.create_container("of-python")
    folder = tmp_path / "program"
    folder.mkdir()
    (folder / "node_modules").symlink_to(dict(javascript.environ)["NODE_PATH"])
    (folder / "program.mjs").write_text(PROGRAM, encoding="utf-8")
    done = subprocess.run(
        [javascript.command[0], "program.mjs"],
        cwd=folder,
        env={"PATH": os.environ["PATH"], **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["[ 'created-in-python' ]", "of-python"]
