"""A tree without faults and short forms → the nouns of a spec. Nothing can go wrong here."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from batchspec.spec.expand_stage import LOGS, LOGS_PATH, destination
from batchspec.spec.fill import command_of, template_of
from batchspec.spec.for_each import for_each, patterns, text
from batchspec.spec.late import spelled_out
from batchspec.spec.model import (
    Cleanup,
    Container,
    ImageAlias,
    Job,
    Pool,
    PoolKind,
    Result,
    Shell,
    Stage,
    UploadGlob,
    When,
)
from batchspec.spec.node import Node, made
from batchspec.spec.units import duration
from batchspec.spec.values import Record
from batchspec.spec.wire import on_wire

_LIFETIMES = {"job": "job", "job_schedule": "jobschedule"}


def container(key: str, node: Node, folder: Path, *, implied: bool = False) -> Container:
    """A container; ``folder`` is the spec's own."""
    id_, upload, metadata = node.get("id"), node.get("upload"), node.get("metadata")
    access = node.get("public_access")
    return Container(
        key=key,
        id=text(id_) if id_ is not None else key,
        where=node.name,
        existing=truth(node, "existing"),
        upload=tuple(_glob(item, folder) for item in upload.items) if upload else (),
        metadata={k: text(v) for k, v in metadata.members.items()} if metadata else {},
        public_access=text(access) if access else None,
        implied=implied,
    )


def _glob(node: Node, folder: Path) -> UploadGlob:
    files = node.get("files") or node
    path, kind, exclude = node.get("path"), node.get("content_type"), node.get("exclude")
    return UploadGlob(
        pattern=text(files),
        root=folder,
        where=files.where,
        exclude=tuple(text(item) for item in exclude.items) if exclude else (),
        prefix=text(path) if path else "",
        content_type=text(kind) if kind else None,
    )


def truth(node: Node, key: str, default: bool = False) -> bool:
    """A member that is ``true`` or ``false``."""
    found = node.get(key)
    return found.value is True if found is not None else default


def pool(node: Node, name: str, *, windows: bool) -> Pool:
    """The pool of an expanded tree; ``name`` is the spec's."""
    if (existing := node.get("existing")) is not None:
        return Pool(text(existing), PoolKind.EXISTING, existing.where, windows=None)
    id_, image, lifetime = node.get("id"), node.get("image"), node.get("lifetime")
    found = text(id_) if id_ is not None else name
    own = lifetime is None
    body = on_wire(node, "BatchPoolCreateOptions" if own else "BatchPoolSpecification")
    auto: dict[str, str | bool] = {}
    if lifetime is not None:
        auto["poolLifetimeOption"] = _LIFETIMES[text(lifetime)]
        auto["keepAlive"] = truth(node, "keep_alive")
        if id_ is not None:
            auto["autoPoolIdPrefix"] = found
    return Pool(
        id=found,
        kind=PoolKind.OWN if own else PoolKind.JOB,
        where=node.name,
        properties=Record({"id": found, **body}) if own else body,
        image=ImageAlias(text(image), image.where) if image is not None else None,
        windows=windows,
        start_containers=_named(node.get("start_task")),
        auto=Record(auto),
    )


def _named(task: Node | None) -> tuple[str, ...]:
    resources = task.get("resources") if task else None
    return tuple(text(item) for item in resources.items) if resources else ()


def job(node: Node, name: str) -> Job:
    """The job of an expanded tree; ``name`` is the spec's."""
    id_, schedule = node.get("id"), node.get("schedule")
    found = text(id_) if id_ is not None else name
    limit = node.get("constraints", "max_wall_clock_time")
    return Job(
        id=found,
        where=node.name,
        limit=duration(text(limit) if limit else "") or timedelta(),
        properties=Record({"id": found, **on_wire(node, "BatchJobCreateOptions")}),
        schedule=on_wire(schedule, "BatchJobScheduleConfiguration") if schedule else None,
        schedule_properties=_of_schedule(schedule) if schedule else Record(),
        prepare_containers=_named(node.get("job_preparation_task")),
        release_containers=_named(node.get("job_release_task")),
    )


def _of_schedule(schedule: Node) -> Record:
    beside = {key: schedule.get(key) for key in ("display_name", "metadata")}
    return on_wire(made({}, schedule).with_(**beside), "BatchJobScheduleCreateOptions")


def stage(
    name: str, node: Node, folder: Path, containers: dict[str, str], *, ends_job: bool
) -> Stage:
    """A stage of an expanded tree; ``containers`` are ids by key.

    ``ends_job``: a failed task ends the job, unless its exit conditions say otherwise.
    """
    id_, resources, needs = node.get("id"), node.get("resources"), node.get("needs")
    logs = node.get("logs")
    node = _with_logs(node, containers)
    spelled = spelled_out(node, containers, ends_job=ends_job)
    body = on_wire(spelled, "BatchTaskCreateOptions")
    shell = node.get("shell")
    written = node.get("command")
    default = Shell.DEFAULT if written is not None else Shell.NONE
    line = written or node.get("command_line") or node
    command = command_of(line, Shell(text(shell)) if shell is not None else default)
    assert command is not None
    container_of_logs = logs.get("container") if logs else None
    return Stage(
        name=name,
        where=node.name,
        command=command,
        for_each=for_each(node.get("for_each"), folder),
        id=template_of(id_) if id_ is not None else None,
        body=body.with_(id=None, commandLine=None),
        resources=tuple(text(item) for item in resources.items) if resources is not None else None,
        needs=tuple(text(item) for item in needs.items) if needs else (),
        logs=text(container_of_logs) if container_of_logs is not None else None,
        required=frozenset(_required(node)),
    )


def _required(node: Node) -> Iterator[int]:
    """The indices of the required outputs, which come after the output files."""
    files, outputs = node.get("output_files"), node.get("outputs")
    for number, item in enumerate(outputs.items if outputs else ()):
        if truth(item, "required"):
            yield number + (len(files.items) if files else 0)


def _with_logs(node: Node, containers: dict[str, str]) -> Node:
    """The stage with its logs among its output files."""
    logs = node.get("logs")
    if logs is None or logs.get("container") is None:
        return node
    if logs.get("path") is None:
        # A path of the stage's own: each task has a folder.
        path = made(LOGS_PATH, logs)
        logs = logs.with_(path=_as_template(path))
    file = {
        "file_pattern": LOGS,
        "destination": {"container": destination(logs, containers, LOGS)},
        "upload_options": {"upload_condition": "taskcompletion"},
    }
    given = node.get("output_files")
    return node.with_(output_files=made([*(given.items if given else ()), made(file, logs)], logs))


def _as_template(node: Node) -> Node:
    return Node(node.value, node.where, key=node.key, inner=node.inner, quoted=True)


def result(node: Node, folder: Path) -> Result:
    """One entry of ``results``."""
    to = node.get("to")
    return Result(
        container=text(node.members["container"]),
        # As people write it: `../results/` of `specs/` is `results`.
        to=Path(os.path.normpath(folder / (text(to) if to is not None else "results"))),
        where=node.members["container"].where,
        match=patterns(node.get("match")),
        flat=truth(node, "flat"),
        overwrite=truth(node, "overwrite", default=True),
    )


def cleanup(node: Node | None) -> Cleanup:
    """When things are deleted."""
    given = {key: When(text(value)) for key, value in node.members.items()} if node else {}
    return Cleanup(**given)
