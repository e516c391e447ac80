"""Containers, uploads and downloads on a real blob store, through the real SDK."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import hashlib
import itertools
import os
import secrets
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from azure.storage.blob import BlobServiceClient, ContentSettings, StandardBlobTier
from azure.storage.blob.aio import BlobClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from yarl import URL

from batchspec.cloud import AccountClient, LocalAccount
from batchspec.cloud.sas import SasSigner
from batchspec.cloud.transfer import BLOCK as REAL_BLOCK
from batchspec.cloud.transfer import check_blob_name
from batchspec.diagnostics import Secret, ServiceError, SpecError, StalePlanError
from batchspec.plan.observed import Blob, LocalFile
from batchspec.spec import BlobUrl
from tests.cloud.conftest import BLOCK, KEY, Opener

if TYPE_CHECKING:
    from tests.conftest import BlobStore

pytestmark = pytest.mark.usefixtures("small_blocks")

NAMES = [
    "plain.txt",
    "a b/c d.txt",
    "x#y",
    "q?z=1&w=2",
    "100%",
    "%2F%20%",
    "a..b/...c",
    "~tilde+plus=;',!*()@$[]",
    '<&>"',
    "ü/é (NFC).txt",
    "u\u0308 NFD",
    "日本/🎉.txt",
    "double//slash",
    "trailing/",
    "end.",
    "{braces}^`|",
]


def nothing(_: int) -> None:
    return None


def a_file(path: Path, data: bytes, blob: str | None = None) -> LocalFile:
    path.write_bytes(data)
    return LocalFile(blob or path.name, str(path), len(data), hashlib.md5(data).digest())


@pytest.fixture
def store(azurite: BlobStore) -> LocalAccount:
    return LocalAccount(
        "http://127.0.0.1:9", "acct", KEY, azurite.url, azurite.account, Secret(azurite.key)
    )


@pytest.fixture
async def real(store: LocalAccount, opened: Opener) -> AsyncIterator[AccountClient]:
    """An account whose storage is real."""
    async with opened(store) as cloud:
        yield cloud


@pytest.fixture
async def container(real: AccountClient) -> str:
    name = f"c{secrets.token_hex(8)}"
    await real.containers.create(name, {}, None)
    return name


@pytest.fixture
def plain(azurite: BlobStore) -> BlobServiceClient:
    """A client of the SDK, which reads the changes and acts as another client."""
    return BlobServiceClient.from_connection_string(
        azurite.connection_string, max_single_put_size=BLOCK
    )


async def blobs(cloud: AccountClient, container: str, prefix: str = "") -> dict[str, Blob]:
    return {blob.name: blob async for blob in cloud.blobs.list(container, prefix)}


async def test_containers_are_created_and_deleted(real: AccountClient) -> None:
    name = f"c{secrets.token_hex(8)}"
    assert await real.containers.get_metadata(name) is None
    assert await blobs(real, name) == {}
    assert await real.containers.create(name, {"made_by": "topn"}, None) is True
    assert await real.containers.create(name, {"made_by": "topn"}, None) is False
    assert await real.containers.get_metadata(name) == {"made_by": "topn"}
    assert await real.containers.delete(name) is True
    assert await real.containers.delete(name) is False
    assert await real.containers.get_metadata(name) is None


async def test_every_valid_name_is_listed(
    real: AccountClient, container: str, tmp_path: Path
) -> None:
    files = [a_file(tmp_path / f"f{n}", name.encode(), name) for n, name in enumerate(NAMES)]
    await asyncio.gather(*(real.blobs.upload(container, file, nothing) for file in files))
    listed = await blobs(real, container)
    assert set(listed) == set(NAMES)
    signer = await real.connection.signer.for_lifetime(timedelta(hours=1))
    async with aiohttp.ClientSession() as session:
        for file in files:
            part = tmp_path / "part"
            await real.blobs.download(container, listed[file.blob], part, nothing)
            assert part.read_bytes() == file.blob.encode()
            # A node sends this request with the URL in a task.
            address = URL(signer(BlobUrl(container, file.blob, "r")), encoded=True)
            async with session.get(address) as answer:
                assert (answer.status, await answer.read()) == (200, file.blob.encode())


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(name=st.text(min_size=1, max_size=40))
def test_a_name_is_either_refused_or_listed(
    store: LocalAccount, plain: BlobServiceClient, opened: Opener, tmp_path: Path, name: str
) -> None:
    folder = "any-name"

    async def there_and_back() -> list[str]:
        async with opened(store) as cloud:
            await cloud.containers.delete(folder)
            await cloud.containers.create(folder, {}, None)
            try:
                await cloud.blobs.upload(folder, a_file(tmp_path / "f", b"x", name), nothing)
            except SpecError as error:
                assert error.problems[0].code == "blob-name"
                return []
            listed = await blobs(cloud, folder)
            await cloud.blobs.download(folder, listed[name], tmp_path / "part", nothing)
            return list(listed)

    assert asyncio.run(there_and_back()) in ([], [name])


@pytest.mark.parametrize(
    "name",
    [
        "",
        "a\x00b",
        "a\x01",
        "line\nbreak",
        "back\\slash",
        "..",
        "a/../b",
        "./a",
        "a/.",
        "\udcff",
        "x" * 1025,
        "/".join("x" * 255),
    ],
)
def test_invalid_names(name: str) -> None:
    with pytest.raises(SpecError) as caught:
        check_blob_name(name)
    problem = caught.value.problems[0]
    assert problem.code == "blob-name"
    assert problem.summary.isprintable()


async def test_a_small_file(
    real: AccountClient, container: str, plain: BlobServiceClient, tmp_path: Path
) -> None:
    moved: list[int] = []
    file = a_file(tmp_path / "a.txt", b"hello")
    file = LocalFile(file.blob, file.location, file.size, file.md5, "text/x-mine")
    await real.blobs.upload(container, file, moved.append)
    found = plain.get_blob_client(container, "a.txt").get_blob_properties()
    assert bytes(found.content_settings.content_md5 or b"") == file.md5
    assert found.content_settings.content_type == "text/x-mine"
    assert sum(moved) == 5
    (blob,) = (await blobs(real, container)).values()
    assert (blob.name, blob.size, blob.md5) == ("a.txt", 5, file.md5)
    assert blob.modified is not None
    assert abs(blob.modified - datetime.now(UTC)) < timedelta(minutes=5)


async def test_an_empty_file(real: AccountClient, container: str, tmp_path: Path) -> None:
    await real.blobs.upload(container, a_file(tmp_path / "empty", b""), nothing)
    (blob,) = (await blobs(real, container)).values()
    md5 = await real.blobs.download(container, blob, tmp_path / "part", nothing)
    assert (blob.size, md5) == (0, hashlib.md5(b"").digest())
    assert (tmp_path / "part").read_bytes() == b""


@pytest.mark.parametrize("size", [BLOCK, BLOCK + 1, 3 * BLOCK + 12345])
async def test_large_files(real: AccountClient, container: str, tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    up: list[int] = []
    down: list[int] = []
    await real.blobs.upload(container, a_file(tmp_path / "big", data), up.append)
    (blob,) = (await blobs(real, container)).values()
    assert blob.md5 == hashlib.md5(data).digest()
    md5 = await real.blobs.download(container, blob, tmp_path / "part", down.append)
    assert md5 == blob.md5
    assert (tmp_path / "part").read_bytes() == data
    assert sum(up) == sum(down) == size
    assert len(up) == -(-size // BLOCK)
    assert max(down) < 2 * BLOCK


async def test_a_file_of_one_block(
    real: AccountClient, container: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    file = a_file(tmp_path / "big", os.urandom(REAL_BLOCK + 1))
    moved: list[int] = []
    await real.blobs.upload(container, file, moved.append)
    (blob,) = (await blobs(real, container)).values()
    assert sorted(moved) == [1, REAL_BLOCK]
    assert await real.blobs.download(container, blob, tmp_path / "part", moved.append) == file.md5
    assert sum(moved) == 2 * file.size


async def test_many_large_files_at_once(
    real: AccountClient, container: str, tmp_path: Path
) -> None:
    """More blocks than may be in memory, of several files."""
    files = [a_file(tmp_path / f"f{n}", os.urandom(2 * BLOCK + n)) for n in range(6)]
    await asyncio.gather(*(real.blobs.upload(container, file, nothing) for file in files))
    listed = await blobs(real, container)
    parts = [tmp_path / f"part{n}" for n in range(6)]
    md5s = await asyncio.gather(
        *(
            real.blobs.download(container, listed[file.blob], part, nothing)
            for file, part in zip(files, parts, strict=True)
        )
    )
    assert md5s == [file.md5 for file in files]


@pytest.mark.parametrize("size", [10, 100_000, BLOCK + 10])
@pytest.mark.parametrize("change", ["deleted", "grown", "shrunk", "other", "folder"])
async def test_a_file_that_changed_is_not_uploaded(
    real: AccountClient,
    container: str,
    plain: BlobServiceClient,
    tmp_path: Path,
    size: int,
    change: str,
) -> None:
    plain.get_container_client(container).upload_blob("data.bin", b"what was there")
    file = a_file(tmp_path / "data.bin", os.urandom(size))
    data = file.path.read_bytes()
    match change:
        case "deleted" | "folder":
            file.path.unlink()
            if change == "folder":
                file.path.mkdir()
        case "grown":
            file.path.write_bytes(data + b"x")
        case "shrunk":
            file.path.write_bytes(data[:-1])
        case "other":
            file.path.write_bytes(os.urandom(size))
    with pytest.raises(StalePlanError) as caught:
        await real.blobs.upload(container, file, nothing)
    assert caught.value.problems[0].code == "file-moved"
    assert str(file.path) in caught.value.problems[0].summary
    kept = plain.get_blob_client(container, "data.bin").download_blob().readall()
    assert kept == b"what was there"


async def test_uncommitted_blocks_of_other_clients(
    real: AccountClient, container: str, plain: BlobServiceClient, tmp_path: Path
) -> None:
    other = plain.get_blob_client(container, "big")
    data = os.urandom(BLOCK + 1)
    other.upload_blob(data, max_concurrency=1)
    await real.blobs.upload(container, a_file(tmp_path / "big", data[::-1]), nothing)
    assert other.download_blob().readall() == data[::-1]


class Stopping:
    """Counts the moved bytes, and requests a stop after ``after`` blocks."""

    def __init__(self, after: int) -> None:
        self.moved: list[int] = []
        self.after = after

    def __call__(self, count: int) -> None:
        self.moved.append(count)

    def stopped(self) -> bool:
        return len(self.moved) >= self.after


def staged(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the blocks that are sent from now on."""
    sent: list[int] = []
    stage = BlobClient.stage_block

    async def counted(self: BlobClient, block_id: str, data: bytes, **more: Any) -> Any:
        sent.append(len(data))
        return await stage(self, block_id, data, **more)

    monkeypatch.setattr(BlobClient, "stage_block", counted)
    return sent


BLOCKS = 12
FLIGHT = 3
"""How many blocks are in flight here (``small_blocks``)."""


async def test_an_upload_stops_after_the_blocks_in_flight_and_resumes_from_them(
    real: AccountClient, container: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = staged(monkeypatch)
    data = os.urandom(BLOCKS * BLOCK - 7)
    file = a_file(tmp_path / "big", data)
    first = Stopping(after=2)
    assert not await real.blobs.upload(container, file, first, first.stopped)
    arrived = len(first.moved)
    assert 2 <= arrived == len(sent) <= 2 + FLIGHT, "each block that was begun has arrived"
    assert await blobs(real, container) == {}, "there is no blob before all of it has arrived"
    sent.clear()
    second: list[int] = []
    await real.blobs.upload(container, file, second.append)
    assert len(sent) == BLOCKS - arrived
    assert sum(second) == len(data)
    (blob,) = (await blobs(real, container)).values()
    assert await real.blobs.download(container, blob, tmp_path / "part", nothing) == file.md5
    assert (tmp_path / "part").read_bytes() == data


async def test_a_stop_before_the_first_block_sends_nothing(
    real: AccountClient, container: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = staged(monkeypatch)
    file = a_file(tmp_path / "big", os.urandom(2 * BLOCK))
    assert not await real.blobs.upload(container, file, nothing, lambda: True)
    assert sent == []


async def test_a_stop_after_the_last_block_has_no_effect(
    real: AccountClient, container: str, tmp_path: Path
) -> None:
    file = a_file(tmp_path / "big", os.urandom(2 * BLOCK))
    late = Stopping(after=2)
    assert await real.blobs.upload(container, file, late, late.stopped)
    assert (await blobs(real, container))["big"].md5 == file.md5


async def test_only_the_blocks_of_a_file_that_changed_are_sent_again(
    real: AccountClient, container: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = bytearray(os.urandom(BLOCKS * BLOCK))
    first = Stopping(after=6)
    file = a_file(tmp_path / "big", bytes(data))
    assert not await real.blobs.upload(container, file, first, first.stopped)
    arrived = len(first.moved)
    data[BLOCK] ^= 1
    # A block at another index is another block.
    data[3 * BLOCK : 4 * BLOCK], data[4 * BLOCK : 5 * BLOCK] = (
        data[4 * BLOCK : 5 * BLOCK],
        data[3 * BLOCK : 4 * BLOCK],
    )
    sent = staged(monkeypatch)
    file = a_file(tmp_path / "big", bytes(data))
    await real.blobs.upload(container, file, nothing)
    assert len(sent) == BLOCKS - arrived + 3
    (blob,) = (await blobs(real, container)).values()
    await real.blobs.download(container, blob, tmp_path / "part", nothing)
    assert (tmp_path / "part").read_bytes() == bytes(data)


async def test_blocks_with_other_content_are_not_used(
    real: AccountClient, container: str, plain: BlobServiceClient, tmp_path: Path
) -> None:
    """Blocks of an interrupted upload of the SDK have ids of the same length without an MD5."""
    other = plain.get_blob_client(container, "big")
    for _ in range(2):
        other.stage_block(f"{uuid.uuid4().int:048d}", b"x" * BLOCK)
    data = os.urandom(2 * BLOCK)
    await real.blobs.upload(container, a_file(tmp_path / "big", data), nothing)
    assert other.download_blob().readall() == data


async def test_a_blob_is_replaced_only_when_its_content_has_arrived(
    real: AccountClient, container: str, plain: BlobServiceClient, tmp_path: Path
) -> None:
    blob = plain.get_blob_client(container, "big")
    blob.upload_blob(b"before")
    file = a_file(tmp_path / "big", os.urandom(BLOCKS * BLOCK))
    first = Stopping(after=1)
    assert not await real.blobs.upload(container, file, first, first.stopped)
    assert blob.download_blob().readall() == b"before"
    await real.blobs.upload(container, file, nothing)
    assert (await blobs(real, container))["big"].md5 == file.md5


async def interrupted(
    work: Callable[[Callable[[int], None]], Coroutine[Any, Any, Any]], blocks: int, steps: int
) -> None:
    """Start the work, and cancel it after some ``blocks`` and some ``steps`` of the loop."""
    moved = asyncio.Semaphore(0)
    task = asyncio.create_task(work(lambda _: moved.release()))
    for _ in range(blocks):
        await moved.acquire()
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_a_cancelled_upload_leaves_nothing_running(
    real: AccountClient, container: str, tmp_path: Path
) -> None:
    """The upload of the SDK continues with the blocks in progress."""
    before = asyncio.all_tasks()
    file = a_file(tmp_path / "big", os.urandom(2 * BLOCK + 1))
    upload = partial(real.blobs.upload, container, file)
    for blocks, steps in itertools.product((0, 1), range(0, 60, 4)):
        await interrupted(upload, blocks, steps)
        assert asyncio.all_tasks() == before
    async with asyncio.timeout(20):  # all places are free again
        await upload(nothing)
    assert (await blobs(real, container))["big"].md5 == file.md5


async def test_a_cancelled_download_leaves_nothing_running(
    real: AccountClient, container: str, tmp_path: Path
) -> None:
    await real.blobs.upload(container, a_file(tmp_path / "big", os.urandom(6 * BLOCK)), nothing)
    (blob,) = (await blobs(real, container)).values()
    part = tmp_path / "part"
    download = partial(real.blobs.download, container, blob, part)
    before = asyncio.all_tasks()
    for blocks, steps in itertools.product((0, 1, 3), range(0, 30, 4)):
        await interrupted(download, blocks, steps)
        assert asyncio.all_tasks() == before
    async with asyncio.timeout(20):
        assert await download(nothing) == blob.md5


async def test_a_compressed_blob_is_downloaded_unchanged(
    real: AccountClient, container: str, plain: BlobServiceClient, tmp_path: Path
) -> None:
    """The SDK would decompress a blob with a Content-Encoding; the stored bytes are read."""
    packed = gzip.compress(b"hello " * 100)
    how = ContentSettings(content_encoding="gzip")
    plain.get_container_client(container).upload_blob("a.gz", packed, content_settings=how)
    (blob,) = (await blobs(real, container)).values()
    await real.blobs.download(container, blob, tmp_path / "part", nothing)
    assert (tmp_path / "part").read_bytes() == packed


async def test_an_archived_blob_can_neither_be_read_nor_replaced(
    real: AccountClient, container: str, plain: BlobServiceClient, tmp_path: Path
) -> None:
    """Azure also refuses the blocks of a large blob (azure-storage-azcopy#993)."""
    file = a_file(tmp_path / "f", b"data")
    await real.blobs.upload(container, file, nothing)
    plain.get_blob_client(container, file.blob).set_standard_blob_tier(StandardBlobTier.ARCHIVE)
    (blob,) = (await blobs(real, container)).values()
    assert blob.archived
    for refused in (
        real.blobs.upload(container, file, nothing),
        real.blobs.download(container, blob, tmp_path / "part", nothing),
    ):
        with pytest.raises(ServiceError) as caught:
            await refused
        assert caught.value.code == "BlobArchived"
        assert "--tier Hot" in caught.value.problems[0].fix
    await real.blobs.delete(container, blob.name)
    assert await blobs(real, container) == {}


@pytest.mark.parametrize("key", ["hdi_isfolder", "Hdi_isfolder"])
async def test_directories_are_not_listed(
    real: AccountClient, container: str, plain: BlobServiceClient, key: str
) -> None:
    """Accounts with a hierarchical namespace list directories as blobs, beside their content."""
    target = plain.get_container_client(container)
    target.upload_blob("logs", b"", metadata={key: "true"})
    target.upload_blob("logs/a", b"a", metadata={"made": "by a task"})
    target.upload_blob("empty", b"")
    assert set(await blobs(real, container)) == {"logs/a", "empty"}


@pytest.mark.parametrize("size", [100, BLOCK + 1])
@pytest.mark.parametrize("change", ["content", "longer", "shorter"])
async def test_a_blob_that_differs_from_the_listing(
    real: AccountClient,
    container: str,
    plain: BlobServiceClient,
    tmp_path: Path,
    size: int,
    change: str,
) -> None:
    data = os.urandom(size)
    await real.blobs.upload(container, a_file(tmp_path / "f", data), nothing)
    (blob,) = (await blobs(real, container)).values()
    other = {"content": data[::-1], "longer": data + b"x", "shorter": data[:-1]}[change]
    plain.get_container_client(container).upload_blob("f", other, overwrite=True)
    with pytest.raises(ServiceError) as caught:
        await real.blobs.download(container, blob, tmp_path / "part", nothing)
    assert caught.value.code == "blob-damaged"


async def test_a_blob_that_changes_during_the_download(
    real: AccountClient, container: str, plain: BlobServiceClient, tmp_path: Path
) -> None:
    data = os.urandom(8 * BLOCK)
    client = plain.get_container_client(container)
    client.upload_blob("f", data)
    (blob,) = (await blobs(real, container)).values()
    # The service stores no MD5 of blobs from other clients' blocks; versions are not mixed either.
    assert blob.md5 is None
    changed = False

    def change(_: int) -> None:
        nonlocal changed
        if not changed:
            changed = True
            client.upload_blob("f", os.urandom(len(data)), overwrite=True)

    await real.blobs.download(container, blob, tmp_path / "part", change)
    assert changed
    assert (tmp_path / "part").read_bytes() == data


async def test_download_of_a_missing_blob(
    real: AccountClient, container: str, tmp_path: Path
) -> None:
    with pytest.raises(ServiceError) as caught:
        await real.blobs.download(container, Blob("no", 1, None), tmp_path / "part", nothing)
    assert (caught.value.code, caught.value.status) == ("BlobNotFound", 404)


async def test_blobs_by_prefix(real: AccountClient, container: str, tmp_path: Path) -> None:
    for name in ("a/1", "a/2", "b/1"):
        await real.blobs.upload(container, a_file(tmp_path / "f", b"x", name), nothing)
    assert set(await blobs(real, container, "a/")) == {"a/1", "a/2"}


@pytest.mark.parametrize("prefix", ["a b/c", "x#y", "q?z=1&", "100%", "%2F%20", "~tilde+", "日本/"])
async def test_a_prefix_is_the_start_of_a_name(
    real: AccountClient, container: str, tmp_path: Path, prefix: str
) -> None:
    for name in (f"{prefix}-1", "other"):
        await real.blobs.upload(container, a_file(tmp_path / "f", b"x", name), nothing)
    assert set(await blobs(real, container, prefix)) == {f"{prefix}-1"}


async def test_permissions_of_a_sas(real: AccountClient, container: str, tmp_path: Path) -> None:
    await real.blobs.upload(container, a_file(tmp_path / "f", b"data"), nothing)
    signer = await real.connection.signer.for_lifetime(timedelta(hours=1))
    read = signer(BlobUrl(container, "f", "r"))
    write = signer(BlobUrl(container, None, "cw"))
    put = {"x-ms-blob-type": "BlockBlob"}
    async with aiohttp.ClientSession() as session:

        async def status(method: str, address: str, **more: str) -> int:
            async with session.request(method, address, headers=more, data=b"") as answer:
                return answer.status

        path, query = write.split("?")
        assert await status("GET", read) == 200
        assert await status("DELETE", read) == 403
        assert await status("PUT", f"{path}/out?{query}", **put) == 201
        assert await status("GET", f"{path}/f?{query}") == 403
        assert await status("GET", signer(BlobUrl(container, "f"))) in (403, 404)
    assert "sig=" not in signer(BlobUrl(container, "f"))


async def test_validity_of_a_sas(real: AccountClient) -> None:
    before = datetime.now(UTC)
    signer = await real.connection.signer.for_lifetime(timedelta(hours=2))
    query = URL(signer(BlobUrl("c", None, "rl"))).query
    start, end = (datetime.fromisoformat(query[key]) for key in ("st", "se"))
    assert before + timedelta(hours=2) - timedelta(seconds=1) <= end
    assert end <= datetime.now(UTC) + timedelta(hours=2, minutes=6)
    # Clocks may differ by 15 minutes.
    assert start <= before - timedelta(minutes=14)
    assert query["spr"] == "https,http"


async def test_a_sas_is_reused_and_renewed(store: LocalAccount) -> None:
    now = datetime(2026, 11, 22, tzinfo=UTC)
    signer = SasSigner(store, None, lambda: now)  # type: ignore[arg-type]
    url = BlobUrl("c", None, "rl")
    first = (await signer.for_lifetime(timedelta(hours=1)))(url)
    now += timedelta(minutes=4)
    assert (await signer.for_lifetime(timedelta(hours=1)))(url) == first
    now += timedelta(minutes=4)
    renewed = await signer.for_lifetime(timedelta(hours=1))
    assert renewed(url) != first
    assert renewed.expiry >= now + timedelta(hours=1)
