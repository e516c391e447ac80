"""Accounts that accept Microsoft Entra ID, and accounts that refuse their keys."""

from __future__ import annotations

import hashlib
import json
import re
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from azure.batch import BatchClient
from azure.core.credentials import AzureKeyCredential, AzureNamedKeyCredential
from azure.core.exceptions import HttpResponseError
from azure.core.pipeline.policies import HeadersPolicy
from azure.storage.blob import (
    AccountSasPermissions,
    BlobBlock,
    BlobServiceClient,
    ContainerClient,
    ResourceTypes,
    UserDelegationKey,
    generate_account_sas,
    generate_container_sas,
)

from batchspec import local
from batchspec.api import local_account
from batchspec.cloud import open_account
from batchspec.local import NO_OPTIONS, LocalError, Simulation, SimulationOptions, agent
from batchspec.plan import observed
from tests.local.management import GROUP, ServicePlace, management_client
from tests.local.running import ACCOUNT, TOKEN, Service, running

NAME = "dir/ü +&=%20.txt"
HOUR = timedelta(hours=1)
ROOT = Path(__file__).parents[2]


def now() -> datetime:
    return datetime.now(UTC)


def code_of(request: Callable[[], Any]) -> tuple[int | None, str]:
    """The status and the code of a request that is refused."""
    with pytest.raises(HttpResponseError) as caught:
        request()
    code = caught.value.error_code  # type: ignore[attr-defined]
    return caught.value.status_code, str(getattr(code, "value", code))


# -- the Batch service


@pytest.fixture
def entra(tmp_path: Path) -> Iterator[Service]:
    """A Batch service that refuses its key."""
    with running(tmp_path / "entra", entra_only=True) as found:
        yield found


def batch_client(url: str, token: str) -> BatchClient:
    """A client that sends a token over http, which its own policy refuses."""
    bearer = HeadersPolicy({"Authorization": f"Bearer {token}"})
    unused = AzureKeyCredential("unused")
    return BatchClient(
        url,
        unused,  # type: ignore[arg-type]  the policy authenticates
        authentication_policy=bearer,
        retry_total=0,
    )


def test_a_key_is_refused_with_the_reason(entra: Service) -> None:
    answer = entra.request("GET", "/jobs")
    assert (answer.status, answer.code) == (403, "AuthenticationFailed")
    detail = answer.values["AuthenticationErrorDetail"]
    assert detail == (
        "The specified type of authentication SharedKey is not allowed for this account."
    )


@pytest.mark.parametrize("kind", ["service", "entra"])
def test_a_token_is_accepted_and_another_is_not(kind: str, request: pytest.FixtureRequest) -> None:
    found: Service = request.getfixturevalue(kind)
    with batch_client(found.url, TOKEN) as client:
        client.create_job({"id": "j", "poolInfo": {"poolId": "p"}})  # type: ignore[arg-type]
        assert [job.id for job in client.list_jobs()] == ["j"]
    for wrong in ("", f"{TOKEN}x", found.key):
        with batch_client(found.url, wrong) as client:
            with pytest.raises(HttpResponseError) as caught:
                list(client.list_jobs())
            assert caught.value.status_code == 403


def test_a_service_without_a_token_accepts_none(tmp_path: Path) -> None:
    with running(tmp_path / "batch", token="") as found:
        for token in ("", " "):
            with batch_client(found.url, token) as client, pytest.raises(HttpResponseError):
                list(client.list_jobs())


def test_the_control_plane_shows_what_is_allowed(entra: Service, service: Service) -> None:
    for found, modes in ((entra, ["AAD"]), (service, ["SharedKey", "AAD"])):
        with management_client(found) as client:
            account = client.batch_account.get(GROUP, ACCOUNT)
        assert account.allowed_authentication_modes == modes


def test_the_account_signs_in_to_its_storage(tmp_path: Path) -> None:
    storage = (
        "DefaultEndpointsProtocol=http;AccountName=stor1;AccountKey=a2V5;"
        "BlobEndpoint=http://127.0.0.1:1/stor1;"
    )
    with (
        running(tmp_path / "batch", storage=storage, entra_only=True) as found,
        management_client(found) as client,
    ):
        account = client.batch_account.get(GROUP, ACCOUNT)
    assert account.auto_storage is not None and account.identity is not None
    assert account.auto_storage.authentication_mode == "BatchAccountManagedIdentity"
    assert account.identity.type == "SystemAssigned"


# -- the options


def test_the_option_and_its_variable() -> None:
    for given, only in (("entra", True), ("keys", False), ("", False)):
        variable = {"BATCHSPEC_LOCAL_AUTH": given}
        assert Simulation.read(variable, NO_OPTIONS).entra_only is only
        options = SimulationOptions(auth=given)
        found = Simulation.read({"BATCHSPEC_LOCAL_AUTH": "entra"}, options)
        assert found.entra_only is only
    assert "--auth=entra" in Simulation(entra_only=True).options()
    with pytest.raises(LocalError) as caught:
        Simulation.read({}, SimulationOptions(auth="ldap"))
    assert caught.value.code == "auth-unreadable"


# -- both services, with their storage


@pytest.fixture(scope="module")
def both(
    azurite_installed: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[local.Endpoints]:
    """A service that refuses keys, with https for the credentials of the SDKs."""
    data = tmp_path_factory.mktemp("entra") / "local"
    try:
        yield local.start(data, https=True, options=SimulationOptions(auth="entra"))
    finally:
        local.stop(data)


@pytest.fixture(scope="module")
def keys(
    azurite_installed: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[local.Endpoints]:
    """A service that also accepts keys."""
    data = tmp_path_factory.mktemp("keys") / "local"
    try:
        yield local.start(data)
    finally:
        local.stop(data)


def with_token(endpoints: local.Endpoints, token: str = "") -> BlobServiceClient:
    headers = {"Authorization": f"Bearer {token or endpoints.token}"}
    return BlobServiceClient(endpoints.blob_url, headers=headers, retry_total=0)


def with_key(endpoints: local.Endpoints) -> BlobServiceClient:
    credential = AzureNamedKeyCredential(endpoints.blob_account, endpoints.blob_key)
    return BlobServiceClient(endpoints.blob_url, credential, retry_total=0)


def signed(
    endpoints: local.Endpoints, container: str, permission: str, **by: Any
) -> ContainerClient:
    """A client of a container with a SAS that is signed ``by`` a key."""
    sas = generate_container_sas(
        endpoints.blob_account, container, permission=permission, expiry=now() + HOUR, **by
    )
    return ContainerClient(endpoints.blob_url, container, sas, retry_total=0)


def delegated(endpoints: local.Endpoints, days: float = 1) -> UserDelegationKey:
    with with_token(endpoints) as store:
        return store.get_user_delegation_key(now() - HOUR, now() + timedelta(days=days))


def test_storage_refuses_its_key_and_signatures_of_the_key(both: local.Endpoints) -> None:
    account_sas = generate_account_sas(
        both.blob_account,
        both.blob_key,
        ResourceTypes(service=True, container=True, object=True),
        AccountSasPermissions(read=True, list=True),
        now() + HOUR,
    )
    with_account_sas = BlobServiceClient(both.blob_url, account_sas, retry_total=0)
    with_service_sas = signed(both, "box", "rl", account_key=both.blob_key)
    for request in (
        lambda: list(with_key(both).list_containers()),
        lambda: list(with_account_sas.list_containers()),
        lambda: list(with_service_sas.list_blobs()),
    ):
        assert code_of(request) == (403, "KeyBasedAuthenticationNotPermitted")


@pytest.mark.parametrize("kind", ["both", "keys"])
def test_requests_with_a_token(kind: str, request: pytest.FixtureRequest) -> None:
    endpoints: local.Endpoints = request.getfixturevalue(kind)
    with with_token(endpoints) as store:
        box = store.create_container("token", public_access="blob", metadata={"a": " b  c "})
        blob = box.upload_blob(NAME, b"x" * 10, metadata={"k": "v"}, overwrite=True)
        blob.stage_block("1", b"block")
        blob.commit_block_list([BlobBlock("1")])
        assert blob.download_blob().readall() == b"block"
        assert [one.name for one in box.list_blobs(name_starts_with="dir/ü +&")] == [NAME]
        copy = box.get_blob_client("copy")
        copy.start_copy_from_url(blob.url)
        assert copy.download_blob(offset=1, length=2).readall() == b"lo"
        box.delete_blob(NAME)
        # Without credentials: the container is public.
        anonymous = ContainerClient(endpoints.blob_url, "token", retry_total=0)
        assert anonymous.download_blob("copy").readall() == b"block"
    with with_token(endpoints, "other") as store:
        assert code_of(lambda: list(store.list_containers())) == (401, "InvalidAuthenticationInfo")


@pytest.mark.parametrize("kind", ["both", "keys"])
def test_signatures_with_a_user_delegation_key(kind: str, request: pytest.FixtureRequest) -> None:
    endpoints: local.Endpoints = request.getfixturevalue(kind)
    with with_token(endpoints) as store:
        for name in ("signed", "other"):
            store.create_container(name).upload_blob(NAME, b"hello")
    key = delegated(endpoints)
    read = signed(endpoints, "signed", "rl", user_delegation_key=key)
    assert read.download_blob(NAME).readall() == b"hello"
    assert [one.name for one in read.list_blobs()] == [NAME]
    denied = (403, "AuthorizationPermissionMismatch")
    assert code_of(lambda: read.upload_blob("new", b"")) == denied
    sas = read.url.partition("?")[2]
    other = ContainerClient(endpoints.blob_url, "other", sas, retry_total=0)
    assert code_of(lambda: list(other.list_blobs()))[0] == 403


def test_a_user_delegation_key_is_of_one_service(
    both: local.Endpoints, keys: local.Endpoints
) -> None:
    for endpoints, other in ((both, keys), (keys, both)):
        with with_token(endpoints) as store:
            store.create_container("delegated")
        accepted = signed(endpoints, "delegated", "rl", user_delegation_key=delegated(endpoints))
        assert list(accepted.list_blobs()) == []
        foreign = signed(endpoints, "delegated", "rl", user_delegation_key=delegated(other))
        assert code_of(lambda refused=foreign: list(refused.list_blobs()))[0] == 403


def raw_answer(endpoints: local.Endpoints, head: str, body: bytes = b"") -> str:
    """Send a request with a token to the storage, close the sending side, and read the reply."""
    at = urlsplit(endpoints.blob_url)
    assert at.hostname
    lines = [head, f"Host: {at.netloc}", f"Authorization: Bearer {endpoints.token}"]
    content = "\r\n".join([*lines, "", ""]).encode() + body
    with socket.create_connection((at.hostname, at.port or 80), timeout=10) as connection:
        connection.sendall(content)
        connection.shutdown(socket.SHUT_WR)
        received = b""
        while part := connection.recv(65536):
            received += part
    return received.decode()


def test_a_malformed_request_with_a_token_is_refused(keys: local.Endpoints) -> None:
    """Azurite continues after a malformed, too long or incomplete request."""
    account = urlsplit(keys.blob_url).path.strip("/")
    delegate = f"POST /{account}/?restype=service&comp=userdelegationkey HTTP/1.1\r\n"
    answer = raw_answer(keys, f"GET /{account}/box?prefix=%E0%A4%A HTTP/1.1\r\nConnection: close")
    assert " 400 " in answer and "InvalidQueryParameterValue" in answer
    long = b"x" * 70_000
    answer = raw_answer(keys, f"{delegate}Content-Length: {len(long)}", long)
    assert " 413 " in answer and "RequestBodyTooLarge" in answer
    raw_answer(keys, f"{delegate}Content-Length: 100", b"<KeyInfo>")
    with with_token(keys) as store:
        assert store.get_user_delegation_key(now() - HOUR, now() + HOUR).value


def test_a_user_delegation_key_is_valid_for_seven_days_at_most(both: local.Endpoints) -> None:
    delegated(both, 6.9)
    assert code_of(lambda: delegated(both, 7.1)) == (400, "InvalidXmlNodeValue")
    with with_key(both) as store:
        refused = code_of(lambda: store.get_user_delegation_key(now(), now() + HOUR))
    assert refused == (403, "KeyBasedAuthenticationNotPermitted")


def test_a_node_uses_the_rights_of_its_account_or_an_identity(both: local.Endpoints) -> None:
    """The storage refuses a mount with the key of the account."""
    with with_token(both) as store:
        store.create_container("grants").upload_blob("b", b"hello")
    account = agent.StorageAccount.read(both.connection_string, token=both.token)
    url = account.identity(f"{both.blob_url}/grants/b")
    granted = ContainerClient.from_container_url(str(account.container("grants")), retry_total=0)
    assert "skoid=" in url and granted.download_blob("b").readall() == b"hello"
    by_key = account.mount(both.blob_account, "grants", both.blob_key, None)
    mounted = ContainerClient.from_container_url(str(by_key), retry_total=0)
    refused = (403, "KeyBasedAuthenticationNotPermitted")
    assert code_of(lambda: list(mounted.list_blobs())) == refused


async def test_a_package_is_uploaded_and_deleted_with_a_token(
    both: local.Endpoints, tmp_path: Path
) -> None:
    """The URL has no signature: the Batch account and clients sign in to the storage."""
    path, content = tmp_path / "tool.zip", b"PK\x05\x06" + bytes(18)
    path.write_bytes(content)
    md5 = hashlib.md5(content).digest()
    archive = observed.LocalFile("tool.zip", str(path), len(content), md5, "application/zip")
    async with open_account(local_account(both)) as account:
        applications = account.applications
        await applications.upload_package("tool", "1", archive, "digest", lambda _: None)
        found = await applications.get_package("tool", "1")
        assert found == observed.StoredPackage(True, "digest", md5, len(content))
        assert await applications.delete_package("tool", "1")
    with management_client(ServicePlace(both)) as client:
        at = (GROUP, both.batch_account, "tool", "2")
        shown = client.application_package.create(*at)
        assert "?" not in str(shown.storage_url) and shown.storage_url_expiry is None
        client.application_package.delete(*at)
        client.application.delete(*at[:3])


def test_the_credential_of_the_documentation(
    both: local.Endpoints, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in local.variables(both).items():
        monkeypatch.setenv(name, value)
    with with_token(both) as store:
        store.create_container("documented")
    text = (ROOT / "docs" / "local.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    [block] = [each for each in blocks if "FileCredential" in each]
    defined: dict[str, Any] = {}
    exec(compile(block, "docs/local.md", "exec"), defined)
    pools, containers = capsys.readouterr().out.splitlines()
    assert pools == "[]" and "documented" in containers
    assert defined["blobs"].get_user_delegation_key(now(), now() + HOUR).value


def test_variables_contain_no_key_that_is_refused(both: local.Endpoints) -> None:
    found = local.variables(both)
    assert found["BATCHSPEC_LOCAL_TOKEN_FILE"] == str(both.token_file)
    secrets = (both.batch_key, both.blob_key, both.token, "sig=")
    assert not [each for each in secrets if each in json.dumps(found)]
    keyed = replace(both, simulation=Simulation())
    assert set(local.variables(keyed)) > set(found)


def test_a_service_that_runs_otherwise_is_reported(keys: local.Endpoints) -> None:
    with pytest.raises(LocalError) as caught:
        local.start(keys.data, options=SimulationOptions(auth="entra"))
    assert caught.value.code == "running-otherwise"
