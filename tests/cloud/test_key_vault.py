"""Secrets in Key Vault: the request, the token and the errors, against a vault on loopback."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError
from azure.core.pipeline.transport import RequestsTransport

from batchspec.cloud.key_vault import read_secrets
from batchspec.diagnostics import ServiceError, SignInError
from batchspec.exit_codes import Exit
from tests.key_vault import FakeVault, fake_vault

VALUE = "Marked-Secret-4711\n"
TOKEN = "marked-token"


class Credential:
    """Gives a token, or fails with an error, and records the scopes."""

    def __init__(self, error: Exception | None = None) -> None:
        self.scopes: list[str] = []
        self.authorities: list[str | None] = []
        self.error = error

    def __call__(self, authority: str | None) -> Credential:
        self.authorities.append(authority)
        return self

    def get_token(self, *scopes: str, **_options: Any) -> AccessToken:
        self.scopes.extend(scopes)
        if self.error is not None:
            raise self.error
        return AccessToken(TOKEN, 2**40)


class Redirected(RequestsTransport):
    """Sends a request to a host of Key Vault to the vault of the test."""

    def __init__(self, vault: FakeVault, hosts: list[str]) -> None:
        super().__init__(use_env_settings=False)
        self.vault = vault
        self.hosts = hosts

    def send(self, request: Any, **options: Any) -> Any:
        parts = urlsplit(request.url)
        self.hosts.append(parts.netloc)
        request.url = f"{self.vault.url}{parts.path}?{parts.query}"
        return super().send(request, **options)


@pytest.fixture
def vault() -> Iterator[FakeVault]:
    with fake_vault() as started:
        yield started


@pytest.mark.parametrize(
    ("host", "authority"),
    [
        ("v.vault.azure.net", None),
        ("v.vault.azure.cn", "login.chinacloudapi.cn"),
        ("v.vault.usgovcloudapi.net", "login.microsoftonline.us"),
    ],
)
def test_a_value_is_read_with_a_token_for_the_cloud_of_its_vault(
    vault: FakeVault, host: str, authority: str | None
) -> None:
    vault.add("token", VALUE)
    vault.add("token/" + "a" * 32, "an older one")
    hosts: list[str] = []
    credential = Credential()
    urls = {"t": f"https://{host}/secrets/token", "o": f"https://{host}/secrets/token/{'a' * 32}/"}

    def transport() -> Redirected:
        return Redirected(vault, hosts)

    found = read_secrets(urls, {}, credential=credential, transport=transport)
    assert {name: value.reveal() for name, value in found.items()} == {
        "t": VALUE,
        "o": "an older one",
    }
    assert repr(found) == "{'t': ***, 'o': ***}"
    assert credential.authorities == [authority]
    assert set(credential.scopes) == {f"https://{host.removeprefix('v.')}/.default"}
    assert hosts == [host, host]
    paths = [path for path, _ in vault.requests]
    assert paths == [
        "/secrets/token?api-version=7.4",
        f"/secrets/token/{'a' * 32}?api-version=7.4",
    ]
    assert {headers["Authorization"] for _, headers in vault.requests} == {f"Bearer {TOKEN}"}


def test_an_emulator_gets_no_token(vault: FakeVault) -> None:
    found = read_secrets({"t": vault.add("token", VALUE)}, {})
    assert found["t"].reveal() == VALUE
    assert vault.requests[0][1]["Authorization"] == "Bearer emulator"


@pytest.mark.parametrize(
    ("status", "code", "inner", "diagnostic", "fix"),
    [
        (403, "Forbidden", "ForbiddenByRbac", "key-vault-denied", "Key Vault Secrets User"),
        (403, "Forbidden", "AccessDenied", "key-vault-denied", "Key Vault Secrets User"),
        (403, "Forbidden", "ForbiddenByFirewall", "key-vault-denied", "firewall"),
        (403, "Forbidden", "SecretDisabled", "key-vault-secret", "--enabled true"),
        (404, "SecretNotFound", "", "key-vault-secret", "az keyvault secret recover"),
        (400, "BadParameter", "", "key-vault-unreachable", ""),
    ],
)
def test_a_refusal_names_its_cause_and_fix(
    vault: FakeVault, status: int, code: str, inner: str, diagnostic: str, fix: str
) -> None:
    url = vault.refuse("token", status, code, inner, "text of the service")
    with pytest.raises(ServiceError) as caught:
        read_secrets({"pass": url}, {})
    (problem,) = caught.value.problems
    assert (problem.code, caught.value.exit) == (diagnostic, Exit.SERVICE)
    assert "`pass`" in problem.summary
    assert problem.detail == f"{url}\n{status} {inner or code}: text of the service"
    assert fix in problem.fix


def test_without_a_sign_in_the_tenant_of_the_vault_is_named(vault: FakeVault) -> None:
    challenge = 'Bearer authorization="https://login.windows.net/72f988bf", resource="https://x"'
    vault.refuse("token", 401, "Unauthorized", "", "no token", WWW_Authenticate=challenge)
    urls = {"t": "https://v.vault.azure.net/secrets/token"}
    with pytest.raises(ServiceError) as caught:
        read_secrets(urls, {}, credential=Credential(), transport=lambda: Redirected(vault, []))
    assert caught.value.code == "key-vault-sign-in"
    assert "`az login --tenant 72f988bf`" in caught.value.problems[0].fix
    assert TOKEN not in repr(caught.value.problems)


def test_the_sdk_does_not_log_the_failure_of_a_sign_in(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def get_token(_self: object, *_scopes: str, **_options: Any) -> AccessToken:
        logging.getLogger("azure.identity").warning("failed to retrieve a token")
        raise ClientAuthenticationError("failed to retrieve a token")

    caplog.set_level(logging.NOTSET, logger="azure")
    monkeypatch.setattr("azure.identity.DefaultAzureCredential.get_token_info", get_token)
    with pytest.raises(ServiceError) as caught:
        read_secrets({"t": "https://v.vault.azure.net/secrets/token"}, {})
    assert "failed to retrieve a token" in caught.value.problems[0].detail
    assert caplog.records == []


def test_a_failed_sign_in_sends_no_request(vault: FakeVault) -> None:
    credential = Credential(ClientAuthenticationError("DefaultAzureCredential failed"))
    urls = {"t": "https://v.vault.azure.net/secrets/token"}
    with pytest.raises(ServiceError) as caught:
        read_secrets(urls, {}, credential=credential, transport=lambda: Redirected(vault, []))
    assert caught.value.code == "key-vault-sign-in"
    assert "DefaultAzureCredential failed" in caught.value.problems[0].detail
    assert vault.requests == []
    with pytest.raises(SignInError):
        read_secrets(
            urls, {"AZURE_CLIENT_SECRET": "hunter2"}, transport=lambda: Redirected(vault, [])
        )


def test_a_busy_vault_is_asked_again_and_a_redirection_is_not_followed(
    vault: FakeVault, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The first repetition has no delay.
    monkeypatch.setattr("batchspec.cloud.key_vault._RETRIES", 1)
    busy = vault.refuse("busy", 429, "Throttled", Retry_After="0")
    with pytest.raises(ServiceError, match="does not answer"):
        read_secrets({"t": busy}, {})
    assert len(vault.requests) == 2
    vault.requests.clear()
    moved = vault.refuse("moved", 302, "Moved", Location=vault.add("other", VALUE))
    with pytest.raises(ServiceError, match="does not answer"):
        read_secrets({"t": moved}, {})
    assert [path for path, _ in vault.requests] == ["/secrets/moved?api-version=7.4"]


@pytest.mark.parametrize(("asked", "pauses"), [("86400", [30.0]), ("inf", [30.0]), ("soon", [])])
def test_a_pause_that_a_vault_requests_is_bounded(
    vault: FakeVault, monkeypatch: pytest.MonkeyPatch, asked: str, pauses: list[float]
) -> None:
    slept: list[float] = []
    monkeypatch.setattr("batchspec.cloud.key_vault._RETRIES", 1)
    monkeypatch.setattr(RequestsTransport, "sleep", lambda _, seconds: slept.append(seconds))
    busy = vault.refuse("busy", 429, "Throttled", Retry_After=asked)
    with pytest.raises(ServiceError, match="does not answer"):
        read_secrets({"t": busy}, {})
    assert slept == pauses
    assert len(vault.requests) == 2
