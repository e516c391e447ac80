"""The blobs that tasks must have written when they have succeeded, according to their outputs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from fnmatch import translate
from functools import cached_property
from hashlib import blake2b
from os.path import commonprefix

from batchspec.frozen import frozen
from batchspec.plan.identity import is_log
from batchspec.plan.metadata import WorkSet, container_of, destination_of, is_stale, work_number
from batchspec.plan.observed import Blob, Observed, Stream
from batchspec.plan.stage_tasks import StageTasks
from batchspec.plan.tasks import Task, expand
from batchspec.spec import Record, Spec

_WILD = re.compile(r"[*?\[]")
_UNKNOWN = re.compile(r"[$%]")
"""The start of a variable in a pattern, which only the node can expand."""


@dataclass(frozen=True)
class ExpectedOutput:
    """One output of one task: ``blob`` is a name, or a prefix of blobs that match ``pattern``.

    ``stage`` and ``index`` (in ``outputFiles``) identify the output in the spec. ``task`` is the id
    of the task, ``work`` the digest of the work that writes or has written the output. ``logs`` are
    the container and the folder of the task's stdout and stderr; empty if they are not stored.
    """

    stage: str
    index: int
    pattern: str
    container: str
    path: str
    required: bool
    task: str = ""
    work: str = ""
    logs: tuple[str, str] | None = None

    @cached_property
    def wild(self) -> bool:
        """Whether the pattern has a wildcard: any matching blob of the task counts."""
        return _WILD.search(self.pattern) is not None

    @property
    def blob(self) -> str:
        """The name of the blob; with a wildcard, the prefix of all matching blobs."""
        if self.wild:
            return f"{self.path}/" if self.path else ""
        return self.path or self.pattern.rpartition("/")[2]

    @property
    def tail(self) -> str:
        """The part of the pattern that matches the name of a blob after the prefix."""
        return _tail(self.pattern)

    @property
    def shown(self) -> str:
        """The name of the blob; with a wildcard, the pattern and the task."""
        if not self.wild:
            return self.blob
        return f"{self.blob}{self.tail}" + (f" of {self.task}" if self.task else "")

    @property
    def group(self) -> int:
        """A number of eight bytes that is equal for patterns that match the same blobs."""
        return _pattern_key(self.container, self.blob, self.tail)

    @property
    def key(self) -> int:
        """A number of eight bytes that is equal for outputs that the same blobs fulfil."""
        if self.wild:
            return _work_key(self.group, self.work)
        return _digest(self.container, self.blob)


@frozen
class Outputs:
    """The promises of all tasks of a run, as a stream.

    ``since`` is the creation time of the first of these tasks; ``None`` means that of the job. A
    task of an earlier job promises nothing in the containers ``results`` if its files are on the
    disk, because clean-up may have deleted the blobs. ``downloaded`` are the digests of the work
    that wrote these files, as numbers.
    """

    stages: tuple[StageTasks, ...] = ()
    since: datetime | None = field(default=None)
    results: frozenset[str] = frozenset()
    downloaded: frozenset[int] = frozenset()

    def __iter__(self) -> Iterator[ExpectedOutput]:
        for stage in self.stages:
            for task in stage.tasks:
                kept = work_number(task.marks.work) in self.downloaded and stage.is_before(task)
                for expected in _expected_outputs(task, stage.stage.required, task.marks.work):
                    if not kept or expected.container not in self.results:
                        yield expected


def outputs(
    spec: Spec, observed: Observed, stages: Iterable[StageTasks], since: datetime | None
) -> Outputs:
    """The promises of all tasks of a run; ``since`` is the creation time of the first task."""
    return Outputs(
        tuple(each for each in stages if each.stage.body.get("outputFiles")),
        since,
        _result_containers(spec),
        _downloaded(observed),
    )


def _result_containers(spec: Spec) -> frozenset[str]:
    return frozenset(spec.container_id(result.container) for result in spec.results)


def _downloaded(observed: Observed) -> frozenset[int]:
    """The work that wrote the results on the disk."""
    return frozenset(observed.receipt.works if observed.receipt is not None else ())


def _expected_outputs(task: Task, required: frozenset[int], work: str) -> Iterator[ExpectedOutput]:
    uploads = tuple(_uploads_of_success(task))
    logs = next((target for _, file, target in uploads if is_log(file)), None)
    for index, file, (container, path) in uploads:
        pattern = file.get("filePattern")
        if isinstance(pattern, str) and not is_log(file) and not _UNKNOWN.search(pattern):
            needed = index in required
            yield ExpectedOutput(
                task.stage, index, pattern, container, path, needed, task.id, work, logs
            )


def _uploads_of_success(task: Task) -> Iterator[tuple[int, Record, tuple[str, str]]]:
    """The output files of a task that succeeds: index, file, and its container and path."""
    for index, file in enumerate(task.body.array("outputFiles")):
        if not isinstance(file, Record) or _only_after_failure(file):
            continue
        target = destination_of(file)
        if target is None:
            continue
        container, path = container_of(target.get("containerUrl")), target.get("path") or ""
        if container is not None and isinstance(path, str):
            yield index, file, (container, path.strip("/"))


def _only_after_failure(file: Record) -> bool:
    condition = file.string("uploadOptions", "uploadCondition") or ""
    return condition.lower() == "taskfailure"


def _tail(pattern: str) -> str:
    """A pattern from its first component with a wildcard on, which is part of blob names."""
    parts = [part for part in pattern.split("/") if part not in {"", "."}]
    while len(parts) > 1 and not _WILD.search(parts[0]):
        parts.pop(0)
    return "/".join(parts)


def _pattern_key(container: str, prefix: str, tail: str) -> int:
    return _digest(container, prefix, tail)


def _work_key(group: int, work: str) -> int:
    return _digest(f"{group:x}", work)


def _digest(*parts: str) -> int:
    text = "\0".join(parts).encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(text, digest_size=8).digest())


@dataclass(slots=True)
class OutputIndex:
    """Finds the outputs that no blob fulfils.

    A blob that matches a pattern fulfils the output of the task that wrote it, according to its
    stamp. Without a stamp it fulfils the output of every task with that pattern.

    ``prefixes`` is the longest common prefix of the blobs of each container. Eight bytes are stored
    for each output, so that a million fit in memory. Each pattern is stored once, by its text
    before the first wildcard, so that a name is compared with few of them.
    """

    prefixes: dict[str, str] = field(default_factory=dict)
    _missing: set[int] = field(default_factory=set)
    _found: set[int] = field(default_factory=set)
    _groups: set[int] = field(default_factory=set)
    _unstamped: set[int] = field(default_factory=set)
    _heads: dict[tuple[str, str], dict[str, re.Pattern[str]]] = field(default_factory=dict)
    _lengths: dict[str, set[int]] = field(default_factory=dict)

    def add(self, expected: ExpectedOutput) -> None:
        """Add an output; all outputs are added before the first blob."""
        self._missing.add(expected.key)
        known = self.prefixes.get(expected.container, expected.blob)
        self.prefixes[expected.container] = commonprefix((known, expected.blob))  # noqa: RUF071  (of names, not of folders)
        if expected.wild:
            self._groups.add(expected.group)
            tail = expected.tail
            head = tail[: _WILD.search(tail).start()]  # type: ignore[union-attr]
            patterns = self._heads.setdefault((expected.container, head), {})
            if tail not in patterns:
                # ``**/`` matches any folders, and ``*`` also matches ``/``: a blob that matches by
                # mistake is better than a false warning.
                patterns[tail] = re.compile(translate(tail.replace("**/", "*")))
                self._lengths.setdefault(expected.container, set()).add(len(head))

    def add_blob(self, container: str, blob: Blob) -> None:
        """Add a blob that exists: outputs that it fulfils are not missing."""
        self._missing.discard(_digest(container, blob.name))
        for group in self._matching(container, blob.name):
            if not blob.work:
                self._unstamped.add(group)
                continue
            key = _work_key(group, blob.work)
            self._missing.discard(key)
            self._found.add(key)

    @property
    def complete(self) -> bool:
        """Whether a blob has been found for each output."""
        return not self._missing

    def lacks(self, expected: ExpectedOutput) -> bool:
        """Whether an output is missing."""
        if not expected.wild:
            return expected.key in self._missing
        return expected.group not in self._unstamped and expected.key not in self._found

    def _matching(self, container: str, name: str) -> Iterator[int]:
        """The groups of the patterns that match a blob."""
        lengths = self._lengths.get(container, ())
        at = 0
        while lengths:
            below = name[at:]
            for length in lengths:
                for tail, pattern in self._heads.get((container, below[:length]), {}).items():
                    group = _pattern_key(container, name[:at], tail)
                    if group in self._groups and pattern.match(below):
                        yield group
            at = name.find("/", at) + 1
            if not at:
                break


@dataclass(slots=True)
class MissingOutput:
    """A missing output of the spec.

    ``first`` is the first missing output. ``tasks`` is the number of tasks that must write the
    output, ``missing`` the number of tasks without it. ``names`` are the first missing blobs.
    """

    first: ExpectedOutput
    tasks: int = 0
    missing: int = 0
    names: list[str] = field(default_factory=list)


_SHOWN = 3
"""The number of names of missing blobs that are collected for each output."""


def collect_missing(outputs: Iterable[ExpectedOutput], index: OutputIndex) -> list[MissingOutput]:
    """The outputs that are missing for some tasks, according to the index."""
    if index.complete:
        return []
    found: dict[tuple[str, int], MissingOutput] = {}
    for expected in outputs:
        output = found.setdefault((expected.stage, expected.index), MissingOutput(expected))
        output.tasks += 1
        if index.lacks(expected):
            output.first = output.first if output.missing else expected
            output.missing += 1
            if expected.shown not in output.names and len(output.names) < _SHOWN:
                output.names.append(expected.shown)
    return [output for output in found.values() if output.missing]


@dataclass(slots=True)
class LostTasks:
    """Finds tasks that lack an output and their stdout and stderr, which each task stores.

    Their blobs were lost or deleted: a task that does not write an output stores its stdout.
    ``prefixes`` is the longest common prefix of the folders with stdout, by container. A folder
    that several tasks share counts once.
    """

    prefixes: dict[str, str] = field(default_factory=dict)
    _folders: set[int] = field(default_factory=set)

    @classmethod
    def of(cls, outputs: Iterable[ExpectedOutput], index: OutputIndex) -> LostTasks:
        """The tasks without an output; then their stdout is added."""
        found = cls()
        for expected in () if index.complete else outputs:
            if expected.logs is not None and index.lacks(expected):
                container, folder = expected.logs
                known = found.prefixes.get(container, folder)
                found.prefixes[container] = commonprefix((known, folder))  # noqa: RUF071  (of names, not of folders)
                found._folders.add(_digest(container, folder))
        return found

    def add_blob(self, container: str, blob: Blob) -> None:
        """Add a blob of stdout or stderr: its task has lost nothing."""
        self._folders.discard(_digest(container, blob.name.rpartition("/")[0]))

    @property
    def number(self) -> int:
        """The number of tasks without stdout and stderr."""
        return len(self._folders)


def missing_outputs(
    spec: Spec, observed: Observed, tasks: Sequence[StageTasks], works: Stream[str]
) -> list[MissingOutput]:
    """The outputs of a finished run that are missing among the blobs that were listed.

    ``works`` are the digests of the work of all its tasks. Two kinds of outputs are not compared:
    those in containers that do not exist, and results that were downloaded and then deleted in the
    account.
    """
    blobs = {
        container.id: observed.containers[key].blobs
        for key, container in spec.containers.items()
        if observed.containers[key].exists
    }
    downloaded, in_results = _downloaded(observed), _result_containers(spec)
    expected_outputs = Outputs(tuple(each for each in tasks if each.stage.body.get("outputFiles")))
    stored = {
        (name, work_number(blob.work))
        for name in (in_results if downloaded else ())
        for blob in blobs.get(name, ())
    }

    def checked() -> Iterator[ExpectedOutput]:
        for expected in expected_outputs:
            name, work = expected.container, work_number(expected.work)
            kept = name in in_results and work in downloaded
            if name in blobs and (not kept or (name, work) in stored):
                yield expected

    current, index = WorkSet(works), OutputIndex()
    for expected in checked():
        index.add(expected)
    for container in index.prefixes:
        for blob in blobs[container]:
            if not is_stale(blob, current):
                index.add_blob(container, blob)
    return collect_missing(checked(), index)


@dataclass(slots=True)
class RequiredOutputs:
    """Which tasks have written their required outputs, according to the blobs in the account.

    ``stages`` are all tasks of the spec with the indexes of their required outputs. A blob with a
    stamp counts if the newest task of an item has that work. Containers that clean-up has deleted,
    and containers that are not in the spec, are not compared.
    """

    stages: Mapping[str, tuple[frozenset[int], Stream[Task]]]
    blobs: Mapping[str, Stream[Blob]]
    works: Stream[str]
    _complete: OutputIndex | None = None

    @classmethod
    def of(cls, spec: Spec, observed: Observed, *, windows: bool) -> RequiredOutputs:
        """The required outputs of a spec."""
        existing = {
            container.id: observed.containers[key].blobs
            for key, container in spec.containers.items()
            if observed.containers[key].exists
        }
        stages = {
            stage.name: (stage.required, expand(spec, stage, observed, windows=windows))
            for stage in spec.stages
            if stage.required
        }
        works = observed.tasks.works() if observed.tasks is not None else ()
        return cls(stages, existing, works)

    def lacks(self, task: Task, work: str) -> bool:
        """Whether a required output of a task that succeeded with that work is missing."""
        if task.stage not in self.stages:
            return False
        required, _ = self.stages[task.stage]
        mine = [each for each in _expected_outputs(task, required, work) if each.required]
        return any(p.container in self.blobs and self._index().lacks(p) for p in mine)

    def _index(self) -> OutputIndex:
        """The index of the required outputs and of the blobs of the newest tasks."""
        if self._complete is None:
            index, works = OutputIndex(), WorkSet(self.works)
            for required, tasks in self.stages.values():
                for task in tasks:
                    for expected in _expected_outputs(task, required, task.marks.work):
                        if expected.required:
                            index.add(expected)
            for container in index.prefixes.keys() & self.blobs.keys():
                for blob in self.blobs[container]:
                    if not is_stale(blob, works):
                        index.add_blob(container, blob)
            self._complete = index
        return self._complete
