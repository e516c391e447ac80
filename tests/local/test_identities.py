"""Managed identities of pools have effect: which node may read or write which container."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from azure.storage.blob import BlobServiceClient

from batchspec.local.daemon.home import Home
from batchspec.local.daemon.serve import read_identities
from batchspec.local.settings import FULL_ACCESS, IdentityRights
from batchspec.local.startup import LocalError
from tests.conftest import BlobStore
from tests.local.engines import job, pool, running_with_engine, task, wait_until
from tests.local.management import attach_identities, identity_id
from tests.local.running import Service

RIGHTS = """
# who may do what
reader = in-rights:read
writer = out-rights:write, in-rights:read
"""


@pytest.fixture(scope="module")
def urls(azurite: BlobStore) -> tuple[str, str]:
    """The URLs of a container with an input, and of a container for outputs."""
    with BlobServiceClient(azurite.url, credential=azurite.key) as blobs:
        blobs.create_container("in-rights").upload_blob("a.txt", b"alpha")
        blobs.create_container("out-rights")
    return f"{azurite.url}/in-rights", f"{azurite.url}/out-rights"


@pytest.fixture
def batch(tmp_path: Path, azurite: BlobStore) -> Iterator[Service]:
    rights = IdentityRights.parse(RIGHTS)
    with running_with_engine(
        tmp_path / "batch", storage=azurite.connection_string, identities=rights
    ) as service:
        service.client.create_pool(pool())  # type: ignore[arg-type]
        service.client.create_job(job())  # type: ignore[arg-type]
        yield service


def reference(name: str) -> dict[str, Any]:
    return {"identityReference": {"resourceId": identity_id(name)}}


def failure(batch: Service, body: dict[str, Any]) -> str | None:
    """The code of the failure of a task; ``None`` if it succeeds."""
    batch.client.create_task("j", body)  # type: ignore[arg-type]
    wait_until(lambda: batch.client.get_task("j", body["id"]).state == "completed")
    info = batch.client.get_task("j", body["id"]).execution_info
    assert info is not None
    return None if info.failure_info is None else info.failure_info.code


def reading(task_id: str, url: str, name: str) -> dict[str, Any]:
    resource = {"httpUrl": f"{url}/a.txt", "filePath": "a.txt", **reference(name)}
    return task(task_id, "cat a.txt", resourceFiles=[resource])


def listing(task_id: str, url: str, name: str) -> dict[str, Any]:
    resource = {"storageContainerUrl": url, **reference(name)}
    return task(task_id, "cat a.txt", resourceFiles=[resource])


def writing(task_id: str, url: str, name: str) -> dict[str, Any]:
    output = {
        "filePattern": "out.txt",
        "destination": {"container": {"containerUrl": url, **reference(name)}},
        "uploadOptions": {"uploadCondition": "taskCompletion"},
    }
    return task(task_id, "echo out > out.txt", outputFiles=[output])


def test_only_an_attached_identity_with_the_right_can_be_used(
    batch: Service, urls: tuple[str, str]
) -> None:
    inputs, outputs = urls
    assert failure(batch, reading("none", inputs, "reader")) == "BlobAccessDenied"
    attach_identities(batch, "p", identity_id("Reader"), identity_id("other"))
    assert failure(batch, reading("r1", inputs, "reader")) is None
    assert failure(batch, listing("r2", inputs, "reader")) is None
    assert failure(batch, reading("r3", inputs, "other")) == "BlobAccessDenied"
    assert failure(batch, listing("r4", outputs, "reader")) == "ResourceContainerAccessDenied"
    assert failure(batch, writing("w1", inputs, "reader")) == "FileUploadAccessDenied"
    assert failure(batch, writing("w2", outputs, "writer")) == "FileUploadAccessDenied"
    attach_identities(batch, "p", identity_id("writer"))
    assert failure(batch, writing("w3", outputs, "writer")) is None
    assert failure(batch, reading("r5", inputs, "reader")) == "BlobAccessDenied"


def test_rights_are_read_line_by_line() -> None:
    rights = IdentityRights.parse(
        "a = in:read, in:write, out:read # both\n\nB.x-1=*:read\nnone =\n"
    )
    assert rights.allow("/x/userAssignedIdentities/A", "in", write=True)
    assert rights.allow("A", "out", write=False) and not rights.allow("A", "out", write=True)
    assert rights.allow("b.X-1", "any", write=False) and not rights.allow("b.X-1", "in", write=True)
    assert not rights.allow("none", "in", write=False)
    assert not rights.allow("unknown", "in", write=False)
    assert FULL_ACCESS.allow("unknown", "in", write=True)
    assert not IdentityRights.parse("").allow("unknown", "in", write=False)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("reader", "line 1 is not"),
        ("\na = in", "line 2: 'in' is not"),
        ("a = in:own", "'in:own' is not"),
        ("a b = in:read", "line 1 is not"),
    ],
)
def test_a_line_that_is_not_valid_is_named(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        IdentityRights.parse(text)


def test_a_file_of_rights_that_is_not_valid_ends_the_start(tmp_path: Path) -> None:
    home = Home(tmp_path)
    assert read_identities(home) is FULL_ACCESS
    home.identities.write_text("reader = inputs", encoding="utf-8")
    with pytest.raises(LocalError) as caught:
        read_identities(home)
    assert caught.value.code == "identities-unreadable"
    assert "line 1: 'inputs'" in caught.value.summary
