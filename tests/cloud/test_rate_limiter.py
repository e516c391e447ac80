"""One limiter for all workers: a pause is everybody's, bounded, and ends in a trickle."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from batchspec.cloud.rate_limiter import Limits, RateLimiter, Timing
from tests.cloud.conftest import Time


def made(clock: Time, limits: Limits | None = None, random: float = 0.5) -> RateLimiter:
    return RateLimiter(limits or Limits(), Timing(clock.monotonic, clock.sleep, lambda: random))


async def test_nobody_waits_while_all_is_well(clock: Time) -> None:
    limiter = made(clock)
    for _ in range(100):
        limiter.answered(await limiter.acquire())
    assert clock.slept == []


async def test_a_pause_holds_for_everybody(clock: Time) -> None:
    limiter = made(clock)
    sent = await limiter.acquire()
    limiter.throttled(sent, 10.0)
    began = clock.seconds
    turns = await asyncio.gather(*(limiter.acquire() for _ in range(5)))
    assert min(turns) >= began + 10.0


async def test_after_a_pause_the_requests_come_one_by_one(clock: Time) -> None:
    limiter = made(clock)
    limiter.throttled(await limiter.acquire(), 10.0)
    turns = [await limiter.acquire() for _ in range(5)]
    assert len(set(turns)) == 5


async def test_the_trickle_grows_back_to_a_stream(clock: Time) -> None:
    limiter = made(clock)
    limiter.throttled(await limiter.acquire(), 1.0)
    for _ in range(20):
        limiter.answered(await limiter.acquire())
    clock.slept.clear()
    for _ in range(20):
        limiter.answered(await limiter.acquire())
    assert clock.slept == []


async def test_one_burst_counts_once(clock: Time) -> None:
    alone, burst = made(clock), made(clock)
    sent = await alone.acquire()
    pause = alone.throttled(sent, None)
    for _ in range(50):
        burst.throttled(sent, None)
    assert burst.throttled(sent, None) == pause


async def test_pauses_grow_while_the_service_stays_busy(clock: Time) -> None:
    limiter = made(clock)
    pauses = []
    for _ in range(5):
        pauses.append(limiter.throttled(await limiter.acquire(), None))
        await clock.sleep(pauses[-1] + 1)
    assert pauses == sorted(pauses)
    assert pauses[-1] > 8 * pauses[0]


@given(retry_after=st.floats(0, 1e9), random=st.floats(0, 0.999))
def test_a_pause_is_as_long_as_asked_and_bounded(retry_after: float, random: float) -> None:
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
