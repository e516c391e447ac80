"""The embedded service works with tools that are built on SDKs of Azure Batch."""

from __future__ import annotations

import json
import os
import subprocess
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from batchspec import local
from tests.interop.conftest import (
    HERE,
    InstallError,
    OtherClient,
    installed,
    python_environment,
)

pytestmark = pytest.mark.timeout(1800)

PATIENCE = 60.0
AZURE_CLIS = {"2.58.0": "2023-11-01.18.0", "2.91.0": "2024-02-01.19.0"}
"""The versions of azure-cli and their api-versions."""


def test_a_job_template_of_azure_batch_extensions_runs(local_home: local.Endpoints) -> None:
    name = "azure-batch-extensions-9.0.0"
    program = str(HERE / "python" / "extensions.py")
    output = OtherClient((str(python_environment(name, name)), program)).ask(local_home)
    assert output == {
        "version": "2022-01-01.15.0",
        "reason": "AllTasksComplete",
        "tasks": [["0", 0], ["1", 0], ["2", 0]],
        "stdout": ["number 1\n", "number 2\n", "number 3\n"],
    }


@pytest.fixture(params=AZURE_CLIS)
def az(
    request: pytest.FixtureRequest, local_home: local.Endpoints, tmp_path: Path
) -> Callable[..., Any]:
    """``az batch`` of a version of azure-cli; returns the decoded output."""
    name = f"azure-cli-{request.param}"
    python = python_environment(name, name, hashes=False)
    environ = {
        "PATH": os.environ["PATH"],
        "AZURE_CONFIG_DIR": str(tmp_path / "azure"),
        "AZURE_CORE_COLLECT_TELEMETRY": "0",
        **local.variables(local_home),
    }

    def run(*arguments: str) -> Any:
        done = subprocess.run(
            [str(python), "-m", "azure.cli", "batch", *arguments, "--output", "json"],
            env=environ,
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout) if done.stdout.strip() else None

    return run


@pytest.mark.foreign
def test_azure_cli_runs_a_job(
    az: Callable[..., Any], local_home: local.Endpoints, tmp_path: Path, request: Any
) -> None:
    az("pool", "create", "--id", "p", "--vm-size", "standard_d2s_v3", "--target-dedicated-nodes",
       "1", "--image", "canonical:ubuntu-24_04-lts:server", "--node-agent-sku-id",
       "batch.node.ubuntu 24.04", "--start-task-command-line", "/bin/sh -c 'echo up'",
       "--start-task-wait-for-success")  # fmt: skip
    az("job", "create", "--id", "j", "--pool-id", "p")
    tasks = [{"id": "good", "commandLine": "/bin/sh -c 'echo done'"},
             {"id": "bad", "commandLine": "/bin/sh -c 'exit 3'"}]  # fmt: skip
    (tmp_path / "tasks.json").write_text(json.dumps(tasks))
    added = az("task", "create", "--job-id", "j", "--json-file", "tasks.json")
    assert sorted(one["taskId"] for one in added) == ["bad", "good"]
    end = time.monotonic() + PATIENCE
    while True:
        counts = az("job", "task-counts", "show", "--job-id", "j")
        if counts["taskCounts"]["completed"] == 2:
            break
        assert time.monotonic() < end, counts
    shown = az("task", "show", "--job-id", "j", "--task-id", "bad")
    assert shown["executionInfo"]["exitCode"] == 3
    found = az("task", "list", "--job-id", "j", "--filter", "executionInfo/exitCode eq 0")
    assert [task["id"] for task in found] == ["good"]
    az("task", "file", "download", "--job-id", "j", "--task-id", "good", "--file-path",
       "stdout.txt", "--destination", str(tmp_path / "out"))  # fmt: skip
    assert (tmp_path / "out").read_text() == "done\n"
    assert az("pool", "supported-images", "list")
    az("pool", "resize", "--pool-id", "p", "--target-dedicated-nodes", "2")
    assert az("pool", "show", "--pool-id", "p")["targetDedicatedNodes"] == 2
    az("job", "delete", "--job-id", "j", "--yes")
    az("pool", "delete", "--pool-id", "p", "--yes")
    version = AZURE_CLIS[request.node.callspec.params["az"]]
    former = local.status(local_home.data).former_clients
    assert [one.version for one in former] == [version]


@pytest.mark.foreign
def test_the_operator_of_airflow_runs_a_task(local_home: local.Endpoints, tmp_path: Path) -> None:
    name = "airflow-3.3.2"
    python = python_environment(name, name, hashes=False)
    program = str(HERE / "python" / "airflow_operator.py")
    environ = (("AIRFLOW_HOME", str(tmp_path)), ("HOME", str(tmp_path)))
    output = OtherClient((str(python), program), environ).ask(local_home)
    assert output == {"pool": "airflow", "job": "airflow", "tasks": [["one", 0]]}


QUICKSTART = "2c9e9acb45b5e8d093af9dd506a7a4816de9dbd6"
"""The commit of Azure-Samples/batch-python-quickstart that runs."""

_SOURCE = "https://raw.githubusercontent.com/Azure-Samples/batch-python-quickstart"
_CONFIG = """\
_BATCH_ACCOUNT_NAME = {batch_account!r}
_BATCH_ACCOUNT_KEY = {batch_key!r}
_BATCH_ACCOUNT_URL = {batch_url!r}
_STORAGE_ACCOUNT_NAME = {blob_account!r}
_STORAGE_ACCOUNT_KEY = {blob_key!r}
_POOL_ID = "PythonQuickstartPool"
_POOL_NODE_COUNT = 2
_POOL_VM_SIZE = "STANDARD_A1_v2"
_JOB_ID = "PythonQuickstartJob"
_STANDARD_OUT_FILE_NAME = "stdout.txt"
"""
# The quickstart builds the address of the storage from the account's name.
_ADDRESS = """\
from azure.storage.blob import BlockBlobService

_init = BlockBlobService.__init__

def init(self, *arguments, **options):
    _init(self, *arguments, custom_domain={domain!r}, protocol="http", **options)

BlockBlobService.__init__ = init
"""


@pytest.mark.foreign
def test_the_python_quickstart_of_microsoft_runs(
    local_home: local.Endpoints, tmp_path: Path
) -> None:
    def fill(folder: Path) -> None:
        url = f"{_SOURCE}/{QUICKSTART}/src/python_quickstart_client.py"
        try:
            with urllib.request.urlopen(url, timeout=30) as reply:
                (folder / "quickstart.py").write_bytes(reply.read())
        except OSError as error:
            raise InstallError(f"ENOTFOUND {error}") from None

    source = installed("quickstart-source", QUICKSTART.encode(), fill) / "quickstart.py"
    python = python_environment("quickstart", "quickstart")
    (tmp_path / "quickstart.py").write_bytes(source.read_bytes())
    domain = local_home.blob_url.partition("://")[2]
    (tmp_path / "config.py").write_text(_CONFIG.format(**vars_of(local_home)))
    (tmp_path / "sitecustomize.py").write_text(_ADDRESS.format(domain=domain))
    for number in range(3):
        (tmp_path / f"taskdata{number}.txt").write_text(f"data of task {number}\n")
    done = subprocess.run(
        [str(python), "quickstart.py"],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(tmp_path)},
        cwd=tmp_path,
        input="y\ny\n\n",
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Success! All tasks reached the 'Completed' state" in done.stdout
    for number in range(3):
        assert f"data of task {number}\n" in done.stdout


def vars_of(ends: local.Endpoints) -> dict[str, str]:
    """The accounts and addresses by name."""
    names = ("batch_account", "batch_key", "batch_url", "blob_account", "blob_key")
    return {name: getattr(ends, name) for name in names}
