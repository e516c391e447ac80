"""Blobs that two tasks would write: the result of one of them would be lost.

Outputs of a name are looked at; what matches a wildcard is known when the task has run.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, takewhile
from pathlib import Path, PurePosixPath

from batchspec.diagnostics import Diagnostic, SpecError
from batchspec.plan.lazy import duplicates
from batchspec.plan.observed import Observed
from batchspec.plan.rules.catalogue import finding
from batchspec.plan.rules.context import record, records
from batchspec.plan.tasks import Task, expand
from batchspec.spec import Record, Spec, Stage, Text, Value

_WILD = re.compile(r"[*?\[]")


def output_faults(
    spec: Spec, stage: Stage, observed: Observed, *, windows: bool, folder: Path | None = None
) -> Iterator[Diagnostic]:
    """Two tasks of the stage, or one of it and one of a stage before, that write the same blob.

    A stage that waits for the other may mean to write over what that has written. ``folder`` is
    where temporary files go.

    Raises:
        SpecError: no task of the stage can be made of an item.
    """
    if not _names_blobs(stage):
        return
    tasks = expand(spec, stage, observed, windows=windows)
    if next(duplicates(_outputs(tasks), folder=folder), None) is not None:
        yield _same(stage, f"tasks of {stage.name} write the same blob, each over the other's")
        return
    for other in takewhile(lambda other: other.name != stage.name, spec.stages):
        if not _names_blobs(other) or _waits(spec, stage, other) or _waits(spec, other, stage):
            continue
        first = _Counted(_outputs(expand(spec, other, observed, windows=windows)))
        both = duplicates(chain(first, _outputs(tasks)), folder=folder)
        try:
            crossing = any(one < first.number <= two for one, two in both)
        except SpecError:
            continue  # told where the tasks of that stage are looked at
        if crossing:
            said = f"tasks of {other.name} and {stage.name} write the same blob, one over the other"
            yield _same(stage, said)


@dataclass(slots=True)
class _Counted:
    """Goes through a stream once, and knows then how many there were."""

    source: Iterable[str]
    number: int = 0

    def __iter__(self) -> Iterator[str]:
        for key in self.source:
            self.number += 1
            yield key


def _waits(spec: Spec, stage: Stage, other: Stage) -> bool:
    """Whether a stage comes after another, by way of others or not."""
    needs = {each.name: each.needs for each in spec.stages}
    seen: set[str] = set()
    ahead = [stage.name]
    while ahead:
        for name in needs[ahead.pop()]:
            if name not in seen:
                seen.add(name)
                ahead.append(name)
    return other.name in seen


def _names_blobs(stage: Stage) -> bool:
    """Whether outputs of the stage name single blobs, which two tasks could both write."""
    return any(_is_name(file.get("filePattern")) for file in records(stage.body.get("outputFiles")))


def _is_name(pattern: Value) -> bool:
    """A pattern without wildcard: its path is then the blob's name."""
    return isinstance(pattern, str) and not _WILD.search(pattern)


def _outputs(tasks: Iterable[Task]) -> Iterator[str]:
    """Each blob that a task's outputs name."""
    for task in tasks:
        for file in records(task.body.get("outputFiles")):
            container = record(file.get("destination")).get("container")
            pattern = file.get("filePattern")
            if not isinstance(container, Record) or not _is_name(pattern):
                continue
            path = container.get("path") or PurePosixPath(str(pattern)).name
            yield f"{_said(container.get('containerUrl'))}\0{_said(path)}"


def _said(value: Value) -> str:
    return value.identity() if isinstance(value, Text) else repr(value)


def _same(stage: Stage, summary: str) -> Diagnostic:
    return finding("same-output", summary, where=stage.where)
