"""The witness sees what a service in a process of its own answers, and notices what is wrong."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import pytest
from azure.batch import BatchClient
from azure.core.credentials import AzureNamedKeyCredential

from batchspec import local
from tests.local.description import judge_of
from tests.openapi_conformance.exchanges import Witness

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


def test_a_line_that_grows_while_it_is_read_is_read_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = json.dumps({**SEEN, "told": ""}).encode() + b"\n"
    (tmp_path / "1.jsonl").write_bytes(text)

    class Growing(io.BytesIO):
        """Its end is met in the middle of a line, and a moment later there is more."""

        def __init__(self) -> None:
            super().__init__(text[:40])

        def __next__(self) -> bytes:
            if not (line := self.readline()):
                raise StopIteration
            at = self.tell()
            self.seek(0, io.SEEK_END)
            self.write(text[40:])
            self.seek(at)
            return line

    own = Witness(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", lambda *_: Growing())
        assert list(own._new()) == []
    assert [exchange["path"] for exchange in own._new()] == [SEEN["path"]]


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
