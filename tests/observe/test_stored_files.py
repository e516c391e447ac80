"""Blobs are read to their end, part by part, and a folder is not a blob."""

from __future__ import annotations

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import cast

import pytest

from batchspec.account import Account, FilePart
from batchspec.diagnostics import UsageError
from batchspec.observe import FileSource, SourceKind
from batchspec.plan.observed import Blob

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
