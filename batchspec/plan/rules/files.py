"""Where files come to be on a node: two in one place, and one that a command names and nobody puts.

Files that differ from task to task are looked at with their tasks (:mod:`batchspec.plan.limits`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import PurePosixPath

from batchspec.diagnostics import Diagnostic, Place
from batchspec.plan.lazy import duplicates
from batchspec.plan.pool_body import runs_windows
from batchspec.plan.rules.catalogue import finding
from batchspec.plan.rules.context import RuleContext, record, records
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

_FILE = re.compile(r"\bfiles?\b")
_URL = re.compile(r"\burl\b|_url\b")


@dataclass(frozen=True, slots=True)
class NodeFile:
    """A file that comes to a node: its place there, where it is from, and what tells its content.

    Two of the same content do not harm each other. ``content`` is the source where nothing is known
    of what is in it.
    """

    path: str
    source: str
    content: str


def landing(scene: RuleContext) -> Iterator[Diagnostic]:
    """Two files of a task that would be one on the node: which of them stays is left to chance."""
    spec = scene.spec
    job = spec.job.properties
    start = record(spec.pool.properties.get("startTask"))
    yield from _doubled(
        scene,
        "the start task",
        (spec.pool.start_containers, start),
        scene.at_pool("start_task.resources", "start_task.resource_files"),
    )
    for who, key, long, named in (
        ("`prepare`", "jobPreparationTask", "job_preparation_task", spec.job.prepare_containers),
        ("`release`", "jobReleaseTask", "job_release_task", spec.job.release_containers),
    ):
        short = who.strip("`")
        where = scene.at_job(f"{short}.resources", f"{long}.resource_files", short, long)
        yield from _doubled(scene, who, (named, record(job.get(key))), where)
    for stage in spec.stages:
        yield from _doubled(
            scene,
            f"the tasks of {stage.name}",
            (stage.resources or (), stage.body),
            scene.at_stage(stage, "resources", "resource_files"),
        )


def left_out(scene: RuleContext) -> Iterator[Diagnostic]:
    """``resources`` stands for the item's own file: a command that names the file finds none."""
    for stage in scene.spec.stages:
        each = stage.for_each
        if stage.resources is None or not isinstance(each, EachFile | EachBlob):
            continue
        if each.container not in stage.resources and _names_file(stage):
            yield finding(
                "item-not-there",
                f"the command of {stage.name} names its item's file, which `resources` leaves out",
                where=scene.at_stage(stage, "resources"),
            )


def _names_file(stage: Stage) -> bool:
    """Whether the command speaks of the item's file, and nothing of the stage fetches it."""
    command = (stage.command.template, *stage.command.arguments)
    inserted = [
        match.group()
        for template in command
        if template is not None
        for match in EXPRESSION.finditer(template.source)
    ]
    fetched = any(map(_URL.search, inserted)) or _mentions_url(stage.body.get("resourceFiles"))
    return not fetched and any(map(_FILE.search, inserted))


def _mentions_url(value: Value) -> bool:
    match value:
        case Template(source=source):
            return _URL.search(source) is not None
        case Record():
            return any(map(_mentions_url, value.values()))
        case tuple():
            return any(map(_mentions_url, value))
    return False


def _doubled(
    scene: RuleContext, who: str, files: tuple[Sequence[str], Record], where: Place
) -> Iterator[Diagnostic]:
    named, task = files
    keys, own = tuple(dict.fromkeys(named)), tuple(spelled(task.get("resourceFiles")))
    if len(keys) + len(own) < 2:
        return
    folded = runs_windows(scene.spec, scene.observed)

    def landings() -> Iterator[NodeFile]:
        for key in keys:
            yield from _contents(scene, key)
        yield from own

    pair = _conflict(landings, folded=folded)
    if pair is not None:
        first, second = (next(islice(landings(), number, None)) for number in pair)
        yield same_file(who, first, second, where)


def same_file(who: str, first: NodeFile, second: NodeFile, where: Place | None) -> Diagnostic:
    """Two files that would be one."""
    return finding(
        "same-file",
        f"two files of {who} would both be {second.path!r} on the node, one over the other",
        detail=f"They are {first.source} and {second.source}.",
        where=where,
    )


def _conflict(
    landings: Callable[[], Iterator[NodeFile]], *, folded: bool
) -> tuple[int, int] | None:
    """The numbers of two files that differ and come to one place."""
    twice = list(islice(duplicates(place(file, folded=folded) for file in landings()), 1))
    if not twice:
        return None
    contents = (f"{place(file, folded=folded)}\0{file.content}" for file in landings())
    equal = {second for _, second in duplicates(contents)}
    places = duplicates(place(file, folded=folded) for file in landings())
    return next((pair for pair in places if pair[1] not in equal), None)


def place(file: NodeFile, *, folded: bool) -> str:
    """Where a file is on the node, in one spelling; ``folded`` where case does not count."""
    path = str(PurePosixPath(file.path.replace("\\", "/"))) if folded else file.path
    path = str(PurePosixPath(path))
    return path.casefold() if folded else path


def _contents(scene: RuleContext, key: str) -> Iterator[NodeFile]:
    """The files of a container, as far as they are known before the run."""
    container, facts = scene.spec.containers[key], scene.observed.containers[key]
    if container.upload:
        for file in facts.files:
            yield NodeFile(file.blob, f"{key}/{file.blob}", file.md5.hex())
    elif container.existing:
        for blob in facts.blobs:
            source = f"{key}/{blob.name}"
            yield NodeFile(blob.name, source, blob.md5.hex() if blob.md5 else source)


def spelled(files: Value) -> Iterator[NodeFile]:
    """The single files among ResourceFiles; of a container's, a prefix is all that is known."""
    for file in records(files):
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
