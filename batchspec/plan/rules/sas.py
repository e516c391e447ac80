"""The lifetime of signed URLs (SAS), and rules about it: they are valid until the run must end.

A run is bounded by its job's limit, so no signature needs to outlive that by more than a margin.
The jobs of a schedule have it from the schedule, so those signatures outlive its last job. A pool
may stay for a later run; its nodes read the files of their start task whenever they start, so the
pool's metadata says until when they can.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from urllib.parse import unquote

from batchspec.diagnostics import Place, Secret
from batchspec.plan.changes import duration_seconds
from batchspec.plan.metadata import UNTIL
from batchspec.plan.observed import PoolFacts
from batchspec.plan.rules.rule import (
    ERROR,
    WARNING,
    Finding,
    RuleContext,
    RuleGroup,
    TaskBody,
    place_of,
    record,
    records_at,
    resource_files,
    rest_to_key,
    task_bodies,
)
from batchspec.plan.task_sets import TaskSets
from batchspec.spec import (
    BlobUrl,
    Command,
    Quoted,
    Record,
    Spec,
    Stage,
    Template,
    Text,
    Value,
    duration,
    position,
)

_LATEST = datetime(9000, 1, 1, tzinfo=UTC)
"""The start of the last job at the latest, so that its end is a time of the calendar."""
_MARGIN = timedelta(hours=1)
"""The last task may start just before the limit, and a clock may be wrong."""


def sas_lifetime(spec: Spec, now: datetime) -> timedelta:
    """How long the signatures of a run that begins now are good."""
    return run_ends(spec, now) - now + _MARGIN


def run_ends(spec: Spec, now: datetime) -> datetime:
    """When a run that begins now is over at the latest; of a schedule, its last job.

    A schedule without an end has no last job: the first one stands for it (:func:`is_endless`).
    """
    last = now if spec.job.schedule is None else max(now, _last_start(spec.job.schedule, now))
    return min(last, _LATEST) + spec.job.limit


def is_endless(schedule: Record) -> bool:
    """Whether a schedule (``BatchJobScheduleConfiguration``) makes jobs without an end."""
    return "recurrenceInterval" in schedule and "doNotRunAfter" not in schedule


def is_over(schedule: Record, now: datetime) -> bool:
    """Whether the time is over in which a schedule makes jobs."""
    end = _time(schedule, "doNotRunAfter")
    return end is not None and end <= now


def _last_start(schedule: Record, now: datetime) -> datetime:
    end = _time(schedule, "doNotRunAfter")
    if end is not None:
        return end
    window = schedule.get("startWindow")
    late = duration(window) if isinstance(window, str) else None
    first = min(_time(schedule, "doNotRunUntil") or now, _LATEST)
    return first + min(late or timedelta(), _LATEST - first)


def _time(schedule: Record, key: str) -> datetime | None:
    given = schedule.get(key)
    return datetime.fromisoformat(given) if isinstance(given, str) else None


def runs_out(pool: PoolFacts, spec: Spec, now: datetime) -> datetime | None:
    """When a node of the pool can no longer start, if a run that begins now may last longer."""
    if not spec.pool.start_containers:
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
    fix="Decrease `max_wall_clock_time`, or set AZURE_STORAGE_KEY.",
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
        " `identity_reference`, or set AZURE_STORAGE_KEY."
    )
    yield Finding(
        f"the nodes need signed URLs for {_days(needed)}; without the storage account's key they"
        f" are valid for {_days(longest)}",
        context.at_job(*(_UNTIL_KEYS if scheduled else _LIMIT_KEYS)),
        fix=earlier if scheduled else "",
    )


def _days(length: timedelta) -> str:
    days, hours = length.days, length.seconds // 3600
    parts = [f"{n} {unit}{'s'[: n > 1]}" for n, unit in ((days, "day"), (hours, "hour")) if n]
    return " and ".join(parts) or f"{length.seconds // 60} minutes"


def _signs(context: RuleContext) -> bool:
    """Whether any request of the run contains a signed URL."""
    spec = context.spec
    shared = (spec.pool.start_containers, spec.job.prepare_containers, spec.job.release_containers)
    return (
        any(shared)
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
    """When the first SAS in a text expires (its ``se``)."""
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
    if job is None or not submitted:
        return
    given = record(job.properties.get("constraints")).get("maxWallClockTime")
    seconds = duration_seconds(given) if isinstance(given, str) else None
    if seconds is None or context.spec.job.limit <= timedelta(seconds=seconds) + _MARGIN:
        return
    tasks = "1 task" if submitted == 1 else f"{submitted:,} tasks"
    yield Finding(
        f"the URLs of {tasks} in the job {job.id!r} were signed for a shorter time limit",
        context.at_job(*_LIMIT_KEYS),
    )


SIGNED_URLS = RuleGroup(
    "Signed URLs",
    "`read_url` and `write_url` of a container, and `url` of a file, end in a signature, which "
    "grants permissions for exactly that container or blob.",
)

_SIGNED = re.compile(
    r"\{\{\s*(?:containers(?:\.\w[\w-]*|\[\s*['\"][^'\"]+['\"]\s*\])\.(?:read|write)_url|file\.url)"
    r"\s*(?:\|\s*raw\s*)?\}\}(?P<after>['\"]*/[^\s'\"]*)"
)
"""A signed URL that a path follows, in the source of a template."""
_FILE_URL = re.compile(r"\s*\{\{\s*file\.url\s*(?:\|\s*raw\s*)?\}\}\s*")


@SIGNED_URLS.check(
    "path-after-signature",
    ERROR,
    title="A path follows a signed URL",
    why="The URL ends in its signature, so the path becomes a part of the signature, and Storage"
    " rejects the request.",
    fix="Let the service upload the file (`outputs`), or insert the path before the `?` of the URL"
    " in the program. The URL without a signature is `{{ containers.NAME.url }}`.",
    offline=True,
)
def path_after_signature(context: RuleContext) -> Iterator[Finding]:
    """A literal ``/`` directly after a signed URL, in any property."""
    for task in task_bodies(context):
        for where, path in _appended(context, task):
            yield Finding(f"the path {path!r} follows a signed URL", where)


def _appended(context: RuleContext, task: TaskBody) -> Iterator[tuple[Place, str]]:
    if task.stage is not None:
        command = task.stage.command
        for template in (command.template, *command.arguments):
            if template is not None:
                yield from _appended_to_template(template)
    for path, value in _leaves(task.body, task.path):
        if isinstance(value, Template):
            yield from _appended_to_template(value)
        elif isinstance(value, Text):
            for after in _after_signatures(value):
                yield place_of(context.spec, path, task.where), after


def _appended_to_template(template: Template) -> Iterator[tuple[Place, str]]:
    for match in _SIGNED.finditer(template.source):
        place = position(template, match.start(), match.end() - match.start())
        yield place, match["after"].lstrip("'\"")


def _after_signatures(text: Text) -> Iterator[str]:
    """The paths that directly follow signed URLs."""
    for piece, following in pairwise(_flat(text)):
        if isinstance(piece, BlobUrl) and piece.permissions and isinstance(following, str):
            after = following.lstrip("'\"")
            if after.startswith("/"):
                yield re.split(r"[\s'\"]", after, maxsplit=1)[0]


def _flat(text: Text) -> Iterator[object]:
    for piece in text.pieces:
        if isinstance(piece, Quoted):
            yield from _flat(piece.inner)
        else:
            yield piece


def _leaves(value: Value, path: str) -> Iterator[tuple[str, Value]]:
    match value:
        case Record():
            for key, item in value.items():
                yield from _leaves(item, f"{path}.{rest_to_key(key)}")
        case tuple():
            for number, item in enumerate(value):
                yield from _leaves(item, f"{path}[{number}]")
        case _:
            yield path, value


@SIGNED_URLS.check(
    "wrong-url-rights",
    ERROR,
    title="A URL does not have the permissions that its property needs",
    why="Nodes read resource files and write outputs with the permissions of the URL; without them,"
    " Storage rejects the request, and the task fails.",
    fix="Use `{{ containers.NAME.read_url }}` to read and `{{ containers.NAME.write_url }}` to"
    " write, or authorize the nodes with `identity_reference`.",
    offline=True,
)
def wrong_url_rights(context: RuleContext) -> Iterator[Finding]:
    """Read URLs as destinations, write URLs as sources, and URLs without a signature."""
    for task in task_bodies(context):
        for path, url, need, holder in _urls(task):
            lacks = [right for right in need if right not in url.permissions]
            if not lacks or holder.get("identityReference") is not None:
                continue
            if not url.permissions and (need != "w" and _is_public(context, url)):
                continue
            act = "written to" if need == "w" else "read"
            grants = "has no signature" if not url.permissions else _grants(url)
            better = "write_url" if need == "w" else "read_url"
            name = _key_of(context, url)
            fix = f'Write `"{{{{ containers.{name}.{better} }}}}"`.'
            yield Finding(
                f"the container {url.container!r} cannot be {act} with this URL, which {grants}",
                place_of(context.spec, path, task.where),
                fix="" if need == "r" else fix,
            )


def _grants(url: BlobUrl) -> str:
    return "only grants reading" if "r" in url.permissions else "only grants writing"


def _is_public(context: RuleContext, url: BlobUrl) -> bool:
    """Whether a container may be readable without a signature, as far as the spec shows."""
    for container in context.spec.containers.values():
        if container.id == url.container:
            return container.existing or container.public_access is not None
    return True


def _key_of(context: RuleContext, url: BlobUrl) -> str:
    containers = context.spec.containers.values()
    return next((c.key for c in containers if c.id == url.container), "NAME")


@SIGNED_URLS.check(
    "wrong-url-kind",
    ERROR,
    title="The URL of a container is used for a blob, or the URL of a blob for a container",
    why="`http_url` downloads one blob; `storage_container_url` and `container_url` name a"
    " container.",
    fix="Use `storage_container_url` with `blob_prefix` for blobs of a container, or"
    " `{{ file.url }}` for one blob.",
    offline=True,
)
def wrong_url_kind(context: RuleContext) -> Iterator[Finding]:
    """A container in ``http_url``, and a blob where a container is named."""
    for task in task_bodies(context):
        for path, value, wants_blob in _kinds(task):
            where = place_of(context.spec, path, task.where)
            url = _only(value)
            if wants_blob and url is not None and url.blob is None:
                yield _container_for_blob(context, url, where)
            elif not wants_blob and _is_blob(value):
                key = path.rpartition(".")[2]
                yield Finding(
                    f"`{key}` is the URL of a blob; it must be that of a container", where
                )


def _container_for_blob(context: RuleContext, url: BlobUrl, where: Place) -> Finding:
    name = _key_of(context, url)
    return Finding(
        f"`http_url` is the URL of the container {url.container!r}; it must be that of a blob",
        where,
        fix="For one blob or several, replace it with"
        f' `storage_container_url: "{{{{ containers.{name}.read_url }}}}", blob_prefix: NAME`, and'
        " remove `file_path`.",
    )


def _kinds(task: TaskBody) -> Iterator[tuple[str, Value, bool]]:
    """Each URL of a blob or container, with its path, and whether it must be that of a blob."""
    for path, file in resource_files(task.body, task.path):
        for key in ("httpUrl", "storageContainerUrl"):
            if (value := file.get(key)) is not None:
                yield f"{path}.{rest_to_key(key)}", value, key == "httpUrl"
    for path, container in _destinations(task):
        if (value := container.get("containerUrl")) is not None:
            yield f"{path}.container_url", value, False


def _urls(task: TaskBody) -> Iterator[tuple[str, BlobUrl, str, Record]]:
    """URLs of containers: path, URL, the rights needed, and the object that has the URL.

    A path after a signature and a container for a blob are reported by other rules.
    """
    for path, file in resource_files(task.body, task.path):
        whole, blob = _first(file.get("storageContainerUrl")), _first(file.get("httpUrl"))
        if whole is not None:
            yield f"{path}.storage_container_url", whole, "rl", file
        if blob is not None and not blob.permissions and _only(file["httpUrl"]) is None:
            yield f"{path}.http_url", blob, "r", file
    for path, container in _destinations(task):
        url = _first(container.get("containerUrl"))
        if url is not None:
            yield f"{path}.container_url", url, "w", container


def _destinations(task: TaskBody) -> Iterator[tuple[str, Record]]:
    for path, file in records_at(task.body, "outputFiles", task.path):
        container = record(record(file.get("destination")).get("container"))
        yield f"{path}.destination.container", container


def _first(value: Value) -> BlobUrl | None:
    """The URL that a value begins with."""
    first = value.pieces[0] if isinstance(value, Text) and value.pieces else None
    return first if isinstance(first, BlobUrl) else None


def _only(value: Value) -> BlobUrl | None:
    """The URL that is the whole value."""
    return _first(value) if isinstance(value, Text) and len(value.pieces) == 1 else None


def _is_blob(value: Value) -> bool:
    if isinstance(value, Template):
        return _FILE_URL.fullmatch(value.source) is not None
    url = _first(value)
    return url is not None and url.blob is not None
