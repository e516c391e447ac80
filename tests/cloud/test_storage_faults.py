"""Failures of a storage service, through the real SDK: no data is lost or incomplete."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote, urlencode

import pytest
from azure.core.pipeline import PipelineContext, PipelineRequest
from azure.core.pipeline.transport import AioHttpTransport
from azure.core.rest import HttpRequest
from azure.storage.blob._shared.authentication import SharedKeyCredentialPolicy

from batchspec.cloud import AccountClient
from batchspec.diagnostics import ServiceError
from batchspec.plan.observed import Blob, LocalFile
from tests.cloud.conftest import BLOCK, KEY, Time
from tests.cloud.scripted import RESET, Asked, Reply, Scripted, storage_refusal

pytestmark = pytest.mark.usefixtures("small_blocks")

CREATED = Reply(201, headers={"ETag": '"1"', "Last-Modified": "Sun, 22 Nov 2026 10:00:00 GMT"})
BLOB = "/store/data/f"


def nothing(_: int) -> None:
    return None


def a_file(path: Path, data: bytes) -> LocalFile:
    path.write_bytes(data)
    return LocalFile("f", str(path), len(data), hashlib.md5(data).digest())


def served(content: bytes, etag: str = '"1"') -> Callable[[Asked], Reply]:
    """A blob that is served as a whole, or from an offset on."""

    def answer(asked: Asked) -> Reply:
        header = asked.headers.get("x-ms-range", "bytes=0-")
        found = re.fullmatch(r"bytes=(\d+)-", header)
        assert found
        start = int(found[1])
        return Reply(
            206 if start else 200,
            content[start:],
            {
                "ETag": etag,
                "Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}",
                "Content-Type": "application/octet-stream",
                "Last-Modified": "Sun, 22 Nov 2026 10:00:00 GMT",
                "x-ms-blob-type": "BlockBlob",
            },
        )

    return answer


async def test_creation_waits_for_the_deletion_of_a_container(
    cloud: AccountClient, server: Scripted, clock: Time
) -> None:
    """Azure keeps the name of a deleted container for at least 30 seconds, Azurite does not."""
    deleting = storage_refusal(409, "ContainerBeingDeleted")
    server.on("PUT", "/store/data", deleting, deleting, deleting, deleting, CREATED)
    assert await cloud.containers.create("data", {}, None) is True
    assert sum(clock.slept) >= 20


async def test_a_container_whose_deletion_does_not_end(
    cloud: AccountClient, server: Scripted, clock: Time
) -> None:
    server.on("PUT", "/store/data", storage_refusal(409, "ContainerBeingDeleted"))
    with pytest.raises(ServiceError) as caught:
        await cloud.containers.create("data", {}, None)
    assert caught.value.code == "ContainerBeingDeleted"
    assert clock.seconds < 3000


@pytest.mark.parametrize(
    ("metadata", "own"), [({"made_by": "topn"}, True), ({"made_by": "other"}, False)]
)
async def test_a_container_whose_creation_was_not_confirmed(
    cloud: AccountClient, server: Scripted, metadata: dict[str, str], own: bool
) -> None:
    server.on("PUT", "/store/data", RESET, storage_refusal(409, "ContainerAlreadyExists"))
    headers = {f"x-ms-meta-{key}": value for key, value in metadata.items()}
    server.on("GET", "/store/data", Reply(200, headers={**CREATED.headers, **headers}))
    assert await cloud.containers.create("data", {"made_by": "topn"}, None) is own


async def test_a_container_whose_deletion_was_not_confirmed(
    cloud: AccountClient, server: Scripted
) -> None:
    server.on("DELETE", "/store/data", RESET, storage_refusal(404, "ContainerNotFound"))
    assert await cloud.containers.delete("data") is True


async def test_a_container_that_is_being_deleted_has_no_blobs(
    cloud: AccountClient, server: Scripted
) -> None:
    server.on("GET", "/store/data", storage_refusal(409, "ContainerBeingDeleted"))
    assert [blob async for blob in cloud.blobs.list("data")] == []
    assert await cloud.containers.get_metadata("data") is None


PAGE = """\
<?xml version="1.0" encoding="utf-8"?>
<EnumerationResults ServiceEndpoint="https://store.blob.core.windows.net/" ContainerName="data">
<Blobs>{}</Blobs><NextMarker>{}</NextMarker></EnumerationResults>"""
FULL = (
    "<Blob><Name>one</Name><Properties>"
    "<Last-Modified>Tue, 03 Mar 2026 09:08:07 GMT</Last-Modified>"
    "<Content-Length>3</Content-Length><Content-MD5>rL0Y20zC+Fzt72VPzMSk2A==</Content-MD5>"
    "</Properties><Metadata><Blob>metadata</Blob><batchspec_work>abc</batchspec_work></Metadata></Blob>"
)
BARE = (
    '<Blob><Name Encoded="true">two%EF%BF%BF%20%25</Name><Properties>'
    "<Content-Length>0</Content-Length><Content-MD5 /></Properties><Metadata /></Blob>"
)
FOLDER = (
    "<Blob><Name>dir</Name><Properties><Content-Length>0</Content-Length></Properties>"
    "<Metadata><Hdi_isfolder>true</Hdi_isfolder></Metadata></Blob>"
)


def listing(blobs: str, marker: str = "") -> Reply:
    body = PAGE.format(blobs, marker).encode()
    return Reply(200, body, headers={"Content-Type": "application/xml"})


async def test_a_listing_of_an_account_with_a_hierarchical_namespace(
    cloud: AccountClient, server: Scripted
) -> None:
    """REST reference, List Blobs: ResourceType. Azurite has no such accounts."""
    directory = (
        "<Blob><Name>logs</Name><Properties><Content-Length>0</Content-Length>"
        "<ResourceType>directory</ResourceType></Properties></Blob>"
    )
    file = directory.replace("directory", "file").replace("logs", "logs/empty")
    server.on("GET", "/store/data", listing(directory + file))
    assert [blob.name async for blob in cloud.blobs.list("data")] == ["logs/empty"]


async def test_archived_blobs_are_recognized(cloud: AccountClient, server: Scripted) -> None:
    """A blob that is being rehydrated is in the tier Archive until it is in the other tier."""
    blob = "<Blob><Name>{0}</Name><Properties><AccessTier>{0}</AccessTier></Properties></Blob>"
    tiers = ("Archive", "Cold", "Hot")
    server.on("GET", "/store/data", listing("".join(blob.format(tier) for tier in tiers)))
    assert [b.name async for b in cloud.blobs.list("data") if b.archived] == ["Archive"]


async def test_the_pages_of_a_listing(cloud: AccountClient, server: Scripted) -> None:
    server.on(
        "GET",
        "/store/data",
        listing(FULL, "next page&amp;1"),
        storage_refusal(503, "ServerBusy"),
        listing(FOLDER + BARE),
    )
    found = [blob async for blob in cloud.blobs.list("data")]
    assert found == [
        Blob(
            "one", 3, hashlib.md5(b"foo").digest(), datetime(2026, 3, 3, 9, 8, 7, tzinfo=UTC), "abc"
        ),
        Blob("two\uffff %", 0, None),
    ]
    markers = [asked.query.get("marker", "") for asked in server.asked]
    assert markers == ["", "next page&1", "next page&1"]


async def test_the_next_page_is_requested_before_a_page_is_read(
    cloud: AccountClient, server: Scripted
) -> None:
    server.on("GET", "/store/data", listing(FULL * 100, "2"), listing(BARE, "3"), listing(BARE))
    pages = cloud.blobs.list("data")
    assert (await anext(pages)).name == "one"
    async with asyncio.timeout(10):
        while len(server.asked) < 2:
            await asyncio.sleep(0.01)
    await pages.aclose()  # type: ignore[attr-defined]
    assert len(server.asked) == 2


async def test_an_error_of_a_later_page_is_reported_in_its_place(
    cloud: AccountClient, server: Scripted
) -> None:
    refused = storage_refusal(403, "AuthorizationFailure")
    server.on("GET", "/store/data", listing(FULL + BARE, "2"), refused)
    found = []
    with pytest.raises(ServiceError, match="container data"):
        async for blob in cloud.blobs.list("data"):
            found.append(blob.name)  # noqa: PERF401 - until the error
    assert found == ["one", "two\uffff %"]
    server.on("GET", "/store/other", listing(FULL + BARE, "2"), refused)
    async for blob in cloud.blobs.list("other"):
        assert blob.name == "one"
        break


@pytest.mark.parametrize("body", [b"", b"<html>", PAGE.format("", "")[:-8].encode()])
async def test_a_response_that_is_no_listing(
    cloud: AccountClient, server: Scripted, body: bytes
) -> None:
    server.on("GET", "/store/data", Reply(200, body, headers={"Content-Type": "application/xml"}))
    with pytest.raises(ServiceError, match="container data"):
        [blob async for blob in cloud.blobs.list("data")]


@pytest.mark.parametrize(
    "fault", [RESET, storage_refusal(503, "ServerBusy"), storage_refusal(500, "InternalError")]
)
async def test_a_small_upload_is_repeated(
    cloud: AccountClient, server: Scripted, tmp_path: Path, fault: Reply
) -> None:
    server.on("PUT", BLOB, fault, fault, CREATED)
    data = os.urandom(5000)
    file = a_file(tmp_path / "f", data)
    moved: list[int] = []
    await cloud.blobs.upload("data", file, moved.append)
    assert [asked.body for asked in server.asked] == [data] * 3
    assert moved == [5000]
    md5 = base64.b64encode(file.md5).decode()
    for asked in server.asked:
        # The service checks the MD5, and stores it.
        assert asked.headers["Content-MD5"] == asked.headers["x-ms-blob-content-md5"] == md5


async def test_blocks_are_repeated_and_committed_once(
    cloud: AccountClient, server: Scripted, tmp_path: Path
) -> None:
    data = os.urandom(3 * BLOCK + 1)
    blocks: dict[str, bytes] = {}
    committed: list[bytes] = []
    faults = [RESET, storage_refusal(503, "ServerBusy"), storage_refusal(500, "InternalError")]

    def put(asked: Asked) -> Reply:
        if asked.query["comp"] == "block":
            if faults:
                return faults.pop()
            digest = base64.b64encode(hashlib.md5(asked.body).digest()).decode()
            assert asked.headers["Content-MD5"] == digest
            blocks[asked.query["blockid"]] = asked.body
        else:
            names = re.findall(rb"<Latest>(.*?)</Latest>", asked.body)
            committed.append(b"".join(blocks[name.decode()] for name in names))
        return CREATED

    server.on("GET", BLOB, storage_refusal(404, "BlobNotFound"))
    server.on("PUT", BLOB, put)
    moved: list[int] = []
    await cloud.blobs.upload("data", a_file(tmp_path / "f", data), moved.append)
    assert committed == [data]
    assert sum(moved) == len(data)


async def test_a_block_that_is_refused_ends_the_upload(
    cloud: AccountClient, server: Scripted, tmp_path: Path
) -> None:
    server.on("GET", BLOB, storage_refusal(404, "BlobNotFound"))
    server.on("PUT", BLOB, storage_refusal(403, "AuthorizationPermissionMismatch"))
    with pytest.raises(ServiceError) as caught:
        await cloud.blobs.upload("data", a_file(tmp_path / "f", os.urandom(2 * BLOCK)), nothing)
    assert caught.value.code == "AuthorizationPermissionMismatch"
    assert "data/f" in caught.value.problems[0].summary
    assert {asked.query["comp"] for asked in server.asked} == {"blocklist", "block"}


async def test_the_rest_of_an_interrupted_response_is_requested(
    cloud: AccountClient, server: Scripted, tmp_path: Path
) -> None:
    content = os.urandom(20 * BLOCK + 5)
    whole = served(content)

    def broken(asked: Asked) -> Reply:
        reply = whole(asked)
        return Reply(reply.status, reply.body, reply.headers, cut=8 * BLOCK)

    server.on("GET", BLOB, RESET, broken, RESET, broken, whole)
    blob = Blob("f", len(content), hashlib.md5(content).digest())
    moved: list[int] = []
    await cloud.blobs.download("data", blob, tmp_path / "part", moved.append)
    assert (tmp_path / "part").read_bytes() == content
    assert sum(moved) == len(content)
    first, *later = [asked for asked in server.asked if "x-ms-range" in asked.headers]
    assert first.headers["x-ms-range"] != later[-1].headers["x-ms-range"]
    # The rest must be of the version of the first bytes.
    assert {asked.headers["If-Match"] for asked in (first, *later)} == {'"1"'}


async def test_a_small_blob_whose_response_is_interrupted(
    cloud: AccountClient, server: Scripted, tmp_path: Path, clock: Time
) -> None:
    content = os.urandom(1000)
    whole = served(content)

    def broken(asked: Asked) -> Reply:
        reply = whole(asked)
        return Reply(reply.status, reply.body, reply.headers, cut=10)

    server.on("GET", BLOB, broken, broken, RESET, whole)
    blob = Blob("f", len(content), hashlib.md5(content).digest())
    moved: list[int] = []
    assert await cloud.blobs.download("data", blob, tmp_path / "part", moved.append) == blob.md5
    assert (tmp_path / "part").read_bytes() == content
    assert sum(moved) == len(content)
    assert len(clock.slept) == 3


async def test_requests_are_signed_as_those_of_the_sdk(
    cloud: AccountClient, server: Scripted, tmp_path: Path
) -> None:
    name = "a folder/ü+,&=(1):x.dat"
    content = b"content"
    file = LocalFile(name, str(tmp_path / "f"), len(content), hashlib.md5(content).digest())
    file.path.write_bytes(content)
    server.on("PUT", "/store/data/.+", CREATED)
    server.on("GET", "/store/data/.+", Reply(200, content[:3]), served(content))
    server.on("GET", "/store/data", Reply(200, b"<EnumerationResults/>"))
    await cloud.blobs.upload("data", file, nothing)
    empty = LocalFile(name, os.devnull, 0, hashlib.md5(b"").digest())
    await cloud.blobs.upload("data", empty, nothing)
    with pytest.raises(ServiceError, match="differs from the listing"):
        await cloud.blobs.download("data", Blob(name, 7, None), tmp_path / "part", nothing)
    assert [blob async for blob in cloud.blobs.list("data", name)] == []
    signing = SharedKeyCredentialPolicy("store", KEY.reveal())
    for asked in server.asked:
        url = f"{server.url}{asked.path}?{urlencode(asked.query, quote_via=quote)}"
        headers = {key: value for key, value in asked.headers.items() if key != "Authorization"}
        request = HttpRequest(asked.method, url, headers=headers)
        signing.on_request(PipelineRequest(request, PipelineContext(AioHttpTransport())))
        assert request.headers["Authorization"] == asked.headers["Authorization"]
    assert len(server.asked) == 4


async def test_responses_that_are_always_interrupted_end_the_download(
    cloud: AccountClient, server: Scripted, tmp_path: Path, clock: Time
) -> None:
    content = os.urandom(BLOCK)
    reply = served(content)(Asked("GET", BLOB, {}, {}, b""))
    server.on("GET", BLOB, Reply(200, content, reply.headers, cut=10))
    with pytest.raises(ServiceError):
        await cloud.blobs.download("data", Blob("f", BLOCK, None), tmp_path / "part", nothing)
    assert len(clock.slept) < 20


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (
            storage_refusal(403, "AuthorizationPermissionMismatch"),
            "AuthorizationPermissionMismatch",
        ),
        (storage_refusal(404, "BlobNotFound"), "BlobNotFound"),
        (Reply(400, b"no XML"), "HTTP400"),
    ],
)
async def test_a_refusal_of_a_single_request_is_that_of_the_service(
    cloud: AccountClient, server: Scripted, tmp_path: Path, answer: Reply, code: str
) -> None:
    server.on("GET", BLOB, answer)
    server.on("PUT", BLOB, answer)
    with pytest.raises(ServiceError) as read:
        await cloud.blobs.download("data", Blob("f", 1, None), tmp_path / "part", nothing)
    with pytest.raises(ServiceError) as written:
        await cloud.blobs.upload("data", a_file(tmp_path / "f", b"x"), nothing)
    for caught in (read, written):
        assert (caught.value.code, caught.value.status) == (code, answer.status)
        assert "data/f" in caught.value.problems[0].summary
    assert len(server.asked) == 2


async def test_damage_in_transit_is_detected(
    cloud: AccountClient, server: Scripted, tmp_path: Path
) -> None:
    content = os.urandom(1000)
    server.on("GET", BLOB, served(content[::-1]))
    blob = Blob("f", 1000, hashlib.md5(content).digest())
    with pytest.raises(ServiceError) as caught:
        await cloud.blobs.download("data", blob, tmp_path / "part", nothing)
    assert caught.value.code == "blob-damaged"


async def test_a_file_that_cannot_be_written(
    cloud: AccountClient, server: Scripted, tmp_path: Path
) -> None:
    with pytest.raises(OSError, match="No such file"):
        await cloud.blobs.download("data", Blob("f", 1, None), tmp_path / "no" / "part", nothing)
    assert server.asked == []
