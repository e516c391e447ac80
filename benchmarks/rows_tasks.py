"""Rows: adding tasks, and whole runs of tasks that do nothing."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import accounts
from batch_requests import task_body
from measuring import Contender, Row, Setting
from peers import BATCHSPEC, FLOORS, SNAKEMAKE, available
from slow_network import Proxy, running, through

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
    input: expand("out/{n}", n=range(int(config["number"])))
rule one:
    output: "out/{n}"
    shell: "touch {output}"
"""
_SNAKEMAKE_JOBS = 100, 1000
_COLLECTION = 100
_LATENCY = 0.05


def _submit(number: int, *, slow: bool) -> Row:
    """Adding tasks; ``slow``: each request takes 50 ms longer."""

    @contextmanager
    def contenders(setting: Setting) -> Iterator[Sequence[Contender]]:
        (setting.folder / "run.yaml").write_text(SUBMIT.format(number=number))
        # The nodes do not start while this row is measured.
        setting.run([*BATCHSPEC, "local", "stop"])
        setting.run([*BATCHSPEC, "local", "start", "--allocation", "24h"])
        container = accounts.create_container(setting, "bench-submit")
        direct = accounts.accounts(setting)
        _write_bodies(setting.folder / "bodies.txt", number, container)
        if not slow:
            yield _ways_to_submit(setting, number, container, direct, {})
        else:
            batch = Proxy(direct["AZURE_BATCH_ENDPOINT"], _LATENCY)
            blobs = Proxy(direct["AZURE_STORAGE_SERVICE_ENDPOINT"], _LATENCY)
            with running(batch, blobs):
                environ = through(direct, batch, blobs)
                yield _ways_to_submit(setting, number, container, environ, environ)
        setting.run([*BATCHSPEC, "local", "stop"])

    if slow:
        title, size = "add tasks on a slow network", f"{number:,} at 50 ms a request"
        return Row("submit-slow", title, size, contenders, rounds=3, memory=110)
    return Row("submit", "add tasks", f"{number:,}", contenders, rounds=3, memory=110)


def _write_bodies(path: Path, number: int, container: str) -> None:
    """Write the bodies of requests, one in a line."""
    with path.open("w", encoding="utf-8") as file:
        for first in range(0, number, _COLLECTION):
            last = min(first + _COLLECTION, number)
            tasks = [task_body(index, container) for index in range(first, last)]
            file.write(json.dumps({"value": tasks}) + "\n")


def _ways_to_submit(
    setting: Setting,
    number: int,
    container: str,
    environ: Mapping[str, str],
    own: Mapping[str, str],
) -> Sequence[Contender]:
    """The commands that add tasks; ``own`` are the variables of batchspec's command."""
    jobs = iter(f"bench-{index}" for index in range(1000))

    def contender(name: str, target: float | None, kind: str, *arguments: str) -> Contender:
        def create() -> None:
            job = f"{kind}-{next(jobs)}"
            (setting.folder / f"{kind}.job").write_text(job)
            if kind != "submit":  # It creates its job, as batchspec does.
                setting.run([*FLOORS, "job", job], **environ)

        program = shlex.join([*FLOORS, kind])
        line = f'exec {program} "$(cat {kind}.job)" {shlex.join(arguments)}'
        return Contender(name, ["sh", "-c", line], target, environ, create)

    apply = [*BATCHSPEC, "apply", "run.yaml", "-y", "--detach", "--var", "run={round}"]
    at_once = "16" if own else "8"
    return (
        Contender("batchspec apply --detach", apply, environ=own),
        contender("bodies in plain requests", 1.3, "post", "bodies.txt"),
        contender("SDK, create_tasks", 1.0, "sdk", "bodies.txt", at_once),
        contender("a loop with the same libraries", None, "submit", str(number), container),
    )


def _run(number: int, *, logs: bool) -> Row:
    @contextmanager
    def contenders(setting: Setting) -> Iterator[Sequence[Contender]]:
        text = RUN.format(number=number, logs=str(logs).lower())
        (setting.folder / "run.yaml").write_text(text)
        (setting.folder / "Snakefile").write_text(SNAKEFILE)
        (setting.folder / "numbers.txt").write_text("\n".join(map(str, range(number))))
        setting.run([*BATCHSPEC, "local", "start"])
        container = [accounts.create_container(setting, "bench-run")] if logs else []
        prefix = "logs" if logs else "plain"
        apply = [*BATCHSPEC, "apply", "run.yaml", "-y", "--var", f"run={prefix}-{{round}}"]
        floor = [*FLOORS, "run", str(number), *container]
        found = [
            Contender("batchspec apply", apply),
            Contender("a node in one process", floor, 1.3),
        ]
        if available("parallel"):
            parallel = ["parallel", "--will-cite", "-j2", "-a", "numbers.txt", "true"]
            found.append(Contender("GNU parallel", parallel, 1.0))
        xargs = ["xargs", "-a", "numbers.txt", "-n", "1", "-P", "2", "true"]
        found.append(Contender("xargs", xargs, None if logs else 1 / 0.75))
        if SNAKEMAKE.exists():
            name, sizes = "Snakemake", None
            if number > max(_SNAKEMAKE_JOBS):
                sizes = (*_SNAKEMAKE_JOBS, number)
                name = "Snakemake (extrapolated from 100 and 1,000 jobs)"
            jobs = "{size}" if sizes else str(number)
            snakemake = [str(SNAKEMAKE), "-j2", "--quiet", "all", "--config", f"number={jobs}"]
            peer = Contender(
                name,
                snakemake,
                1 / 20,
                prepare=lambda: _forget(setting.folder),
                extrapolated=sizes,
            )
            found.append(peer)
        yield found

    name = "run-logs" if logs else "run"
    title = "whole run of `true`, logs kept" if logs else "whole run of `true`, without logs"
    return Row(name, title, f"{number:,} tasks", contenders, rounds=2)


def _forget(folder: Path) -> None:
    for name in ("out", ".snakemake"):
        shutil.rmtree(folder / name, ignore_errors=True)


def rows(*, quick: bool) -> tuple[Row, ...]:
    """The rows of this module; quick: smaller ones."""
    submitted, slowly, run = (2000, 1000, 200) if quick else (100_000, 10_000, 10_000)
    return (
        _submit(submitted, slow=False),
        _submit(slowly, slow=True),
        _run(run, logs=True),
        _run(run, logs=False),
    )
