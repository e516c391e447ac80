"""Application packages: uploaded by azure-mgmt-batch and azure-storage-blob, unpacked on nodes."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.mgmt.batch import BatchManagementClient
from azure.storage.blob import BlobClient

from tests.conftest import BlobStore
from tests.local.engines import job, pool, running_with_engine, task, wait_until
from tests.local.management import GROUP, Management, account_path, management_client
from tests.local.running import ACCOUNT, Service, running


def archive(text: str) -> bytes:
    """A zip file with one script."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        file.writestr("run.sh", text)
    return content.getvalue()


@pytest.fixture
def service(tmp_path: Path, azurite: BlobStore) -> Iterator[Service]:
    with running(tmp_path / "batch", storage=azurite.connection_string) as found:
        yield found


def upload(arm: BatchManagementClient, version: str, content: bytes) -> Any:
    """Create, upload and activate a version of ``tool``."""
    created = arm.application_package.create(GROUP, ACCOUNT, "tool", version)
    assert created.storage_url is not None
    BlobClient.from_blob_url(created.storage_url).upload_blob(content, overwrite=True)
    return arm.application_package.activate(GROUP, ACCOUNT, "tool", version, {"format": "zip"})  # type: ignore[arg-type]


def test_a_package_from_its_creation_to_its_deletion(
    service: Service, arm: BatchManagementClient
) -> None:
    application = arm.application.create(GROUP, ACCOUNT, "tool")
    assert (application.allow_updates, application.default_version) == (True, None)
    assert application.etag is not None and application.etag.startswith('W/"0x8D')
    assert list(service.client.list_applications()) == []
    created = arm.application_package.create(GROUP, ACCOUNT, "tool", "1.0")
    assert (created.state, created.format) == ("Pending", None)
    assert created.storage_url is not None and created.storage_url_expiry is not None
    parts = urlsplit(created.storage_url)
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    assert (query["sr"], query["sp"]) == ("b", "rw")
    container, blob = parts.path.split("/")[-2:]
    assert container.startswith("app-tool-") and len(container) == len("app-tool-") + 32
    assert blob == "1.0"
    with pytest.raises(HttpResponseError) as caught:
        arm.application_package.activate(GROUP, ACCOUNT, "tool", "1.0", {"format": "zip"})  # type: ignore[arg-type]
    assert caught.value.error is not None
    assert caught.value.error.code == "OperationInvalidForCurrentState"
    # Activation does not open the package (recorded).
    BlobClient.from_blob_url(created.storage_url).upload_blob(b"no zip file")
    active = arm.application_package.activate(GROUP, ACCOUNT, "tool", "1.0", {"format": "zip"})  # type: ignore[arg-type]
    assert (active.state, active.format) == ("Active", "zip")
    assert active.last_activation_time is not None
    assert [(one.id, one.versions) for one in service.client.list_applications()] == [
        ("tool", ["1.0"])
    ]
    changed = arm.application.update(
        GROUP,
        ACCOUNT,
        "tool",
        {"properties": {"defaultVersion": "1.0", "displayName": "The tool"}},  # type: ignore[arg-type]
    )
    assert (changed.default_version, changed.display_name) == ("1.0", "The tool")
    assert [one.name for one in arm.application.list(GROUP, ACCOUNT)] == ["tool"]
    assert [one.name for one in arm.application_package.list(GROUP, ACCOUNT, "tool")] == ["1.0"]
    with pytest.raises(ResourceExistsError):
        arm.application.delete(GROUP, ACCOUNT, "tool")
    arm.application_package.delete(GROUP, ACCOUNT, "tool", "1.0")
    with pytest.raises(ResourceNotFoundError) as missing:
        arm.application_package.get(GROUP, ACCOUNT, "tool", "1.0")
    assert missing.value.error is not None
    assert missing.value.error.code == "ApplicationPackageNotFound"
    assert arm.application.get(GROUP, ACCOUNT, "tool").default_version is None
    arm.application.delete(GROUP, ACCOUNT, "tool")
    assert list(arm.application.list(GROUP, ACCOUNT)) == []
    with pytest.raises(HttpResponseError) as gone:
        BlobClient.from_blob_url(created.storage_url).get_blob_properties()
    assert gone.value.status_code == 404


def test_a_node_runs_a_package_that_was_uploaded(tmp_path: Path, azurite: BlobStore) -> None:
    with (
        running_with_engine(tmp_path / "batch", storage=azurite.connection_string) as service,
        management_client(service) as arm,
    ):
        arm.application.create(GROUP, ACCOUNT, "tool")
        upload(arm, "1.0", archive("echo from the package"))
        reference = {"applicationId": "tool", "version": "1.0"}
        service.client.create_pool(pool(applicationPackageReferences=[reference]))  # type: ignore[arg-type]
        service.client.create_job(job())  # type: ignore[arg-type]
        script = "sh $AZ_BATCH_APP_PACKAGE_tool_1_0/run.sh"
        service.client.create_task("j", task("t", script))  # type: ignore[arg-type]
        wait_until(lambda: service.client.get_task("j", "t").state == "completed")
        output = b"".join(service.client.download_task_file("j", "t", "stdout.txt"))
    assert output == b"from the package\n"


def test_a_version_is_replaced_only_if_updates_are_allowed(
    service: Service, arm: BatchManagementClient, management: Management
) -> None:
    arm.application.create(GROUP, ACCOUNT, "tool")
    upload(arm, "1.0", b"first")
    upload(arm, "1.0", b"second")
    package = service.data / "applications" / "tool" / "1.0.zip"
    assert package.read_bytes() == b"second"
    arm.application.update(GROUP, ACCOUNT, "tool", {"properties": {"allowUpdates": False}})  # type: ignore[arg-type]
    refused = management.request("PUT", "applications/tool/versions/1.0")
    assert (refused.status, refused.json["error"]["code"]) == (
        409,
        "OperationInvalidForCurrentState",
    )
    shown = management.request("GET", "applications/tool/versions/1.0").json["properties"]
    assert parse_qs(urlsplit(shown["storageUrl"]).query)["sp"] == ["r"]
    assert management.request("PUT", "applications/tool/versions/2.0").status == 200


def test_packages_in_the_folder_are_shown(service: Service, management: Management) -> None:
    folder = service.data / "applications" / "Tool"
    folder.mkdir(parents=True)
    (folder / "4.2.zip").write_bytes(archive("true"))
    (folder / "default").write_text("4.2\n")
    found = management.request("GET", "applications/tool").json
    assert found["id"] == f"{account_path(service)}/applications/Tool"
    assert found["properties"] == {"allowUpdates": True, "defaultVersion": "4.2"}
    version = management.request("GET", "applications/tool/versions/4.2").json["properties"]
    assert (version["state"], "storageUrl" in version) == ("Active", False)
    assert management.request("DELETE", "applications/tool/versions/4.2").status == 200
    assert management.request("DELETE", "applications/tool").status == 200
    assert not folder.exists()


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", "applications/none", None, 404, "ApplicationNotFound"),
        ("PATCH", "applications/none", {}, 404, "ApplicationNotFound"),
        ("PUT", "applications/none/versions/1", None, 404, "ApplicationNotFound"),
        ("PUT", "applications/a%20b", None, 400, "InvalidPropertyValue"),
        ("PUT", "applications/tool/versions/.1", None, 400, "InvalidPropertyValue"),
        (
            "PATCH",
            "applications/tool",
            {"properties": {"defaultVersion": "9"}},
            400,
            "InvalidPropertyValue",
        ),
        (
            "PATCH",
            "applications/tool",
            {"properties": {"allowUpdates": 1}},
            400,
            "InvalidPropertyValue",
        ),
        ("PATCH", "applications/tool", {"properties": {"x": 1}}, 400, "InvalidRequestBody"),
        ("PUT", "applications/tool", [], 400, "InvalidRequestBody"),
        (
            "POST",
            "applications/tool/versions/9/activate",
            {"format": "zip"},
            404,
            "ApplicationPackageNotFound",
        ),
        ("POST", "applications/tool/versions/9/activate", {}, 400, "MissingRequiredProperty"),
        (
            "POST",
            "applications/tool/versions/9/activate",
            {"format": "tar"},
            400,
            "InvalidPropertyValue",
        ),
    ],
)
def test_invalid_requests_are_refused(
    management: Management, method: str, path: str, body: Any, status: int, code: str
) -> None:
    management.request("PUT", "applications/tool")
    answer = management.request(method, path, body)
    assert (answer.status, answer.json["error"]["code"]) == (status, code)
    assert answer.json["error"]["target"] == "BatchAccount"


@pytest.mark.parametrize("path", ["applications/none", "applications/none/versions/1"])
def test_deleting_a_missing_object_succeeds(management: Management, path: str) -> None:
    assert management.request("DELETE", path).status == 204


def test_an_account_without_storage_has_no_uploads(tmp_path: Path) -> None:
    with running(tmp_path / "batch") as service:
        management = Management(service)
        management.request("PUT", "applications/tool")
        answer = management.request("PUT", "applications/tool/versions/1")
        assert (answer.status, answer.json["error"]["code"]) == (
            409,
            "OperationInvalidForCurrentState",
        )
