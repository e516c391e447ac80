"""The text of a bad day: a profile, a list of what goes wrong, or a file with one.

    bad-day
    throttle=5%:1s,lost@create_task_collection=20%,quota=4
    bad-day,preempt=0%

An item is ``KIND=P%``, ``KIND=P%:TIME``, ``KIND@OPERATION=P%``, ``quota=N`` or a profile; a later
one takes the place of an earlier one of the same kind and operation. In a file each line may have
items, and a comment behind ``#``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from difflib import get_close_matches
from pathlib import Path

from batchspec.local.chaos.dose import REQUESTS, SPANS, Chaos, Dose, Kind, Limit
from batchspec.local.error import LocalError
from batchspec.local.span import read_span

PROFILES: Mapping[str, str] = {
    "throttled": "throttle=15%:1s,throttle-silent=5%,busy=5%",
    "flaky": "error=5%,lost=5%,slow=5%:1s",
    "spot": "preempt=75%:10s",
    "bad-nodes": "start-task=30%,slow-node=30%:2s,task=10%",
    "no-quota": "quota=0,spot-quota=0",
    "bad-day": "throttle=5%:1s,throttle-silent=2%,busy=2%,error=3%,lost=5%,slow=3%:500ms,"
    "preempt=75%:4s,start-task=25%,slow-node=25%:1s,task=10%",
}
"""Days that have a name."""

_ITEM = re.compile(r"(?P<kind>[^@=\s]+)(?:@(?P<operation>[^=\s]+))?\s*=\s*(?P<amount>\S+)")
_CHANCE = re.compile(r"(\d{1,3}(?:\.\d{1,3})?)%(?::(\S+))?", re.ASCII)
_MOST = 1_000_000
_WORDS = (*Kind, *Limit)


def read_chaos(text: str, seed: int = 0) -> Chaos:
    """The bad day that ``text`` describes; an empty one is a good day.

    Raises:
        LocalError: it cannot be understood (``chaos-unreadable``); the hint says what can.
    """
    doses: dict[tuple[Kind, str | None], Dose] = {}
    limits: dict[Limit, int] = {}
    for item in _items(_of_file(text)):
        read = _read(item)
        if isinstance(read, Dose):
            doses[read.kind, read.operation] = read
        else:
            limits[read[0]] = read[1]
    # One of 0 % is worth a word only where it makes an exception.
    real = (dose for dose in doses.values() if dose.percent or dose.operation is not None)
    return Chaos(tuple(real), tuple(limits.items()), seed)


def check_operations(chaos: Chaos, operations: Iterable[str]) -> None:
    """See that ``chaos`` names only ``operations`` that are there.

    Raises:
        LocalError: it names another (``chaos-unreadable``).
    """
    known = sorted(operations)
    for name in {dose.operation for dose in chaos.doses} - {None, *known}:
        hint = (
            _near(str(name), known)
            or "Operations are called as in the SDK: create_task_collection ..."
        )
        raise _unreadable(f"There is no operation {name!r}", hint)


def _of_file(text: str) -> str:
    """``text``, or what the file that it names holds."""
    named = text.strip()
    if not named or "=" in named or any(item in PROFILES for item in named.split(",")):
        return text
    try:
        path = Path(named).expanduser()
        if not path.is_file() and "/" not in named and not path.suffix:
            raise _unreadable(
                f"There is no chaos {named!r}",
                _near(named, (*PROFILES, *_WORDS)) or _known(),
            )
        return path.read_text(encoding="utf-8")
    # A name may be none for a file, a home be unknown, and what is there be no text.
    except (OSError, ValueError, RuntimeError) as error:
        why = getattr(error, "strerror", None) or "it is no text"
        raise _unreadable(f"The file {named!r} cannot be read: {why}", _known()) from error


def _items(text: str) -> Iterator[str]:
    for line in text.splitlines():
        for item in line.partition("#")[0].split(","):
            word = item.strip()
            if word in PROFILES:
                yield from PROFILES[word].split(",")
            elif word:
                yield word


def _read(item: str) -> Dose | tuple[Limit, int]:
    found = _ITEM.fullmatch(item)
    if found is None:
        hint = "" if "=" in item else _near(item, (*PROFILES, *_WORDS))
        raise _unreadable(f"{item!r} is no chaos", hint or _known())
    word, operation, amount = found["kind"], found["operation"], found["amount"]
    if word not in _WORDS:
        raise _unreadable(f"There is no chaos {word!r}", _near(word, _WORDS) or _known())
    if operation is not None and word not in REQUESTS:
        hint = f"Only these happen to requests: {', '.join(REQUESTS)}"
        raise _unreadable(f"{word!r} does not happen to requests, so it takes no '@'", hint)
    if word in set(Limit):
        return Limit(word), _count(item, amount)
    return _dose(item, Kind(word), operation, amount)


def _count(item: str, amount: str) -> int:
    if not (amount.isascii() and amount.isdecimal() and int(amount) <= _MOST):
        raise _unreadable(f"{item!r} is no quota", "A quota is a number of nodes: quota=4")
    return int(amount)


def _dose(item: str, kind: Kind, operation: str | None, amount: str) -> Dose:
    found = _CHANCE.fullmatch(amount)
    if found is None or float(found[1]) > 100:
        example = f"{kind}=5%" + (":2s" if kind in SPANS else "")
        raise _unreadable(f"{item!r} does not say how often", f"Write it so: {example}")
    span = SPANS.get(kind)
    if found[2] is not None:
        if span is None:
            raise _unreadable(f"{item!r}: {kind} takes no time", f"Write it so: {kind}=5%")
        try:
            span = read_span(found[2])
        except ValueError as error:
            raise _unreadable(f"{item!r}: {error}", "Times look like 500ms, 2s, 5m") from error
    return Dose(kind, float(found[1]), span or timedelta(), operation)


def _near(word: str, known: Iterable[str]) -> str:
    close = get_close_matches(word.partition("=")[0].lower(), list(known), 1, 0.6)
    return f"Did you mean {close[0]}?" if close else ""


def _known() -> str:
    return f"There are the profiles {', '.join(PROFILES)} and the kinds {', '.join(_WORDS)}"


def _unreadable(what: str, hint: str) -> LocalError:
    return LocalError("chaos-unreadable", f"{what}.", hint=hint)
