"""Errors of the services as diagnostics with a code, a cause and a fix; through the SDK."""

from __future__ import annotations

import logging
import os
import re
from datetime import timedelta

import pytest
from azure.batch.aio import BatchClient
from azure.core import MatchConditions
from azure.core.credentials import AzureNamedKeyCredential
from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError
from azure.identity import AzureCliCredential, ChainedTokenCredential, EnvironmentCredential

from batchspec.cloud import AccountClient
from batchspec.cloud.errors import TABLE, error_response, kebab, no_credential, translate
from batchspec.diagnostics import Diagnostic, ServiceError
from batchspec.spec import BlobUrl, Record, Text
from tests.cloud.conftest import KEY
from tests.cloud.scripted import Reply, Scripted, refusal, storage_refusal

JOB = Record(id="j")


async def refused(
    cloud: AccountClient, server: Scripted, reply: Reply
) -> tuple[ServiceError, Diagnostic]:
    server.on("POST", "/jobs", reply)
    # Read when the id is taken.
    server.on("GET", "/jobs/j", refusal(404, "JobNotFound"))
    with pytest.raises(ServiceError) as caught:
        await cloud.jobs.create(JOB, timedelta(hours=1))
    return caught.value, caught.value.problems[0]


def test_a_failed_sign_in_has_one_line_for_each_credential(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    for name in [name for name in os.environ if name.startswith("AZURE_")]:
        monkeypatch.delenv(name)
    credentials = ChainedTokenCredential(EnvironmentCredential(), AzureCliCredential())
    with pytest.raises(ClientAuthenticationError) as caught:
        credentials.get_token("https://batch.core.windows.net/.default")
    assert "Visit https" in str(caught.value)
    assert no_credential(caught.value).problems[0].detail.splitlines() == [
        "Tried to sign in with:",
        "  EnvironmentCredential: Environment variables are not fully configured.",
        "  AzureCliCredential: Azure CLI not found on path",
    ]


def test_the_message_of_one_credential_is_kept() -> None:
    error = ClientAuthenticationError("AADSTS700082: The refresh token has expired.\nTrace: 1")
    assert no_credential(error).problems[0].detail == error.message


@pytest.mark.parametrize(
    ("status", "code", "fix"),
    [
        (403, "AuthenticationFailed", "AZURE_BATCH_ACCESS_KEY"),
        # By Batch, too: Azure/BatchExplorer#2203.
        (403, "AuthorizationFailure", "network"),
        (403, "AuthorizationPermissionMismatch", "10 minutes"),
        (409, "ActiveJobAndScheduleQuotaReached", "quota"),
        (409, "PoolQuotaReached", "quota"),
        (409, "AccountCoreQuotaReached", "quota"),
    ],
)
async def test_known_codes(
    cloud: AccountClient, server: Scripted, status: int, code: str, fix: str
) -> None:
    error, problem = await refused(cloud, server, refusal(status, code, "It is so."))
    assert (error.code, error.status, error.exit) == (code, status, 4)
    assert problem.code == kebab(code)
    assert problem.summary == f"job j: {TABLE[code][0]}"
    assert problem.detail == f"{code}: It is so."
    assert problem.request_id == "abc"
    assert fix in problem.fix


async def test_an_unknown_code_has_its_own_message(cloud: AccountClient, server: Scripted) -> None:
    error, problem = await refused(cloud, server, refusal(400, "NewIn2031", "No flying cars."))
    assert (error.code, problem.code) == ("NewIn2031", "new-in2031")
    assert problem.summary == "job j: No flying cars."
    assert problem.detail == "NewIn2031"


async def test_details_name_the_invalid_property(cloud: AccountClient, server: Scripted) -> None:
    reply = refusal(
        400,
        "InvalidPropertyValue",
        PropertyName="priority",
        PropertyValue="9999",
        Reason="Too high",
    )
    _, problem = await refused(cloud, server, reply)
    assert problem.summary == "job j: the service does not accept the value '9999' of `priority`"
    assert problem.property == "priority"
    assert problem.detail.splitlines()[1:] == [
        "PropertyName: priority",
        "PropertyValue: 9999",
        "Reason: Too high",
    ]


async def test_a_long_value_is_cut_and_without_its_signature(
    cloud: AccountClient, server: Scripted
) -> None:
    url = f"http://a/b?sig=S1GNATURE&more={'x' * 100}"
    reply = refusal(400, "InvalidPropertyValue", PropertyName="httpUrl", PropertyValue=url)
    _, problem = await refused(cloud, server, reply)
    assert "S1GNATURE" not in f"{problem}"
    assert "the value 'http://a/b?sig=***&more=xxxx" in problem.summary
    assert problem.summary.endswith("xx...' of `httpUrl`")


async def test_the_signature_of_the_request_is_not_shown(
    cloud: AccountClient, server: Scripted
) -> None:
    quoted = "The MAC signature found in the HTTP request 'S1GNATURE=' is not the same"
    reply = refusal(403, "AuthenticationFailed", "no", AuthenticationErrorDetail=quoted)
    error, problem = await refused(cloud, server, reply)
    assert "S1GNATURE" not in f"{error!r} {error} {problem}"
    # A traceback does not show the SDK error.
    assert (error.__suppress_context__, error.__cause__) == (True, None)
    server.on("GET", "/jobs/j/taskcounts", reply)
    with pytest.raises(ServiceError) as caught:
        await cloud.jobs.get_task_counts("j")
    assert (caught.value.__suppress_context__, caught.value.__cause__) == (True, None)


async def test_an_account_that_refuses_its_key(cloud: AccountClient, server: Scripted) -> None:
    """The text is that of Azure/BatchExplorer#239 and MicrosoftDocs/azure-docs#51092."""
    for why in ("for this account", "when external resources of type Compute are linked"):
        reason = f"The specified type of authentication SharedKey is not allowed {why}."
        reply = refusal(403, "AuthenticationFailed", "no", AuthenticationErrorDetail=reason)
        error, problem = await refused(cloud, server, reply)
        assert error.code == "AuthenticationFailed"
        assert "does not allow account keys" in problem.summary
        assert problem.detail == f"AuthenticationFailed: {reason}"
        assert problem.fix == "Unset AZURE_BATCH_ACCESS_KEY, and run `az login`"


async def test_a_resource_that_keys_cannot_use(cloud: AccountClient, server: Scripted) -> None:
    """The text is that of a recorded response."""
    reason = "Property subnetId with value /subscriptions/x is not enabled for current account"
    reply = refusal(403, "Forbidden", "Access is Forbidden", Reason=reason)
    _, problem = await refused(cloud, server, reply)
    assert problem.summary == f"job j: the service denies the request: {reason}"
    assert "role" not in problem.fix
    assert "AZURE_BATCH_ACCESS_KEY" in problem.fix


async def test_an_unknown_refusal_of_access_names_the_roles(
    cloud: AccountClient, server: Scripted
) -> None:
    _, problem = await refused(cloud, server, refusal(403, "NewIn2031", "No."))
    assert problem.summary == "job j: No."
    assert "'Azure Batch Data Contributor'" in problem.fix


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("PublicAccessNotPermitted", "--allow-blob-public-access true"),
        ("BlobArchived", "--tier Hot"),
        ("BlobImmutableDueToPolicy", "without the policy"),
        ("SnapshotsPresent", "--delete-snapshots only"),
    ],
)
async def test_settings_of_storage_that_refuse_a_request(
    cloud: AccountClient, server: Scripted, code: str, words: str
) -> None:
    """Azurite has no immutability policies, and its accounts allow public access."""
    server.on("PUT", "/store/data", storage_refusal(409, code))
    with pytest.raises(ServiceError) as caught:
        await cloud.containers.create("data", {}, "blob")
    assert (caught.value.code, caught.value.status) == (code, 409)
    assert words in caught.value.problems[0].fix


async def test_a_url_in_a_message_is_redacted(cloud: AccountClient, server: Scripted) -> None:
    reply = refusal(400, "InvalidPropertyValue", "bad: https://x/c?sv=1&sig=S1GNATURE")
    error, problem = await refused(cloud, server, reply)
    assert "S1GNATURE" not in f"{error!r} {error} {problem}"


@pytest.mark.parametrize(
    ("status", "code"), [(401, "AuthenticationFailed"), (403, "Forbidden"), (418, "HTTP418")]
)
async def test_a_response_without_an_error_code(
    cloud: AccountClient, server: Scripted, status: int, code: str
) -> None:
    reply = Reply(status, b"<html>a gateway</html>", {"Content-Type": "text/html"})
    error, _ = await refused(cloud, server, reply)
    assert (error.code, error.status) == (code, status)


async def test_a_storage_emulator_that_does_not_know_the_version(
    cloud: AccountClient, server: Scripted
) -> None:
    server.on("GET", "/store/data", storage_refusal(400, "InvalidHeaderValue"))
    with pytest.raises(ServiceError) as caught:
        await cloud.containers.get_metadata("data")
    assert caught.value.code == "InvalidHeaderValue"
    assert "--skipApiVersionCheck" in caught.value.problems[0].fix


@pytest.mark.parametrize(
    "code", ["AuthorizationFailure", "AuthenticationFailed", "AuthorizationPermissionMismatch"]
)
async def test_storage_refuses(cloud: AccountClient, server: Scripted, code: str) -> None:
    server.on("PUT", "/store/data", storage_refusal(403, code))
    with pytest.raises(ServiceError) as caught:
        await cloud.containers.create("data", {}, None)
    assert (caught.value.code, caught.value.status) == (code, 403)
    assert caught.value.problems[0].fix
    assert caught.value.problems[0].request_id == "abc"


@pytest.mark.parametrize(
    ("status", "code"), [(404, "JobNotFound"), (409, "JobDisabled"), (412, "ConditionNotMet")]
)
@pytest.mark.parametrize("condition", [MatchConditions.IfNotModified, MatchConditions.IfPresent])
async def test_a_match_condition_does_not_hide_the_error(
    server: Scripted, status: int, code: str, condition: MatchConditions
) -> None:
    """With a match condition the SDK raises one class for all errors; status and code decide."""
    server.on("PATCH", "/jobs/j", refusal(status, code))
    credential = AzureNamedKeyCredential("acct", KEY.reveal())
    async with BatchClient(server.url, credential) as client:
        with pytest.raises(AzureError) as caught:
            await client.update_job(
                "j",
                {"priority": 1},  # type: ignore[arg-type]
                etag="0x8DD",
                match_condition=condition,
            )
    assert isinstance(caught.value, HttpResponseError)
    assert (error_response(caught.value).status, error_response(caught.value).code) == (
        status,
        code,
    )
    assert translate(caught.value, "job j").code == code
    # The service writes ETags without quotes, the SDK sends them with quotes, and both are valid.
    expected = "*" if condition is MatchConditions.IfPresent else '"0x8DD"'
    assert server.asked[-1].headers["If-Match"] == expected


async def test_the_sdks_log_nothing(
    cloud: AccountClient, server: Scripted, caplog: pytest.LogCaptureFixture
) -> None:
    """The SDKs would log URLs, headers and bodies, at different levels."""
    caplog.set_level(logging.DEBUG)
    server.on("POST", "/jobs", refusal(503, "ServerBusy"), refusal(403, "AuthenticationFailed"))
    server.on("PUT", "/store/data", storage_refusal(403, "AuthenticationFailed"))
    url = BlobUrl("data", None, "rl")
    for call in (
        cloud.jobs.create(JOB.with_(displayName=Text((url,))), timedelta(hours=1)),
        cloud.containers.create("data", {}, None),
    ):
        with pytest.raises(ServiceError):
            await call
    assert "sig=" in server.asked[0].json["displayName"]
    loggers = {record.name.split(".")[0] for record in caplog.records}
    # aiohttp is the scripted server.
    assert loggers <= {"aiohttp", "asyncio"}
    assert "sig=" not in caplog.text


def test_every_entry_has_a_summary() -> None:
    for code, (summary, fix) in TABLE.items():
        assert re.fullmatch(r"[A-Z][A-Za-z0-9]+", code)
        assert summary
        assert summary[0].islower()
        assert not summary.endswith(".")
        assert not fix.endswith(".")
