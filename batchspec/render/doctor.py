"""The checks of `doctor`, as text and as JSON, and the message of each check."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from enum import StrEnum

from batchspec.diagnostics import Diagnostic, abridged
from batchspec.frozen import frozen
from batchspec.plan.capacity import AccountResource, Capacity
from batchspec.plan.observed import SupportedImage
from batchspec.render import units
from batchspec.render.output import Style, clean, flat, json_text

_CLOCK_WARNING = timedelta(minutes=2)
_CLOCK_FAILURE = timedelta(minutes=15)
"""The maximum difference of clocks with which services accept signed requests."""

_END_OF_LIFE_NOTICE = timedelta(days=90)
_QUOTAS = (
    'az batch account show -g GROUP -n ACCOUNT --query "{pools: poolQuota,'
    ' jobs: activeJobAndJobScheduleQuota, cores: dedicatedCoreQuota, spot: lowPriorityCoreQuota}"'
)


class Level(StrEnum):
    """The result of a check."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@frozen
class Check:
    """A check with its result; ``fix`` is the fix if it is not ok."""

    name: str
    level: Level
    message: str
    fix: str = ""


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
                    "message": check.message,
                    **({"hint": check.fix} if check.fix else {}),
                }
                for check in checks
            ],
        },
        indent=2,
    )


def checks_text(checks: Sequence[Check], *, color: bool = False) -> str:
    """The checks as lines, and the number that failed."""
    style = Style(color)
    styles = {Level.OK: "create", Level.WARN: "warning", Level.FAIL: "error"}
    column = max(len(check.name) for check in checks)
    lines = []
    details: tuple[list[str], str] = ([], "")
    for check in checks:
        head = f"{check.level.value:<4}  {check.name:<{column}}  "
        first, *rest = clean(check.message).splitlines() or [""]
        lines.append(style(styles[check.level], head) + first)
        margin = " " * len(head)
        if rest and (rest, check.fix) == details:
            lines.append(f"{margin}The details and the fix are those of the check above.")
            continue
        details = rest, check.fix
        lines += [f"{margin}{line}" for line in rest]
        fix = clean(check.fix).splitlines()
        lines += [f"{margin}{style('fix', 'fix:')} {fix[0]}"] if fix else []
        lines += [f"{margin}     {line}" for line in fix[1:]]
    return "\n".join([*lines, "", _totals(checks)])


def _totals(checks: Sequence[Check]) -> str:
    failed = sum(check.level is Level.FAIL for check in checks)
    warned = sum(check.level is Level.WARN for check in checks)
    if failed:
        return f"{units.counted(failed, 'check')} failed."
    return (
        f"No check failed; {units.counted(warned, 'warning')}." if warned else "All checks passed."
    )


def failed_check(name: str, problem: Diagnostic) -> Check:
    """A check that failed with a diagnostic."""
    message = "\n".join(part for part in (flat(problem.summary), problem.detail) if part)
    return Check(name, Level.FAIL, message, problem.fix)


def python_check(version: str, program: str | None) -> Check:
    """The Python that runs batchspec, and the Python of tasks on this machine."""
    if program is None:
        return Check(
            "python",
            Level.WARN,
            f"{version}; the PATH of local tasks has no python3",
            "If tasks call python3, add it to PATH.",
        )
    return Check("python", Level.OK, f"{version}; local tasks run {program}")


def engine_check(node: str, azurite: str, *, installed: bool) -> Check:
    """The parts of the embedded service."""
    message = f"Azurite {azurite} on Node.js {node}"
    if not installed:
        message += "; installed at the first start, which needs the npm registry"
    return Check("engine", Level.OK, message)


def service_check(state: str, data: str, *, running: bool) -> Check:
    """The embedded service itself."""
    note = "" if running else "; it starts automatically when a command needs it"
    return Check("service", Level.OK, f"{state}{note}; data folder {data}")


def account_check(account: str, *, keys: bool) -> Check:
    """The settings of the account; the checks of the services try the keys or the sign-in."""
    how = "keys are set" if keys else "no keys: signs in with Microsoft Entra ID"
    return Check("account", Level.OK, f"settings of {account} are complete; {how}")


def answer_check(
    name: str, url: str, seconds: float, problem: Diagnostic | None, version: str = ""
) -> Check:
    """Whether a service answers."""
    if problem is not None:
        return failed_check(name, problem)
    api = f", api-version {version}" if version else ""
    return Check(name, Level.OK, f"{url} answers in {units.duration(seconds)}{api}")


def signing_check(problem: Diagnostic | None) -> Check:
    """Whether URLs for nodes can be signed without the key of the Storage account."""
    if problem is None:
        message = "URLs for nodes can be signed without an account key, for up to seven days"
        return Check("signatures", Level.OK, message)
    failed = failed_check("signatures", problem)
    message = f"URLs for nodes cannot be signed: {failed.message}"
    fix = f"{failed.fix.rstrip('.')}. Specs with `storage.identity` need no signed URLs."
    return Check("signatures", Level.WARN, message, fix)


def clock_check(ahead: Sequence[timedelta | None]) -> Check:
    """The largest difference between this machine's clock and those of the services."""
    known = [each for each in ahead if each is not None]
    if not known:
        return Check("clock", Level.WARN, "no service reported its time")
    most = max(known, key=abs)
    if abs(most) < _CLOCK_WARNING:
        return Check("clock", Level.OK, "correct to the minute")
    way = "slow" if most > timedelta() else "fast"
    message = f"this machine's clock is {units.duration(abs(most).total_seconds())} {way}"
    fix = "Set the clock, which signatures depend on: timedatectl set-ntp true"
    return Check("clock", Level.FAIL if abs(most) >= _CLOCK_FAILURE else Level.WARN, message, fix)


def images_check(images: Sequence[SupportedImage], now: datetime) -> Check:
    """The images that the account supports."""
    if not images:
        return Check(
            "images",
            Level.FAIL,
            "the account supports no image",
            "A new account needs some minutes; see the account in the Azure portal.",
        )
    verified = sum(image.verified for image in images)
    ending = sorted({_ends(image) for image in images if _ends_soon(image, now)})
    message = f"{units.counted(len(images), 'image')}, {verified:,} verified"
    if ending:
        message += f"; support ends within 90 days for {units.listed(ending)}"
    return Check("images", Level.OK, message)


def _ends_soon(image: SupportedImage, now: datetime) -> bool:
    return image.end_of_life is not None and now < image.end_of_life < now + _END_OF_LIFE_NOTICE


def _ends(image: SupportedImage) -> str:
    return f"{image.offer}-{image.sku}"


def resource_check(capacity: Capacity, *, keys: bool) -> Check:
    """The Batch account as Azure Resource Manager describes it; ``keys``: the account key is used.
    The description is optional, so unknown facts are warnings.
    """
    name, resource = "resource", capacity.resource
    if resource is None:
        problem = capacity.problem
        why = problem.summary if problem is not None else ""
        message = f"quotas and settings of the account are not known: {why}"
        return Check(name, Level.WARN, message, problem.fix if problem is not None else "")
    nodes = "your subscription" if resource.user_subscription else "managed by Azure Batch"
    storage = resource.storage.rpartition("/")[2]
    if storage and resource.storage_authentication:
        storage += f" ({resource.storage_authentication})"
    lines = [
        f"{resource.id} in {resource.region}, {resource.state or 'state not known'}",
        f"subscription of the nodes: {nodes}; auto-storage: {storage or 'none'}",
        f"authentication: {', '.join(resource.authentication) or 'all modes'}; public network"
        f" access: {resource.public_access or 'not known'}",
    ]
    text = "\n".join(lines)
    if keys and resource.authentication and "SharedKey" not in resource.authentication:
        fix = "Unset AZURE_BATCH_ACCESS_KEY, and run `az login`: the account does not allow keys."
        return Check(name, Level.FAIL, text, fix)
    if resource.state not in {"", "Succeeded"}:
        return Check(name, Level.WARN, text, "See the account in the Azure portal.")
    return Check(name, Level.OK, text)


def quota_check(target: str, pools: int, jobs: int, capacity: Capacity | None = None) -> Check:
    """The use of quotas, and the quotas, which only Resource Manager reports."""
    name, resource = "quotas", capacity.resource if capacity is not None else None
    usage = f"{units.counted(pools, 'pool')}, {units.counted(jobs, 'open job')}"
    if target == "local":
        return Check(name, Level.OK, f"{usage}; the embedded service has no quotas")
    if capacity is None or resource is None:
        lines = [f"{usage}; for the quotas run:", _QUOTAS]
        return Check(name, Level.OK, "\n".join(lines))
    used = capacity.used()
    counts = [("pools", pools, resource.pools), ("active jobs and schedules", jobs, resource.jobs)]
    counts += [
        ("dedicated cores", sum(each.dedicated for each in used), resource.dedicated_cores),
        ("Spot cores", sum(each.spot for each in used), resource.spot_cores),
    ]
    lines = [", ".join(_of_quota(what, number, quota) for what, number, quota in counts)]
    if resource.families_enforced and resource.family_cores:
        families = _families(capacity, resource)
        lines.append(f"of these families: {families}" if families else "no family has a quota")
    none = resource.dedicated_cores == 0 and not resource.spot_cores
    full = [what for what, number, quota in counts if quota is not None and number >= quota > 0]
    if none or full:
        what = "cores" if none else " and ".join(full)
        fix = f"Request a higher quota of {what}: Azure portal, the Batch account, Quotas."
        return Check(name, Level.WARN, "\n".join(lines), fix)
    return Check(name, Level.OK, "\n".join(lines))


def _of_quota(what: str, number: int, quota: int | None) -> str:
    if quota is None:
        return f"{number:,} {what} (quota not known)"
    return f"{number:,} of {quota:,} {what}"


def sizes_check(capacity: Capacity, now: datetime) -> Check:
    """The VM sizes of the pools: the capabilities of a node, and the end of support by Batch."""
    name, sizes = "vm sizes", capacity.sizes
    if sizes is None:
        return Check(name, Level.WARN, "the VM sizes of the region are not known")
    pools: dict[str, list[str]] = {}
    for pool in capacity.pools:
        size = pool.properties.get("vmSize")
        if isinstance(size, str):
            pools.setdefault(size.lower(), []).append(pool.id)
    lines, old = [f"{len(sizes):,} sizes in the region"], False
    for size, ids in sorted(pools.items()):
        found = capacity.size(size)
        text = found.words if found is not None else size
        text += f": {'pool' if len(ids) == 1 else 'pools'} {abridged(sorted(ids), _POOLS)}"
        if found is None:
            text += "; Batch does not offer it in the region"
        elif found.ends is not None:
            ended = "ended" if found.ends <= now else "ends"
            text += f"; the support of Batch {ended} on {found.ends:%Y-%m-%d}"
        old = old or found is None or (found.ends is not None and found.ends - now < _YEAR)
        lines.append(text)
    fix = "Use another `vm_size` in the specs of these pools." if old else ""
    return Check(name, Level.WARN if old else Level.OK, "\n".join(lines), fix)


_POOLS = 5
"""The maximum number of pools that are shown for a VM size."""
_YEAR = timedelta(days=365)
_FAMILIES = 8
"""The maximum number of VM families that are shown."""


def _families(capacity: Capacity, resource: AccountResource) -> str:
    """The families with quota, those in use first, then the largest."""
    used: dict[str, int] = {}
    for each in capacity.used():
        used[each.family] = used.get(each.family, 0) + each.dedicated
    quotas = {name: quota for name, quota in resource.family_cores.items() if quota}
    ranked = sorted(quotas, key=lambda name: (-used.get(name, 0), -quotas[name], name))
    return abridged(
        [f"{name} {used.get(name, 0):,} of {quotas[name]:,}" for name in ranked], _FAMILIES
    )


def worst(checks: Sequence[Check]) -> Level:
    """The most severe result."""
    order = list(Level)
    return max((check.level for check in checks), key=order.index, default=Level.OK)


def as_warnings(checks: Sequence[Check]) -> Iterator[Check]:
    """The checks, with warnings instead of failures, for services that the target does not use."""
    for check in checks:
        level = Level.WARN if check.level is Level.FAIL else check.level
        yield Check(check.name, level, check.message, check.fix)
