"""Converts an expanded tree without errors to the dataclasses of ``model``."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from batchspec.spec.convert import command_of, duration, for_each, patterns, template_of
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

    Entries of ``upload`` with an error are left out; only a spec with errors has them.
    """
    return Container(
        key=key,
        id=node.string("id", default=key),
        where=node.name,
        existing=flag(node, "existing"),
        upload=tuple(_globs(node.sequence("upload"), folder)),
        metadata={name: value.shown for name, value in node.mapping("metadata").items()},
        public_access=node.string("public_access") or None,
        implied=implied,
    )


def _globs(upload: Iterable[Node], folder: Path) -> Iterator[UploadGlob]:
    for node in upload:
        files = node.get("files") or node
        if files.is_collection or any(part.wrong for part in node.walk()):
            continue
        kind = node.get("content_type")
        yield UploadGlob(
            pattern=files.shown,
            root=folder,
            where=files.where,
            exclude=tuple(item.shown for item in node.sequence("exclude")),
            prefix=node.string("path"),
            content_type=kind.shown if kind is not None else None,
        )


def package(name: str, node: Node, folder: Path) -> Package:
    """An application package; ``folder`` is the folder of the spec."""
    found, archive = tuple(_globs(node.sequence("files"), folder)), node.get("zip")
    if archive is not None:
        found = (UploadGlob(glob.escape(archive.shown), folder, archive.where),)
    version = node.members["version"].shown
    return Package(name, version, node.name, found, is_archive=archive is not None)


def flag(node: Node, key: str, default: bool = False) -> bool:
    """A boolean member."""
    found = node.get(key)
    return found.value is True if found is not None else default


def pool(node: Node, name: str, *, windows: bool) -> Pool:
    """The pool; ``name`` is the name of the spec."""
    if (existing := node.get("existing")) is not None:
        return Pool(existing.shown, PoolKind.EXISTING, existing.where, windows=None)
    id_, image, lifetime = node.get("id"), node.get("image"), node.get("lifetime")
    found = node.string("id", default=name)
    own = lifetime is None
    body = rest_body(node, "BatchPoolCreateOptions" if own else "BatchPoolSpecification")
    if own and (identity := node.get("identity")) is not None:
        body = body.with_(identity=_identity(identity))
    auto: dict[str, str | bool] = {}
    if lifetime is not None:
        auto["poolLifetimeOption"] = _LIFETIMES[lifetime.shown]
        auto["keepAlive"] = flag(node, "keep_alive")
        if id_ is not None:
            auto["autoPoolIdPrefix"] = found
    return Pool(
        id=found,
        kind=PoolKind.OWN if own else PoolKind.JOB,
        where=node.name,
        properties=Record({"id": found, **body}) if own else body,
        image=ImageAlias(image.shown, image.where) if image is not None else None,
        windows=windows,
        start_containers=_named(node, "start_task"),
        auto=Record(auto),
    )


def _identity(node: Node) -> Record:
    """The identities as Get Pool returns them. Their order has no meaning."""
    ids = sorted({item.shown for item in node.sequence("ids")}, key=str.lower)
    assigned = tuple(Record(resourceId=name) for name in ids)
    return Record(type="UserAssigned", userAssignedIdentities=assigned)


def _named(node: Node, task: str) -> tuple[str, ...]:
    return tuple(item.shown for item in node.sequence(task, "resources"))


def job(node: Node, name: str) -> Job:
    """The job; ``name`` is the name of the spec."""
    found, schedule = node.string("id", default=name), node.get("schedule")
    return Job(
        id=found,
        where=node.name,
        limit=duration(node.string("constraints", "max_wall_clock_time")) or timedelta(),
        properties=Record({"id": found, **rest_body(node, "BatchJobCreateOptions")}),
        schedule=rest_body(schedule, "BatchJobScheduleConfiguration") if schedule else None,
        schedule_properties=_of_schedule(schedule) if schedule else Record(),
        prepare_containers=_named(node, "job_preparation_task"),
        release_containers=_named(node, "job_release_task"),
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
    id_, resources = node.get("id"), node.get("resources")
    node = _with_logs(node, containers)
    expanded = expand_deferred(node, containers, ends_job=ends_job)
    body = rest_body(expanded, "BatchTaskCreateOptions")
    written = node.get("command")
    default = Shell.DEFAULT if written is not None else Shell.NONE
    line = written or node.get("command_line") or node
    command = command_of(line, Shell(node.string("shell", default=default)))
    assert command is not None
    return Stage(
        name=name,
        where=node.name,
        command=command,
        for_each=for_each(node.get("for_each"), folder),
        id=template_of(id_) if id_ is not None else None,
        body=body.with_(id=None, commandLine=None),
        resources=tuple(item.shown for item in resources.items) if resources is not None else None,
        needs=tuple(item.shown for item in node.sequence("needs")),
        logs=node.string("logs", "container") or None,
        required=frozenset(_required(node)),
    )


def _required(node: Node) -> Iterator[int]:
    """The indices of the required outputs, which come after the output files."""
    for number, item in enumerate(node.sequence("outputs"), len(node.sequence("output_files"))):
        if flag(item, "required"):
            yield number


def _with_logs(node: Node, containers: dict[str, str]) -> Node:
    """The stage; its logs are added to its output files."""
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
    files = [*node.sequence("output_files"), made(file, logs)]
    return node.with_(output_files=made(files, logs))


def result(node: Node, folder: Path) -> Result:
    """One entry of ``results``."""
    return Result(
        container=node.members["container"].shown,
        # Shorten the path: `../results/` relative to `specs/` is `results`.
        to=Path(os.path.normpath(folder / node.string("to", default="results"))),
        where=node.members["container"].where,
        match=patterns(node.get("match")),
        flat=flag(node, "flat"),
        overwrite=flag(node, "overwrite", default=True),
    )


def cleanup(node: Node | None) -> Cleanup:
    """The ``cleanup`` section."""
    given = {key: When(value.shown) for key, value in node.members.items()} if node else {}
    return Cleanup(**given)
