"""Rows: adding tasks, and whole runs of tasks that do nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import accounts
from measuring import Contender, Row, Setting
from peers import BATCHSPEC, FLOORS, SNAKEMAKE, available

SUBMIT = """\
version: 1
name: bench-submit
parameters: {{run: {{type: string}}}}
containers: {{output: {{}}, data: {{}}}}
pool: {{id: bench-submit, vm_size: standard_d2s_v5, nodes: 1, image: ubuntu-24.04}}
job: {{id: "submit-{{{{ run }}}}", max_wall_clock_time: 1h}}
tasks:
  work:
    for_each: {{range: [1, {number}]}}
    command: work --number {{{{ value }}}}
    env: {{NUMBER: "{{{{ value }}}}", MODE: fast}}
    resources: [data]
    outputs: [{{files: "out/*.txt", container: output, path: "{{{{ value }}}}/"}}]
    logs: false
"""
RUN = """\
version: 1
name: bench-run
parameters: {{run: {{type: string}}}}
pool: {{id: bench-run, vm_size: standard_d2s_v5, nodes: 1, image: ubuntu-24.04,
        task_slots_per_node: 2}}
job: {{id: "run-{{{{ run }}}}", max_wall_clock_time: 1h}}
tasks:
  work:
    for_each: {{range: [1, {number}]}}
    command: "true"
    logs: {logs}
cleanup: {{job: never, pool: never}}
"""
SNAKEFILE = """\
rule all:
    input: expand("out/{{n}}", n=range({number}))
rule one:
    output: "out/{{n}}"
    shell: "touch {{output}}"
"""
_COLLECTION = 100


def _body(number: int, container: str) -> dict[str, object]:
    """A task like those that batchspec adds."""
    return {
        "id": f"work-{number}",
        "commandLine": f"/bin/sh -c 'work --number {number}'",
        "displayName": f"work {number} [work item 0123456789abcdef work 0123456789abcdef]",
        "environmentSettings": [
            {"name": "NUMBER", "value": str(number)},
            {"name": "MODE", "value": "fast"},
        ],
        "resourceFiles": [{"storageContainerUrl": container}],
        "outputFiles": [
            {
                "filePattern": "out/*.txt",
                "destination": {"container": {"containerUrl": container, "path": str(number)}},
                "uploadOptions": {"uploadCondition": "tasksuccess"},
            }
        ],
    }


def _submit(number: int) -> Row:
    @contextmanager
    def contenders(setting: Setting) -> Iterator[Sequence[Contender]]:
        (setting.folder / "run.yaml").write_text(SUBMIT.format(number=number))
        # The nodes do not start while this row is measured.
        setting.run([*BATCHSPEC, "local", "stop"])
        setting.run([*BATCHSPEC, "local", "start", "--allocation", "24h"])
        container = accounts.create_container(setting, "bench-submit")
        environ = accounts.accounts(setting)
        with (setting.folder / "bodies.txt").open("w", encoding="utf-8") as file:
            for first in range(0, number, _COLLECTION):
                last = min(first + _COLLECTION, number)
                tasks = [_body(index, container) for index in range(first, last)]
                file.write(json.dumps({"value": tasks}) + "\n")
        jobs = iter(f"bench-{index}" for index in range(1000))

        def create(kind: str) -> None:
            job = f"{kind}-{next(jobs)}"
            (setting.folder / f"{kind}.job").write_text(job)
            setting.run([*FLOORS, "job", job], **environ)

        def line(kind: str) -> list[str]:
            program = f'exec {FLOORS[0]} {FLOORS[1]} {kind} bodies.txt "$(cat {kind}.job)"'
            return ["sh", "-c", program]

        apply = [*BATCHSPEC, "apply", "run.yaml", "-y", "--detach", "--var", "run={round}"]
        yield (
            Contender("batchspec apply --detach", apply),
            Contender(
                "bodies in plain requests", line("post"), 1.3, environ, lambda: create("post")
            ),
            Contender("SDK, create_tasks", line("sdk"), 1.0, environ, lambda: create("sdk")),
        )
        setting.run([*BATCHSPEC, "local", "stop"])

    return Row("submit", "add tasks", f"{number:,}", contenders, rounds=3, memory=110)


def _run(number: int, *, logs: bool) -> Row:
    @contextmanager
    def contenders(setting: Setting) -> Iterator[Sequence[Contender]]:
        text = RUN.format(number=number, logs=str(logs).lower())
        (setting.folder / "run.yaml").write_text(text)
        (setting.folder / "Snakefile").write_text(SNAKEFILE.format(number=number))
        (setting.folder / "numbers.txt").write_text("\n".join(map(str, range(number))))
        setting.run([*BATCHSPEC, "local", "start"])
        prefix = "logs" if logs else "plain"
        apply = [*BATCHSPEC, "apply", "run.yaml", "-y", "--var", f"run={prefix}-{{round}}"]
        found = [Contender("batchspec apply", apply)]
        if available("parallel"):
            parallel = ["parallel", "--will-cite", "-j2", "-a", "numbers.txt", "true"]
            found.append(Contender("GNU parallel", parallel, 1.0))
        xargs = ["xargs", "-a", "numbers.txt", "-n", "1", "-P", "2", "true"]
        found.append(Contender("xargs", xargs, None if logs else 1 / 0.75))
        if SNAKEMAKE.exists():
            snakemake = [str(SNAKEMAKE), "-j2", "--quiet", "all"]
            found.append(
                Contender("Snakemake", snakemake, 1 / 20, prepare=lambda: _forget(setting.folder))
            )
        yield found

    name = "run-logs" if logs else "run"
    title = "whole run of `true`, logs kept" if logs else "whole run of `true`, without logs"
    return Row(name, title, f"{number:,} tasks", contenders, rounds=2)


def _forget(folder: Path) -> None:
    for name in ("out", ".snakemake"):
        shutil.rmtree(folder / name, ignore_errors=True)


def rows(*, quick: bool) -> tuple[Row, ...]:
    """The rows of this module; quick: smaller ones."""
    submitted, run = (2000, 200) if quick else (20_000, 10_000)
    return (_submit(submitted), _run(run, logs=True), _run(run, logs=False))
