"""Numbers as text: sizes, durations, rates, counts, lists."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from batchspec.diagnostics import counted as counted  # noqa: PLC0414 - for `units.counted`

_SIZES = ("KiB", "MiB", "GiB", "TiB", "PiB")


def transferred(moved: int, total: int) -> str:
    """The transferred part of a file, in bytes: ``1.2 KiB of 3.4 MiB``."""
    return f"{size(moved)} of {size(total)}"


def size(count: float) -> str:
    """A number of bytes to three digits: ``0 B``, ``999 B``, ``1.2 KiB``, ``123 MiB``."""
    if round(count) < 1000:
        return f"{round(count)} B"
    value = float(count)
    for unit in _SIZES:
        value /= 1024
        # A value that rounds to four digits is written in the next unit: 1000 KiB is 0.98 MiB.
        if value < 999.5 or unit == _SIZES[-1]:
            break
    if value < 9.995:
        return f"{value:.2f} {unit}" if value < 0.995 else f"{value:.1f} {unit}"
    return f"{value:.1f} {unit}" if value < 99.95 else f"{value:,.0f} {unit}"


def amount(moved: int, whole: int | None) -> str:
    """Bytes of bytes, with the unit once if both have the same: ``12.3/20.0 MiB``."""
    if whole is None:
        return size(moved)
    left, right = size(moved), size(whole)
    number, unit = left.split()
    return f"{number}/{right}" if right.endswith(f" {unit}") else f"{left}/{right}"


def duration(seconds: float) -> str:
    """A duration in two units at most: ``0.4s``, ``42s``, ``3m 20s``, ``2h 05m``, ``3d 04h``."""
    if seconds < 9.95:
        return f"{max(seconds, 0):.1f}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes}m {rest:02}s"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours}h {minutes:02}m"
    days, hours = divmod(hours, 24)
    return f"{days}d {hours:02}h"


def estimate(seconds: float | None) -> str:
    """An estimated duration: ``3s``, ``3m 20s``, at least a second; ``unknown`` without one."""
    if seconds is None:
        return "unknown"
    return f"{max(round(seconds), 1)}s" if seconds < 9.95 else duration(seconds)


def left(seconds: float | None) -> str:
    """The time left: ``3m 20s left``, ``time left unknown``."""
    return "time left unknown" if seconds is None else f"{estimate(seconds)} left"


def limit(seconds: float) -> str:
    """A configured duration, without the parts that are zero: ``30m``, ``1h 30m``, ``7d``."""
    whole, parts = round(seconds), []
    for length, unit in ((86400, "d"), (3600, "h"), (60, "m"), (1, "s")):
        count, whole = divmod(whole, length)
        parts += [f"{count}{unit}"] if count else []
    return " ".join(parts) or "0s"


def clock(seconds: float) -> str:
    """A duration with colons: ``00:03``, ``1:02:03``."""
    minutes, rest = divmod(max(int(seconds), 0), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes:02}:{rest:02}"


def moment(at: datetime) -> str:
    """A time of day in UTC: ``2026-12-01 02:00 UTC``."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def rate(per_second: float, noun: str) -> str:
    """A rate per second, or per minute if it is low: ``12.3 files/s``, ``3.0 tasks/min``."""
    if per_second < 0.1:
        return f"{per_second * 60:.1f} {noun}/min"
    if per_second < 99.95:
        return f"{per_second:.1f} {noun}/s"
    return f"{per_second:,.0f} {noun}/s"


def byte_rate(per_second: float) -> str:
    """Bytes in a second: ``4.1 MiB/s``."""
    return f"{size(per_second)}/s"


def money(amount: float, currency: str) -> str:
    """An amount: ``1,234.50 USD``; a small one has two digits after its zeros: ``0.0042 USD``."""
    if amount == 0 or amount >= 0.095:
        return f"{amount:,.2f} {currency}"
    return f"{_digits(amount)} {currency}" if amount >= 0.0001 else f"< 0.0001 {currency}"


def price(per_hour: float, currency: str) -> str:
    """The price of a unit, with all its digits: ``0.096 USD``."""
    text = f"{per_hour:,.6f}".rstrip("0")
    return f"{text}{'0' * max(0, 2 - len(text.partition('.')[2]))} {currency}"


def _digits(amount: float) -> str:
    """A number below 1 with two digits after its zeros."""
    places = next(places for places in range(2, 9) if amount >= 9.5 * 10.0**-places)
    return f"{amount:.{places}f}"


def percent(done: float, whole: float) -> int:
    """The finished part in whole percent; 100 only if everything is done."""
    if whole <= 0:
        return 100
    return min(int(100 * done / whole), 100)


def number(count: int) -> str:
    """A count with thousands separators: ``1,000,000``."""
    return f"{count:,}"


def listed(items: Iterable[str], *, last: str = "and", most: int = 5) -> str:
    """A list of texts: ``a``, ``a and b``, ``a, b and 7 more``."""
    texts = list(items)
    if len(texts) > most:
        texts = [*texts[: most - 1], f"{len(texts) - most + 1:,} more"]
    if len(texts) < 2:
        return "".join(texts)
    return f"{', '.join(texts[:-1])} {last} {texts[-1]}"
