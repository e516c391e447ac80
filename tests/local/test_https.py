"""The service by https, by host name and with a SAS: what storage clients need."""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from azure.batch import BatchClient
from azure.core.credentials import AzureNamedKeyCredential
from azure.core.exceptions import HttpResponseError
from azure.storage.blob import (
    BlobClient,
    BlobSasPermissions,
    BlobServiceClient,
    ContainerClient,
    generate_blob_sas,
)

from batchspec import local
from batchspec.local.daemon import HttpsEndpoints
from batchspec.local.daemon.client_access import Certificate
from batchspec.local.daemon.home import Home
from batchspec.local.settings import Settings
from tests.local.management import ServicePlace, attach_identities, identity_id
from tests.local.test_daemon_tasks import until

MACHINE = {
    "imageReference": {"publisher": "canonical", "offer": "ubuntu-24_04-lts", "sku": "server"},
    "nodeAgentSKUId": "batch.node.ubuntu 24.04",
}


@pytest.fixture(scope="module")
def secure(
    azurite_installed: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[local.Endpoints]:
    """A service with https ports."""
    data = tmp_path_factory.mktemp("https") / "local"
    try:
        yield local.start(data, https=True)
    finally:
        local.stop(data)


@pytest.fixture
def https(secure: local.Endpoints) -> HttpsEndpoints:
    assert secure.https is not None
    return secure.https


@pytest.fixture
def names_below_localhost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Resolve names below localhost, which some machines do not resolve."""
    resolve = socket.getaddrinfo

    def getaddrinfo(host: Any, *rest: Any, **options: Any) -> Any:
        below = isinstance(host, str) and host.endswith(".localhost")
        return resolve("127.0.0.1" if below else host, *rest, **options)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


def batch_client(endpoints: local.Endpoints) -> BatchClient:
    assert endpoints.https is not None
    credential = AzureNamedKeyCredential(endpoints.batch_account, endpoints.batch_key)
    return BatchClient(
        endpoints.https.batch_url,
        credential,
        connection_verify=str(endpoints.https.trust.authority),
    )


def blob_sas(endpoints: local.Endpoints, container: str, name: str, protocol: str) -> str:
    return generate_blob_sas(
        endpoints.blob_account,
        container,
        name,
        account_key=endpoints.blob_key,
        permission=BlobSasPermissions(read=True),
        expiry=datetime.now(UTC) + timedelta(hours=1),
        protocol=protocol,
    )


def test_the_key_of_the_certificate_is_private(https: HttpsEndpoints) -> None:
    folder = https.trust.authority.parent
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    assert folder.stat().st_mode & 0o777 == 0o700
    # The certificate is trusted only with its authority.
    address = urlsplit(https.batch_url)
    connection = http.client.HTTPSConnection("127.0.0.1", address.port)
    with pytest.raises(ssl.SSLCertVerificationError):
        connection.request("GET", "/")
    assert b"PRIVATE KEY" not in https.trust.bundle.read_bytes()
    system = ssl.create_default_context().cert_store_stats()["x509_ca"]
    both = ssl.create_default_context(cafile=https.trust.bundle)
    assert both.cert_store_stats()["x509_ca"] >= system + 1


def test_pages_have_the_scheme_of_their_request(secure: local.Endpoints) -> None:
    with batch_client(secure) as batch:
        for number in range(2):
            batch.create_pool({"id": f"page{number}", "vmSize": "standard_d2s_v3",
                               "virtualMachineConfiguration": MACHINE,
                               "targetDedicatedNodes": 0})  # fmt: skip
        pools = list(batch.list_pools(max_results=1, filter="startswith(id, 'page')"))
    assert [pool.id for pool in pools] == ["page0", "page1"]
    assert all(pool.url.startswith("https://") for pool in pools)
    credential = AzureNamedKeyCredential(secure.batch_account, secure.batch_key)
    with BatchClient(secure.batch_url, credential) as plain:
        assert plain.get_pool("page0").url.startswith("http://127.0.0.1")


def test_a_sas_for_https_only_is_valid_by_https_only(
    secure: local.Endpoints, https: HttpsEndpoints
) -> None:
    verify = str(https.trust.authority)
    with BlobServiceClient.from_connection_string(secure.connection_string) as blobs:
        blobs.create_container("sas").upload_blob("b", b"hello")
    sas = blob_sas(secure, "sas", "b", "https")
    with BlobClient.from_blob_url(f"{https.blob_url}/sas/b?{sas}", connection_verify=verify) as one:
        assert one.download_blob().readall() == b"hello"
    with (
        BlobClient.from_blob_url(f"{secure.blob_url}/sas/b?{sas}") as plain,
        pytest.raises(HttpResponseError),
    ):
        plain.download_blob()


def test_a_node_downloads_and_a_task_trusts_by_https_and_host_name(
    secure: local.Endpoints, https: HttpsEndpoints
) -> None:
    with BlobServiceClient.from_connection_string(secure.connection_string) as blobs:
        blobs.create_container("node").upload_blob("in", b"hello")
    by_name, reader = f"{secure.blob_host_url}/node/in", identity_id("reader")
    files = [
        {"httpUrl": f"{by_name}?{blob_sas(secure, 'node', 'in', 'https')}", "filePath": "a"},
        {"httpUrl": by_name, "filePath": "b", "identityReference": {"resourceId": reader}},
    ]
    with batch_client(secure) as batch:
        batch.create_pool({"id": "node", "vmSize": "standard_d2s_v3", "targetDedicatedNodes": 1,
                           "virtualMachineConfiguration": MACHINE})  # fmt: skip
        attach_identities(ServicePlace(secure), "node", reader)
        batch.create_job({"id": "node", "poolInfo": {"poolId": "node"}})
        command = "/bin/sh -c 'cat a b $SSL_CERT_FILE'"
        batch.create_task("node", {"id": "t", "commandLine": command, "resourceFiles": files})
        until(lambda: batch.get_task("node", "t").state == "completed")
        out = b"".join(batch.download_task_file("node", "t", "stdout.txt"))
    assert out == b"hellohello" + https.trust.bundle.read_bytes()


@pytest.mark.usefixtures("names_below_localhost")
def test_the_account_in_the_host_name(secure: local.Endpoints, https: HttpsEndpoints) -> None:
    verify = str(https.trust.authority)
    with BlobServiceClient.from_connection_string(secure.connection_string) as blobs:
        blobs.create_container("named").upload_blob("dir/b", b"hello")
    plain = urlsplit(secure.blob_url).port
    credential = {"account_name": secure.blob_account, "account_key": secure.blob_key}
    for address in (secure.blob_host_url, f"http://{secure.blob_account}.blob.localhost:{plain}"):
        with ContainerClient(
            address, "named", credential=credential, connection_verify=verify
        ) as container:
            assert container.download_blob("dir/b").readall() == b"hello"
            assert [blob.name for blob in container.list_blobs()] == ["dir/b"]
    # As for clients with another suffix.
    suffix = f"core.localhost:{urlsplit(https.blob_url).port}"
    text = f"AccountName={secure.blob_account};AccountKey={secure.blob_key};EndpointSuffix={suffix}"
    with BlobServiceClient.from_connection_string(text, connection_verify=verify) as blobs:
        assert "named" in [container.name for container in blobs.list_containers()]


def test_the_sas_of_the_variables_is_for_the_whole_account(secure: local.Endpoints) -> None:
    now = datetime.now(UTC)
    url = local.variables(secure, now=now)["AZURE_STORAGE_SAS_URL"]
    assert secure.https is not None
    verify = str(secure.https.trust.authority)
    with BlobServiceClient(url, connection_verify=verify) as blobs:
        container = blobs.create_container("granted")
        container.upload_blob("b", b"hello", tags={"a": "b"})
        assert "granted" in [one.name for one in blobs.list_containers()]
        container.delete_container()
    expired = local.variables(secure, now=now - timedelta(days=31))["AZURE_STORAGE_SAS_URL"]
    with (
        BlobServiceClient(expired, connection_verify=verify, retry_total=0) as blobs,
        pytest.raises(HttpResponseError),
    ):
        list(blobs.list_containers())


def test_the_next_start_has_the_same_addresses_and_certificate(
    secure: local.Endpoints, https: HttpsEndpoints
) -> None:
    data, certificate = secure.data, https.trust.authority.read_bytes()
    assert local.start(data).https == https
    local.stop(data)
    plain = local.start(data)
    assert plain.https is None
    with pytest.raises(local.LocalError) as caught:
        local.start(data, https=True)
    assert caught.value.code == "running-otherwise"
    assert "without https" in caught.value.summary
    local.stop(data)
    (data / "certificates" / "key.pem").chmod(0o640)
    with pytest.raises(local.LocalError) as caught:
        local.start(data, https=True)
    assert caught.value.code == "certificate-exposed"
    (data / "certificates" / "key.pem").chmod(0o600)
    assert local.start(data, https=True).https == https
    assert https.trust.authority.read_bytes() == certificate


@pytest.mark.parametrize("name", ["key.pem", "certificate.pem", "authority.pem", "bundle.pem"])
def test_a_deleted_file_of_the_certificate_is_created_again(tmp_path: Path, name: str) -> None:
    home = Home(tmp_path / "data")
    home.create()
    first = Certificate.of(home, "acct")
    assert Certificate.of(home, "acct") == first
    before = first.certificate.read_bytes()
    (home.certificates / name).unlink()
    again = Certificate.of(home, "acct")
    assert again.certificate.read_bytes() != before
    context = ssl.create_default_context(cafile=again.trust.authority)
    context.load_cert_chain(again.certificate, again.key)  # the key of this certificate


def test_the_switch_in_the_environment() -> None:
    assert Settings.read({"BATCHSPEC_LOCAL_HTTPS": "1"}).https
    assert not Settings.read({"BATCHSPEC_LOCAL_HTTPS": "0"}).https
    with pytest.raises(local.LocalError) as caught:
        Settings.read({"BATCHSPEC_LOCAL_HTTPS": "perhaps"})
    assert caught.value.code == "https-unreadable"


def test_the_switches_of_separate_users_and_fuse_in_the_environment() -> None:
    assert Settings.read({}).task_users
    assert not Settings.read({"BATCHSPEC_LOCAL_TASK_USERS": "0"}).task_users
    assert Settings.read({}).fuse
    assert not Settings.read({"BATCHSPEC_LOCAL_FUSE": "0"}).fuse
    with pytest.raises(local.LocalError) as caught:
        Settings.read({"BATCHSPEC_LOCAL_TASK_USERS": "perhaps"})
    assert caught.value.code == "task-users-unreadable"
    with pytest.raises(local.LocalError) as caught:
        Settings.read({"BATCHSPEC_LOCAL_FUSE": "perhaps"})
    assert caught.value.code == "fuse-unreadable"
