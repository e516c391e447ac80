"""Job schedules as JSON, and the ids of their jobs."""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import UTC, datetime, timedelta

import pytest

from batchspec.cloud import AccountClient
from batchspec.diagnostics import ServiceError
from batchspec.spec import BlobUrl, Record
from tests.cloud.conftest import KEY
from tests.cloud.scripted import Asked, Reply, Scripted, refusal

SCHEDULE = {
    "id": "nightly",
    "state": "active",
    "creationTime": "2026-11-22T10:00:00.1234567Z",
    "schedule": {"recurrenceInterval": "P1D"},
    "jobSpecification": {"poolInfo": {"poolId": "p"}},
    "executionInfo": {
        "nextRunTime": "2026-11-23T10:00:00Z",
        "recentJob": {"id": "nightly:job-1", "url": "https://x/jobs/nightly:job-1"},
    },
    "metadata": [{"name": "batchspec:spec", "value": "topn"}],
}


async def test_facts_of_a_job_schedule(cloud: AccountClient, server: Scripted) -> None:
    server.on("GET", "/jobschedules/nightly", Reply(body=SCHEDULE))
    found = await cloud.job_schedules.get("nightly")
    assert found is not None
    assert (found.id, found.state, found.recent_job) == ("nightly", "active", "nightly:job-1")
    assert found.next_run == datetime(2026, 11, 23, 10, tzinfo=UTC)
    assert found.ended is None
    assert found.metadata == {"batchspec:spec": "topn"}
    assert found.properties["schedule"] == Record(recurrenceInterval="P1D")


async def test_a_new_and_a_completed_job_schedule(cloud: AccountClient, server: Scripted) -> None:
    ended = {"endTime": "2026-11-24T00:00:00Z"}
    those = [{**SCHEDULE, "executionInfo": {}}, {**SCHEDULE, "executionInfo": ended}]
    those.append({**SCHEDULE, "state": "disabled"})
    server.on("GET", "/jobschedules", Reply(body={"value": those}))
    first, second, third = [schedule async for schedule in cloud.job_schedules.list()]
    assert third.next_run is None, "it makes no job then, whatever time there is"
    assert (first.next_run, first.recent_job, first.ended) == (None, None, None)
    assert second.ended == datetime(2026, 11, 24, tzinfo=UTC)


async def test_the_urls_of_an_update_are_signed(cloud: AccountClient, server: Scripted) -> None:
    server.on("PATCH", "/jobschedules/nightly", Reply())
    patch = Record(jobSpecification=Record(url=BlobUrl("output", None, "cw")))
    await cloud.job_schedules.update("nightly", patch, timedelta(days=90))
    (asked,) = server.asked
    url = asked.json["jobSpecification"]["url"]
    assert url.startswith(f"{server.url}/store/output?")
    assert "sp=cw" in url


@pytest.mark.parametrize("code", ["JobWithSameIdExists", "ActiveJobAndScheduleQuotaReached"])
async def test_an_error_has_a_fix(cloud: AccountClient, server: Scripted, code: str) -> None:
    server.on("POST", "/jobschedules", refusal(409, code))
    with pytest.raises(ServiceError) as caught:
        await cloud.job_schedules.create(Record(id="nightly"), timedelta(hours=1))
    assert caught.value.code == code
    assert caught.value.problems[0].fix


async def test_the_path_of_a_job_of_a_schedule_is_the_signed_one(
    cloud: AccountClient, server: Scripted
) -> None:
    """The SDK escapes the colon and signs that; aiohttp sends the colon itself."""
    job = {"id": "nightly:job-1", "creationTime": "2026-11-22T10:00:00Z"}
    server.on("GET", "/.*", Reply(body=job))
    assert await cloud.jobs.get("nightly:job-1") is not None
    (asked,) = server.asked
    assert asked.path == "/jobs/nightly:job-1"
    assert asked.headers["Authorization"] == f"SharedKey acct:{_signature(asked)}"


def _signature(asked: Asked) -> str:
    headers = "\n" * 11
    text = f"GET\n{headers}ocp-date:{asked.headers['ocp-date']}\n/acct{asked.path}"
    text += "".join(f"\n{name}:{value}" for name, value in sorted(asked.query.items()))
    digest = hmac.new(base64.b64decode(KEY.reveal()), text.encode(), hashlib.sha256).digest()
    return base64.b64encode(digest).decode()
