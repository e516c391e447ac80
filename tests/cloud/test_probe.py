"""One request to each service: the result contains the error and the time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from batchspec.cloud import AccountClient
from batchspec.cloud.connect import probe_batch, probe_storage
from tests.cloud.scripted import RESET, Reply, Scripted, refusal, storage_refusal

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
LATER = {"Date": "Sun, 22 Nov 2026 12:20:00 GMT"}
CONTAINERS = (
    b"<?xml version='1.0'?><EnumerationResults><Containers/><NextMarker/></EnumerationResults>"
)


def now() -> datetime:
    return NOW


async def test_the_time_of_a_service_that_answers(cloud: AccountClient, server: Scripted) -> None:
    server.on("GET", "/supportedimages", Reply(body={"value": []}, headers=LATER))
    found = await probe_batch(cloud, now)
    assert found.problem is None
    assert found.ahead == timedelta(minutes=20)
    assert server.asked[0].query["maxresults"] == "1"


async def test_the_time_of_a_service_that_refuses(cloud: AccountClient, server: Scripted) -> None:
    """A wrong clock is a reason for refused keys, so the result must contain the time."""
    refused = refusal(403, "AuthenticationFailed")
    server.on("GET", "/supportedimages", Reply(403, refused.body, {**refused.headers, **LATER}))
    found = await probe_batch(cloud, now)
    assert found.problem is not None
    assert found.problem.code == "authentication-failed"
    assert found.ahead == timedelta(minutes=20)


async def test_a_missing_response_is_reported(cloud: AccountClient, server: Scripted) -> None:
    server.on("GET", "/supportedimages", RESET)
    found = await probe_batch(cloud, now)
    assert found.problem is not None
    assert found.problem.code == "unreachable"
    assert found.ahead is None


async def test_the_storage_service(cloud: AccountClient, server: Scripted) -> None:
    xml = {**LATER, "Content-Type": "application/xml"}
    server.on("GET", "/store/?", Reply(body=CONTAINERS, headers=xml))
    found = await probe_storage(cloud, now)
    assert (found.problem, found.ahead) == (None, timedelta(minutes=20))
    server.on("GET", "/store/?", storage_refusal(403, "AuthorizationFailure"))
    refused = await probe_storage(cloud, now)
    assert refused.problem is not None
    assert "AZURE_STORAGE_KEY" in refused.problem.fix
