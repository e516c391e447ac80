"""Whether what nodes read and write can be read and written until the run has to end."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from urllib.parse import unquote

from batchspec.diagnostics import Diagnostic, Secret
from batchspec.plan.changes import duration_seconds
from batchspec.plan.rules.catalogue import finding
from batchspec.plan.rules.context import RuleContext, record
from batchspec.plan.sas_lifetime import run_ends, sas_lifetime
from batchspec.plan.task_sets import TaskSets
from batchspec.spec import BlobUrl, Command, Record, Stage, Template, Text, Value

_LIMITS = ("max_wall_clock_time", "constraints.max_wall_clock_time")
_UNTIL = ("schedule.until", "schedule.do_not_run_after", "schedule")
_SOONER = (
    "Take an earlier `until`, and a later one by and by; have the nodes sign in with"
    " `identity_reference`; or set AZURE_STORAGE_KEY."
)
_EXPIRY = re.compile(r"[?&]se=([^&\s\"']+)")
_MARGIN = timedelta(hours=1)
"""What tasks are signed for beyond the limit of their job."""


def signing(scene: RuleContext) -> Iterator[Diagnostic]:
    """Whether the account can sign for so long."""
    spec, longest = scene.spec, scene.observed.longest_sas
    needed = sas_lifetime(spec, scene.observed.now)
    if longest is None or needed <= longest or not _signs(scene):
        return
    scheduled = spec.job.schedule is not None
    yield finding(
        "sas-too-long",
        f"the nodes need addresses that are good for {_days(needed)}; without the storage account's"
        f" key they can be signed for {_days(longest)}",
        where=scene.at_job(*(_UNTIL if scheduled else _LIMITS)),
        fix=_SOONER if scheduled else "",
    )


def _days(length: timedelta) -> str:
    days, hours = length.days, length.seconds // 3600
    parts = [f"{n} {what}{'s'[: n > 1]}" for n, what in ((days, "day"), (hours, "hour")) if n]
    return " and ".join(parts) or f"{length.seconds // 60} minutes"


def _signs(scene: RuleContext) -> bool:
    """Whether anything of the run has a signed address in it."""
    spec = scene.spec
    around = (spec.pool.start_containers, spec.job.prepare_containers, spec.job.release_containers)
    return (
        any(around)
        or any(map(_stage_signs, spec.stages))
        or _signed((scene.body, spec.job.properties))
    )


def _stage_signs(stage: Stage) -> bool:
    return (
        stage.logs is not None
        or bool(stage.resources)
        or getattr(stage.for_each, "container", None) is not None
        or _signed((stage.body, *_templates(stage.command)))
    )


def _templates(command: Command) -> Iterator[Value]:
    yield from command.arguments
    if command.template is not None:
        yield command.template


def _signed(values: Iterable[Value]) -> bool:
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
            return _signed(value.values())
        case tuple():
            return _signed(value)
    return False


def handed_in(scene: RuleContext) -> Iterator[Diagnostic]:
    """Signed addresses among the secret parameters that expire before the run has to end."""
    ends = run_ends(scene.spec, scene.observed.now)
    for name, value in scene.spec.parameters.items():
        expiry = _expiry(value.reveal()) if isinstance(value, Secret) else None
        if expiry is not None and expiry < ends:
            yield finding(
                "sas-ends-early",
                f"the address in `{name}` expires on {expiry:%Y-%m-%d %H:%M} UTC; the run may last"
                f" until {ends:%Y-%m-%d %H:%M}",
                where=scene.spec.place(f"parameters.{name}"),
            )


def _expiry(text: str) -> datetime | None:
    """When the first SAS that is in a text expires (its ``se``)."""
    found = [moment for word in _EXPIRY.findall(text) if (moment := _moment(word)) is not None]
    return min(found, default=None)


def _moment(word: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(unquote(word))
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def earlier(scene: RuleContext, work: TaskSets) -> Iterator[Diagnostic]:
    """Tasks in an open job that is given more time than they were signed for."""
    job = work.open_job
    waiting = sum(stage.under_way for stage in work.stages)
    if job is None or not waiting:
        return
    given = record(job.properties.get("constraints")).get("maxWallClockTime")
    seconds = duration_seconds(given) if isinstance(given, str) else None
    if seconds is None or scene.spec.job.limit <= timedelta(seconds=seconds) + _MARGIN:
        return
    tasks = "1 task" if waiting == 1 else f"{waiting} tasks"
    yield finding(
        "tasks-signed-earlier",
        f"{tasks} of the job {job.id!r} were signed for a shorter run than it gets now",
        where=scene.at_job(*_LIMITS),
    )
