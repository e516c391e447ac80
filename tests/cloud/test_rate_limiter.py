"""The shared rate limiter: pauses, their bounds, and the gap between requests afterwards."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from batchspec.cloud.timing import Limits, RateLimiter, Timing
from tests.cloud.conftest import Time

LATEST = 1e9


def made(clock: Time, limits: Limits | None = None, random: float = 0.5) -> RateLimiter:
    return RateLimiter(limits or Limits(), Timing(clock.monotonic, clock.sleep, lambda: random))


async def test_no_request_waits_without_throttling(clock: Time) -> None:
    limiter = made(clock)
    for _ in range(100):
        limiter.answered(await limiter.acquire(LATEST))
    assert clock.slept == []


async def test_a_pause_is_shared(clock: Time) -> None:
    limiter = made(clock)
    sent = await limiter.acquire(LATEST)
    limiter.throttled(sent, 10.0)
    began = clock.seconds
    turns = await asyncio.gather(*(limiter.acquire(LATEST) for _ in range(5)))
    assert min(turns) >= began + 10.0


async def test_after_a_pause_requests_are_sent_one_by_one(clock: Time) -> None:
    limiter = made(clock)
    limiter.throttled(await limiter.acquire(LATEST), 10.0)
    turns = [await limiter.acquire(LATEST) for _ in range(5)]
    assert len(set(turns)) == 5


async def test_the_gap_shrinks_with_each_success(clock: Time) -> None:
    limiter = made(clock)
    limiter.throttled(await limiter.acquire(LATEST), 1.0)
    for _ in range(20):
        limiter.answered(await limiter.acquire(LATEST))
    clock.slept.clear()
    for _ in range(20):
        limiter.answered(await limiter.acquire(LATEST))
    assert clock.slept == []


async def test_concurrent_refusals_count_once(clock: Time) -> None:
    alone, burst = made(clock), made(clock)
    sent = await alone.acquire(LATEST)
    pause = alone.throttled(sent, None)
    for _ in range(50):
        burst.throttled(sent, None)
    assert burst.throttled(sent, None) == pause


async def test_pauses_grow_while_the_service_is_busy(clock: Time) -> None:
    limiter = made(clock)
    pauses = []
    for _ in range(5):
        pauses.append(limiter.throttled(await limiter.acquire(LATEST), None))
        await clock.sleep(pauses[-1] + 1)
    assert pauses == sorted(pauses)
    assert pauses[-1] > 8 * pauses[0]


async def test_a_request_waits_until_the_latest_time_at_most(clock: Time) -> None:
    """The refusals of other requests extend the pause again and again."""

    async def sleep(seconds: float) -> None:
        await clock.sleep(seconds)
        limiter.throttled(clock.seconds, 100.0)

    limiter = RateLimiter(Limits(), Timing(clock.monotonic, sleep, lambda: 0.5))
    limiter.throttled(clock.seconds, 100.0)
    latest = clock.seconds + 300.0
    assert await limiter.acquire(latest) == latest
    assert len(clock.slept) == 3


@given(retry_after=st.floats(0, 1e9), random=st.floats(0, 0.999))
def test_retry_after_is_respected_and_bounded(retry_after: float, random: float) -> None:
    limits = Limits()
    pause = made(Time(), limits, random).throttled(1000.0, retry_after)
    asked = min(retry_after, limits.longest_pause)
    assert asked - 1e-6 <= pause <= asked * 1.25 + 1e-6


@given(failures=st.integers(1, 10_000), random=st.floats(0, 0.999))
def test_delays_double_and_are_bounded(failures: int, random: float) -> None:
    limits = Limits()
    delay = made(Time(), limits, random).backoff(failures)
    full = min(limits.first_delay * 2 ** min(failures - 1, 30), limits.longest_delay)
    assert full / 2 <= delay <= full
