"""The steps that bring data to the account: containers and uploads."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from batchspec.diagnostics import Diagnostic
from batchspec.plan.actions import CreateContainer, DeleteOutputs, UploadFiles, UseContainer
from batchspec.plan.lazy import FilesToUpload, pair, same
from batchspec.plan.metadata import OWNER, created_by, may_delete, with_user
from batchspec.plan.observed import ContainerFacts, LocalFile, Observed
from batchspec.plan.plan import Step, Verb
from batchspec.plan.rules.catalogue import finding
from batchspec.plan.stamps import WorkSet, containers_written, is_stale
from batchspec.plan.task_sets import TaskSets
from batchspec.spec import Container, EachFile, Spec


def missing_containers(spec: Spec, observed: Observed) -> Iterator[Diagnostic]:
    """What is wrong where a container that must be there already is not."""
    for key, container in spec.containers.items():
        if container.existing and not observed.containers[key].exists:
            yield _not_there(container)


def container_steps(spec: Spec, observed: Observed) -> Iterator[tuple[Step, bool]]:
    """For each container a step to make it, or one that keeps it; ``True`` marks the latter."""
    for key, container in spec.containers.items():
        facts = observed.containers[key]
        step_id, subject = f"container:{key}", f"container {container.id}"
        if facts.exists:
            reason = _why_kept(container, facts, spec.name)
            if with_user(facts.metadata or {}, spec.name) is None:
                yield Step(step_id, None, Verb.KEEP, subject, reason), True
            else:
                use = UseContainer(container.id, spec.name)
                reason = f"{reason}; this spec is recorded as a user"
                yield Step(step_id, use, Verb.UPDATE, subject, reason), False
        elif not container.existing:
            metadata = {**container.metadata, **created_by(spec.name)}
            action = CreateContainer(container.id, metadata, container.public_access, spec.name)
            yield Step(step_id, action, Verb.CREATE, subject, "it is not there yet"), False


def _why_kept(container: Container, facts: ContainerFacts, name: str) -> str:
    """That it is there, and which other spec made it and may have its own blobs in it."""
    maker = (facts.metadata or {}).get(OWNER, name)
    if container.existing or maker == name:
        return "it is there"
    return f"it is there; the spec {maker} made it"


def stale_steps(
    spec: Spec, observed: Observed, work: TaskSets, after: tuple[str, ...]
) -> Iterator[Step]:
    """The steps that delete what tasks of an earlier version wrote, where it would be read.

    A stage that reads a container as a whole would take it for outputs of the present version. In a
    container that other specs use, nothing is deleted.
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
                "tasks to be run read the whole container",
                after,
                count,
            )


def upload_steps(
    spec: Spec, observed: Observed, work: TaskSets, made: frozenset[str]
) -> Iterator[tuple[Step, bool]]:
    """For each container with files a step that uploads what is new or changed, or one that keeps.

    ``made`` are the ids of the steps that make containers.
    """
    for key, container in spec.containers.items():
        if not container.upload:
            continue
        facts = observed.containers[key]
        wanted = _wanted(spec, key, facts, work)
        count = _Count.of(facts, wanted)
        step_id, subject = f"upload:{key}", f"files to {container.id}"
        if not count.new + count.changed:
            reason = _all_there(count.unchanged)
            yield Step(step_id, None, Verb.KEEP, subject, reason, items=count.unchanged), True
            continue
        stream = FilesToUpload(facts.files, facts.blobs, wanted, count.new + count.changed)
        before = f"container:{key}"
        yield (
            Step(
                step_id,
                UploadFiles(container.id, stream, count.size),
                Verb.UPLOAD,
                subject,
                count.reason,
                after=(before,) if before in made else (),
                items=len(stream),
            ),
            False,
        )


def _wanted(
    spec: Spec, key: str, facts: ContainerFacts, work: TaskSets
) -> Callable[[LocalFile], bool]:
    """Which files of a container anybody still needs.

    All of them, but for one case: clean-up took the container away, and only some of the tasks that
    each read one of its files are still to run.
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
        return lambda _: True
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
    """What is to be uploaded to a container, counted."""

    def __init__(self) -> None:
        self.new = self.changed = self.unchanged = self.size = 0

    @classmethod
    def of(cls, facts: ContainerFacts, wanted: Callable[[LocalFile], bool]) -> _Count:
        count = cls()
        for file, blob in pair(facts.files, facts.blobs):
            if same(file, blob):
                count.unchanged += 1
            elif wanted(file):
                count.size += file.size
                if blob is None:
                    count.new += 1
                else:
                    count.changed += 1
        return count

    @property
    def reason(self) -> str:
        parts = [
            (self.new, "not there yet"),
            (self.changed, "changed"),
            (self.unchanged, "there with the same content"),
        ]
        return ", ".join(f"{number} {what}" for number, what in parts if number)


def _all_there(files: int) -> str:
    what = {1: "the file is", 2: "both files are"}.get(files, f"all {files} files are")
    return f"{what} there with the same content"


def _not_there(container: Container) -> Diagnostic:
    return finding(
        "missing-container",
        f"the container {container.id!r} is marked `existing`, but is not in the account",
        where=container.where,
        fix="Make it first, name another, or leave out `existing` so that it is made.",
    )
