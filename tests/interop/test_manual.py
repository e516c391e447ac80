"""The JavaScript code of the documentation runs as written (its Python code: ``tests/local``)."""

from __future__ import annotations

import os
import re
import subprocess
import sys
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

GUIDE = MANUAL.parent / "how-to" / "test-programs.md"
(TESTS,) = re.findall(r"```javascript\n(.*?)```", GUIDE.read_text("utf-8"), re.DOTALL)


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


@pytest.mark.timeout(600)
def test_the_tests_of_the_guide_pass(javascript: OtherClient, tmp_path: Path) -> None:
    (tmp_path / "node_modules").symlink_to(dict(javascript.environ)["NODE_PATH"])
    (tmp_path / "jobs.test.mjs").write_text(TESTS, encoding="utf-8")
    (tmp_path / "temporary").mkdir()
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        [javascript.command[0], "--test", "--test-reporter=tap", "jobs.test.mjs"],
        cwd=tmp_path,
        env={**os.environ, "PATH": path, "TMPDIR": str(tmp_path / "temporary")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "# pass 1" in done.stdout
    assert list((tmp_path / "temporary").glob("batch-*")) == []
