"""The account that the environment names, and the errors if it names none."""

from __future__ import annotations

import subprocess
import sys

import pytest

from batchspec.cloud import AzureAccount, LocalAccount, account_from
from batchspec.diagnostics import Secret, UsageError
from batchspec.plan.observed import AccountNames

KEY = "c2VjcmV0LWtleQ=="
WHOLE = {
    "AZURE_BATCH_ACCOUNT": "mine",
    "AZURE_BATCH_ENDPOINT": "https://mine.westeurope.batch.azure.com/",
    "AZURE_BATCH_ACCESS_KEY": KEY,
    "AZURE_STORAGE_ACCOUNT": "store",
    "AZURE_STORAGE_KEY": KEY,
}


def without(*names: str, **more: str) -> dict[str, str]:
    return {name: value for name, value in WHOLE.items() if name not in names} | more


def problems(environment: dict[str, str]) -> dict[str, str]:
    with pytest.raises(UsageError) as caught:
        account_from(environment)
    return {problem.code: f"{problem.summary} {problem.fix}" for problem in caught.value.problems}


def test_keys() -> None:
    account = account_from(WHOLE)
    assert account == AzureAccount(
        "https://mine.westeurope.batch.azure.com",
        "mine",
        Secret(KEY),
        "https://store.blob.core.windows.net",
        "store",
        Secret(KEY),
    )
    assert account.names == AccountNames(
        "azure", "mine.westeurope.batch.azure.com", "store.blob.core.windows.net"
    )


def test_no_text_contains_a_key() -> None:
    local = LocalAccount("http://x", "a", Secret(KEY), "http://y", "b", Secret(KEY))
    for account in (account_from(WHOLE), local):
        assert KEY not in f"{account!r} {account} {account.names}"


def test_without_keys_a_credential_authenticates() -> None:
    account = account_from(without("AZURE_BATCH_ACCESS_KEY", "AZURE_STORAGE_KEY"))
    assert account.batch_key is None
    assert account.blob_key is None


def test_connection_string() -> None:
    account = account_from(
        without(
            "AZURE_STORAGE_ACCOUNT",
            "AZURE_STORAGE_KEY",
            AZURE_STORAGE_CONNECTION_STRING=f"DefaultEndpointsProtocol=https;AccountName=other;"
            f"AccountKey={KEY};EndpointSuffix=core.windows.net",
        )
    )
    assert (account.blob_url, account.blob_account, account.blob_key) == (
        "https://other.blob.core.windows.net",
        "other",
        Secret(KEY),
    )


def test_connection_string_with_a_blob_endpoint() -> None:
    account = account_from(
        without(
            "AZURE_STORAGE_ACCOUNT",
            AZURE_STORAGE_CONNECTION_STRING=f"AccountName=a;AccountKey={KEY};"
            "BlobEndpoint=http://127.0.0.1:10000/a/",
        )
    )
    assert account.blob_url == "http://127.0.0.1:10000/a"
    assert account.names.storage == "127.0.0.1:10000/a"


def test_connection_string_of_the_emulator() -> None:
    account = account_from(
        without(
            "AZURE_STORAGE_ACCOUNT", AZURE_STORAGE_CONNECTION_STRING="UseDevelopmentStorage=true"
        )
    )
    assert account.blob_url == "http://127.0.0.1:10000/devstoreaccount1"


def test_the_cloud_of_the_batch_endpoint_is_that_of_its_storage() -> None:
    account = account_from(
        without(AZURE_BATCH_ENDPOINT="https://mine.chinaeast2.batch.chinacloudapi.cn")
    )
    assert account.blob_url == "https://store.blob.core.chinacloudapi.cn"
    assert account.cloud.suffix == "core.chinacloudapi.cn"


def test_all_missing_variables_are_reported_together() -> None:
    with pytest.raises(UsageError) as caught:
        account_from({})
    said = " ".join(problem.summary for problem in caught.value.problems)
    for name in ("AZURE_BATCH_ACCOUNT", "AZURE_BATCH_ENDPOINT", "AZURE_STORAGE_ACCOUNT"):
        assert name in said


def test_endpoint_without_scheme() -> None:
    found = problems(without(AZURE_BATCH_ENDPOINT="mine.westeurope.batch.azure.com"))
    assert "Did you mean https://mine.westeurope.batch.azure.com?" in found["bad-endpoint"]


@pytest.mark.parametrize(
    "endpoint", ["ftp://x", "https://", "https://x:99999999", "http://[::1", "https://h?sig=S3CRET"]
)
def test_endpoint_that_is_not_a_url(endpoint: str) -> None:
    said = problems(without(AZURE_BATCH_ENDPOINT=endpoint))["bad-endpoint"]
    assert "S3CRET" not in said


@pytest.mark.parametrize("name", ["AZURE_BATCH_ACCESS_KEY", "AZURE_STORAGE_KEY"])
def test_key_that_is_not_base64(name: str) -> None:
    said = problems(without(**{name: "not base64!"}))["bad-key"]
    assert name in said
    assert "not base64!" not in said


@pytest.mark.parametrize(
    ("text", "lacks"),
    [
        (f"AccountKey={KEY}", "AccountName"),
        ("AccountName=a", "AccountKey"),
        ("BlobEndpoint=https://a.b;SharedAccessSignature=sv=1&sig=S3CRET", "AccountName"),
        ("nonsense", "AccountName"),
    ],
)
def test_connection_string_that_cannot_sign(text: str, lacks: str) -> None:
    said = problems(without("AZURE_STORAGE_ACCOUNT", AZURE_STORAGE_CONNECTION_STRING=text))
    assert lacks in said["bad-connection-string"]
    assert "S3CRET" not in str(said)


def test_two_storage_accounts() -> None:
    said = problems({**WHOLE, "AZURE_STORAGE_CONNECTION_STRING": f"AccountName=b;AccountKey={KEY}"})
    assert "store" in said["account-conflict"]


def test_a_token_requires_https() -> None:
    found = problems(
        without("AZURE_BATCH_ACCESS_KEY", AZURE_BATCH_ENDPOINT="http://127.0.0.1:1234")
    )
    assert "AZURE_BATCH_ENDPOINT" in found["token-needs-https"]


def test_the_sdks_are_imported_when_an_account_is_opened() -> None:
    program = (
        "import sys, batchspec.cloud, batchspec.cloud.client, batchspec.cloud.account;"
        "sys.exit(any(name.split('.')[0] == 'azure' for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
