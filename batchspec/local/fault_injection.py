"""Fault injection: the faults, their probability and their duration.

Users specify a profile, a list of rules, or a file with rules::

    bad-day
    throttle=5%:1s,lost@create_task_collection=20%,quota=4
    bad-day,preempt=0%

A rule is ``KIND=P%``, ``KIND=P%:TIME``, ``KIND@OPERATION=P%``, ``quota=N``, ``quota@FAMILY=N``,
``transition=TIME`` or a profile. A later rule replaces an earlier one of the same kind and
operation. In a file, a line may have several rules, and a comment after ``#``.

Each random number depends on a seed and on the name of the decision, so that a run with the same
seed gets the same faults on any machine.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from difflib import get_close_matches
from enum import StrEnum
from hashlib import sha256
from pathlib import Path

from batchspec.catalog.vm_sizes import family_key
from batchspec.frozen import frozen
from batchspec.local.startup import LocalError

_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)(ms|s|m|h)", re.ASCII)
_DURATION_UNITS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000}
"""In milliseconds, the finest supported resolution."""


def parse_duration(text: str) -> timedelta:
    """The duration in ``text``, in whole milliseconds: ``500ms``, ``20s``, ``1.5h`` or ``0``.

    The ISO 8601 durations of the protocol are in ``wire``. Specs have another notation
    (docs/adr/0012-own-parts-of-the-embedded-service.md).

    Raises:
        ValueError: the text is not a duration, or the duration is longer than a year.
    """
    found = _DURATION.fullmatch(text)
    if text != "0" and found is None:
        raise ValueError(f"{text!r} is not a duration")
    duration = timedelta(
        milliseconds=round(float(found[1]) * _DURATION_UNITS[found[2]]) if found else 0
    )
    if duration > timedelta(days=365):
        raise ValueError(f"{text!r} is longer than a year")
    return duration


def format_duration(duration: timedelta) -> str:
    """The shortest text that :func:`parse_duration` reads as ``duration``."""
    count = duration // timedelta(milliseconds=1)
    unit = max(
        (unit for unit, size in _DURATION_UNITS.items() if not count % size),
        key=_DURATION_UNITS.__getitem__,
    )
    return f"{count // _DURATION_UNITS[unit]}{unit}" if count else "0"


class FaultKind(StrEnum):
    """A kind of fault that is injected at random."""

    THROTTLE = "throttle"
    THROTTLE_SILENT = "throttle-silent"
    BUSY = "busy"
    ERROR = "error"
    LOST = "lost"
    SLOW = "slow"
    PREEMPT = "preempt"
    START_TASK = "start-task"
    SLOW_NODE = "slow-node"
    TASK = "task"


class QuotaKind(StrEnum):
    """A quota of the account: cores, pools, or the sum of active jobs and job schedules."""

    QUOTA = "quota"
    SPOT_QUOTA = "spot-quota"
    POOL_QUOTA = "pool-quota"
    JOB_QUOTA = "job-quota"


TRANSITION = "transition"
"""The item that sets the minimum duration of transitional states."""


REQUEST_FAULTS = (
    FaultKind.THROTTLE,
    FaultKind.THROTTLE_SILENT,
    FaultKind.BUSY,
    FaultKind.ERROR,
    FaultKind.LOST,
    FaultKind.SLOW,
)
"""The faults of requests, in the order of the decision; a request gets at most one fault."""

DEFAULT_DURATIONS: Mapping[FaultKind, timedelta] = {
    FaultKind.THROTTLE: timedelta(seconds=1),
    FaultKind.SLOW: timedelta(seconds=2),
    FaultKind.PREEMPT: timedelta(seconds=30),
    FaultKind.SLOW_NODE: timedelta(seconds=5),
}
"""The kinds that have a duration, each with its default."""


@frozen
class FaultRule:
    """One kind of fault with its probability in percent, and its duration for some kinds.

    ``operation`` (``create_pool`` ...) limits a fault of requests to that operation.
    """

    kind: FaultKind
    percent: float
    duration: timedelta = timedelta()
    operation: str | None = None

    @property
    def text(self) -> str:
        """The rule in the syntax of :func:`parse_fault_injection`."""
        at = "" if self.operation is None else f"@{self.operation}"
        duration = f":{format_duration(self.duration)}" if self.kind in DEFAULT_DURATIONS else ""
        return f"{self.kind}{at}={self.percent:g}%{duration}"


@frozen
class Quota:
    """A quota of the account. A quota of dedicated cores can apply to one VM ``family``."""

    kind: QuotaKind
    limit: int
    family: str | None = None

    @property
    def text(self) -> str:
        """The quota in the syntax of :func:`parse_fault_injection`."""
        at = "" if self.family is None else f"@{self.family}"
        return f"{self.kind}{at}={self.limit}"


@frozen
class FaultInjection:
    """The injected faults. ``quotas`` limit the account; ``seed`` selects the random numbers.

    ``transition`` is the minimum time that pools, jobs and job schedules are ``deleting``,
    ``terminating`` or ``disabling``.
    """

    rules: tuple[FaultRule, ...] = ()
    quotas: tuple[Quota, ...] = ()
    seed: int = 0
    transition: timedelta = timedelta()

    def __bool__(self) -> bool:
        """Whether any fault is injected."""
        return bool(self.rules or self.quotas or self.transition)

    @property
    def text(self) -> str:
        """The rules as text, with profiles and files expanded; empty if no fault is injected."""
        items = [*(rule.text for rule in self.rules), *(quota.text for quota in self.quotas)]
        if self.transition:
            items.append(f"{TRANSITION}={format_duration(self.transition)}")
        return ",".join(items)

    def rule(self, kind: FaultKind, operation: str | None = None) -> FaultRule | None:
        """The rule of ``kind`` for ``operation``, or else the rule for all operations."""
        mine = [one for one in self.rules if one.kind is kind]
        found = [one for one in mine if one.operation == operation]
        found += [one for one in mine if one.operation is None]
        return found[0] if found and found[0].percent else None

    def quota(self, kind: QuotaKind) -> int | None:
        """A quota of the account; ``None`` means no limit."""
        mine = (one.limit for one in self.quotas if one.kind is kind and one.family is None)
        return next(mine, None)

    def family_quotas(self) -> dict[str, int]:
        """The quotas of dedicated cores by VM family."""
        return {one.family: one.limit for one in self.quotas if one.family is not None}


NO_FAULTS = FaultInjection()


def hash_fraction(seed: int, *words: str | int) -> float:
    """A number in [0, 1), uniformly distributed over seeds and names."""
    text = "\0".join(map(str, (seed, *words)))
    return int.from_bytes(sha256(text.encode("utf-8", "surrogateescape")).digest()[:8]) / 2**64


class RandomSource:
    """The random decisions of one run of the service, with a count of the uses of each name."""

    def __init__(self, faults: FaultInjection) -> None:
        self.faults = faults
        self._counts: Counter[tuple[str, ...]] = Counter()

    def applies(self, rule: FaultRule, *words: str | int) -> bool:
        """Whether ``rule`` applies to the event that ``words`` name."""
        return hash_fraction(self.faults.seed, rule.kind, *words) * 100 < rule.percent

    def fraction(self, kind: FaultKind, *words: str | int) -> float:
        """A fraction of the duration of ``kind`` for the event that ``words`` name, in [0, 1)."""
        return hash_fraction(self.faults.seed, kind, "share", *words)

    def next(self, *words: str) -> int:
        """The number of earlier calls with ``words``."""
        number = self._counts[words]
        self._counts[words] += 1
        return number


PROFILES: Mapping[str, str] = {
    "throttled": "throttle=15%:1s,throttle-silent=5%,busy=5%",
    "flaky": "error=5%,lost=5%,slow=5%:1s",
    "spot": "preempt=75%:10s",
    "bad-nodes": "start-task=30%,slow-node=30%:2s,task=10%",
    "no-quota": "quota=0,spot-quota=0",
    "bad-day": "throttle=5%:1s,throttle-silent=2%,busy=2%,error=3%,lost=5%,slow=3%:500ms,"
    "preempt=75%:4s,start-task=25%,slow-node=25%:1s,task=10%",
}
"""Named sets of rules."""

_ITEM = re.compile(r"(?P<kind>[^@=\s]+)(?:@(?P<operation>[^=\s]+))?\s*=\s*(?P<amount>\S+)")
_PROBABILITY = re.compile(r"(\d{1,3}(?:\.\d{1,3})?)%(?::(\S+))?", re.ASCII)
_WHOLE_NUMBER = re.compile(r"\d{1,7}", re.ASCII)
_MAX_QUOTA = 1_000_000
_KINDS = (*FaultKind, *QuotaKind, TRANSITION)


def parse_fault_injection(text: str, seed: int = 0) -> FaultInjection:
    """The fault injection that ``text`` describes; :data:`NO_FAULTS` for an empty text.

    Raises:
        LocalError: the text is not valid (``chaos-unreadable``); the fix shows valid text.
    """
    rules: dict[tuple[FaultKind, str | None], FaultRule] = {}
    quotas: dict[tuple[QuotaKind, str | None], Quota] = {}
    transition = timedelta()
    for item in _rule_texts(_text_or_file(text)):
        match _parse_item(item):
            case FaultRule() as rule:
                rules[rule.kind, rule.operation] = rule
            case Quota() as quota:
                quotas[quota.kind, quota.family] = quota
            case timedelta() as duration:
                transition = duration
    # A rule of 0 % matters only if it is an exception for one operation.
    real = (rule for rule in rules.values() if rule.percent or rule.operation is not None)
    return FaultInjection(tuple(real), tuple(quotas.values()), seed, transition)


def check_operations(faults: FaultInjection, operations: Iterable[str]) -> None:
    """Check that ``faults`` names only ``operations`` that exist.

    Raises:
        LocalError: it names an unknown operation (``chaos-unreadable``).
    """
    known = sorted(operations)
    for name in {rule.operation for rule in faults.rules} - {None, *known}:
        fix = (
            _suggestion(str(name), known)
            or "Use an operation name of the SDK, such as create_task_collection"
        )
        raise _error(f"The operation {name!r} does not exist", fix)


def _text_or_file(text: str) -> str:
    """``text``, or the content of the file that it names."""
    named = text.strip()
    if not named or "=" in named or any(item in PROFILES for item in named.split(",")):
        return text
    try:
        path = Path(named).expanduser()
        if not path.is_file() and "/" not in named and not path.suffix:
            raise _error(
                f"The fault injection {named!r} does not exist",
                _suggestion(named, (*PROFILES, *_KINDS)) or _valid_names(),
            )
        return path.read_text(encoding="utf-8")
    # The name can be an invalid path, the home folder unknown, or the content not UTF-8.
    except (OSError, ValueError, RuntimeError) as error:
        why = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise _error(f"The file {named!r} cannot be read: {why}", _valid_names()) from error


def _rule_texts(text: str) -> Iterator[str]:
    for line in text.splitlines():
        for item in line.partition("#")[0].split(","):
            word = item.strip()
            if word in PROFILES:
                yield from PROFILES[word].split(",")
            elif word:
                yield word


def _parse_item(item: str) -> FaultRule | Quota | timedelta:
    found = _ITEM.fullmatch(item)
    if found is None:
        fix = "" if "=" in item else _suggestion(item, (*PROFILES, *_KINDS))
        raise _error(f"{item!r} is not a fault injection rule", fix or _valid_names())
    word, operation, amount = found["kind"], found["operation"], found["amount"]
    if word not in _KINDS:
        raise _error(
            f"The fault {word!r} does not exist", _suggestion(word, _KINDS) or _valid_names()
        )
    if word in set(QuotaKind):
        return _parse_quota(item, QuotaKind(word), operation, amount)
    if operation is not None and word not in REQUEST_FAULTS:
        fix = f"Faults of requests: {', '.join(REQUEST_FAULTS)}"
        raise _error(f"{word!r} is not a fault of requests, so it takes no '@OPERATION'", fix)
    if word == TRANSITION:
        return _parse_time(item, amount)
    return _parse_rule(item, FaultKind(word), operation, amount)


def _parse_quota(item: str, kind: QuotaKind, named: str | None, amount: str) -> Quota:
    if _WHOLE_NUMBER.fullmatch(amount) is None or int(amount) > _MAX_QUOTA:
        raise _error(f"{item!r} is not a quota", f"Set a whole number, for example {kind}=4")
    if named is None:
        return Quota(kind, int(amount))
    if kind is not QuotaKind.QUOTA:
        raise _error(f"{item!r}: only 'quota' has VM families", f"Write it as {kind}={amount}")
    name = family_key(named)
    if not name:
        raise _error(f"{item!r} has no VM family", "Name a family, for example quota@DSv3=4")
    return Quota(kind, int(amount), name)


def _parse_time(item: str, text: str) -> timedelta:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise _error(f"{item!r}: {error}", "Set a duration such as 500ms, 2s or 5m") from error


def _parse_rule(item: str, kind: FaultKind, operation: str | None, amount: str) -> FaultRule:
    found = _PROBABILITY.fullmatch(amount)
    if found is None or float(found[1]) > 100:
        example = f"{kind}=5%" + (":2s" if kind in DEFAULT_DURATIONS else "")
        raise _error(f"{item!r} has no probability", f"Write it as {example}")
    duration = DEFAULT_DURATIONS.get(kind)
    if found[2] is not None:
        if duration is None:
            raise _error(f"{item!r}: {kind} has no duration", f"Write it as {kind}=5%")
        duration = _parse_time(item, found[2])
    return FaultRule(kind, float(found[1]), duration or timedelta(), operation)


def _suggestion(word: str, known: Iterable[str]) -> str:
    close = get_close_matches(word.partition("=")[0].lower(), list(known), 1, 0.6)
    return f"Did you mean {close[0]}?" if close else ""


def _valid_names() -> str:
    return f"Use one of the profiles {', '.join(PROFILES)} or the faults {', '.join(_KINDS)}."


def _error(what: str, fix: str) -> LocalError:
    return LocalError("chaos-unreadable", f"{what}.", fix=fix)
