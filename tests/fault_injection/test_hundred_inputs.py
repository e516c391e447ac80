"""Change one of a hundred inputs and apply again: one file is uploaded, one task runs."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from azure.batch import BatchClient
from azure.core.credentials import AzureNamedKeyCredential

from tests.e2e.conftest import Done, Inside, Workplace, clean_environ, interrupt, until
from tests.fault_injection.cli import run
from tests.fault_injection.rounds import Bench

CHANGED = "in-012.txt"
_NUMBERS = itertools.count(1)

SPEC = """\
version: 1
name: {name}
parameters:
  marks: {{type: string}}
  gate: {{type: string}}
containers:
  input: {{id: {name}-input, upload: [data/*.txt]}}
  output: {{id: {name}-output}}
pool:
  id: {name}
  vm_size: standard_d4s_v5
  nodes: 2
  image: ubuntu-24.04
  task_slots_per_node: 8
job: {{id: {name}, max_wall_clock_time: 5m}}
tasks:
  upper:
    for_each: {{files: input}}
    command: >-
      until test -e {{{{ gate }}}}; do sleep 0.4; done;
      tr a-z A-Z < {{{{ file.name }}}} > {{{{ file.stem }}}}.up &&
      echo {{{{ file.name }}}} >> {{{{ marks }}}}
    outputs: [{{files: "*.up", container: output}}]
    logs: false
results: [{{container: output, to: results}}]
cleanup: {{containers: {containers}, pool: never, job: never}}
"""


@dataclass(frozen=True)
class Hundred:
    """``count`` inputs with a task each, and a record of the tasks that ran."""

    place: Workplace
    name: str
    count: int

    @property
    def spec(self) -> Path:
        return self.place.folder / "run.yaml"

    @property
    def variables(self) -> tuple[str, ...]:
        folder = self.place.folder
        return ("--var", f"marks={folder / 'marks'}", "--var", f"gate={folder / 'gate'}")

    @property
    def ran(self) -> list[str]:
        """The inputs whose tasks ran, in order; an input appears once for each run."""
        return (self.place.folder / "marks").read_text().split()

    def open_gate(self) -> None:
        (self.place.folder / "gate").touch()

    def change(self, words: str) -> None:
        (self.place.folder / "data" / CHANGED).write_text(words)

    def apply(self) -> dict[str, int]:
        """Apply with success; return the number of items of each executed step by verb."""
        done = self._run("apply", "--progress", "json")
        return items(done.out)

    def plan(self) -> dict[str, int]:
        """The number of items of each planned step by verb."""
        done = self._run("plan", "--format", "json")
        steps = json.loads(done.out)["steps"]
        return {step["verb"]: step["items"] for step in steps if step["verb"] != "keep"}

    def _run(self, verb: str, *options: str) -> Done:
        words: tuple[str | Path, ...] = (verb, self.spec, *self.variables, *options)
        done = run(words, folder=self.place.folder, environ=self.place.environ)
        assert done.code == 0, done.text
        return done

    def results(self) -> dict[str, str]:
        return {p.name: p.read_text() for p in (self.place.folder / "results").iterdir()}

    def expected(self) -> dict[str, str]:
        data = self.place.folder / "data"
        return {f"{p.stem}.up": p.read_text().upper() for p in data.iterdir()}


def items(events: str) -> dict[str, int]:
    """The items of all successful steps by verb."""
    found: dict[str, int] = {}
    for event in map(json.loads, events.splitlines()):
        if event["type"] == "step_done":
            found[event["verb"]] = found.get(event["verb"], 0) + event["items"]
    return found


# A clean-up does not depend on the number of inputs.
@pytest.fixture(
    params=[("never", 100), ("on_success", 30)], ids=["containers-kept", "containers-cleaned-up"]
)
def hundred(bench: Bench, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Hundred]:
    containers, count = request.param
    name = f"hundred-{next(_NUMBERS)}"
    place = Inside(
        tmp_path,
        bench.endpoints.data,
        clean_environ({"BATCHSPEC_LOCAL_HOME": str(bench.endpoints.data)}),
    )
    (tmp_path / "data").mkdir()
    for number in range(count):
        (tmp_path / "data" / f"in-{number:03}.txt").write_text(f"input {number}\n")
    here = Hundred(place, name, count)
    here.spec.write_text(SPEC.format(name=name, containers=containers))
    yield here


def task_counts(bench: Bench, name: str) -> dict[str, int]:
    """The number of tasks of each job of a run, all of which succeeded."""
    ends = bench.endpoints
    credential = AzureNamedKeyCredential(ends.batch_account, ends.batch_key)
    with BatchClient(ends.batch_url, credential) as client:
        jobs = [job.id for job in client.list_jobs() if f"{job.id}-r".startswith(f"{name}-r")]
        found = {job: list(client.list_tasks(job)) for job in jobs}
    for tasks in found.values():
        assert {t.execution_info.exit_code for t in tasks if t.execution_info} == {0}
    return {job: len(tasks) for job, tasks in found.items()}


def test_one_input_changes_after_the_job_has_ended(bench: Bench, hundred: Hundred) -> None:
    hundred.open_gate()
    first = hundred.apply()
    assert (first["upload"], first["submit"]) == (hundred.count, hundred.count)
    hundred.change("something else\n")
    planned = hundred.plan()
    assert (planned["upload"], planned["submit"]) == (1, 1)
    second = hundred.apply()
    assert (second["upload"], second["submit"]) == (1, 1)
    assert hundred.ran.count(CHANGED) == 2
    assert len(hundred.ran) == hundred.count + 1
    assert hundred.results() == hundred.expected()
    assert task_counts(bench, hundred.name) == {
        hundred.name: hundred.count,
        f"{hundred.name}-r2": 1,
    }
    assert hundred.plan() == {}

    (hundred.place.folder / "data" / "in-new.txt").write_text("one more\n")
    third = hundred.apply()
    assert (third["upload"], third["submit"]) == (1, 1)
    assert len(hundred.ran) == hundred.count + 2
    assert hundred.ran[-1] == "in-new.txt"
    assert hundred.results() == hundred.expected()
    assert task_counts(bench, hundred.name)[f"{hundred.name}-r3"] == 1
    assert hundred.plan() == {}


def test_one_input_changes_while_the_job_goes_on(bench: Bench, hundred: Hundred) -> None:
    process = hundred.place.start("apply", hundred.spec, *hundred.variables, "--progress", "json")
    until(process, '"step_started","seq"')
    until(process, "tasks_seen")
    interrupt(process)
    rest, _ = process.communicate(timeout=30)
    assert process.returncode == 130, rest
    hundred.change("something else\n")
    process = hundred.place.start("apply", hundred.spec, *hundred.variables, "--progress", "json")
    seen = until(process, "tasks_seen")
    hundred.open_gate()
    rest, _ = process.communicate(timeout=60)
    assert process.returncode == 0, rest
    done = items(seen + rest)
    assert (done["upload"], done["submit"]) == (1, 1)
    assert done["terminate"] == 1, "the task of the earlier version is ended first"
    assert task_counts(bench, hundred.name) == {hundred.name: hundred.count}
    assert len(hundred.ran) == hundred.count
    assert hundred.results() == hundred.expected()
    assert hundred.plan() == {}
