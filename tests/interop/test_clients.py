"""The embedded service works with other clients of Azure Batch.

They use older api-versions than batchspec, other forms of signatures and requests, and their own
models of replies.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from batchspec import local
from batchspec.local.wire import model_names, properties
from tests.e2e.conftest import Workplace
from tests.interop.conftest import (
    JAVASCRIPT_SDKS,
    PYTHON_SDKS,
    OtherClient,
    javascript_client,
    python_client,
)
from tests.interop.model_names import FORMER_NAMES
from tests.interop.test_tools import AZURE_CLIS

# The first test that uses a client installs it.
pytestmark = pytest.mark.timeout(600)

CLIENTS: tuple[tuple[Callable[[str], OtherClient], str], ...] = (
    *((python_client, version) for version in PYTHON_SDKS),
    *((javascript_client, version) for version in JAVASCRIPT_SDKS),
)


@pytest.fixture(params=CLIENTS, ids=lambda param: f"{param[0].__name__} {param[1]}")
def client(request: pytest.FixtureRequest, azurite_installed: Path) -> OtherClient:
    make, version = request.param
    found: OtherClient = make(version)
    return found


def test_clients_read_a_run_of_batchspec(place: Workplace) -> None:
    done = place.run("apply", place.spec)
    assert done.code == 0, done.text
    inputs = sorted(path.name for path in (place.folder / "specs" / "data").glob("*.txt"))
    for make, version in CLIENTS:
        output = make(version).ask(place.endpoints(), "show", "topn", "topn")
        assert output["pools"] == ["topn"]
        assert output["nodes"] == ["idle"] * 3
        assert output["jobs"] == [["topn", "completed"]]
        assert [task[1:] for task in output["tasks"]] == [["completed", 0]] * 3
        assert len(inputs) == len(output["stdout"])
        for name in inputs:
            assert [text for text in output["stdout"] if name in text], name


def test_a_client_runs_a_task(client: OtherClient, local_home: local.Endpoints) -> None:
    output: dict[str, Any] = client.ask(local_home, "run")
    assert output == {
        "version": output["version"],
        "slots": 2,
        "pool_exists": True,
        "missing_pool_exists": False,
        "again": "JobExists",
        "added": [["bad", "success"], ["good", "success"]],
        "refused": ["InvalidPropertyValue"],
        "ended": {"bad": ["failure", 3], "good": ["success", 0]},
        "failure": ["usererror", "FailureExitCode"],
        "stdout": "naïve\n",
        "part": "wh",
        "files": ["stderr.txt", "stdout.txt", "wd/out.txt"],
        "size": 2,
        "deleted": 404,
        "overtaken": [412, "ConditionNotMet"],
        "priority": 7,
        "pools": [],
    }
    former = local.status(local_home.data).former_clients
    assert [one.version for one in former] == [output["version"]]


@pytest.mark.parametrize("version", PYTHON_SDKS)
def test_the_models_of_a_version_are_those_of_its_sdk(
    version: str, local_home: local.Endpoints
) -> None:
    output = python_client(version).ask(local_home, "models")
    shapes = output["models"]
    compared = 0
    for model in model_names():
        name = FORMER_NAMES.get(model, model)
        if name in shapes:
            compared += 1
            assert sorted(properties(model, output["version"])) == shapes[name], model
    assert compared > 100


def test_the_page_of_compatibility_lists_the_tested_versions() -> None:
    page = (Path(__file__).parents[2] / "docs" / "compatibility.md").read_text("utf-8")
    for version in PYTHON_SDKS:
        assert f"| azure-batch {version} |" in page
    for version in JAVASCRIPT_SDKS:
        assert f"| @azure/batch {version}" in page
    for version, spoken in AZURE_CLIS.items():
        assert f"| azure-cli {version} | {spoken} |" in page
