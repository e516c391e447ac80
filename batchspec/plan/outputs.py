"""What the outputs of tasks promise: blobs that are in storage when the tasks have succeeded."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from fnmatch import translate
from functools import cached_property

from batchspec.plan.identity import is_log
from batchspec.plan.observed import Observed, Stream
from batchspec.plan.stamps import container_of, destination_of
from batchspec.plan.tasks import Task, expand
from batchspec.spec import Record, Spec

_WILD = re.compile(r"[*?\[]")
_UNKNOWN = re.compile(r"[$%]")
"""What a pattern has that only the node can fill in."""


@dataclass(frozen=True)
class Promise:
    """One output of one task: ``blob`` is a name, or what matches ``pattern`` below a prefix.

    ``stage`` and ``index`` (in ``outputFiles``) name the output in the spec.
    """

    stage: str
    index: int
    pattern: str
    container: str
    path: str
    required: bool

    @cached_property
    def wild(self) -> bool:
        """Whether any blob that matches fulfils it."""
        return _WILD.search(self.pattern) is not None

    @property
    def blob(self) -> str:
        """The name of the blob; of a pattern, the prefix that comes before what matches."""
        if self.wild:
            return f"{self.path}/" if self.path else ""
        return self.path or self.pattern.rpartition("/")[2]

    @property
    def shown(self) -> str:
        """The name or pattern of the blob."""
        return f"{self.blob}{_tail(self.pattern)}" if self.wild else self.blob

    def matches(self, below: str) -> bool:
        """Whether what comes after the prefix in a blob's name is of this output."""
        return _compiled(_tail(self.pattern)).match(below) is not None


@dataclass(frozen=True, slots=True)
class Outputs:
    """The promises of all tasks of a run, as a stream.

    ``since`` is when the first of these tasks was created; ``None``: the job was.
    """

    stages: tuple[tuple[frozenset[int], Stream[Task]], ...] = ()
    since: datetime | None = field(default=None)

    def __iter__(self) -> Iterator[Promise]:
        for required, tasks in self.stages:
            for task in tasks:
                yield from _promises(task, required)


def outputs(spec: Spec, observed: Observed, since: datetime | None, *, windows: bool) -> Outputs:
    """What all tasks of a run promise; ``since`` is when the first of them was created."""
    stages = tuple(
        (stage.required, expand(spec, stage, observed, windows=windows))
        for stage in spec.stages
        if stage.body.get("outputFiles")
    )
    return Outputs(stages, since)


def _promises(task: Task, required: frozenset[int]) -> Iterator[Promise]:
    files = task.body.get("outputFiles")
    for index, file in enumerate(files if isinstance(files, tuple) else ()):
        if not isinstance(file, Record) or _only_after_failure(file):
            continue
        target = destination_of(file)
        if target is None:
            continue
        container, path = container_of(target.get("containerUrl")), target.get("path") or ""
        pattern = file.get("filePattern")
        if container is None or not isinstance(pattern, str) or not isinstance(path, str):
            continue
        if not is_log(file) and not _UNKNOWN.search(pattern):
            yield Promise(task.stage, index, pattern, container, path.strip("/"), index in required)


def _only_after_failure(file: Record) -> bool:
    options = file.get("uploadOptions")
    condition = options.get("uploadCondition") if isinstance(options, Record) else None
    return str(condition).lower() == "taskfailure"


def _tail(pattern: str) -> str:
    """A pattern from its first component with a wildcard on: what is kept in the blob's name."""
    parts = [part for part in pattern.split("/") if part not in {"", "."}]
    while len(parts) > 1 and not _WILD.search(parts[0]):
        parts.pop(0)
    return "/".join(parts)


_patterns: dict[str, re.Pattern[str]] = {}


def _compiled(tail: str) -> re.Pattern[str]:
    """``**/`` is any folders, and ``*`` anything here: a blob too many is better than a warning."""
    if tail not in _patterns:
        _patterns[tail] = re.compile(translate(tail.replace("**/", "*")))
    return _patterns[tail]
