"""The embedded service works with other clients of Azure Batch.

They use older api-versions than batchspec, other forms of signatures and requests, and their own
models of replies.
"""

from __future__ import annotations

from typing import Any

import pytest

from batchspec import local
from tests.e2e.conftest import Workplace
from tests.interop.conftest import OtherClient

# The first test that uses a client installs it.
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(params=["former_sdk", "javascript"])
def client(request: pytest.FixtureRequest) -> OtherClient:
    found: OtherClient = request.getfixturevalue(request.param)
    return found


def test_a_client_reads_a_run_of_batchspec(client: OtherClient, place: Workplace) -> None:
    done = place.run("apply", place.spec)
    assert done.code == 0, done.text
    output = client.ask(place.endpoints(), "show", "topn", "topn")
    assert output["pools"] == ["topn"]
    assert output["nodes"] == ["idle"] * 3
    assert output["jobs"] == [["topn", "completed"]]
    assert [task[1:] for task in output["tasks"]] == [["completed", 0]] * 3
    inputs = sorted(path.name for path in (place.folder / "specs" / "data").glob("*.txt"))
    assert len(inputs) == len(output["stdout"])
    for name in inputs:
        assert [text for text in output["stdout"] if name in text], name


def test_a_client_runs_a_task(client: OtherClient, local_home: local.Endpoints) -> None:
    output: dict[str, Any] = client.ask(local_home, "run")
    assert output == {
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
