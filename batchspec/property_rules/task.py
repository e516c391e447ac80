"""Rules of all kinds of tasks: users, files, dependencies, exit codes, several instances."""

from __future__ import annotations

from collections.abc import Iterator

from batchspec.property_rules.rule import (
    MANAGER,
    MISSING,
    TASK,
    Found,
    Properties,
    PropertyRule,
    in_range,
    matches,
    one_of,
    ordered,
    requires,
    rule,
)

_FILE = ("ResourceFile",)
_SOURCES = ("httpUrl", "storageContainerUrl", "autoStorageContainerName")


@rule(
    "instances-slots",
    (TASK,),
    ("requiredSlots", "multiInstanceSettings"),
    "either-or",
    "`requiredSlots` of a multi-instance task must be 1.",
    fix="Remove it: a multi-instance task takes whole nodes.",
)
def instances_slots(given: Properties) -> Iterator[Found]:
    """Slots of a task on several nodes."""
    slots = given.number("requiredSlots")
    if given.has("multiInstanceSettings") and slots is not None and slots != 1:
        yield Found(
            ("requiredSlots",), f"`requiredSlots` must be 1 for a multi-instance task, not {slots}"
        )


@rule(
    "blob-prefix",
    _FILE,
    ("blobPrefix", "httpUrl"),
    "either-or",
    "`blobPrefix` requires `storageContainerUrl` or `autoStorageContainerName`.",
    fix="Remove it, or refer to the container instead of a single URL.",
)
def blob_prefix(given: Properties) -> Iterator[Found]:
    """A prefix for a single file."""
    if given.has("blobPrefix") and given.has("httpUrl"):
        yield Found(("blobPrefix",), "`blobPrefix` and `httpUrl` exclude each other")


@rule(
    "file-path",
    _FILE,
    ("filePath",),
    "leaves-directory",
    "`filePath` is relative and does not leave the working directory of the task.",
    fix="Write a relative path without `..`.",
)
def file_path(given: Properties) -> Iterator[Found]:
    """A path outside the working directory."""
    text = given.text("filePath")
    if text is None:
        return
    leaves = ".." in text and ".." in text.replace("\\", "/").split("/")
    if leaves or text.startswith(("/", "\\")) or text[1:2] == ":":
        yield Found(("filePath",), "`filePath` is outside the working directory of the task")


@rule(
    "output-destination",
    ("OutputFileDestination",),
    ("container",),
    "missing-key",
    "The `destination` of an output file has a `container`.",
    fix="Add `container: {container_url: ...}`.",
    faults=(MISSING,),
)
def output_destination(given: Properties) -> Iterator[Found]:
    """An output file without a place."""
    if not given.has("container"):
        message = "the `destination` of an output file requires `container`"
        yield Found((), message, missing="container")


TASKS: tuple[PropertyRule, ...] = (
    one_of("user-identity", ("UserIdentity",), ("username", "autoUser"), required=False),
    in_range("required-slots", (TASK, MANAGER), "requiredSlots", 1, 256),
    instances_slots,
    in_range("instances", ("MultiInstanceSettings",), "numberOfInstances", 1),
    one_of("file-source", _FILE, _SOURCES, required=True),
    requires("file-of-url", _FILE, "httpUrl", "filePath"),
    blob_prefix,
    file_path,
    matches("file-mode", _FILE, "fileMode", r"(?:0o?)?[0-7]{1,4}", "an octal mode, such as 0770"),
    output_destination,
    ordered("task-id-range", ("BatchTaskIdRange",), "start", "end"),
    ordered("exit-code-range", ("ExitCodeRangeMapping",), "start", "end"),
)
