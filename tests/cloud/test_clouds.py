"""Sign-in in each Azure cloud: the scope of the token, and the authority."""

from __future__ import annotations

from typing import Any

import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError

from batchspec.cloud import account_from, open_account
from batchspec.diagnostics import ServiceError

# What the Azure CLI calls `batch_resource_id` and `active_directory`, in its cloud.py.
CLOUDS = {
    "mine.westeurope.batch.azure.com": ("https://batch.core.windows.net//.default", None),
    "mine.chinaeast2.batch.chinacloudapi.cn": (
        "https://batch.chinacloudapi.cn//.default",
        "login.chinacloudapi.cn",
    ),
    "mine.usgovvirginia.batch.usgovcloudapi.net": (
        "https://batch.core.usgovcloudapi.net//.default",
        "login.microsoftonline.us",
    ),
}


class RejectedCredential:
    """A credential that fails, and records the scope and the authority of each request."""

    def __init__(self, authority: str | None = None) -> None:
        self.authority = authority
        self.scopes: list[str] = []

    async def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        self.scopes += scopes
        raise ClientAuthenticationError("run az login")

    async def close(self) -> None:
        return None

    async def __aenter__(self) -> RejectedCredential:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None


@pytest.mark.parametrize("host", CLOUDS)
async def test_the_token_is_for_the_cloud_of_the_endpoint(
    host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[RejectedCredential] = []

    def create(authority: str | None, process_timeout: int) -> RejectedCredential:
        assert process_timeout == 60
        made.append(RejectedCredential(authority))
        return made[-1]

    monkeypatch.setattr("azure.identity.aio.DefaultAzureCredential", create)
    account = account_from(
        {
            "AZURE_BATCH_ACCOUNT": "mine",
            "AZURE_BATCH_ENDPOINT": f"https://{host}/",
            "AZURE_STORAGE_ACCOUNT": "store",
        }
    )
    async with open_account(account) as cloud:
        with pytest.raises(ServiceError) as caught:
            await cloud.pools.get("x")
    assert caught.value.code == "no-credential"
    name = {"cn": "AzureChinaCloud", "net": "AzureUSGovernment"}.get(host.rpartition(".")[2], "")
    login = f"az cloud set --name {name} && az login" if name else "az login"
    assert f"Run `{login}`" in caught.value.problems[0].fix
    scope, authority = CLOUDS[host]
    assert made[0].scopes == [scope]
    assert made[0].authority == authority
