"""Recording of exchanges in separate processes, and detection of violations."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import pytest
from azure.batch import BatchClient
from azure.core.credentials import AzureNamedKeyCredential

from batchspec import local
from tests.local.openapi import openapi_description
from tests.openapi_conformance.exchanges import ConformanceChecker

EXCHANGE = {
    "method": "GET",
    "path": "/jobs/j/taskcounts",
    "query": "api-version=2025-06-01",
    "status": 200,
    "headers": {"content-type": "application/json;odata=minimalmetadata"},
    "body": "",
}


def lines(conformance_checker: ConformanceChecker) -> set[bytes]:
    return {
        line
        for path in conformance_checker.folder.iterdir()
        for line in path.read_bytes().splitlines()
    }


def test_exchanges_of_a_service_in_another_process_are_recorded(
    conformance_checker: ConformanceChecker, local_home: local.Endpoints
) -> None:
    before = lines(conformance_checker)
    key = AzureNamedKeyCredential(local_home.batch_account, local_home.batch_key)
    with BatchClient(local_home.batch_url, key) as client:
        assert list(client.list_pools()) == []
    (line,) = lines(conformance_checker) - before
    exchange = json.loads(line)
    assert (exchange["method"], exchange["path"], exchange["status"]) == ("GET", "/pools", 200)
    assert json.loads(base64.b64decode(exchange["reply"]))["value"] == []


def test_an_incomplete_line_is_read_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = json.dumps({**EXCHANGE, "reply": ""}).encode() + b"\n"
    (tmp_path / "1.jsonl").write_bytes(text)

    class Growing(io.BytesIO):
        """A file that ends in the middle of a line and grows after that."""

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

    checker = ConformanceChecker(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", lambda *_: Growing())
        assert list(checker._new()) == []
    assert [exchange["path"] for exchange in checker._new()] == [EXCHANGE["path"]]


@pytest.mark.skipif(
    openapi_description("2025-06-01") is None, reason="no description next to the project"
)
def test_a_violation_is_reported_once(tmp_path: Path) -> None:
    checker = ConformanceChecker(tmp_path)
    reply = {"odata.metadata": "x", "taskCounts": {"active": "none"}}
    text = json.dumps({**EXCHANGE, "reply": base64.b64encode(json.dumps(reply).encode()).decode()})
    exchanges = tmp_path / "1.jsonl"
    exchanges.write_text(f"{text}\n{text[:40]}")  # the second line is incomplete
    found = checker.violations()
    assert any("'none' is not of type" in line for line in found)
    with exchanges.open("a") as file:
        file.write(f"{text[40:]}\n")
    assert checker.violations() == []  # the same exchange again
