"""Start time and memory of accounts of the embedded service that run at the same time.

    python tools/measure_accounts.py [--accounts N]

Each account is a service with a separate data folder, as the fixture ``batch_account`` starts it.
Memory is the proportional set size (PSS) of all processes of an account: pages that several
processes share count once. The processor time of a start depends less on other work of the machine
than its duration. Linux only.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from azure.batch import BatchClient, models
from azure.core.credentials import AzureNamedKeyCredential

from batchspec import local

_POOL = {
    "id": "p",
    "vmSize": "standard_d2s_v3",
    "targetDedicatedNodes": 1,
    "virtualMachineConfiguration": {
        "imageReference": {"publisher": "canonical", "offer": "ubuntu-24_04-lts", "sku": "server"},
        "nodeAgentSKUId": "batch.node.ubuntu 24.04",
    },
}
_PATIENCE = 60.0


@dataclass(frozen=True, slots=True)
class Measured:
    """One account: seconds of its start and stop, MiB after the start and after a task.

    ``processor`` is the processor time of its processes after the start, in seconds.
    """

    start: float
    processor: float
    idle: float
    used: float
    stop: float


def processes(root: int) -> Iterator[int]:
    """The process ``root`` and its descendants."""
    parents: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        parents.setdefault(int(fields[1]), []).append(int(path.parent.name))
    waiting = [root]
    while waiting:
        pid = waiting.pop()
        yield pid
        waiting += parents.get(pid, ())


def processor_time(root: int) -> float:
    """Seconds of processor time of the processes of an account."""
    ticks = 0
    for pid in processes(root):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def memory(root: int) -> float:
    """MiB of the processes of an account."""
    total = 0
    for pid in processes(root):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return total / 1024


def run_task(account: local.Endpoints) -> None:
    """Run one task on one node.

    Raises:
        TimeoutError: it was not completed within a minute.
    """
    credential = AzureNamedKeyCredential(account.batch_account, account.batch_key)
    with BatchClient(account.batch_url, credential) as batch:
        batch.create_pool(models.BatchPoolCreateOptions(_POOL))
        batch.create_job(models.BatchJobCreateOptions({"id": "j", "poolInfo": {"poolId": "p"}}))
        task = {"id": "t", "commandLine": "/bin/true"}
        batch.create_task("j", models.BatchTaskCreateOptions(task))
        end = time.monotonic() + _PATIENCE
        while batch.get_task("j", "t").state != "completed":
            if time.monotonic() > end:
                raise TimeoutError("the task was not completed")
            time.sleep(0.05)


def measure(count: int, folder: Path) -> list[Measured]:
    """Start ``count`` accounts, run a task on each, and stop them."""
    accounts, starts, processor = [], [], []
    with ExitStack() as stack:
        for number in range(count):
            data = folder / str(number)
            stack.callback(local.stop, data)
            began = time.perf_counter()
            accounts.append(local.start(data))
            starts.append(time.perf_counter() - began)
            processor.append(processor_time(accounts[-1].pid))
        idle = [memory(account.pid) for account in accounts]
        for account in accounts:
            run_task(account)
        used = [memory(account.pid) for account in accounts]
        stops = []
        for account in accounts:
            began = time.perf_counter()
            local.stop(account.data)
            stops.append(time.perf_counter() - began)
    return [Measured(*row) for row in zip(starts, processor, idle, used, stops, strict=True)]


def table(measured: Sequence[Measured]) -> str:
    """The medians as a table in Markdown."""

    def median(name: str) -> float:
        values: list[float] = [getattr(one, name) for one in measured]
        return statistics.median(values)

    return "\n".join(
        (
            "| per account | median |",
            "|---|---|",
            f"| start, until both services answer | {median('start'):.1f} s |",
            f"| processor time of the start | {median('processor'):.1f} s |",
            f"| stop | {median('stop'):.1f} s |",
            f"| memory after the start | {median('idle'):.0f} MiB |",
            f"| memory after a task | {median('used'):.0f} MiB |",
        )
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--accounts", type=int, default=5, help="number at the same time")
    given = parser.parse_args(arguments)
    local.install()
    with tempfile.TemporaryDirectory() as folder:
        print(table(measure(given.accounts, Path(folder))))


if __name__ == "__main__":
    main()
