"""The witness sees what a service in a process of its own answers, and notices what is wrong."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from azure.batch import BatchClient
from azure.core.credentials import AzureNamedKeyCredential

from batchspec import local
from tests.local.description import judge_of
from tests.witness.witness import Witness

SEEN = {
    "method": "GET",
    "path": "/jobs/j/taskcounts",
    "query": "api-version=2025-06-01",
    "status": 200,
    "headers": {"content-type": "application/json;odata=minimalmetadata"},
    "asked": "",
}


def lines(witness: Witness) -> set[bytes]:
    return {line for path in witness.folder.iterdir() for line in path.read_bytes().splitlines()}


def test_it_sees_a_service_in_a_process_of_its_own(
    witness: Witness, local_home: local.Endpoints
) -> None:
    before = lines(witness)
    key = AzureNamedKeyCredential(local_home.batch_account, local_home.batch_key)
    with BatchClient(local_home.batch_url, key) as client:
        assert list(client.list_pools()) == []
    (seen,) = lines(witness) - before
    exchange = json.loads(seen)
    assert (exchange["method"], exchange["path"], exchange["status"]) == ("GET", "/pools", 200)
    assert json.loads(base64.b64decode(exchange["told"]))["value"] == []


@pytest.mark.skipif(judge_of("2025-06-01") is None, reason="no description beside the project")
def test_it_notices_what_is_wrong_once(tmp_path: Path) -> None:
    own = Witness(tmp_path)
    told = {"odata.metadata": "x", "taskCounts": {"active": "none"}}
    text = json.dumps({**SEEN, "told": base64.b64encode(json.dumps(told).encode()).decode()})
    exchanges = tmp_path / "1.jsonl"
    exchanges.write_text(f"{text}\n{text[:40]}")  # the second is being written
    found = own.wrong()
    assert any("'none' is not of type" in line for line in found)
    with exchanges.open("a") as file:
        file.write(f"{text[40:]}\n")
    assert own.wrong() == []  # it is as the first
