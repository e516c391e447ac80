"""Converts an expanded tree without errors to the dataclasses of ``model``."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from batchspec.spec.convert import command_of, duration, for_each, patterns, template_of, text
from batchspec.spec.model import (
    Cleanup,
    Container,
    ImageAlias,
    Job,
    Package,
    Pool,
    PoolKind,
    Result,
    Shell,
    Stage,
    UploadGlob,
    When,
)
from batchspec.spec.short_forms import LOGS, LOGS_PATH, destination, expand_deferred
from batchspec.spec.validator import rest_body
from batchspec.spec.values import Record
from batchspec.spec.yaml_tree import Node, made

_LIFETIMES = {"job": "job", "job_schedule": "jobschedule"}


def container(key: str, node: Node, folder: Path, *, implied: bool = False) -> Container:
    """A container; ``folder`` is the folder of the spec.

    Entries of ``upload`` with an error, which only a spec with errors has, are left out.
    """
    id_, upload, metadata = node.get("id"), node.get("upload"), node.get("metadata")
    access = node.get("public_access")
    return Container(
        key=key,
        id=text(id_) if id_ is not None else key,
        where=node.name,
        existing=flag(node, "existing"),
        upload=tuple(_globs(upload, folder)) if upload else (),
        metadata={k: text(v) for k, v in metadata.members.items()} if metadata else {},
        public_access=text(access) if access else None,
        implied=implied,
    )


def _globs(upload: Node, folder: Path) -> Iterator[UploadGlob]:
    for node in upload.items:
        files = node.get("files") or node
        if files.is_collection or any(part.wrong for part in node.walk()):
            continue
        path, kind, exclude = node.get("path"), node.get("content_type"), node.get("exclude")
        yield UploadGlob(
            pattern=text(files),
            root=folder,
            where=files.where,
            exclude=tuple(text(item) for item in exclude.items) if exclude else (),
            prefix=text(path) if path else "",
            content_type=text(kind) if kind else None,
        )


def package(name: str, node: Node, folder: Path) -> Package:
    """An application package; ``folder`` is the folder of the spec."""
    files, archive = node.get("files"), node.get("zip")
    found = tuple(_globs(files, folder)) if files is not None else ()
    if archive is not None:
        found = (UploadGlob(glob.escape(text(archive)), folder, archive.where),)
    version = text(node.members["version"])
    return Package(name, version, node.name, found, is_archive=archive is not None)


def flag(node: Node, key: str, default: bool = False) -> bool:
    """A boolean member."""
    found = node.get(key)
    return found.value is True if found is not None else default


def pool(node: Node, name: str, *, windows: bool) -> Pool:
    """The pool; ``name`` is the name of the spec."""
    if (existing := node.get("existing")) is not None:
        return Pool(text(existing), PoolKind.EXISTING, existing.where, windows=None)
    id_, image, lifetime = node.get("id"), node.get("image"), node.get("lifetime")
    found = text(id_) if id_ is not None else name
    own = lifetime is None
    body = rest_body(node, "BatchPoolCreateOptions" if own else "BatchPoolSpecification")
    if own and (identity := node.get("identity")) is not None:
        body = body.with_(identity=_identity(identity))
    auto: dict[str, str | bool] = {}
    if lifetime is not None:
        auto["poolLifetimeOption"] = _LIFETIMES[text(lifetime)]
        auto["keepAlive"] = flag(node, "keep_alive")
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


def _identity(node: Node) -> Record:
    """The identities in the form of the answer of Get Pool, in an order that has no meaning."""
    ids = sorted({text(item) for item in node.members["ids"].items}, key=str.lower)
    assigned = tuple(Record(resourceId=name) for name in ids)
    return Record(type="UserAssigned", userAssignedIdentities=assigned)


def _named(task: Node | None) -> tuple[str, ...]:
    resources = task.get("resources") if task else None
    return tuple(text(item) for item in resources.items) if resources else ()


def job(node: Node, name: str) -> Job:
    """The job; ``name`` is the name of the spec."""
    id_, schedule = node.get("id"), node.get("schedule")
    found = text(id_) if id_ is not None else name
    limit = node.get("constraints", "max_wall_clock_time")
    return Job(
        id=found,
        where=node.name,
        limit=duration(text(limit) if limit else "") or timedelta(),
        properties=Record({"id": found, **rest_body(node, "BatchJobCreateOptions")}),
        schedule=rest_body(schedule, "BatchJobScheduleConfiguration") if schedule else None,
        schedule_properties=_of_schedule(schedule) if schedule else Record(),
        prepare_containers=_named(node.get("job_preparation_task")),
        release_containers=_named(node.get("job_release_task")),
    )


def _of_schedule(schedule: Node) -> Record:
    beside = {key: schedule.get(key) for key in ("display_name", "metadata")}
    return rest_body(made({}, schedule).with_(**beside), "BatchJobScheduleCreateOptions")


def stage(
    name: str, node: Node, folder: Path, containers: dict[str, str], *, ends_job: bool
) -> Stage:
    """A stage; ``containers`` are names in the account by key.

    ``ends_job``: a failed task terminates the job unless its exit conditions differ.
    """
    id_, resources, needs = node.get("id"), node.get("resources"), node.get("needs")
    logs = node.get("logs")
    node = _with_logs(node, containers)
    expanded = expand_deferred(node, containers, ends_job=ends_job)
    body = rest_body(expanded, "BatchTaskCreateOptions")
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
        if flag(item, "required"):
            yield number + (len(files.items) if files else 0)


def _with_logs(node: Node, containers: dict[str, str]) -> Node:
    """The stage with its logs added to its output files."""
    logs = node.get("logs")
    if logs is None or logs.get("container") is None:
        return node
    if logs.get("path") is None:
        path = replace(made(LOGS_PATH, logs), filled=False)  # a template: one folder per task
        logs = logs.with_(path=path)
    file = {
        "file_pattern": LOGS,
        "destination": {"container": destination(logs, containers, LOGS)},
        "upload_options": {"upload_condition": "taskcompletion"},
    }
    given = node.get("output_files")
    return node.with_(output_files=made([*(given.items if given else ()), made(file, logs)], logs))


def result(node: Node, folder: Path) -> Result:
    """One entry of ``results``."""
    to = node.get("to")
    return Result(
        container=text(node.members["container"]),
        # Shorten the path: `../results/` relative to `specs/` is `results`.
        to=Path(os.path.normpath(folder / (text(to) if to is not None else "results"))),
        where=node.members["container"].where,
        match=patterns(node.get("match")),
        flat=flag(node, "flat"),
        overwrite=flag(node, "overwrite", default=True),
    )


def cleanup(node: Node | None) -> Cleanup:
    """The ``cleanup`` section."""
    given = {key: When(text(value)) for key, value in node.members.items()} if node else {}
    return Cleanup(**given)
