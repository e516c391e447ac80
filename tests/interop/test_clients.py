"""Clients of Azure Batch that other people wrote take the embedded service for the real one.

They speak older api-versions than batchspec does, sign and spell their requests in other ways, and
parse replies by models of their own.
"""

from __future__ import annotations

from typing import Any

import pytest

from batchspec import local
from tests.interop.conftest import Peer
from tests.whole.conftest import Workplace

# The first to ask for a client installs it, which counts as a part of that test.
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(params=["former_sdk", "javascript"])
def peer(request: pytest.FixtureRequest) -> Peer:
    found: Peer = request.getfixturevalue(request.param)
    return found


def test_it_sees_a_run_that_batchspec_made(peer: Peer, place: Workplace) -> None:
    done = place.run("apply", place.spec)
    assert done.code == 0, done.text
    seen = peer.ask(place.endpoints(), "look", "topn", "topn")
    assert seen["pools"] == ["topn"]
    assert seen["nodes"] == ["idle"] * 3
    assert seen["jobs"] == [["topn", "completed"]]
    assert [task[1:] for task in seen["tasks"]] == [["completed", 0]] * 3
    inputs = sorted(path.name for path in (place.folder / "specs" / "data").glob("*.txt"))
    assert len(inputs) == len(seen["stdout"])
    for name in inputs:
        assert [text for text in seen["stdout"] if name in text], name


def test_it_makes_a_round_trip(peer: Peer, local_home: local.Endpoints) -> None:
    said: dict[str, Any] = peer.ask(local_home, "trip")
    assert said == {
        "pool_there": True,
        "pool_absent": False,
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
