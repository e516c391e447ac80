"""Application packages: recorded requests and responses, and damaged uploads."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from azure.core.exceptions import ServiceRequestError

from batchspec.apply import RunCancelled
from batchspec.cloud import open_account
from batchspec.diagnostics import ServiceError
from batchspec.plan.observed import LocalFile, StoredPackage
from tests.cloud.conftest import KEY, Time
from tests.cloud.resource_manager import SUBSCRIPTION, azure_account, denied, recorded
from tests.cloud.scripted import Reply, Scripted, storage_refusal
from tests.cloud.test_control_plane import Credential

ARCHIVE = b"PK" + b"x" * 100
MD5 = base64.b64encode(hashlib.md5(ARCHIVE).digest()).decode()
APPLICATION = (
    f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg1/providers/Microsoft.Batch/batchAccounts"
    "/acct/applications/testapp"
)
VERSION = f"{APPLICATION}/versions/1.0"
BLOB = "/store/app-testapp/1.0"


def nothing(_: int) -> None:
    return None


def package(server: Scripted, state: str, body: dict[str, Any] | None = None) -> Reply:
    """The response for a version, whose blob is at the scripted server."""
    body = body or {"name": "1.0", "properties": {"format": "zip"}}
    url = {"storageUrl": f"{server.url}{BLOB}?sv=2018-03-28&sp=rw&sig=S3CRET"}
    return Reply(200, {**body, "properties": {**body["properties"], "state": state, **url}})


def stored(md5: str = MD5, size: int = len(ARCHIVE), **headers: str) -> Reply:
    return Reply(
        200,
        headers={
            "Content-Length": str(size),
            "Content-MD5": md5,
            "ETag": '"1"',
            "Last-Modified": "Sun, 22 Nov 2026 10:00:00 GMT",
            "x-ms-blob-type": "BlockBlob",
            **headers,
        },
    )


@pytest.fixture
def archive(tmp_path: Path) -> LocalFile:
    path = tmp_path / "tools.zip"
    path.write_bytes(ARCHIVE)
    return LocalFile(
        "tools.zip", str(path), len(ARCHIVE), hashlib.md5(ARCHIVE).digest(), "application/zip"
    )


@pytest.fixture
def script(server: Scripted, monkeypatch: pytest.MonkeyPatch) -> Scripted:
    """Responses to an upload of a new application."""
    monkeypatch.setattr(
        "azure.core.pipeline.policies._authentication_async._enforce_https", lambda request: None
    )
    created = Reply(201, headers={"ETag": '"1"', "Last-Modified": "Sun, 22 Nov 2026 10:00:00 GMT"})
    server.on("GET", "/applications", Reply(200, {"value": []}))
    server.on("PUT", APPLICATION, Reply(200, {"name": "testapp", "properties": {}}))
    server.on("PATCH", APPLICATION, Reply(200, {"name": "testapp", "properties": {}}))
    server.on("PUT", VERSION, lambda _: package(server, "Pending"))
    server.on("POST", f"{VERSION}/activate", lambda _: package(server, "Active"))
    server.on("PUT", BLOB, created)
    server.on("HEAD", BLOB, stored())
    return server


class Opened:
    """An account of Azure whose services are the scripted server."""

    def __init__(self, server: Scripted, clock: Time) -> None:
        account = azure_account(server, SUBSCRIPTION, "rg1")
        self.opening = open_account(
            account,
            monotonic=clock.monotonic,
            sleep=clock.sleep,
            random=lambda: 0.5,
            credential=Credential,
        )


async def test_an_upload_is_read_back_before_it_is_activated(
    script: Scripted, clock: Time, archive: LocalFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("batchspec.cloud.packages.Applications.list", _no_applications)
    async with Opened(script, clock).opening as cloud:
        await cloud.applications.upload_package("testapp", "1.0", archive, "c0ffee", nothing)
    assert [(each.method, each.path) for each in script.asked] == [
        ("PUT", APPLICATION),
        ("PUT", VERSION),
        ("PUT", BLOB),
        ("HEAD", BLOB),
        ("POST", f"{VERSION}/activate"),
        ("PATCH", APPLICATION),
    ]
    upload = script.asked[2]
    assert upload.body == ARCHIVE
    assert upload.headers["x-ms-meta-batchspec_content"] == "c0ffee"
    assert script.asked[4].json == {"format": "zip"}
    assert script.asked[5].json == {"properties": {"defaultVersion": "1.0"}}


@pytest.mark.parametrize("own", [True, False])
async def test_the_key_of_another_storage_account_is_not_used(
    script: Scripted, clock: Time, monkeypatch: pytest.MonkeyPatch, own: bool
) -> None:
    """The URL has no SAS if the Batch account signs in to its storage with an identity."""
    given: list[Any] = []

    def client(url: str, **options: Any) -> None:
        given.append(options["credential"])
        raise ServiceRequestError(url)

    monkeypatch.setattr("azure.storage.blob.aio.BlobClient.from_blob_url", client)
    account = replace(
        azure_account(script, SUBSCRIPTION, "rg1"),
        blob_url="https://mine.blob.core.windows.net",
        blob_account="mine",
        blob_key=KEY,
    )
    url = f"https://{'Mine' if own else 'other'}.blob.core.windows.net/app-x/1.0"
    body = {"name": "1.0", "properties": {"state": "Active", "storageUrl": url}}
    script.on("GET", VERSION, Reply(200, body))
    async with open_account(
        account, monotonic=clock.monotonic, sleep=clock.sleep, credential=Credential
    ) as cloud:
        with pytest.raises(ServiceError):
            await cloud.applications.get_package("testapp", "1.0")
    (credential,) = given
    assert isinstance(credential, dict if own else Credential)


async def _no_applications(_: object) -> dict[str, tuple[str, ...]]:
    return {}


@pytest.mark.parametrize(
    "found", [stored(size=3), stored(md5=base64.b64encode(bytes(16)).decode()), stored(md5="")]
)
async def test_a_blob_that_is_not_the_archive_is_not_activated(
    script: Scripted,
    clock: Time,
    archive: LocalFile,
    monkeypatch: pytest.MonkeyPatch,
    found: Reply,
) -> None:
    monkeypatch.setattr("batchspec.cloud.packages.Applications.list", _no_applications)
    script.on("HEAD", BLOB, found)
    async with Opened(script, clock).opening as cloud:
        with pytest.raises(ServiceError, match="differs from the one that was uploaded"):
            await cloud.applications.upload_package("testapp", "1.0", archive, "c0ffee", nothing)
    assert not script.requests("POST")


async def test_an_upload_that_is_cancelled_is_not_activated(
    script: Scripted, clock: Time, archive: LocalFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("batchspec.cloud.packages.Applications.list", _no_applications)

    def moved(_: int) -> None:
        raise RunCancelled

    async with Opened(script, clock).opening as cloud:
        with pytest.raises(RunCancelled):
            await cloud.applications.upload_package("testapp", "1.0", archive, "c0ffee", moved)
    assert not script.requests("POST")


async def test_no_error_contains_the_signature(
    script: Scripted, clock: Time, archive: LocalFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("batchspec.cloud.packages.Applications.list", _no_applications)
    script.on("PUT", BLOB, storage_refusal(403, "AuthenticationFailed"))
    async with Opened(script, clock).opening as cloud:
        with pytest.raises(ServiceError) as caught:
            await cloud.applications.upload_package("testapp", "1.0", archive, "c0ffee", nothing)
    assert "S3CRET" not in str(caught.value)
    assert caught.value.__cause__ is None


async def test_a_version_is_read_with_its_content(script: Scripted, clock: Time) -> None:
    script.on("GET", VERSION, lambda _: package(script, "Active"))
    script.on("HEAD", BLOB, stored(**{"x-ms-meta-batchspec_content": "c0ffee"}))
    async with Opened(script, clock).opening as cloud:
        found = await cloud.applications.get_package("testapp", "1.0")
        assert found == StoredPackage(True, "c0ffee", base64.b64decode(MD5), len(ARCHIVE))
        script.on("GET", VERSION, lambda _: package(script, "Pending"))
        assert await cloud.applications.get_package("testapp", "1.0") == StoredPackage(False)
        script.on("GET", VERSION, lambda _: package(script, "Active"))
        script.on("HEAD", BLOB, storage_refusal(404, "BlobNotFound"))
        assert await cloud.applications.get_package("testapp", "1.0") == StoredPackage(True)
        script.on("GET", VERSION, denied(404, "ApplicationPackageNotFound"))
        assert await cloud.applications.get_package("testapp", "1.0") is None
        script.on("GET", VERSION, denied(403, "AuthorizationFailed"))
        with pytest.raises(ServiceError, match=r"version 1\.0 of application testapp"):
            await cloud.applications.get_package("testapp", "1.0")


async def test_an_upload_with_recorded_responses(
    script: Scripted, clock: Time, archive: LocalFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The responses of the real service contain the properties that the client reads."""
    monkeypatch.setattr("batchspec.cloud.packages.Applications.list", _no_applications)
    found = [each for each in recorded(flow=1) if "/applications/testapp" in each["path"]]
    bodies: dict[tuple[str, str], Any] = {}
    for each in found:
        place = each["path"].partition("/applications/testapp")[2]
        bodies.setdefault((each["method"], place), each["res"])
    for (method, place), body in bodies.items():
        if place.startswith("/versions") and method != "DELETE":
            answer = package(script, body["properties"]["state"], body)
        else:
            answer = Reply(200, body)
        script.on(method, APPLICATION + place, answer)
    async with Opened(script, clock).opening as cloud:
        await cloud.applications.upload_package("testapp", "1.0", archive, "c0ffee", nothing)
        assert await cloud.applications.get_package("testapp", "1.0") is not None
        assert await cloud.applications.delete_package("testapp", "1.0")
    assert ("DELETE", VERSION) in {(each.method, each.path) for each in script.asked}
