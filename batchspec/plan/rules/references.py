"""Rules about references: what a property names must exist in the spec or in the account."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence

from batchspec.diagnostics import Diagnostic, Place
from batchspec.plan.observed import Observed
from batchspec.plan.rules.bodies import place_of, resource_files, task_bodies
from batchspec.plan.rules.rule import ERROR, Finding, RuleContext, RuleGroup, record, records
from batchspec.plan.stamps import containers_written
from batchspec.spec import BlobUrl, Record, Spec, Stage, Template, Text, Value, nearest

REFERENCES = RuleGroup(
    "References", "What a property names must exist in the spec, in the pool or in the account."
)


@REFERENCES.check(
    "user-not-on-pool",
    ERROR,
    title="A task runs as a user that the existing pool does not have",
    why="The service rejects the task.",
    fix="Use one of the accounts of the pool, or another pool.",
)
def user_not_on_pool(context: RuleContext) -> Iterator[Finding]:
    """``user_identity.username`` on an existing pool; for other pools ``spec`` compares them."""
    if not context.existing or not context.known:
        return
    accounts = records(context.pool.get("userAccounts"))
    names = [name for account in accounts if isinstance(name := account.get("name"), str)]
    known = {name.lower() for name in names}
    for task in task_bodies(context):
        name = record(task.body.get("userIdentity")).get("username")
        if isinstance(name, str) and name.lower() not in known:
            yield Finding(
                f"the pool {context.spec.pool.id!r} has no user account {name!r}",
                place_of(context.spec, f"{task.path}.user_identity.username", task.where),
                f"Accounts of the pool: {', '.join(names) or 'none'}.",
                _did_you_mean(name, names),
            )


def _did_you_mean(name: str, known: Sequence[str]) -> str:
    near = nearest(name, known)
    return f"Did you mean `{near}`?" if near is not None else ""


@REFERENCES.check(
    "no-such-blobs",
    ERROR,
    title="A prefix matches none of the files that the spec uploads",
    why="The service downloads nothing and reports no error, so the task starts without its files.",
    fix="Fix `blob_prefix`; it is the beginning of a blob name, and not a pattern.",
    offline=True,
)
def no_such_blobs(context: RuleContext) -> Iterator[Finding]:
    """``blob_prefix`` in a container that only the spec fills, and by uploads alone."""
    for task in task_bodies(context):
        for path, file in resource_files(task.body, task.path):
            prefix = file.get("blobPrefix")
            key = _container_key(context.spec, file)
            if not isinstance(prefix, str) or not prefix or key is None:
                continue
            names = uploaded_names(context.spec, context.observed, key)
            if names is not None and not has_prefix(names, prefix):
                where = place_of(context.spec, f"{path}.blob_prefix", task.where)
                yield no_blobs(key, prefix, names, where)


def prefixes_of_tasks(
    spec: Spec, stage: Stage, observed: Observed
) -> Callable[[Record], Iterator[Diagnostic]] | None:
    """Checks the prefixes in a body of a task; ``None`` if all tasks of the stage have the same.

    Those that all tasks share are checked by :data:`no_such_blobs`.
    """
    path = f"tasks.{stage.name}"
    varying = {
        at
        for at, file in resource_files(stage.body, path)
        if isinstance(file.get("blobPrefix"), Template)
    }
    if not varying:
        return None
    names: dict[str, Sequence[str] | None] = {}

    def check(body: Record) -> Iterator[Diagnostic]:
        for at, file in resource_files(body, path):
            prefix, key = file.get("blobPrefix"), _container_key(spec, file)
            if at not in varying or not isinstance(prefix, str) or not prefix or key is None:
                continue
            if key not in names:
                names[key] = uploaded_names(spec, observed, key)
            known = names[key]
            if known is not None and not has_prefix(known, prefix):
                where = place_of(spec, f"{at}.blob_prefix", stage.where)
                yield no_such_blobs.report(no_blobs(key, prefix, known, where))

    return check


def uploaded_names(spec: Spec, observed: Observed, key: str) -> Sequence[str] | None:
    """The sorted names of all blobs of a container; ``None`` if others may write blobs there."""
    container = spec.containers[key]
    if container.existing or not container.upload or _is_written(spec, container.id):
        return None
    return sorted(file.blob for file in observed.containers[key].files)


def _is_written(spec: Spec, container: str) -> bool:
    """Whether tasks write to a container, as outputs or with its URL."""
    bodies = [stage.body for stage in spec.stages]
    if any(container in containers_written(body) for body in bodies):
        return True
    special = (value for value in spec.job.properties.values() if isinstance(value, Record))
    start = record(spec.pool.properties.get("startTask"))
    values: list[Value] = [*bodies, *special, start]
    return any(_writes(value, container) for value in values) or any(
        "write_url" in template.source
        for stage in spec.stages
        for template in (stage.command.template, *stage.command.arguments)
        if template is not None
    )


def _writes(value: Value, container: str) -> bool:
    match value:
        case Text():
            return any(u.container == container and "w" in u.permissions for u in value.urls())
        case Record():
            return any(_writes(item, container) for item in value.values())
        case tuple():
            return any(_writes(item, container) for item in value)
    return False


def has_prefix(names: Sequence[str], prefix: str) -> bool:
    """Whether one of the sorted names starts with a prefix."""
    at = bisect_left(names, prefix)
    return at < len(names) and names[at].startswith(prefix)


def no_blobs(key: str, prefix: str, names: Sequence[str], where: Place) -> Finding:
    """A prefix that none of the uploaded files has."""
    fixed = prefix[: min((at for at in map(prefix.find, "*?[") if at >= 0), default=len(prefix))]
    if fixed != prefix and has_prefix(names, fixed):
        write = f"Write `{fixed}`" if fixed else "Remove it to download all blobs"
        fix = f"A prefix is not a pattern. {write}."
    else:
        folders = sorted({f"{name.partition('/')[0]}/" for name in names if "/" in name})
        fix = _did_you_mean(prefix, folders)
    examples = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    return Finding(
        f"none of the files uploaded to {key} has the prefix {prefix!r}",
        where,
        f"Uploaded: {examples or 'none'}.",
        fix,
    )


def _container_key(spec: Spec, file: Record) -> str | None:
    """The key of the container that a resource file downloads."""
    url, auto = file.get("storageContainerUrl"), file.get("autoStorageContainerName")
    first = url.pieces[0] if isinstance(url, Text) and len(url.pieces) == 1 else None
    name = first.container if isinstance(first, BlobUrl) else auto
    return next((key for key, one in spec.containers.items() if one.id == name), None)
