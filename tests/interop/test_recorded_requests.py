"""The service accepts the recorded requests of other clients, some of which take long to install.

`tools/record_requests.py` records them. They are sent to a service without an engine: pools stay
`resizing`, no node and no file exists, and tasks stay active. So a reply may be 404 or 409 instead
of the recorded one. A request that was accepted must not be refused as invalid, unknown or not
supported.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from tests.docs.pages import DOCS
from tests.local.running import running

REQUESTS = sorted((Path(__file__).parent / "requests").glob("*.jsonl"))
_REFUSED = frozenset({400, 401, 403, 405, 411, 413, 500, 501})


@pytest.mark.parametrize("file", REQUESTS, ids=lambda path: path.stem)
def test_the_requests_of_a_client_are_accepted(tmp_path: Path, file: Path) -> None:
    wrong = []
    with running(tmp_path / "batch") as service:
        for line in _lines(file):
            query = {name: text for name, text in line["query"].items() if name != "api-version"}
            answer = service.request(
                line["method"],
                line["path"],
                line["body"],
                query=urlencode(query, quote_via=quote),
                headers=line["headers"],
                version=line["query"]["api-version"],
                checked=False,
            )
            if not _agrees(line, answer.status):
                wrong.append((line["method"], line["path"], line["status"], answer.status))
    assert wrong == []


@pytest.mark.parametrize("file", REQUESTS, ids=lambda path: path.stem)
def test_the_list_of_clients_has_the_version_that_was_recorded(file: Path) -> None:
    (spoken,) = {line["query"]["api-version"] for line in _lines(file)}
    version = file.stem.rpartition("-")[2]
    page = (DOCS / "compatibility.md").read_text("utf-8")
    rows = [line for line in page.splitlines() if f"| {spoken} | yes, `" in line]
    assert [row for row in rows if re.search(rf" {re.escape(version)}[ :,]", row)]


def _agrees(line: Mapping[str, Any], status: int) -> bool:
    """Whether a status is the recorded one, or another because nothing runs here (404, 409)."""
    return status == line["status"] or not {status, line["status"]} & _REFUSED


def _lines(file: Path) -> Iterator[dict[str, Any]]:
    with file.open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)
