"""Blobs are read to their end, part by part, and a folder is not a blob."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import cast

import pytest

from batchspec.account import Account, FilePart, TaskDetails
from batchspec.diagnostics import UsageError
from batchspec.observe import FileSource, SourceKind, find_source
from batchspec.plan.observed import Blob, JobFacts, TaskFacts
from batchspec.spec import PoolKind, Record, Spec

BIG = bytes(range(256)) * 40_000


class Blobs:
    """Two blobs, one of them larger than a part."""

    stored = {"a/big.bin": BIG, "a/empty": b""}  # noqa: RUF012

    async def list(self, container: str, prefix: str = "") -> AsyncIterator[Blob]:
        for name, data in self.stored.items():
            if name.startswith(prefix):
                yield Blob(name, len(data), None)

    async def get_part(self, container: str, blob: str, start: int, size: int) -> FilePart | None:
        data = self.stored.get(blob)
        return None if data is None else FilePart(data[start : start + size], len(data))


ACCOUNT = cast(Account, SimpleNamespace(blobs=Blobs()))
SOURCE = FileSource(SourceKind.CONTAINER, "c")


async def read(name: str) -> bytes:
    return b"".join([part async for part in SOURCE.read(ACCOUNT, name)])


async def test_a_large_blob_is_read_to_its_end() -> None:
    assert await read("a/big.bin") == BIG
    assert await read("a/empty") == b""


async def test_files_below_a_prefix() -> None:
    assert [file.name async for file in SOURCE.list(ACCOUNT, "a/b")] == ["a/big.bin"]


@pytest.mark.parametrize(("name", "text"), [("a", "c/a/big.bin"), ("b", "lists them")])
async def test_a_blob_that_does_not_exist(name: str, text: str) -> None:
    with pytest.raises(UsageError) as caught:
        await read(name)
    (problem,) = caught.value.problems
    assert text in problem.detail + problem.fix


class Nodes:
    async def list(self, pool: str, *, missing_ok: bool) -> AsyncIterator[SimpleNamespace]:
        yield SimpleNamespace(id="tvmps_a1f0_d")


class Tasks:
    """A job with the tasks ``a1`` and ``count-7``."""

    async def get(self, job: str, task: str) -> TaskDetails | None:
        known = {"a1", "count-7"}
        return TaskDetails(TaskFacts(task, "completed")) if task in known else None

    async def list(self, job: str, *, missing_ok: bool) -> AsyncIterator[TaskFacts]:
        for task in ("a1", "count-7"):
            yield TaskFacts(task, "completed")


@pytest.mark.parametrize(
    ("name", "kind", "found"),
    [
        ("a1", SourceKind.TASK, "a1"),
        ("a1f0", SourceKind.NODE, "tvmps_a1f0_d"),
        ("nt-7", SourceKind.TASK, "count-7"),
        ("out", SourceKind.CONTAINER, "c"),
    ],
)
async def test_the_id_of_a_task_is_found_before_a_part_of_the_id_of_a_node(
    name: str, kind: SourceKind, found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def jobs_of(spec: Spec, account: Account) -> tuple[JobFacts, ...]:
        return (JobFacts("j", "active", datetime(2026, 1, 2, tzinfo=UTC), Record(), {}),)

    monkeypatch.setattr("batchspec.observe.stored_files.jobs_of", jobs_of)
    account = cast(Account, SimpleNamespace(nodes=Nodes(), tasks=Tasks()))
    containers = {"out": SimpleNamespace(key="out", id="c")}
    pool = SimpleNamespace(kind=PoolKind.OWN, id="p")
    spec = cast(Spec, SimpleNamespace(containers=containers, pool=pool))
    source = await find_source(spec, account, name)
    assert (source.kind, source.id) == (kind, found)
