"""Rules about references: what a property names must exist in the spec or in the account.

These are tasks that others depend on (``needs``, ``depends_on``), users of the pool, and blobs.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from batchspec.diagnostics import Diagnostic, Place, SpecError, did_you_mean
from batchspec.plan.metadata import containers_written
from batchspec.plan.observed import Observed
from batchspec.plan.rules.rule import (
    ERROR,
    WARNING,
    Finding,
    RuleContext,
    RuleGroup,
    place_of,
    resource_files,
    task_bodies,
)
from batchspec.plan.tasks import expand
from batchspec.spec import BlobUrl, EachBlob, Record, Spec, Stage, Template, Text, Value

REFERENCES = RuleGroup(
    "References",
    "Objects that a property names must exist in the spec, in the pool or in the account.",
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
    accounts = context.pool.records("userAccounts")
    names = [name for account in accounts if isinstance(name := account.get("name"), str)]
    known = {name.lower() for name in names}
    for task in task_bodies(context):
        name = task.body.record("userIdentity").get("username")
        if isinstance(name, str) and name.lower() not in known:
            yield Finding(
                f"the pool {context.spec.pool.id!r} has no user account {name!r}",
                place_of(context.spec, f"{task.path}.user_identity.username", task.where),
                f"Accounts of the pool: {', '.join(names) or 'none'}.",
                did_you_mean(name, names),
            )


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
    """A function that checks the prefixes in the body of a task, as far as tasks differ in them.

    ``None`` if no prefixes differ: :data:`no_such_blobs` checks those that all tasks share.
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
    start = spec.pool.properties.record("startTask")
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
        fix = did_you_mean(prefix, folders)
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


DEPENDENCIES = RuleGroup(
    "Dependencies", "Dependencies between tasks. A task without dependencies can start at any time."
)

_REPORTED = 5
"""How many unknown ids of a stage are reported one by one."""
_SUGGESTED = 10_000
"""How many ids are compared with a misspelled one."""
_SPECIAL = {
    "jobPreparationTask": ("jobpreparation", "the job preparation task"),
    "jobReleaseTask": ("jobrelease", "the job release task"),
    "jobManagerTask": ("", "the job manager task"),
}
"""The special tasks of a job, by property: the id that the service uses by default, and a name."""


@DEPENDENCIES.check(
    "dependencies-off",
    ERROR,
    title="Tasks depend on others, and the job does not support dependencies",
    why="The service rejects every task that depends on others.",
    fix="Remove `uses_task_dependencies: false`; without the key it is set as needed.",
    offline=True,
)
def dependencies_off(context: RuleContext) -> Iterator[Finding]:
    """``uses_task_dependencies: false`` together with ``needs`` or ``depends_on``."""
    job = context.spec.job.properties
    depends = [s.name for s in context.spec.stages if s.needs or s.body.get("dependsOn")]
    if depends and job.get("usesTaskDependencies") is False:
        yield Finding(
            f"tasks of {depends[0]} depend on others, but the job has"
            " `uses_task_dependencies: false`",
            context.at_job("uses_task_dependencies"),
        )


def special_tasks(spec: Spec) -> Iterator[tuple[str, str, str]]:
    """The special tasks of the job: property, id, and name in messages."""
    for key, (default, name) in _SPECIAL.items():
        given = spec.job.properties.record(key).get("id", default)
        if key in spec.job.properties and isinstance(given, str) and given:
            yield key, given, name


def special_ids(spec: Spec) -> Mapping[str, str]:
    """The names of the special tasks of the job by their ids (lower case)."""
    return {given.lower(): name for _, given, name in special_tasks(spec)}


@DEPENDENCIES.rule(
    "reserved-id",
    ERROR,
    title="A task has the id of a special task of the job",
    why="The service rejects the task (`TaskIdSameAsJobPreparationTask`,"
    " `TaskIdSameAsJobReleaseTask`, `TaskExists`).",
    fix="Change the `id` of one of them.",
)
def reserved_id(task: str, special: str, where: Place) -> Iterator[Finding]:
    """A task whose id is that of the job preparation, job release or job manager task."""
    yield Finding(f"the id {task!r} is that of {special}", where)


@DEPENDENCIES.rule(
    "no-such-task",
    ERROR,
    title="A task depends on a task that does not exist",
    why="The service accepts any id. The task would wait for it until the time limit of the job.",
    fix="Fix `depends_on`, or write `needs: [STAGE]` to wait for all tasks of a stage.",
)
def no_such_task(found: Iterable[Finding]) -> Iterable[Finding]:
    """Ids and ranges in ``depends_on`` of which the spec has no task."""
    return found


@DEPENDENCIES.rule(
    "task-not-in-spec",
    WARNING,
    title="A task depends on a task that the spec does not contain",
    why="The job manager task may add it. Otherwise the task would wait for it until the time "
    "limit of the job.",
    fix="Check that the job manager task adds it to the job, with exactly this id.",
)
def task_not_in_spec(found: Iterable[Finding]) -> Iterable[Finding]:
    """The same ids and ranges in a job whose job manager task may add tasks."""
    return found


@DEPENDENCIES.rule(
    "depends-on-itself",
    ERROR,
    title="A task depends on itself",
    why="It would never start.",
    fix="Fix `depends_on`.",
)
def depends_on_itself(stage: Stage, task: str, where: Place) -> Iterator[Finding]:
    """A task with its own id in ``depends_on``."""
    yield Finding(f"the task {task!r} of {stage.name} depends on itself", where)


def check_dependencies(
    spec: Spec, observed: Observed, *, windows: bool, offline: bool = False
) -> tuple[Diagnostic, ...]:
    """Ids and ranges in ``depends_on`` that no task has.

    Nothing is reported in two cases: if tasks cannot be created, which
    :func:`~batchspec.plan.rules.tasks.check_tasks` reports; and if ``offline`` is true and a stage
    has a task for each blob of a container, because the ids of these tasks are not known.
    """
    stages = [stage for stage in spec.stages if stage.body.get("dependsOn") is not None]
    if not stages or (offline and any(isinstance(s.for_each, EachBlob) for s in spec.stages)):
        return ()
    try:
        scan = _Scan(spec, observed, windows)
        for stage in stages:
            scan.read(stage)
        scan.match()
        return tuple(scan.report())
    except SpecError:
        return ()


@dataclass(slots=True)
class _Wanted:
    """A range of ids in ``depends_on``; ``found`` marks the offsets of ids that a task has.

    Of a range that is longer than the number of tasks, only the beginning is stored: at least one
    of its ids is missing.
    """

    start: int
    end: int
    stage: Stage
    where: Place
    found: bytearray = field(default_factory=bytearray)

    @property
    def length(self) -> int:
        return self.end - self.start + 1


@dataclass(slots=True)
class _Scan:
    """Collects what tasks depend on, then removes what exists."""

    spec: Spec
    observed: Observed
    windows: bool
    ids: dict[str, tuple[str, Stage, Place]] = field(default_factory=dict)
    ranges: dict[tuple[int, int], _Wanted] = field(default_factory=dict)
    itself: list[Diagnostic] = field(default_factory=list)

    def read(self, stage: Stage) -> None:
        """The ids and ranges that the tasks of a stage depend on."""
        depends = stage.body.get("dependsOn")
        shared = not _has_template(depends)
        path = f"tasks.{stage.name}.depends_on"
        for task in expand(self.spec, stage, self.observed, windows=self.windows):
            given = task.body.record("dependsOn")
            for number, name in enumerate(given.array("taskIds")):
                where = place_of(self.spec, f"{path}.task_ids[{number}]", stage.where)
                if isinstance(name, str):
                    self.ids.setdefault(name.lower(), (name, stage, where))
                    if name.lower() == task.id.lower() and len(self.itself) < _REPORTED:
                        self.itself += depends_on_itself(stage, task.id, where)
            for number, part in enumerate(given.records("taskIdRanges")):
                start, end = part.get("start"), part.get("end")
                if isinstance(start, int) and isinstance(end, int) and start <= end:
                    where = place_of(self.spec, f"{path}.task_id_ranges[{number}]", stage.where)
                    self.ranges.setdefault((start, end), _Wanted(start, end, stage, where))
            if shared and stage.id is None:
                return  # All tasks depend on the same ids, and have generated ids.

    def match(self) -> None:
        """Remove the ids of all tasks of the spec and of the open job."""
        for key, name, _ in special_tasks(self.spec):
            if key == "jobManagerTask":
                self._exists(name.lower())
        streams = [
            expand(self.spec, s, self.observed, windows=self.windows) for s in self.spec.stages
        ]
        total = sum(map(len, streams))
        for wanted in self.ranges.values():
            wanted.found = bytearray(min(wanted.length, total + 1))
        for tasks in streams:
            for task in tasks:
                self._exists(task.id.lower())
        self._others()

    def _exists(self, name: str) -> None:
        self.ids.pop(name, None)
        if self.ranges and name.isascii() and name.isdigit():
            number = int(name)
            for wanted in self.ranges.values():
                if 0 <= number - wanted.start < len(wanted.found):
                    wanted.found[number - wanted.start] = 1

    def _others(self) -> None:
        """Remove the ids of tasks that other clients added to an open job."""
        index = self.observed.tasks
        jobs = {job.id for job in self.observed.jobs if job.state == "active"}
        if index is None or not jobs:
            return
        for name in list(self.ids):
            if any(job in jobs for job, _ in index.versions(name)):
                del self.ids[name]
        if self.ranges:
            for name, job, _ in index.ends():
                if job in jobs:
                    self._exists(name.lower())

    def report(self) -> Iterator[Diagnostic]:
        """The findings about the ids and ranges that are left."""
        yield from self.itself
        rule = task_not_in_spec if _manager_adds_tasks(self.spec) else no_such_task
        yield from rule(islice(self._unknown(), _REPORTED))
        yield from rule(islice(self._incomplete(), _REPORTED))

    def _unknown(self) -> Iterator[Finding]:
        known = list(islice(self._ids(), _SUGGESTED)) if self.ids else []
        stages = {stage.name.lower(): stage.name for stage in self.spec.stages}
        for lower, (name, stage, where) in self.ids.items():
            fix = did_you_mean(name, known)
            if not fix and lower in stages and stages[lower] != stage.name:
                fix = f"To wait for all tasks of the stage, write `needs: [{stages[lower]}]`."
            yield Finding(
                f"a task of {stage.name} depends on {name!r}, and no task has this id",
                where,
                fix=fix,
            )

    def _ids(self) -> Iterator[str]:
        for stage in self.spec.stages:
            for task in expand(self.spec, stage, self.observed, windows=self.windows):
                yield task.id

    def _incomplete(self) -> Iterator[Finding]:
        for wanted in self.ranges.values():
            missing = wanted.found.find(0)
            if missing < 0 and len(wanted.found) == wanted.length:
                continue
            there = wanted.found.count(1)
            first = wanted.start + max(0, missing)
            stage, ids = wanted.stage.name, f"{wanted.start} to {wanted.end}"
            depends = f"a task of {stage} depends on the ids {ids}"
            if not there:
                yield Finding(
                    f"{depends}, and no task has one of them",
                    wanted.where,
                    "A range refers to ids that are whole numbers.",
                )
            else:
                all_before = there == missing
                yield Finding(
                    f"{depends}, and no task has the id {first}",
                    wanted.where,
                    f"{there:,} of {wanted.length:,} ids exist.",
                    f"Write `end: {first - 1}`." if all_before else "",
                )


def _manager_adds_tasks(spec: Spec) -> bool:
    """Whether the job has a job manager task, which may add tasks to it."""
    return isinstance(spec.job.properties.get("jobManagerTask"), Record)


def _has_template(value: Value) -> bool:
    match value:
        case Template():
            return True
        case Record():
            return any(map(_has_template, value.values()))
        case tuple():
            return any(map(_has_template, value))
    return False
