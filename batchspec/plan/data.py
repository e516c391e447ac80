"""The steps that bring data to the account: containers, uploads and application packages."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from batchspec.diagnostics import Diagnostic
from batchspec.plan.actions import (
    CreateContainer,
    DeleteOutputs,
    UploadFiles,
    UploadPackage,
    UseContainer,
)
from batchspec.plan.lazy import FilesToUpload, pair, same
from batchspec.plan.metadata import (
    BY,
    OWNER,
    VERSION,
    WorkSet,
    containers_written,
    created_by,
    is_stale,
    may_delete,
    provenance_pairs,
    users,
    with_user,
)
from batchspec.plan.observed import ContainerFacts, LocalFile, Observed, PackageFacts, totals
from batchspec.plan.plan import Step, Verb
from batchspec.plan.rules.account import package_differs
from batchspec.plan.task_sets import TaskSets
from batchspec.spec import Container, EachFile, Package, Spec


def container_steps(spec: Spec, observed: Observed, version: str) -> Iterator[Step]:
    """One step for each container: it creates, uses or keeps the container.

    ``version`` is that of the run (:data:`~batchspec.plan.metadata.VERSION`).
    """
    applied = {**provenance_pairs(observed), VERSION: version}
    for key, container in spec.containers.items():
        facts = observed.containers[key]
        step_id, subject = f"container:{key}", f"container {container.id}"
        # Anyone can read the metadata of a public container.
        record = {k: v for k, v in applied.items() if k != BY or not container.public_access}
        if facts.exists:
            reason = _why_kept(container, facts, spec.name)
            if with_user(facts.metadata or {}, spec.name, record) is None:
                yield Step(step_id, None, Verb.KEEP, subject, reason)
            else:
                use = UseContainer(container.id, spec.name, record)
                known = spec.name in users(facts.metadata or {})
                change = "records this client" if known else "adds this spec to its users"
                yield Step(step_id, use, Verb.UPDATE, subject, f"{reason}; {change}")
        elif not container.existing:
            metadata = {**container.metadata, **created_by(spec.name, record)}
            public = container.public_access
            action = CreateContainer(container.id, metadata, public, spec.name, record)
            yield Step(step_id, action, Verb.CREATE, subject, "new")


def _why_kept(container: Container, facts: ContainerFacts, name: str) -> str:
    """The reason of a container that exists, with the other spec that created it and may store
    blobs in it."""
    creator = (facts.metadata or {}).get(OWNER, name)
    if container.existing or creator == name:
        return "exists"
    return f"exists; created by spec {creator}"


def stale_steps(
    spec: Spec, observed: Observed, work: TaskSets, after: tuple[str, ...]
) -> Iterator[Step]:
    """The steps that delete outputs of an earlier version from containers that tasks read.

    A stage that reads a whole container would read them like outputs of the current version.
    Nothing is deleted from a container that other specs use.
    """
    written = {name for stage in spec.stages for name in containers_written(stage.body)}
    works: WorkSet | None = None
    for key in sorted(work.read):
        container, facts = spec.containers[key], observed.containers[key]
        if container.id not in written or container.existing or facts.metadata is None:
            continue
        if not may_delete(facts.metadata, spec.name):
            continue
        works = works or WorkSet(work.works)
        count = sum(is_stale(blob, works) for blob in facts.blobs)
        running = work.earlier is not None and work.earlier.running
        if count or running:
            yield Step(
                f"outputs:{key}",
                DeleteOutputs(container.id, work.works),
                Verb.DELETE,
                f"outputs of an earlier version in {container.id}",
                "tasks read the whole container",
                after,
                count,
            )


def upload_steps(
    spec: Spec, observed: Observed, work: TaskSets, created: frozenset[str]
) -> Iterator[Step]:
    """One step for each container with files: it uploads new and changed files, or keeps the
    container.

    ``created`` are the ids of the steps that create containers.
    """
    for key, container in spec.containers.items():
        if not container.upload:
            continue
        facts = observed.containers[key]
        needed = _is_needed(spec, key, facts, work)
        count = _Count.of(facts, needed)
        step_id, subject = f"upload:{key}", f"files to {container.id}"
        if not count.new + count.changed:
            yield Step(step_id, None, Verb.KEEP, subject, "up to date", items=count.unchanged)
            continue
        stream = FilesToUpload(facts.files, facts.blobs, needed, count.new + count.changed)
        before = f"container:{key}"
        yield Step(
            step_id,
            UploadFiles(container.id, stream, count.size),
            Verb.UPLOAD,
            subject,
            count.reason,
            after=(before,) if before in created else (),
            items=len(stream),
        )


def _is_needed(
    spec: Spec, key: str, facts: ContainerFacts, work: TaskSets
) -> Callable[[LocalFile], bool] | None:
    """A function that returns whether a file of a container is needed; ``None`` if all are.

    Some files are not needed only if clean-up has deleted the container, and some of the tasks that
    each read one of its files are done: their files are not.
    """
    readers = [
        stage
        for stage in work.stages
        if isinstance(stage.stage.for_each, EachFile) and stage.stage.for_each.container == key
    ]
    shared = key in spec.pool.start_containers or any(
        key in (stage.stage.resources or ()) for stage in work.stages
    )
    partly = any(stage.done for stage in readers)
    if facts.exists or shared or not partly:
        return None
    needed = {
        blob
        for stage in readers
        for tasks in (stage.submit, stage.retry)
        for task in tasks
        for container, blob in task.inputs
        if container == key
    }
    return lambda file: file.blob in needed


class _Count:
    """The number of files to upload to a container, by reason."""

    def __init__(self) -> None:
        self.new = self.changed = self.unchanged = self.size = 0

    @classmethod
    def of(cls, facts: ContainerFacts, needed: Callable[[LocalFile], bool] | None) -> _Count:
        count = cls()
        if needed is None and not any(True for _ in facts.blobs):
            count.new, count.size = totals(facts.files)
            return count
        for file, blob in pair(facts.files, facts.blobs):
            if same(file, blob):
                count.unchanged += 1
            elif needed is None or needed(file):
                count.size += file.size
                if blob is None:
                    count.new += 1
                else:
                    count.changed += 1
        return count

    @property
    def reason(self) -> str:
        parts = [
            (self.new, "new"),
            (self.changed, "content changed"),
            (self.unchanged, "up to date"),
        ]
        return ", ".join(f"{number:,} {what}" for number, what in parts if number)


def changed_packages(spec: Spec, packages: Mapping[str, PackageFacts]) -> Iterator[Diagnostic]:
    """Versions in the account with other files: also of a finished run, whose tasks used them."""
    for name, facts in packages.items():
        stored = facts.stored
        if stored is not None and stored.active and not _is_same(spec.packages[name], facts):
            yield from package_differs(spec.packages[name], facts)


def package_steps(spec: Spec, observed: Observed) -> Iterator[Step]:
    """One step for each package: it uploads the package, or keeps its version in the account."""
    for name, facts in observed.packages.items():
        yield package_step(spec.packages[name], facts)


def package_step(package: Package, facts: PackageFacts) -> Step:
    """The step that uploads a package, or that keeps its version in the account."""
    name = package.name
    step_id, subject = f"package:{name}", f"package {name} {package.version}"
    reason = _why(facts)
    if not reason:
        return Step(step_id, None, Verb.KEEP, subject, "up to date", items=len(facts.files))
    count, size = totals(facts.files)
    upload = UploadPackage(
        name, package.version, facts.files, size, facts.content, package.is_archive
    )
    return Step(step_id, upload, Verb.UPLOAD, subject, reason, items=count)


def _why(facts: PackageFacts) -> str:
    """Why the package is uploaded; empty if its version is in the account."""
    if facts.stored is None:
        return "new"
    return "" if facts.stored.active else "an earlier upload was not completed"


def _is_same(package: Package, facts: PackageFacts) -> bool:
    """Whether the version in the account has the content of the spec."""
    stored = facts.stored
    if stored is None or stored.content:
        return stored is not None and stored.content == facts.content
    archives = [file.md5 for file in facts.files] if package.is_archive else []
    return stored.md5 is not None and archives == [stored.md5]
