"""Which requests are repeated, for how long, and what is reported; through the SDK."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from batchspec.apply.events import Waiting
from batchspec.cloud import AccountClient, LocalAccount, open_account
from batchspec.diagnostics import Diagnostic, ServiceError
from batchspec.spec import Record
from tests.cloud.conftest import KEY, Opener, Time
from tests.cloud.scripted import RESET, Reply, Scripted, refusal

HOUR = timedelta(hours=1)
JOB = Record(id="j")
COUNTS = Reply(body={"taskCounts": {"active": 1}})


@pytest.fixture
def nowhere() -> Iterator[str]:
    """A URL without a server: the port is reserved, so that no other process gets it."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


@pytest.fixture
def really_slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds of all sleeps that bypass the clock of the test."""
    slept: list[float] = []
    asleep = asyncio.sleep

    async def sleep(seconds: float, result: object = None) -> object:
        if seconds > 0:
            slept.append(seconds)
        return await asleep(seconds, result)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    return slept


@pytest.mark.parametrize("status", [429, 503])
async def test_busy_without_retry_after(
    cloud: AccountClient, server: Scripted, clock: Time, status: int
) -> None:
    """azure-core does not repeat a POST with the response 429 without Retry-After."""
    server.on("POST", "/jobs", refusal(status, "ServerBusy"), Reply(201))
    assert await cloud.jobs.create(JOB, HOUR)
    assert len(server.requests("POST")) == 2
    assert sum(clock.slept) > 0


async def test_busy_with_retry_after(cloud: AccountClient, server: Scripted, clock: Time) -> None:
    busy = Reply(429, headers={"Retry-After": "17"})
    server.on("POST", "/jobs", busy, Reply(201))
    assert await cloud.jobs.create(JOB, HOUR)
    assert 17 <= sum(clock.slept) < 25


async def test_busy_until_a_date(cloud: AccountClient, server: Scripted, clock: Time) -> None:
    until = datetime.now(UTC) + timedelta(seconds=60)
    busy = Reply(503, headers={"Retry-After": until.strftime("%a, %d %b %Y %H:%M:%S GMT")})
    server.on("GET", "/jobs/j/taskcounts", busy, COUNTS)
    await cloud.jobs.get_task_counts("j")
    assert 50 < sum(clock.slept) < 80


async def test_a_refusal_pauses_all_requests(
    cloud: AccountClient, server: Scripted, clock: Time
) -> None:
    busy = Reply(429, headers={"Retry-After": "30"})
    server.on("GET", "/jobs/first/taskcounts", busy, COUNTS)
    server.on("GET", "/jobs/other/taskcounts", COUNTS)
    first = asyncio.create_task(cloud.jobs.get_task_counts("first"))
    while not clock.slept:
        await asyncio.sleep(0)
    before = clock.seconds
    await cloud.jobs.get_task_counts("other")
    await first
    assert len(server.requests(path="/jobs/other/taskcounts")) == 1
    assert clock.seconds >= before
    # Both waited for the end of the same pause: there is one sleep of it for each of them.
    assert sum(1 for slept in clock.slept if slept >= 29) >= 1


async def test_always_busy_ends(
    cloud: AccountClient, server: Scripted, clock: Time, notices: list[Waiting]
) -> None:
    server.on("GET", "/jobs/j/taskcounts", refusal(429, "TooManyRequests"))
    began = clock.seconds
    with pytest.raises(ServiceError) as caught:
        await cloud.jobs.get_task_counts("j")
    assert (caught.value.code, caught.value.status) == ("TooManyRequests", 429)
    assert 200 < clock.seconds - began <= 300
    assert any("is busy" in notice.summary for notice in notices)


async def test_the_wait_before_the_first_attempt_counts(
    cloud: AccountClient, server: Scripted, clock: Time
) -> None:
    busy = Reply(429, headers={"Retry-After": "100"})
    server.on("GET", "/jobs/first/taskcounts", busy, COUNTS)
    server.on("GET", "/jobs/later/taskcounts", busy)
    first = asyncio.create_task(cloud.jobs.get_task_counts("first"))
    while not clock.slept:
        await asyncio.sleep(0)
    began = clock.seconds
    with pytest.raises(ServiceError):
        await cloud.jobs.get_task_counts("later")
    assert clock.seconds - began <= 300
    await first


async def test_always_failing_ends(
    cloud: AccountClient, server: Scripted, clock: Time, notices: list[Waiting]
) -> None:
    server.on("GET", "/jobs/j/taskcounts", refusal(500, "InternalError"))
    began = clock.seconds
    with pytest.raises(ServiceError) as caught:
        await cloud.jobs.get_task_counts("j")
    assert (caught.value.code, caught.value.status) == ("InternalError", 500)
    assert caught.value.problems[0].request_id == "abc"
    assert 45 < clock.seconds - began <= 90
    assert any("answers with errors" in notice.summary for notice in notices)


@pytest.mark.parametrize("fault", [refusal(500, "InternalError"), Reply(502), RESET])
async def test_a_short_failure_is_not_reported(
    cloud: AccountClient, server: Scripted, notices: list[Waiting], fault: Reply
) -> None:
    server.on("GET", "/jobs/j/taskcounts", COUNTS, fault, fault, COUNTS)
    for _ in range(2):
        assert (await cloud.jobs.get_task_counts("j")).active == 1
    assert notices == []


async def test_an_interrupted_response_is_requested_again(
    cloud: AccountClient, server: Scripted
) -> None:
    server.on("GET", "/jobs/j/taskcounts", Reply(body=COUNTS.body, cut=10), COUNTS)
    assert (await cloud.jobs.get_task_counts("j")).active == 1


async def test_a_wrong_address_is_reported_in_seconds(
    opened: Opener, clock: Time, nowhere: str, really_slept: list[float]
) -> None:
    account = LocalAccount(nowhere, "acct", KEY, f"{nowhere}/store", "store", KEY)
    began = clock.seconds
    async with opened(account) as cloud:
        for call in (cloud.pools.get("p"), cloud.containers.get_metadata("data")):
            with pytest.raises(ServiceError) as caught:
                await call
            problem = caught.value.problems[0]
            assert caught.value.code == problem.code == "unreachable"
            assert nowhere in problem.summary
            assert "ssl:" not in problem.detail
            assert "batchspec local status" in problem.fix
    assert clock.seconds - began <= 12
    assert really_slept == [], "no part of the SDK waits by itself"


async def test_an_unknown_host(
    opened: Opener, clock: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*_: object, **__: object) -> object:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    # Without a network, a resolver may take a minute to fail.
    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    account = LocalAccount("http://unknown.invalid", "a", KEY, "http://unknown.invalid/s", "s", KEY)
    async with opened(account) as cloud:
        with pytest.raises(ServiceError) as caught:
            await cloud.pools.get("p")
    assert "http://unknown.invalid" in caught.value.problems[0].summary
    assert "network" in caught.value.problems[0].fix


async def test_a_service_that_stops_answering(
    cloud: AccountClient, server: Scripted, clock: Time, notices: list[Waiting]
) -> None:
    server.on("GET", "/jobs/j/taskcounts", COUNTS, *([RESET] * 12), COUNTS)
    await cloud.jobs.get_task_counts("j")
    began = clock.seconds
    await cloud.jobs.get_task_counts("j")
    assert 60 < clock.seconds - began < 300
    # One report for all requests, and one when the service answers again.
    first, last = notices
    assert (first.code, first.resolved) == ("service-silent", False)
    assert "does not answer" in first.summary
    assert last == Waiting(first.code, first.subject, resolved=True)


async def test_every_attempt_has_its_own_date(
    cloud: AccountClient, server: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The Batch policy keeps the date of the first attempt, which the service takes for 15 min,
    and aiohttp repeats a GET without notice."""
    moments = iter(datetime(2026, 1, 1, hour, tzinfo=UTC) for hour in range(24))

    class Watch(datetime):
        @classmethod
        def utcnow(cls) -> datetime:
            return next(moments)

    monkeypatch.setattr("azure.batch._patch.datetime", Watch)
    server.on("GET", "/jobs/j/taskcounts", RESET, refusal(503, "ServerBusy"), COUNTS)
    await cloud.jobs.get_task_counts("j")
    dates = [asked.headers["ocp-date"] for asked in server.asked]
    signatures = [asked.headers["Authorization"] for asked in server.asked]
    assert len(set(dates)) == len(set(signatures)) == 3


async def test_a_refused_request_is_not_repeated(
    cloud: AccountClient, server: Scripted, clock: Time
) -> None:
    server.on("GET", "/jobs/j/taskcounts", refusal(403, "AuthenticationFailed"))
    with pytest.raises(ServiceError):
        await cloud.jobs.get_task_counts("j")
    assert len(server.asked) == 1
    assert clock.slept == []


async def test_the_loopback_interface_is_not_reached_by_a_proxy(
    opened: Opener, server: Scripted, nowhere: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, nowhere)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    server.on("GET", "/jobs/j/taskcounts", COUNTS)
    account = LocalAccount(server.url, "acct", KEY, f"{server.url}/store", "store", KEY)
    async with opened(account) as cloud:
        assert (await cloud.jobs.get_task_counts("j")).active == 1


async def test_requests_do_not_wait_for_a_stopped_service(server: Scripted, clock: Time) -> None:
    """The state is read after the time of a restart, and only if no request is answered."""
    asked: list[float] = []

    def stopped() -> Diagnostic | None:
        asked.append(sum(clock.slept))
        return Diagnostic("local-stopped", "the embedded service has stopped", fix="Start it")

    server.on("GET", "/jobs/j/taskcounts", COUNTS, RESET)
    account = LocalAccount(server.url, "acct", KEY, f"{server.url}/store", "store", KEY)
    async with open_account(
        account, monotonic=clock.monotonic, sleep=clock.sleep, random=lambda: 0.5, stopped=stopped
    ) as cloud:
        await cloud.jobs.get_task_counts("j")
        assert asked == []
        with pytest.raises(ServiceError) as caught:
            await cloud.jobs.get_task_counts("j")
    assert caught.value.code == "local-stopped"
    assert len(asked) == 1
    assert 5 < asked[0] < 15
