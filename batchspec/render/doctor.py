"""What works and what does not, a line each, and how to mend it: as text and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from batchspec.diagnostics import Diagnostic
from batchspec.plan.observed import SupportedImage
from batchspec.render import units
from batchspec.render.output import clean, flat, json_text
from batchspec.render.style import Style

_AWRY = timedelta(minutes=2)
_REFUSED = timedelta(minutes=15)
"""So far off, a service takes a signed request for a forged one."""

_SOON = timedelta(days=90)
_QUOTAS = (
    'az batch account show -g GROUP -n ACCOUNT --query "{pools: poolQuota,'
    ' jobs: activeJobAndJobScheduleQuota, cores: dedicatedCoreQuota, spot: lowPriorityCoreQuota}"'
)


class Level(StrEnum):
    """How it is with a thing."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Check:
    """A thing that was looked at; ``mend`` says what to do where it is not well."""

    name: str
    level: Level
    words: str
    mend: str = ""


def checks_json(target: str, checks: Sequence[Check]) -> str:
    """The checks as indented JSON."""
    return json_text(
        {
            "version": 1,
            "target": target,
            "checks": [
                {
                    "name": check.name,
                    "level": check.level.value,
                    "message": check.words,
                    **({"hint": check.mend} if check.mend else {}),
                }
                for check in checks
            ],
        },
        indent=2,
    )


def checks_text(checks: Sequence[Check], *, color: bool = False) -> str:
    """The checks as lines, and what they come to."""
    style = Style(color)
    styles = {Level.OK: "create", Level.WARN: "warning", Level.FAIL: "error"}
    column = max(len(check.name) for check in checks)
    lines = []
    for check in checks:
        head = f"{check.level.value:<4}  {check.name:<{column}}  "
        first, *rest = clean(check.words).splitlines() or [""]
        lines.append(style(styles[check.level], head) + first)
        margin = " " * len(head)
        lines += [f"{margin}{line}" for line in rest]
        mend = clean(check.mend).splitlines()
        lines += [f"{margin}{style('hint', 'hint:')} {mend[0]}"] if mend else []
        lines += [f"{margin}      {line}" for line in mend[1:]]
    return "\n".join([*lines, "", _sum(checks)])


def _sum(checks: Sequence[Check]) -> str:
    failed = sum(check.level is Level.FAIL for check in checks)
    warned = sum(check.level is Level.WARN for check in checks)
    if failed:
        return f"{units.counted(failed, 'thing')} to mend."
    return f"All works; {units.counted(warned, 'warning')}." if warned else "All works."


def failed_check(name: str, problem: Diagnostic, level: Level = Level.FAIL) -> Check:
    """Something that is wrong."""
    words = "\n".join(part for part in (flat(problem.summary), problem.detail) if part)
    return Check(name, level, words, problem.fix)


def python_check(version: str, program: str | None) -> Check:
    """The Python that runs this, and the one that tasks here would find."""
    if program is None:
        return Check(
            "python",
            Level.WARN,
            f"{version}; tasks on this machine find no python3",
            "Put python3 on the PATH, if tasks call it.",
        )
    return Check("python", Level.OK, f"{version}; tasks on this machine find {program}")


def engine_check(node: str, azurite: str, *, installed: bool) -> Check:
    """The parts of the embedded service."""
    words = f"Azurite {azurite} on Node.js {node}"
    if not installed:
        words += "; it is installed at the first start, which needs the npm registry"
    return Check("engine", Level.OK, words)


def service_check(state: str, data: str, *, running: bool) -> Check:
    """The embedded service itself."""
    note = "" if running else "; it starts by itself when it is needed"
    return Check("service", Level.OK, f"{state}{note}; its data are in {data}")


def account_check(account: str, *, keys: bool) -> Check:
    """That an account is named, and how it is entered."""
    how = "with keys" if keys else "signed in (DefaultAzureCredential)"
    return Check("account", Level.OK, f"{account}; {how}")


def answer_check(
    name: str, url: str, seconds: float, problem: Diagnostic | None, version: str = ""
) -> Check:
    """Whether a service answers us."""
    if problem is not None:
        return failed_check(name, problem)
    spoken = f", api-version {version}" if version else ""
    return Check(name, Level.OK, f"{url} answers in {units.duration(seconds)}{spoken}")


def clock_check(ahead: Sequence[timedelta | None]) -> Check:
    """How far this machine's clock is off, by the clock that is farthest from it."""
    told = [each for each in ahead if each is not None]
    if not told:
        return Check("clock", Level.WARN, "no service has said what time it is")
    most = max(told, key=abs)
    if abs(most) < _AWRY:
        return Check("clock", Level.OK, "right to the minute")
    way = "slow" if most > timedelta() else "fast"
    words = f"this machine's clock is {units.duration(abs(most).total_seconds())} {way}"
    mend = "Set the clock; signatures are made with its time (timedatectl set-ntp true)."
    return Check("clock", Level.FAIL if abs(most) >= _REFUSED else Level.WARN, words, mend)


def images_check(images: Sequence[SupportedImage], now: datetime) -> Check:
    """The images that nodes can be made of."""
    if not images:
        return Check(
            "images",
            Level.FAIL,
            "the account offers none",
            "Look at the account in the Azure portal; a new one takes some minutes.",
        )
    verified = sum(image.verified for image in images)
    ending = sorted({_ends(image) for image in images if _ends_soon(image, now)})
    words = f"{units.counted(len(images), 'image')}, {verified:,} verified"
    if ending:
        words += f"; support ends within 90 days of {units.listed(ending)}"
    return Check("images", Level.OK, words)


def _ends_soon(image: SupportedImage, now: datetime) -> bool:
    return image.end_of_life is not None and now < image.end_of_life < now + _SOON


def _ends(image: SupportedImage) -> str:
    return f"{image.offer}-{image.sku}"


def quota_check(target: str, pools: int, jobs: int) -> Check:
    """What counts against quotas; these themselves are not told by the services we talk to."""
    words = f"{units.counted(pools, 'pool')}, {units.counted(jobs, 'open job')}"
    if target == "local":
        return Check("quotas", Level.OK, f"{words}; there are none here")
    lines = [f"{words}; what is allowed, only the management API tells:", _QUOTAS]
    return Check("quotas", Level.OK, "\n".join(lines))


def worst(checks: Sequence[Check]) -> Level:
    """The worst of all."""
    order = list(Level)
    return max((check.level for check in checks), key=order.index, default=Level.OK)


def as_warnings(checks: Sequence[Check]) -> Iterator[Check]:
    """The same as warnings: of what is not needed for the account in question."""
    for check in checks:
        level = Level.WARN if check.level is Level.FAIL else check.level
        yield Check(check.name, level, check.words, check.mend)
