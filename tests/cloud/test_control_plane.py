"""The client of Azure Resource Manager: which account, authentication, errors, and no writes."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError

from batchspec.cloud import AccountClient, AnyAccount, account_from, open_account
from batchspec.cloud.control_plane import local_token
from batchspec.cloud.errors import ErrorResponse, to_diagnostic
from batchspec.cloud.pipeline import LOGGER
from batchspec.diagnostics import ServiceError, UsageError
from tests.cloud.conftest import KEY, TOKEN, Time
from tests.cloud.resource_manager import (
    ACCOUNT,
    ACCOUNTS,
    SUBSCRIPTION,
    azure_account,
    denied,
    recorded,
)
from tests.cloud.scripted import Reply, Scripted


class Credential:
    """Issues a token, or fails; records the scopes."""

    def __init__(self, *, fails: bool = False) -> None:
        self.scopes: list[str] = []
        self.fails = fails

    async def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        self.scopes += scopes
        if self.fails:
            raise ClientAuthenticationError("run az login")
        return AccessToken("T0KEN-of-the-test", 2**40)

    async def close(self) -> None:
        return None

    async def __aenter__(self) -> Credential:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None


Manager = Callable[..., AbstractAsyncContextManager[AccountClient]]


@pytest.fixture
def credential() -> Credential:
    return Credential()


@pytest.fixture
def manager(
    server: Scripted, clock: Time, credential: Credential, monkeypatch: pytest.MonkeyPatch
) -> Manager:
    """Opens an account on Azure whose Resource Manager is the scripted server, over http."""
    # Only the scheme of the tests differs: the SDK sends tokens over https alone.
    monkeypatch.setattr(
        "azure.core.pipeline.policies._authentication_async._enforce_https",
        lambda request: None,
    )

    @asynccontextmanager
    async def opened(account: AnyAccount | None = None, **place: str) -> AsyncIterator[Any]:
        async with open_account(
            account or azure_account(server, **place),
            monotonic=clock.monotonic,
            sleep=clock.sleep,
            random=lambda: 0.5,
            credential=lambda: credential,
        ) as cloud:
            yield cloud

    return opened


def account_body(endpoint: str = "acct.westeurope.batch.azure.com", **more: Any) -> dict[str, Any]:
    return {
        "id": ACCOUNT,
        "name": "acct",
        "location": "westeurope",
        "properties": {"accountEndpoint": endpoint, **more},
    }


def listed(*bodies: Any, link: str = "") -> Reply:
    return Reply(200, {"value": list(bodies), **({"nextLink": link} if link else {})})


async def test_a_given_subscription_and_group_need_no_search(
    manager: Manager, server: Scripted, credential: Credential
) -> None:
    server.on("GET", ACCOUNT, Reply(200, account_body()))
    async with manager(subscription=SUBSCRIPTION, group="rg1") as cloud:
        assert not server.asked
        assert not credential.scopes
        assert (await cloud.control_plane.get_account()).region == "westeurope"
    [asked] = server.asked
    assert asked.query == {"api-version": "2025-06-01"}
    assert asked.headers["Authorization"] == "Bearer T0KEN-of-the-test"
    assert credential.scopes == ["https://manager//.default"]


async def test_the_group_is_found_by_the_endpoint(manager: Manager, server: Scripted) -> None:
    # The same name in another region, on the first page.
    other = account_body("acct.eastus.batch.azure.com")
    here = {**account_body("ACCT.westeurope.batch.azure.com"), "id": ACCOUNT.replace("rg1", "Two")}
    link = f"https://elsewhere.example:443{ACCOUNTS}?api-version=2025-06-01&$skiptoken=1"
    server.on("GET", ACCOUNTS, listed(other, link=link), listed(here))
    async with manager(subscription=SUBSCRIPTION) as cloud:
        resource = await cloud.control_plane.resource()
        assert (resource.group, resource.name) == ("Two", "acct")
        assert resource.id == ACCOUNT.replace("rg1", "Two")
        await cloud.control_plane.resource()
    # The link is followed at the first host, so that the token reaches no other one.
    assert [asked.query.get("$skiptoken") for asked in server.asked] == [None, "1"]


async def test_odd_entries_of_a_list_are_no_accounts(manager: Manager, server: Scripted) -> None:
    whole = account_body()
    odd = [{**whole, "id": "short"}, {**whole, "name": None}, {**whole, "properties": "odd"}, {}]
    server.on("GET", ACCOUNTS, listed(*odd, whole))
    async with manager(subscription=SUBSCRIPTION) as cloud:
        assert (await cloud.control_plane.resource()).group == "rg1"


@pytest.mark.parametrize("start", ["", "/", "@elsewhere.example/", "https://manager//"])
async def test_a_link_cannot_change_the_host(
    manager: Manager, server: Scripted, start: str
) -> None:
    link = f"{start}page/{{endpoint.real}}?$skiptoken=1"
    server.on("GET", ACCOUNTS, listed(link=link))
    path = "/@elsewhere.example/page" if start.startswith("@") else "/page"
    server.on("GET", f"{path}/%7Bendpoint.real%7D", listed(account_body()))
    async with manager(subscription=SUBSCRIPTION) as cloud:
        assert (await cloud.control_plane.resource()).group == "rg1"


async def test_without_a_subscription_all_are_searched(manager: Manager, server: Scripted) -> None:
    each = [{"subscriptionId": f"s{n}", "state": "Enabled"} for n in range(3)]
    gone = {"subscriptionId": "gone", "state": "Disabled"}
    server.on("GET", "/subscriptions", listed(*each, gone))
    accounts = "/subscriptions/{}/providers/Microsoft.Batch/batchAccounts"
    server.on("GET", accounts.format("s0"), listed())
    # A subscription that cannot be read does not hide the account.
    server.on("GET", accounts.format("s1"), denied(403, "AuthorizationFailed"))
    server.on("GET", accounts.format("s2"), listed(account_body()))
    async with manager() as cloud:
        assert (await cloud.control_plane.resource()).subscription == "s2"
    assert server.asked[0].query == {"api-version": "2022-12-01"}
    assert not server.requests(path=accounts.format("gone"))


async def test_an_account_that_no_subscription_contains(manager: Manager, server: Scripted) -> None:
    server.on("GET", "/subscriptions", listed({"subscriptionId": "s0"}))
    server.on("GET", "/subscriptions/s0/.*", listed())
    async with manager() as cloud:
        with pytest.raises(ServiceError) as caught:
            await cloud.control_plane.resource()
    assert caught.value.problems[0].code == "account-not-found"
    assert "AZURE_SUBSCRIPTION_ID" in caught.value.problems[0].fix


async def test_subscriptions_that_cannot_be_read_are_not_counted_as_searched(
    manager: Manager, server: Scripted
) -> None:
    server.on("GET", "/subscriptions", listed(*({"subscriptionId": f"s{n}"} for n in range(3))))
    server.on("GET", "/subscriptions/s0/.*", listed())
    server.on("GET", "/subscriptions/s[12]/.*", denied(403, "AuthorizationFailed"))
    async with manager() as cloud:
        with pytest.raises(ServiceError) as caught:
            await cloud.control_plane.resource()
    (problem,) = caught.value.problems
    assert problem.summary.startswith(
        "the 1 subscription that your identity can read has no Batch account"
    )
    assert "2 more could not be read: Batch accounts of subscription s1" in problem.detail


async def test_too_many_subscriptions_are_not_searched(manager: Manager, server: Scripted) -> None:
    server.on("GET", "/subscriptions", listed(*({"subscriptionId": f"s{n}"} for n in range(51))))
    async with manager() as cloud:
        with pytest.raises(ServiceError) as caught:
            await cloud.control_plane.resource()
    assert "51 subscriptions" in caught.value.problems[0].summary
    assert len(server.asked) == 1


async def test_a_missing_provider_is_reported_and_not_registered(
    manager: Manager, server: Scripted
) -> None:
    text = (
        f"The subscription '{SUBSCRIPTION}' is not registered to use namespace 'Microsoft.Batch'."
        " See https://aka.ms/rps-not-found for how to register subscriptions."
    )
    server.on("GET", ACCOUNT, denied(409, "MissingSubscriptionRegistration", text))
    async with manager(subscription=SUBSCRIPTION, group="rg1") as cloud:
        with pytest.raises(ServiceError) as caught:
            await cloud.control_plane.get_account()
    assert [asked.method for asked in server.asked] == ["GET"]
    problem = caught.value.problems[0]
    assert problem.code == "missing-subscription-registration"
    assert "az provider register --namespace Microsoft.Batch" in problem.fix


async def test_temporary_failures_are_repeated_for_a_limited_time(
    manager: Manager, server: Scripted, clock: Time
) -> None:
    gateway = denied(504, "GatewayTimeout")
    server.on("GET", ACCOUNT, gateway, denied(429, "X"), Reply(200, account_body()))
    async with manager(subscription=SUBSCRIPTION, group="rg1") as cloud:
        await cloud.control_plane.get_account()
        assert len(server.asked) == 3
        server.on("GET", ACCOUNT, gateway)
        with pytest.raises(ServiceError) as caught:
            await cloud.control_plane.get_account()
    assert caught.value.code == "GatewayTimeout"
    assert sum(clock.slept) < 100


async def test_the_error_of_a_failed_sign_in_names_resource_manager(
    manager: Manager, server: Scripted, credential: Credential
) -> None:
    credential.fails = True
    async with manager(subscription=SUBSCRIPTION, group="rg1") as cloud:
        with pytest.raises(ServiceError) as caught:
            await cloud.control_plane.get_account()
    assert caught.value.code == "no-credential"
    assert "Azure Resource Manager requires" in caught.value.problems[0].summary
    assert not server.asked


async def test_the_embedded_service_accepts_its_token(
    cloud: AccountClient, server: Scripted
) -> None:
    place = (
        f"/subscriptions/{SUBSCRIPTION}/resourceGroups/batchspec/providers/Microsoft.Batch"
        "/batchAccounts/acct"
    )
    server.on("GET", place, Reply(200, account_body()))
    await cloud.control_plane.get_account()
    [asked] = server.asked
    assert asked.headers["Authorization"] == f"Bearer {TOKEN.reveal()}"


async def test_a_denied_action_names_role_and_scope(manager: Manager, server: Scripted) -> None:
    [exchange] = recorded(status=403)
    server.on("GET", ACCOUNT, Reply(403, exchange["res"]))
    async with manager(subscription=SUBSCRIPTION, group="rg1") as cloud:
        with pytest.raises(ServiceError) as caught:
            await cloud.control_plane.get_account()
    fix = caught.value.problems[0].fix
    # The text is about a pool; the role is assigned on its account.
    assert '--role "Azure Batch Data Contributor"' in fix
    assert f"--scope {ACCOUNT}1`;" in fix
    assert f"--assignee {SUBSCRIPTION} " in fix


@pytest.mark.parametrize(
    ("action", "scope", "role"),
    [
        ("batchAccounts/read", ACCOUNT, "Azure Batch Account Reader"),
        ("batchAccounts/read", f"/subscriptions/{SUBSCRIPTION}", "Azure Batch Account Reader"),
        ("batchAccounts/pools/read", f"{ACCOUNT}/pools/p", "Azure Batch Data Contributor"),
        ("batchAccounts/write", ACCOUNT, "Azure Batch Account Contributor"),
    ],
)
async def test_roles(
    manager: Manager, server: Scripted, action: str, scope: str, role: str
) -> None:
    text = (
        "The client 'x' with object id 'y' does not have authorization to perform action"
        f" 'Microsoft.Batch/{action}' over scope '{scope}' or the scope is invalid."
    )
    server.on("GET", ACCOUNT, denied(403, "AuthorizationFailed", text))
    async with manager(subscription=SUBSCRIPTION, group="rg1") as cloud:
        with pytest.raises(ServiceError) as caught:
            await cloud.control_plane.get_account()
    assert f'--role "{role}" --scope {scope.removesuffix("/pools/p")}`;' in (
        caught.value.problems[0].fix
    )


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("properties.scaleSettings.autoScale.formula", "autoScaleFormula"),
        ("properties.interNodeCommunication", "enableInterNodeCommunication"),
        ("properties.userAccounts[0].password", "password"),
        ("properties.startTask.resourceFiles[2]", "resourceFiles"),
    ],
)
def test_a_property_path_becomes_the_name_at_the_batch_service(path: str, name: str) -> None:
    response = ErrorResponse("InvalidPropertyValue", 400, "No.", (("PropertyPath", path),))
    problem = to_diagnostic(response, "pool p")
    assert problem.property == name
    assert f"`{name}`" in problem.summary


async def test_the_recorded_refusal_of_a_property(manager: Manager, server: Scripted) -> None:
    [exchange] = [each for each in recorded(status=400) if "testpool" in each["path"]]
    server.on("GET", ACCOUNT, Reply(400, exchange["res"]))
    async with manager(subscription=SUBSCRIPTION, group="rg1") as cloud:
        with pytest.raises(ServiceError) as caught:
            await cloud.control_plane.get_account()
    problem = caught.value.problems[0]
    assert problem.property == "nodeAgentSKUId"
    assert "batch.node.ubuntu 16.04" in problem.summary
    assert "The specified nodeAgentSKUId does not exist." in problem.detail
    assert "RequestId" not in problem.detail


async def test_the_log_of_requests_has_no_tokens(
    manager: Manager, server: Scripted, caplog: pytest.LogCaptureFixture
) -> None:
    polling = f"{server.url}{ACCOUNT}/poolOperationResults/delete-p?t=T1&c=C1&s=S1&h=H1"
    pool = f"{ACCOUNT}/pools/p"
    server.on("DELETE", pool, Reply(202, None, {"Location": polling, "Retry-After": "0"}))
    server.on("GET", f"{ACCOUNT}/poolOperationResults/.*", Reply(200))
    async with manager(subscription=SUBSCRIPTION, group="rg1") as cloud:
        resource = await cloud.control_plane.resource()
        with caplog.at_level(logging.DEBUG, LOGGER.name):
            poller = await resource.client.pool.begin_delete("rg1", "acct", "p")
            await poller.result()
    assert "poolOperationResults/delete-p ->" in caplog.text
    for secret in ("T1", "C1", "S1", "H1", "T0KEN"):
        assert secret not in caplog.text
    # The URL is sent as received.
    assert server.asked[-1].query == {"t": "T1", "c": "C1", "s": "S1", "h": "H1"}


async def test_recorded_accounts_are_found(manager: Manager, server: Scripted) -> None:
    [exchange] = recorded(flow=21, status=200)
    [body] = exchange["res"]["value"]
    # Older answers have the host alone, too.
    endpoint = body["properties"]["accountEndpoint"]
    server.on("GET", ACCOUNTS, Reply(200, exchange["res"]))
    account = account_from(
        {
            "AZURE_BATCH_ACCOUNT": body["name"],
            "AZURE_BATCH_ENDPOINT": f"https://{endpoint}/",
            "AZURE_STORAGE_ACCOUNT": "store",
            "AZURE_STORAGE_KEY": KEY.reveal(),
            "AZURE_SUBSCRIPTION_ID": SUBSCRIPTION,
        }
    )
    at_server = replace(account, cloud=azure_account(server).cloud)
    async with manager(at_server) as cloud:
        assert (await cloud.control_plane.resource()).id == body["id"]


# The Azure CLI's cloud.py: `resource_manager` and `active_directory_resource_id`.
@pytest.mark.parametrize(
    ("host", "url", "audience"),
    [
        (
            "a.westeurope.batch.azure.com",
            "https://management.azure.com",
            "https://management.azure.com/",
        ),
        (
            "a.chinaeast2.batch.chinacloudapi.cn",
            "https://management.chinacloudapi.cn",
            "https://management.chinacloudapi.cn/",
        ),
        (
            "a.usgovvirginia.batch.usgovcloudapi.net",
            "https://management.usgovcloudapi.net",
            "https://management.core.usgovcloudapi.net/",
        ),
    ],
)
def test_clouds(host: str, url: str, audience: str) -> None:
    account = account_from(
        {
            "AZURE_BATCH_ACCOUNT": "a",
            "AZURE_BATCH_ENDPOINT": f"https://{host}",
            "AZURE_STORAGE_ACCOUNT": "s",
            "AZURE_RESOURCE_GROUP": " rg ",
        }
    )
    assert (account.manager_url, account.cloud.manager_audience) == (url, audience)
    assert (account.subscription, account.resource_group) == ("", "rg")


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://127.0.0.1:1", ""),
        ("https://arm.example", ""),
        ("http://arm.example", "token-needs-https"),
        ("arm.example", "bad-endpoint"),
    ],
)
def test_another_url_of_the_manager(url: str, code: str) -> None:
    environment = {
        "AZURE_BATCH_ACCOUNT": "a",
        "AZURE_BATCH_ENDPOINT": "https://a.westeurope.batch.azure.com",
        "AZURE_STORAGE_ACCOUNT": "s",
        "AZURE_RESOURCE_MANAGER_ENDPOINT": url,
    }
    if not code:
        assert account_from(environment).manager_url == url
        return
    with pytest.raises(UsageError) as caught:
        account_from(environment)
    assert [problem.code for problem in caught.value.problems] == [code]
    assert "AZURE_RESOURCE_MANAGER_ENDPOINT" in caught.value.problems[0].summary


async def test_only_a_loopback_manager_gets_the_local_token(
    manager: Manager, server: Scripted, credential: Credential
) -> None:
    server.on("GET", ACCOUNT, Reply(200, account_body()))
    place = azure_account(server, subscription=SUBSCRIPTION, group="rg1")
    place = replace(place, batch_key=KEY, token=TOKEN)
    async with manager(place) as cloud:
        await cloud.control_plane.get_account()
    assert server.asked[0].headers["Authorization"] == f"Bearer {TOKEN.reveal()}"
    assert not credential.scopes
    assert local_token(place, "https://arm.example") is None
    assert local_token(place, place.batch_url) is None


@pytest.mark.parametrize("text", ["T0KEN\n", None])
def test_the_token_file_of_local_env(text: str | None) -> None:
    environment = {
        "AZURE_BATCH_ACCOUNT": "a",
        "AZURE_BATCH_ENDPOINT": "http://127.0.0.1:1",
        "AZURE_BATCH_ACCESS_KEY": KEY.reveal(),
        "AZURE_STORAGE_ACCOUNT": "s",
        "BATCHSPEC_LOCAL_TOKEN_FILE": "/data/token",
    }

    def read(path: str) -> str:
        assert path == "/data/token"
        if text is None:
            raise FileNotFoundError(2, "No such file or directory")
        return text

    if text is not None:
        account = account_from(environment, read)
        assert account.token is not None and account.token.reveal() == "T0KEN"
        away = {**environment, "AZURE_BATCH_ENDPOINT": "https://a.westeurope.batch.azure.com"}
        assert account_from(away, read).token is None
        return
    with pytest.raises(UsageError) as caught:
        account_from(environment, read)
    [problem] = caught.value.problems
    assert (problem.code, problem.detail) == ("bad-token-file", "No such file or directory")
    assert "/data/token" in problem.summary


def test_the_library_is_imported_with_the_first_request_only() -> None:
    program = "import sys, batchspec.cloud.connect; print('azure.mgmt' in sys.modules)"
    line = [sys.executable, "-c", program]
    done = subprocess.run(line, text=True, capture_output=True, check=True)
    assert done.stdout.strip() == "False"
