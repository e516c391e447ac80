"""The lifetime of signed URLs (SAS), and rules about it: URLs are valid until the run must end.

The time limit of the job bounds a run, so URLs are signed for that time plus a margin. The jobs of
a schedule use the URLs in the schedule, which are valid until the end of its last job. Nodes read
the files of their start task whenever they start, and a pool may remain for a later run. The
metadata of the pool record when the URLs of its start task expire.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import unquote

from batchspec.diagnostics import Secret, counted
from batchspec.plan.metadata import UNTIL
from batchspec.plan.observed import PoolFacts
from batchspec.plan.rules.rule import (
    ERROR,
    WARNING,
    Finding,
    RuleContext,
    RuleGroup,
)
from batchspec.spec import (
    BlobUrl,
    Command,
    Record,
    Spec,
    Stage,
    Template,
    Text,
    Value,
    duration,
)

if TYPE_CHECKING:
    from batchspec.plan.task_sets import TaskSets

_LATEST = datetime(9000, 1, 1, tzinfo=UTC)
"""The latest start of a last job, so that its end is a valid date."""
_MARGIN = timedelta(hours=1)
"""The last task may start just before the limit, and a clock may be wrong."""


def sas_lifetime(spec: Spec, now: datetime) -> timedelta:
    """The lifetime of the signatures of a run that begins now; 0 if the run has none."""
    if spec.storage_identity:
        return timedelta()
    return run_ends(spec, now) - now + _MARGIN


def run_ends(spec: Spec, now: datetime) -> datetime:
    """The latest end of a run that begins now; for a schedule, the latest end of its last job.

    A schedule without an end (:func:`is_endless`) has no last job: the end of the first counts.
    """
    last = now if spec.job.schedule is None else max(now, _last_start(spec.job.schedule, now))
    return min(last, _LATEST) + spec.job.limit


def is_endless(schedule: Record) -> bool:
    """Whether a schedule (``BatchJobScheduleConfiguration``) creates jobs without an end."""
    return "recurrenceInterval" in schedule and "doNotRunAfter" not in schedule


def is_over(schedule: Record, now: datetime) -> bool:
    """Whether the period in which a schedule creates jobs has ended."""
    end = _time(schedule, "doNotRunAfter")
    return end is not None and end <= now


def _last_start(schedule: Record, now: datetime) -> datetime:
    end = _time(schedule, "doNotRunAfter")
    if end is not None:
        return end
    late = duration(schedule.string("startWindow") or "")
    first = min(_time(schedule, "doNotRunUntil") or now, _LATEST)
    return first + min(late or timedelta(), _LATEST - first)


def _time(schedule: Record, key: str) -> datetime | None:
    given = schedule.string(key)
    return datetime.fromisoformat(given) if given is not None else None


def runs_out(pool: PoolFacts, spec: Spec, now: datetime) -> datetime | None:
    """The time after which nodes of the pool cannot start, if a new run may last longer."""
    if not spec.pool.start_containers or spec.storage_identity:
        return None
    try:
        until = datetime.fromisoformat(pool.metadata.get(UNTIL, ""))
    except ValueError:
        # Not recorded, or changed by another client: sign again.
        return now
    return until if until < run_ends(spec, now) else None


ACCESS = RuleGroup(
    "Access",
    "Signed URLs (SAS) are valid for the time limit of the job plus one hour; tasks that are"
    " submitted later get new ones.",
)

_LIMIT_KEYS = ("max_wall_clock_time", "constraints.max_wall_clock_time")
_UNTIL_KEYS = ("schedule.until", "schedule.do_not_run_after", "schedule")
_EXPIRY = re.compile(r"[?&]se=([^&\s\"']+)")


@ACCESS.check(
    "sas-too-long",
    ERROR,
    title="The run may last longer than URLs can be signed for",
    why="Without the storage account's key, URLs are signed with a user delegation key, which"
    " expires after seven days.",
    fix="Decrease `max_wall_clock_time`, let the nodes authenticate with `storage.identity`, or set"
    " AZURE_STORAGE_KEY if the account allows keys.",
)
def sas_too_long(context: RuleContext) -> Iterator[Finding]:
    """Signed URLs that must be valid for longer than the account allows."""
    spec, longest = context.spec, context.observed.longest_sas
    needed = sas_lifetime(spec, context.observed.now)
    if longest is None or needed <= longest or not _signs(context):
        return
    scheduled = spec.job.schedule is not None
    earlier = (
        "Use an earlier `until` and extend it later, let the nodes authenticate with"
        " `storage.identity`, or set AZURE_STORAGE_KEY if the account allows keys."
    )
    yield Finding(
        f"the nodes need signed URLs for {_days(needed)}; without the storage account's key they"
        f" are valid for {_days(longest)}",
        context.at_job(*(_UNTIL_KEYS if scheduled else _LIMIT_KEYS)),
        fix=earlier if scheduled else "",
    )


_KEY_MOUNTS = ("azureBlobFileSystemConfiguration", "azureFileShareConfiguration")
_NO_SHARES = (
    "A file share is mounted with a key only: use a container,"
    " `azure_blob_file_system_configuration` with an `identity_reference`."
)


@ACCESS.check(
    "mount-needs-key",
    WARNING,
    title="A mount uses a key of a storage account that may refuse keys",
    why="The plan signs in without the key of the storage account. An account without shared keys"
    " answers `KeyBasedAuthenticationNotPermitted`, and the nodes become unusable.",
    fix="Attach an identity to the pool with `identity`, and mount the container with"
    " `identity_reference: {resource_id: ID}` instead of `account_key`.",
)
def mount_needs_key(context: RuleContext) -> Iterator[Finding]:
    """Mounts of the run's storage account with its key, if the client has no key."""
    mounts = context.body.get("mountConfiguration")
    if context.observed.longest_sas is None or not isinstance(mounts, tuple):
        return
    # A host such as NAME.blob.core.windows.net, or an address with the name as its path.
    names = re.split(r"[./]", context.observed.account.storage.lower())
    for mount in mounts:
        for kind in _KEY_MOUNTS:
            given = mount.get(kind) if isinstance(mount, Record) else None
            if not isinstance(given, Record) or "accountKey" not in given:
                continue
            account = str(given.get("accountName", ""))
            if account.lower() in names:
                path = given.get("relativeMountPath", "")
                yield Finding(
                    f"the mount {str(path)!r} uses a key of the storage account {account}, which"
                    " may allow identities only",
                    context.at_pool("mount_configuration"),
                    fix="" if kind == _KEY_MOUNTS[0] else _NO_SHARES,
                )


def _days(length: timedelta) -> str:
    days, hours = length.days, length.seconds // 3600
    parts = [counted(n, unit) for n, unit in ((days, "day"), (hours, "hour")) if n]
    return " and ".join(parts) or counted(length.seconds // 60, "minute")


def _signs(context: RuleContext) -> bool:
    """Whether any request of the run contains a signed URL."""
    spec = context.spec
    return (
        bool(spec.node_containers)
        or any(map(_stage_signs, spec.stages))
        or _any_signed((context.body, spec.job.properties))
    )


def _stage_signs(stage: Stage) -> bool:
    return (
        stage.logs is not None
        or bool(stage.resources)
        or getattr(stage.for_each, "container", None) is not None
        or _any_signed((stage.body, *_templates(stage.command)))
    )


def _templates(command: Command) -> Iterator[Value]:
    yield from command.arguments
    if command.template is not None:
        yield command.template


def _any_signed(values: Iterable[Value]) -> bool:
    return any(map(_is_signed, values))


def _is_signed(value: Value) -> bool:
    match value:
        case BlobUrl(permissions=permissions):
            return bool(permissions)
        case Text():
            return any(url.permissions for url in value.urls())
        case Template(source=source):
            return "_url" in source
        case Record():
            return _any_signed(value.values())
        case tuple():
            return _any_signed(value)
    return False


@ACCESS.check(
    "sas-ends-early",
    WARNING,
    title="A signed URL in a parameter expires before the run must end",
    why="Tasks that start after that cannot read or write there.",
    fix="Pass a URL that is valid for longer, or use a container of the spec.",
)
def sas_ends_early(context: RuleContext) -> Iterator[Finding]:
    """Secret parameters with a signed URL that expires early."""
    ends = run_ends(context.spec, context.observed.now)
    for name, value in context.spec.parameters.items():
        expiry = _first_expiry(value.reveal()) if isinstance(value, Secret) else None
        if expiry is not None and expiry < ends:
            yield Finding(
                f"the URL in `{name}` expires on {expiry:%Y-%m-%d %H:%M} UTC; the run may last"
                f" until {ends:%Y-%m-%d %H:%M}",
                context.spec.place(f"parameters.{name}"),
            )


def _first_expiry(text: str) -> datetime | None:
    """The earliest expiry (``se``) of a SAS in a text."""
    times = map(_expiry, _EXPIRY.findall(text))
    return min((time for time in times if time is not None), default=None)


def _expiry(text: str) -> datetime | None:
    try:
        time = datetime.fromisoformat(unquote(text))
    except ValueError:
        return None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


@ACCESS.rule(
    "tasks-signed-earlier",
    WARNING,
    title="Submitted tasks have URLs that were signed for a shorter run",
    why="The job gets more time, but its submitted tasks can read and write only until their URLs"
    " expire.",
    fix="Use `batchspec apply --replace job` to submit them again.",
)
def tasks_signed_earlier(context: RuleContext, task_sets: TaskSets) -> Iterator[Finding]:
    """Tasks in an open job whose time limit increases."""
    job = task_sets.open_job
    submitted = sum(stage.in_progress for stage in task_sets.stages)
    if job is None or not submitted or context.spec.storage_identity:
        return
    limit = duration(job.properties.string("constraints", "maxWallClockTime") or "")
    if limit is None or context.spec.job.limit <= limit + _MARGIN:
        return
    tasks = counted(submitted, "task")
    yield Finding(
        f"the URLs of {tasks} in the job {job.id!r} were signed for a shorter time limit",
        context.at_job(*_LIMIT_KEYS),
    )
