"""Random sequences of edits and commands on one spec, compared with a model of the correct results.

A run is a folder with a spec, a program and a few inputs, under a separate name. Every task writes
one line to a journal on this disk when it starts: what it computes, which is a :class:`Work`. The
model knows the current work of every input and what has succeeded; the checks read the disk and
the journal without batchspec.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from azure.core.exceptions import ResourceNotFoundError
from azure.storage.blob import BlobServiceClient

from batchspec.local import Endpoints
from tests.command_process import CONTEXT, run_child
from tests.e2e.conftest import Done, clean_environ
from tests.fault_injection.cli import run

SPEC = """\
version: 1
name: {name}
parameters:
  word: {{type: string, default: first}}
containers:
  application: {{id: {name}-application, upload: [app/*.sh]}}
  input: {{id: {name}-input, upload: [data/*.txt]}}
  output: {{id: {name}-output}}
pool:
  id: {name}
  vm_size: standard_d4s_v5
  nodes: 1
  image: ubuntu-24.04
  task_slots_per_node: 4
job: {{id: {name}, max_wall_clock_time: 5m}}
tasks:
  map:
    for_each: {{files: input}}
    {identity}
    resources: [application, input]
    command: sh map.sh {folder} {{{{ file.stem }}}} {{{{ word }}}} {command}
    outputs: [{{files: "*.out", container: output}}]
    logs: false
  {merge}
results: [{{container: output, to: results, match: ["*.out"]}}]
cleanup: {{containers: never, pool: never, job: never}}
"""
MERGE = """\
merge:
    needs: [map]
    resources: [application, output]
    command: sh merge.sh {folder}
    outputs: [{{files: all.out, container: output}}]
    logs: false
"""
PROGRAM = """\
set -eu
line="$2 {version} $3 $4 $(tr -d '\\n' < "$2.txt")"
echo "$line" >> "$1/journal"
while test -e "$1/hold"; do sleep 0.05; done
test ! -e "$1/broken-$2"
echo "$line" > "$2.out"
"""
MERGE_PROGRAM = """\
set -eu
echo "merge {version}" >> "$1/journal"
ls *.out | grep -v '^all.out$' | sort | xargs cat > all.out
"""
LONGEST = 60.0
"""Seconds for one command; one takes about two."""


class Work(NamedTuple):
    """What one task of the stage ``map`` computes, as its result and the journal name it."""

    stem: str
    program: str
    word: str
    command: str
    content: str

    @property
    def line(self) -> str:
        """The line that the task writes."""
        return " ".join(self)


@dataclass
class Run:
    """One spec with its folder, its commands and the model."""

    folder: Path
    name: str
    endpoints: Endpoints
    explicit_ids: bool = False
    merges: bool = False
    word: str = "first"
    program: int = 1
    command: int = 1
    inputs: dict[str, str] = field(default_factory=lambda: {"a": "one", "b": "two"})
    broken: set[str] = field(default_factory=set)
    succeeded: dict[str, set[Work]] = field(default_factory=dict)
    accepted: dict[str, Work] = field(default_factory=dict)
    definition: tuple[int, str, int] | None = None
    interrupted: bool = False
    steps: list[str] = field(default_factory=list)
    _edits: int = 0

    def __post_init__(self) -> None:
        for name in ("app", "data"):
            (self.folder / name).mkdir(parents=True)
        self.write()

    # --- edits -----------------------------------------------------------------------------

    def write(self) -> None:
        """Write the spec, the program and the inputs in their current form."""
        merge = MERGE.format(folder=self.folder) if self.merges else ""
        text = SPEC.format(
            name=self.name,
            folder=self.folder,
            command=f"v{self.command}",
            identity='id: "m-{{ file.stem }}"' if self.explicit_ids else "retries: 0",
            merge=merge,
        )
        (self.folder / "run.yaml").write_text(text)
        version = f"p{self.program}"
        (self.folder / "app" / "map.sh").write_text(PROGRAM.format(version=version))
        (self.folder / "app" / "merge.sh").write_text(MERGE_PROGRAM.format(version=version))
        shutil.rmtree(self.folder / "data")
        (self.folder / "data").mkdir()
        for stem, content in self.inputs.items():
            (self.folder / "data" / f"{stem}.txt").write_text(content + "\n")

    def edit(self, what: str) -> None:
        """Make one change and write it."""
        self._edits += 1
        stem = sorted(self.inputs)[self._edits % len(self.inputs)]
        match what:
            case "program":
                self.program += 1
            case "command":
                self.command += 1
            case "parameter":
                self.word = f"word{self._edits}"
            case "input":
                self.inputs[stem] = f"content{self._edits}"
            case "add":
                self.inputs[f"n{self._edits}"] = f"new{self._edits}"
            case "remove":
                if len(self.inputs) > 1:
                    del self.inputs[stem]
            case "break":
                self.broken.add(stem)
                (self.folder / f"broken-{stem}").touch()
            case "repair":
                for name in self.broken:
                    (self.folder / f"broken-{name}").unlink()
                self.broken.clear()
        self.write()
        self.steps.append(f"edit {what}")

    def lose(self, what: str, blobs: BlobServiceClient) -> None:
        """Delete the results on disk, or those in the account."""
        if what == "results":
            shutil.rmtree(self.folder / "results", ignore_errors=True)
        else:
            container = blobs.get_container_client(f"{self.name}-output")
            try:
                for blob in container.list_blob_names():
                    container.delete_blob(blob)
            except ResourceNotFoundError:
                pass
        self.steps.append(f"lose {what}")

    # --- commands --------------------------------------------------------------------------

    @property
    def environ(self) -> Mapping[str, str]:
        """The environment of a command."""
        return clean_environ({"BATCHSPEC_LOCAL_HOME": str(self.endpoints.data)})

    def _words(self, verb: str, *options: str) -> list[str]:
        variable = ("--var", f"word={self.word}") if verb != "destroy" else ()
        return [verb, str(self.folder / "run.yaml"), *variable, *options]

    def call(self, verb: str, *options: str) -> Done:
        """Run a command until it ends."""
        self.steps.append(" ".join((verb, *options)))
        done = run(
            self._words(verb, *options), folder=self.folder, environ=self.environ, timeout=LONGEST
        )
        assert done.code not in (1, -9), self.story(done)
        return done

    def interrupt(self, verb: str = "apply") -> None:
        """Run a command, send Ctrl-C while its tasks run, and let the tasks continue."""
        self.steps.append(f"{verb}, interrupted")
        hold = self.folder / "hold"
        hold.touch()
        log = self.folder / "interrupted.log"
        log.unlink(missing_ok=True)
        process = CONTEXT.Process(
            target=run_child,
            args=(
                self._words(verb, "-y", "--progress", "json"),
                self.folder,
                dict(self.environ),
                log,
                log,
            ),
        )
        process.start()
        try:
            end = time.monotonic() + LONGEST
            while process.is_alive() and not _watches(log) and time.monotonic() < end:
                process.join(0.02)
            if process.is_alive() and process.pid is not None:
                os.kill(process.pid, signal.SIGINT)
            process.join(LONGEST)
            text = log.read_text() if log.exists() else ""
            assert process.exitcode in (0, 3, 130), self.story(Done(-1, text, ""))
            self.interrupted = process.exitcode == 130
        finally:
            process.kill()
            hold.unlink()

    # --- checks ----------------------------------------------------------------------------

    @property
    def journal(self) -> list[str]:
        """One line for each task that started."""
        path = self.folder / "journal"
        return path.read_text().splitlines() if path.exists() else []

    def work(self, stem: str) -> Work:
        """What the task of an input currently computes."""
        return Work(stem, f"p{self.program}", self.word, f"v{self.command}", self.inputs[stem])

    @property
    def present(self) -> dict[str, Work]:
        """What every task currently computes."""
        return {stem: self.work(stem) for stem in self.inputs}

    def results(self) -> dict[str, str]:
        """The results on disk by name."""
        folder = self.folder / "results"
        return {path.name: path.read_text() for path in sorted(folder.glob("*.out"))}

    def planned(self) -> int | None:
        """How many tasks the plan submits; ``None`` if the plan is refused."""
        done = self.call("plan", "--format", "json")
        if done.code:
            return None
        steps = json.loads(done.out)["steps"]
        return sum(step["items"] for step in steps if step["verb"] == "submit")

    def check_results(self, done: Done, *, retried: bool = False) -> None:
        """Every present input has the result of its present work.

        A retry also keeps what succeeded before of the same input, and so does a later apply for as
        long as program, parameter and command do not change.
        """
        found = self.results()
        kept = self.succeeded if retried else {}
        if not retried and self.definition == (self.program, self.word, self.command):
            kept = {stem: {work} for stem, work in self.accepted.items()}
        for stem, work in self.present.items():
            line = found.get(f"{stem}.out", "nothing").strip()
            allowed = {work.line}
            allowed |= {w.line for w in kept.get(stem, ()) if w.content == work.content}
            assert line in allowed, self.story(done, f"{stem}.out is {line!r}, not {allowed}")
        if self.merges:
            whole = "".join(found[f"{stem}.out"] for stem in sorted(self.inputs))
            assert found.get("all.out") == whole, self.story(done, f"all.out: {found}")

    def forget(self) -> None:
        """Record that the account has no succeeded task."""
        self.succeeded.clear()
        self.accepted.clear()
        self.definition = None

    def accept(self) -> None:
        """Record that a retry kept what succeeded, for the current program."""
        self.definition = (self.program, self.word, self.command)
        self.accepted = {
            words[0]: Work(*words)
            for name, text in self.results().items()
            if name != "all.out" and len(words := text.split()) == 5
        }

    def note_success(self) -> None:
        """Record from the results what has succeeded."""
        for name, text in self.results().items():
            words = text.split()
            if name != "all.out" and len(words) == 5:
                self.succeeded.setdefault(words[0], set()).add(Work(*words))

    def story(self, done: Done, why: str = "") -> str:
        """The history that led to a failure."""
        return "\n".join(
            [
                why,
                f"exit {done.code}",
                *self.steps,
                "journal:",
                *self.journal,
                f"results: {self.results()}",
                done.text,
            ]
        )


def _watches(log: Path) -> bool:
    """Whether the command watches its tasks."""
    return log.exists() and '"tasks_seen"' in log.read_text()
