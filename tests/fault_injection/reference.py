"""The reference run: three stages, 250 tasks, 40 files, and the expected state of the account.

It can be changed after it has ended: another input, another start task. Then the tasks that depend
on the input run again in a second job, on restarted nodes.

The account is read with azure-batch and azure-storage-blob, without code of batchspec.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from azure.batch import BatchClient
from azure.core.exceptions import ResourceNotFoundError
from azure.storage.blob import BlobServiceClient

_GROUP = 4
"""The number of files of a task in the third stage."""


@dataclass(frozen=True, slots=True)
class Size:
    """The size of a run: ``files`` tasks in the first stage, ``two`` in the second."""

    files: int
    two: int

    @property
    def stages(self) -> Mapping[str, int]:
        """The number of tasks of each stage."""
        return {"one": self.files, "two": self.two, "three": self.files // _GROUP}

    @property
    def again(self) -> Mapping[str, int]:
        """What runs again after an input changes: its task and all that need the first stage."""
        return {**self.stages, "one": 1}


WHOLE = Size(40, 200)
"""The reference run: 250 tasks."""
SMALL = Size(8, 12)
"""A smaller run, for tests with many rounds."""

_SPEC = """\
version: 1
name: {name}
containers:
  input: {{id: {name}-input, upload: [data/*.txt]}}
  output: {{id: {name}-output}}
pool:
  id: {name}
  vm_size: standard_d4s_v5
  nodes: 2
  image: ubuntu-24.04
  task_slots_per_node: 8
  start_task: {{command: "exit 0"}}
job: {{id: {name}, max_wall_clock_time: 30m}}
tasks:
  one:
    for_each: {{files: input}}
    command: test -s {{{{ file.name }}}} && {mark}
    logs: false
  two:
    for_each: {{range: [0, {two}, 1]}}
    needs: [one]
    command: {mark}
    logs: false
  three:
    for_each: {{files: input, group: 4}}
    needs: [two]
    command: {hold}cat *.txt > part-{{{{ index }}}}.out && {mark}
    outputs: [{{files: "*.out", container: output}}]
    logs: false
results: [{{container: output, to: results}}]
cleanup: {{containers: on_success, pool: on_success, job: never}}
"""
_KEPT = ("containers: on_success, pool: on_success", "containers: never, pool: never")
_START = ("exit 0", "true")
_CHANGED = 7
"""The index of the input that changes."""


@dataclass(frozen=True, slots=True)
class Reference:
    """The run called ``name``, in a separate folder."""

    folder: Path
    name: str
    marks: Path
    """The file to which each task appends its id when it ends."""
    changed: bool = False
    size: Size = WHOLE
    held: bool = False
    """Whether the last stage waits until it is released."""

    @classmethod
    def at(cls, folder: Path, name: str, size: Size = WHOLE, *, held: bool = False) -> Reference:
        """A run that uses its folder alone."""
        return cls(folder, name, folder / "marks", size=size, held=held)

    @property
    def spec(self) -> Path:
        return self.folder / "run.yaml"

    def lay_out(self) -> None:
        """Write the spec and its inputs."""
        (self.folder / "data").mkdir(parents=True)
        for number in range(self.size.files):
            path = self.folder / "data" / f"{number:02}.txt"
            path.write_text(_content(number), encoding="utf-8")
        mark = f'echo "$AZ_BATCH_TASK_ID" >> "{self.marks}"'
        hold = f'until test -e "{self._go}"; do sleep 0.1; done; ' if self.held else ""
        # JSON is a YAML string with quotes.
        text = _SPEC.format(name=self.name, mark="@MARK@", hold=hold, two=self.size.two)
        lines = [_quoted(line, mark) if "@MARK@" in line else line for line in text.splitlines()]
        self.spec.write_text("\n".join(lines) + "\n", encoding="utf-8")

    @property
    def _go(self) -> Path:
        return self.marks.with_name("go")

    def let_go(self) -> None:
        """Release the last stage of a run that waits."""
        self._go.touch()

    def keep(self) -> None:
        """Keep the pool and the containers of the run, since it is to be changed."""
        self._edit(*_KEPT)

    def change(self) -> Reference:
        """Change an input and the start task; return the changed run."""
        self._edit(*reversed(_KEPT))
        self._edit(*_START)
        (self.folder / "data" / f"{_CHANGED:02}.txt").write_text(_content(_CHANGED, changed=True))
        return replace(self, changed=True)

    def _edit(self, old: str, new: str) -> None:
        text = self.spec.read_text(encoding="utf-8")
        assert old in text
        self.spec.write_text(text.replace(old, new), encoding="utf-8")

    def copied(self, folder: Path) -> Reference:
        """The same run from another folder, like that of a second person."""
        shutil.copytree(self.folder, folder)
        return replace(self, folder=folder)

    def wrong(self, batch: BatchClient, blobs: BlobServiceClient) -> Iterator[str]:
        """Every difference from the state that a run without faults leaves."""
        yield from self._wrong_tasks(batch)
        yield from self._wrong_files()
        try:
            pool = batch.get_pool(self.name)
            yield f"the pool {pool.id} is still there, {pool.state}"
        except ResourceNotFoundError:
            pass
        for found in blobs.list_containers(name_starts_with=f"{self.name}-"):
            yield f"the container {found.name} is still there"

    def _wrong_tasks(self, batch: BatchClient) -> Iterator[str]:
        """The ids of the tasks, how they ended, and what they recorded."""
        expected = {self.name: self.size.stages}
        if self.changed:
            expected[f"{self.name}-r2"] = self.size.again
        found = {job.id for job in batch.list_jobs() if f"{job.id}-".startswith(f"{self.name}-")}
        if found != set(expected):
            yield f"the jobs are {found}"
        ids = []
        for job, stages in expected.items():
            tasks = list(batch.list_tasks(job)) if job in found else []
            for task in tasks:
                info = task.execution_info
                if task.state != "completed" or info is None or info.exit_code != 0:
                    yield f"task {task.id} is {task.state}"
            there = Counter(task.id.partition("-")[0] for task in tasks)
            if there != stages:
                yield f"the tasks of {job} are {dict(there)}"
            ids += [task.id for task in tasks]
        if len({name.lower() for name in ids}) != len(ids):
            yield "a task is there twice"
        ran = self.marks.read_text(encoding="utf-8").split() if self.marks.exists() else []
        if Counter(ran) != Counter(ids):
            odd = {name: n for name, n in Counter(ran).items() if n != 1 or name not in ids}
            yield f"{len(ran)} times a task did its work, not once each of {len(ids)}: {odd}"

    def _wrong_files(self) -> Iterator[str]:
        """Whether the results are those of the inputs, without partial files."""
        results = self.folder / "results"
        found = {path.name: path.read_text(encoding="utf-8") for path in results.glob("*")}
        if found != self.expected():
            yield f"the results are {found}"
        # The record of a run whose client was killed is unfinished; it is deleted as a whole.
        files = (path.relative_to(self.folder) for path in self.folder.rglob("*.part"))
        partial = [str(path) for path in files if "runs" not in path.parts]
        if partial:
            yield f"partial files: {partial}"

    def expected(self) -> dict[str, str]:
        """The content of each result by name."""
        inputs = [
            _content(number, changed=self.changed and number == _CHANGED)
            for number in range(self.size.files)
        ]
        return {
            f"part-{part}.out": "".join(inputs[part * _GROUP : (part + 1) * _GROUP])
            for part in range(self.size.stages["three"])
        }


def _content(number: int, *, changed: bool = False) -> str:
    return f"the {'changed ' if changed else ''}content of input {number}\n"


def _quoted(line: str, mark: str) -> str:
    key, _, value = line.partition(": ")
    return f"{key}: {json.dumps(value.replace('@MARK@', mark))}"
