"""What a service refuses becomes a problem with a code, a cause and a way out; through the SDK."""

from __future__ import annotations

import logging
import re
from datetime import timedelta

import pytest
from azure.batch.aio import BatchClient
from azure.core import MatchConditions
from azure.core.credentials import AzureNamedKeyCredential
from azure.core.exceptions import AzureError, HttpResponseError

from batchspec.cloud.cloud import Cloud
from batchspec.cloud.errors import TABLE, fault, kebab, translate
from batchspec.diagnostics import Diagnostic, ServiceError
from batchspec.spec import BlobUrl, Record, Text
from tests.cloud.conftest import KEY
from tests.cloud.scripted import Reply, Scripted, refusal, storage_refusal

JOB = Record(id="j")


async def refused(cloud: Cloud, server: Scripted, reply: Reply) -> tuple[ServiceError, Diagnostic]:
    server.on("POST", "/jobs", reply)
    # Asked where the id is taken: as long as its job is being deleted, it is waited for.
    server.on("GET", "/jobs/j", refusal(404, "JobNotFound"))
    with pytest.raises(ServiceError) as caught:
        await cloud.batch.create_job(JOB, timedelta(hours=1))
    return caught.value, caught.value.problems[0]


@pytest.mark.parametrize(
    ("status", "code", "fix"),
    [
        (403, "AuthenticationFailed", "AZURE_BATCH_ACCESS_KEY"),
        # By Batch, too: Azure/BatchExplorer#2203.
        (403, "AuthorizationFailure", "network"),
        (403, "AuthorizationPermissionMismatch", "ten minutes"),
        (409, "ActiveJobAndScheduleQuotaReached", "quota"),
        (409, "PoolQuotaReached", "quota"),
        (409, "AccountCoreQuotaReached", "quota"),
        (409, "JobBeingDeleted", "gone"),
    ],
)
async def test_known_codes(
    cloud: Cloud, server: Scripted, status: int, code: str, fix: str
) -> None:
    error, problem = await refused(cloud, server, refusal(status, code, "It is so."))
    assert (error.code, error.status, error.exit) == (code, status, 4)
    assert problem.code == kebab(code)
    assert problem.summary == f"job j: {TABLE[code][0]}"
    assert problem.detail == "It is so."
    assert problem.request_id == "abc"
    assert fix in problem.fix


async def test_an_unknown_code_speaks_for_itself(cloud: Cloud, server: Scripted) -> None:
    error, problem = await refused(cloud, server, refusal(400, "NewIn2031", "No flying cars."))
    assert (error.code, problem.code) == ("NewIn2031", "new-in2031")
    assert problem.summary == "job j: No flying cars."
    assert problem.detail == ""


async def test_the_property_that_is_wrong_is_named(cloud: Cloud, server: Scripted) -> None:
    reply = refusal(
        400,
        "InvalidPropertyValue",
        PropertyName="priority",
        PropertyValue="9999",
        Reason="Too high",
    )
    _, problem = await refused(cloud, server, reply)
    assert problem.detail.splitlines()[1:] == [
        "PropertyName: priority",
        "PropertyValue: 9999",
        "Reason: Too high",
    ]


async def test_the_signature_that_was_sent_is_not_repeated(cloud: Cloud, server: Scripted) -> None:
    said = "The MAC signature found in the HTTP request 'S1GNATURE=' is not the same"
    reply = refusal(403, "AuthenticationFailed", "no", AuthenticationErrorDetail=said)
    error, problem = await refused(cloud, server, reply)
    assert "S1GNATURE" not in f"{error!r} {error} {problem}"
    # Nor is the SDK's error shown in a traceback.
    assert (error.__suppress_context__, error.__cause__) == (True, None)
    server.on("GET", "/jobs/j/taskcounts", reply)
    with pytest.raises(ServiceError) as caught:
        await cloud.batch.task_counts("j")
    assert (caught.value.__suppress_context__, caught.value.__cause__) == (True, None)


async def test_an_address_in_a_message_loses_its_signature(cloud: Cloud, server: Scripted) -> None:
    reply = refusal(400, "InvalidPropertyValue", "bad: https://x/c?sv=1&sig=S1GNATURE")
    error, problem = await refused(cloud, server, reply)
    assert "S1GNATURE" not in f"{error!r} {error} {problem}"


@pytest.mark.parametrize(
    ("status", "code"), [(401, "AuthenticationFailed"), (403, "Forbidden"), (418, "HTTP418")]
)
async def test_an_answer_without_a_code(
    cloud: Cloud, server: Scripted, status: int, code: str
) -> None:
    reply = Reply(status, b"<html>a gateway</html>", {"Content-Type": "text/html"})
    error, _ = await refused(cloud, server, reply)
    assert (error.code, error.status) == (code, status)


async def test_a_storage_that_does_not_know_the_version(cloud: Cloud, server: Scripted) -> None:
    server.on("GET", "/store/data", storage_refusal(400, "InvalidHeaderValue"))
    with pytest.raises(ServiceError) as caught:
        await cloud.storage.container("data")
    assert caught.value.code == "InvalidHeaderValue"
    assert "--skipApiVersionCheck" in caught.value.problems[0].fix


@pytest.mark.parametrize(
    "code", ["AuthorizationFailure", "AuthenticationFailed", "AuthorizationPermissionMismatch"]
)
async def test_storage_refuses(cloud: Cloud, server: Scripted, code: str) -> None:
    server.on("PUT", "/store/data", storage_refusal(403, code))
    with pytest.raises(ServiceError) as caught:
        await cloud.storage.create_container("data", {}, None)
    assert (caught.value.code, caught.value.status) == (code, 403)
    assert caught.value.problems[0].fix
    assert caught.value.problems[0].request_id == "abc"


@pytest.mark.parametrize(
    ("status", "code"), [(404, "JobNotFound"), (409, "JobDisabled"), (412, "ConditionNotMet")]
)
@pytest.mark.parametrize("condition", [MatchConditions.IfNotModified, MatchConditions.IfPresent])
async def test_a_condition_does_not_hide_what_went_wrong(
    server: Scripted, status: int, code: str, condition: MatchConditions
) -> None:
    """With a condition the SDK raises one class for everything; the status and code stay right."""
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
    assert (fault(caught.value).status, fault(caught.value).code) == (status, code)
    assert translate(caught.value, "job j").code == code
    # The service writes its etags bare; they go back in quotes, and it takes both.
    wanted = "*" if condition is MatchConditions.IfPresent else '"0x8DD"'
    assert server.asked[-1].headers["If-Match"] == wanted


async def test_nothing_is_logged(
    cloud: Cloud, server: Scripted, caplog: pytest.LogCaptureFixture
) -> None:
    """The SDKs log addresses, headers and bodies, each on a level of its own."""
    caplog.set_level(logging.DEBUG)
    server.on("POST", "/jobs", refusal(503, "ServerBusy"), refusal(403, "AuthenticationFailed"))
    server.on("PUT", "/store/data", storage_refusal(403, "AuthenticationFailed"))
    url = BlobUrl("data", None, "rl")
    for call in (
        cloud.batch.create_job(JOB.with_(displayName=Text((url,))), timedelta(hours=1)),
        cloud.storage.create_container("data", {}, None),
    ):
        with pytest.raises(ServiceError):
            await call
    assert "sig=" in server.asked[0].json["displayName"]
    said = [record for record in caplog.records if record.name.split(".")[0] != "aiohttp"]
    assert [record.getMessage() for record in said if "asyncio" not in record.name] == []


def test_every_entry_says_something() -> None:
    for code, (summary, fix) in TABLE.items():
        assert re.fullmatch(r"[A-Z][A-Za-z0-9]+", code)
        assert summary
        assert summary[0].islower()
        assert not summary.endswith(".")
        assert not fix.endswith(".")
