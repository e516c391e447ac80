"""The time at a service comes from its responses, not from the clock of this machine."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchspec.cloud import AccountClient, LocalAccount, open_account
from batchspec.cloud.timing import ServiceTime, until
from batchspec.local.wire import write_http_date
from tests.cloud.conftest import KEY, Time
from tests.cloud.scripted import Reply, Scripted

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
COUNTS = {"taskCounts": {"active": 1}}


def wrong() -> datetime:
    return datetime(1999, 1, 1, tzinfo=UTC)


def test_before_the_first_response_it_is_the_wall_clock() -> None:
    assert ServiceTime(lambda: 5.0, wrong).now() == wrong()


@pytest.mark.parametrize("date", [None, "", "yesterday", "Sun, 99 Foo 2026 12:00:00 GMT"])
def test_a_response_without_a_valid_date_is_ignored(date: str | None) -> None:
    time = ServiceTime(lambda: 5.0, wrong)
    time.answered(date, 4.0)
    assert time.now() == wrong()


@given(
    st.floats(0, 1),
    st.lists(
        st.tuples(*(st.floats(0, 20),) * 3),
        min_size=1,
        max_size=20,
    ),
)
def test_the_error_is_bounded_by_the_responses(
    fraction: float, looks: list[tuple[float, float, float]]
) -> None:
    """Each request: a pause, the time to the service and the time back, in seconds."""
    clock = Time(0.0)
    time = ServiceTime(clock.monotonic, wrong)
    best = float("inf")
    for pause, there, back in looks:
        clock.seconds += pause
        sent = clock.seconds
        clock.seconds += there
        true = NOON + timedelta(seconds=clock.seconds + fraction)
        clock.seconds += back
        time.answered(write_http_date(true), sent)
        best = min(best, there + back + 1)
        off = time.now() - (NOON + timedelta(seconds=clock.seconds + fraction))
        assert abs(off.total_seconds()) <= best / 2 + 0.001


def test_a_clock_that_is_set_or_runs_faster() -> None:
    clock = Time(0.0)
    time = ServiceTime(clock.monotonic, wrong)
    for minutes in (0, 60, 5):
        time.answered(write_http_date(NOON + timedelta(minutes=minutes)), clock.seconds)
        assert abs(time.now() - NOON - timedelta(minutes=minutes)) <= timedelta(seconds=1)
        clock.seconds += 1


def test_the_time_until_a_date() -> None:
    date = write_http_date(NOON)
    assert until(write_http_date(NOON + timedelta(minutes=1)), date) == timedelta(minutes=1)
    assert until("soon", date) is None
    assert until(date, None) is None


async def test_every_response_is_taken_into_account(server: Scripted, clock: Time) -> None:
    ahead = datetime.now(UTC) + timedelta(minutes=10)
    server.on(
        "GET",
        "/jobs/j/taskcounts",
        Reply(body=COUNTS, headers={"Date": write_http_date(ahead)}),
    )
    account = LocalAccount(server.url, "acct", KEY, f"{server.url}/store", "store", KEY)
    async with open_account(
        account, monotonic=clock.monotonic, sleep=clock.sleep, now=wrong
    ) as cloud:
        assert cloud.now() == cloud.now() == wrong()
        await cloud.jobs.get_task_counts("j")
        assert abs(cloud.now() - ahead) <= timedelta(seconds=1)
        clock.seconds += 600
        assert abs(cloud.now() - ahead - timedelta(minutes=10)) <= timedelta(seconds=1)


async def test_retry_after_counts_from_the_date_of_the_response(
    cloud: AccountClient, server: Scripted, clock: Time
) -> None:
    """A service whose clock is an hour ahead requests a wait of a minute."""
    there = datetime.now(UTC) + timedelta(hours=1)
    busy = Reply(
        503,
        headers={
            "Date": write_http_date(there),
            "Retry-After": write_http_date(there + timedelta(minutes=1)),
        },
    )
    server.on("GET", "/jobs/j/taskcounts", busy, Reply(body=COUNTS))
    await cloud.jobs.get_task_counts("j")
    assert 60 <= sum(clock.slept) <= 80
