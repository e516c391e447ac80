"""Which stored output of nodes belongs to a run: Last-Modified has whole seconds."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from batchspec.account import Account, FilePart
from batchspec.observe import stored_failures
from batchspec.plan.failures import NodeFailure, node_failure_text
from batchspec.plan.observed import Blob
from tests.plan.test_by_item import spec

CREATED = datetime(2026, 1, 2, 3, 4, 5, 700_000, UTC)
FAILURE = NodeFailure("p", "n", "startup", "starttaskfailed", 3, "", ("n",))


class Stored:
    """A container with one record, last modified at ``modified``."""

    def __init__(self, modified: datetime) -> None:
        self.modified = modified

    async def list(self, container: str, prefix: str = "") -> AsyncIterator[Blob]:
        yield Blob(f"{FAILURE.path}failure.json", 1, None, self.modified)

    async def get_part(self, container: str, blob: str, start: int, size: int) -> FilePart:
        data = node_failure_text(FAILURE).encode()
        return FilePart(data, len(data))


@pytest.mark.parametrize(
    ("since", "found"),
    [(None, 1), (CREATED, 1), (CREATED + timedelta(seconds=1), 0)],
)
async def test_failures_stored_before_the_job_are_ignored(
    tmp_path: Path, since: datetime | None, found: int
) -> None:
    account = cast(Account, SimpleNamespace(blobs=Stored(CREATED.replace(microsecond=0))))
    one = spec(tmp_path, {"command": "true", "logs": True})
    assert len(await stored_failures(one, "p", account, since)) == found
