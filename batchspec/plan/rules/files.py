"""Rules about files on a node: two files with one path, and files that commands name and lack.

:mod:`batchspec.plan.rules.tasks` checks files that differ between tasks.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import PurePosixPath

from batchspec.diagnostics import Place
from batchspec.frozen import frozen
from batchspec.plan.lazy import duplicates
from batchspec.plan.rules.image import runs_windows
from batchspec.plan.rules.rule import (
    ERROR,
    WARNING,
    Finding,
    RuleContext,
    RuleGroup,
)
from batchspec.plan.tasks import Task
from batchspec.spec import (
    EXPRESSION,
    BlobUrl,
    EachBlob,
    EachFile,
    Record,
    Stage,
    Template,
    Text,
    Value,
)

FILES = RuleGroup("Files on nodes", "Resource files of tasks, and the paths that they have there.")

_BAD = re.compile(r"[\x00-\x1f\x7f]")
_BAD_ON_WINDOWS = re.compile(r'[\x00-\x1f\x7f<>"|?*]|(?<=.):')
_FILE = re.compile(r"\bfiles?\b")
_URL = re.compile(r"\burl\b|_url\b")


@frozen
class NodeFile:
    """A file on a node: its path there, its source, and a text that identifies its content.

    Two files with the same content do not conflict. If the content is not known, ``content`` is
    the source.
    """

    path: str
    source: str
    content: str


@FILES.check(
    "same-file",
    ERROR,
    title="Two files of a task have the same path on the node",
    why="It is undefined which of them remains. Files with the same content are allowed.",
    fix="Give one of them another `file_path`, or a folder in its container (`path` of `upload`).",
)
def same_file(context: RuleContext) -> Iterator[Finding]:
    """Files of the start task, of preparation and release tasks, and of all tasks of a stage."""
    spec, job = context.spec, context.spec.job
    start = spec.pool.properties.record("startTask")
    where = context.at_pool("start_task.resources", "start_task.resource_files")
    yield from _conflicts(context, "the start task", spec.pool.start_containers, start, where)
    for short, key, long, containers in (
        ("prepare", "jobPreparationTask", "job_preparation_task", job.prepare_containers),
        ("release", "jobReleaseTask", "job_release_task", job.release_containers),
    ):
        where = context.at_job(f"{short}.resources", f"{long}.resource_files", short, long)
        task = job.properties.record(key)
        yield from _conflicts(context, f"`{short}`", containers, task, where)
    for stage in spec.stages:
        where = context.at_stage(stage, "resources", "resource_files")
        subject = f"the tasks of {stage.name}"
        yield from _conflicts(context, subject, stage.resources or (), stage.body, where)


@FILES.check(
    "item-not-there",
    WARNING,
    title="A command names its item's file, and `resources` does not contain it",
    why="`resources` replaces the item's own file, so the file does not exist on the node.",
    fix='Add `{http_url: "{{ file.url }}", file_path: "{{ file.name }}"}` to `resources`.',
)
def item_not_there(context: RuleContext) -> Iterator[Finding]:
    """A stage with a task for each file, whose ``resources`` do not contain the file."""
    for stage in context.spec.stages:
        each = stage.for_each
        if stage.resources is None or not isinstance(each, EachFile | EachBlob):
            continue
        if each.container not in stage.resources and _names_file(stage):
            yield Finding(
                f"the command of {stage.name} names its item's file, which is not in `resources`",
                context.at_stage(stage, "resources"),
            )


def _names_file(stage: Stage) -> bool:
    """Whether the command names the item's file, and nothing in the stage downloads it."""
    command = (stage.command.template, *stage.command.arguments)
    expressions = [
        match.group()
        for template in command
        if template is not None
        for match in EXPRESSION.finditer(template.source)
    ]
    downloads = any(map(_URL.search, expressions)) or _has_url(stage.body.get("resourceFiles"))
    return not downloads and any(map(_FILE.search, expressions))


def _has_url(value: Value) -> bool:
    match value:
        case Template(source=source):
            return _URL.search(source) is not None
        case Record():
            return any(map(_has_url, value.values()))
        case tuple():
            return any(map(_has_url, value))
    return False


def _conflicts(
    context: RuleContext, subject: str, containers: Sequence[str], task: Record, where: Place
) -> Iterator[Finding]:
    keys, named = tuple(dict.fromkeys(containers)), tuple(named_files(task))
    if len(keys) + len(named) < 2:
        return
    windows = runs_windows(context.spec, context.observed)

    def files() -> Iterator[NodeFile]:
        for key in keys:
            yield from _container_files(context, key)
        yield from named

    pair = _first_conflict(files, windows=windows)
    if pair is not None:
        first, second = (next(islice(files(), number, None)) for number in pair)
        yield conflict(subject, first, second, where)


def conflict(subject: str, first: NodeFile, second: NodeFile, where: Place) -> Finding:
    """Two files with the same path."""
    return Finding(
        f"two files of {subject} have the path {second.path!r} on the node",
        where,
        f"Sources: {first.source} and {second.source}.",
    )


def _first_conflict(
    files: Callable[[], Iterator[NodeFile]], *, windows: bool
) -> tuple[int, int] | None:
    """The positions of two files with the same path and different content."""
    paths = (node_path(file, windows=windows) for file in files())
    if next(duplicates(paths), None) is None:
        return None
    contents = (f"{node_path(file, windows=windows)}\0{file.content}" for file in files())
    equal = {second for _, second in duplicates(contents)}
    pairs = duplicates(node_path(file, windows=windows) for file in files())
    return next((pair for pair in pairs if pair[1] not in equal), None)


def node_path(file: NodeFile, *, windows: bool) -> str:
    """The normalized path of a file on the node; Windows ignores case."""
    path = str(PurePosixPath(file.path.replace("\\", "/"))) if windows else file.path
    path = str(PurePosixPath(path))
    return path.casefold() if windows else path


def _container_files(context: RuleContext, key: str) -> Iterator[NodeFile]:
    """The files of a container that are known before the run."""
    container, facts = context.spec.containers[key], context.observed.containers[key]
    if container.upload:
        for file in facts.files:
            yield NodeFile(file.blob, f"{key}/{file.blob}", file.md5.hex())
    elif container.existing:
        for blob in facts.blobs:
            source = f"{key}/{blob.name}"
            yield NodeFile(blob.name, source, blob.md5.hex() if blob.md5 else source)


def named_files(task: Record) -> Iterator[NodeFile]:
    """The ResourceFiles of a task that are single files; those for a whole container are not."""
    for file in task.records("resourceFiles"):
        path, url = file.get("filePath"), file.get("httpUrl")
        if isinstance(path, str) and url is not None and not isinstance(path, Template):
            yield NodeFile(path, _source(url), _source(url))


def _source(url: Value) -> str:
    match url:
        case BlobUrl(container=container, blob=blob):
            return f"{container}/{blob}" if blob else container
        case Text():
            return url.shown
        case Template(source=source):
            return source
    return str(url)


@FILES.rule(
    "leaves-directory",
    ERROR,
    title="A resource file would be outside the task's working directory",
    why="The service rejects the task.",
    fix="Use a relative path without `..`.",
)
def leaves_directory(task: Task, where: Place) -> Iterator[Finding]:
    """Resource files of a task with an absolute path, or a path with ``..``."""
    for file in task.body.records("resourceFiles"):
        path = file.get("filePath")
        if isinstance(path, str) and _leaves(path):
            yield Finding(
                f"the file {path!r} of task {task.id} is outside its working directory", where
            )


@FILES.rule(
    "bad-file-path",
    ERROR,
    title="A resource file has a path that the node cannot create",
    why='File names on Windows cannot contain `< > : " | ? *`, and no name can contain a control'
    " character.",
    fix="Use another `file_path`, for example with `| slug`.",
)
def bad_file_path(task: Task, where: Place, *, windows: bool) -> Iterator[Finding]:
    """Resource files of a task with characters that a file name cannot contain."""
    bad = _BAD_ON_WINDOWS if windows else _BAD
    for file in task.body.records("resourceFiles"):
        path = file.get("filePath")
        if isinstance(path, str) and (match := bad.search(path)):
            yield Finding(
                f"the file {path!r} of task {task.id} cannot be created: its name contains"
                f" {match.group()!r}",
                where,
            )


def _leaves(path: str) -> bool:
    parts = PurePosixPath(path.replace("\\", "/"))
    return not parts.name or parts.is_absolute() or ".." in parts.parts
