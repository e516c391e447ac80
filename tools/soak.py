"""Many tasks and many clients on one embedded service, with kills at random; check every result.

    python tools/soak.py --clients 1 --tasks 20000 --nodes 100
    python tools/soak.py --clients 20 --tasks 500 --nodes 100
    options: [--kills 30] [--every 10] [--seed 1] [--limit 7200] [--keep]

Each client applies a separate spec, whose tasks square a number. Meanwhile the service, its store
(Azurite) or a client gets SIGKILL, on average every ``--every`` seconds, ``--kills`` times in all.
A killed service is started again, and a client applies its spec until that succeeds.

At the end the results of each client must be exactly the squares of its numbers: none missing,
wrong or in addition. Each task locks a file named by its number, which shows two runs of it at the
same time, and appends a line when it ends. A task runs again if it was interrupted, or if the store
lost its output; these runs are counted.

The exit code is 1 after a failure, and the folder is then kept.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from batchspec import local
from batchspec.local.daemon import Home
from batchspec.local.process import Process

BATCHSPEC = [
    *(sys.executable, "-c"),
    "import sys; from batchspec.cli.main import main; sys.exit(main())",
]
SPEC = """\
version: 1
name: {name}
containers:
  output: {{id: {name}-output}}
pool: {{vm_size: standard_d2s_v5, nodes: {nodes}, image: ubuntu-24.04}}
job: {{max_wall_clock_time: 1d}}
tasks:
  square:
    for_each: {{range: [1, {end}]}}
    command: sh {folder}/task.sh {folder} {{{{ value }}}}
    outputs:
      - {{files: "square-*.txt", container: output, required: true}}
results:
  - {{container: output, to: results/}}
"""
TASK = """\
exec 9>> "$1/marks/$2"
flock --nonblock 9 || { echo "$2" >> "$1/doubled"; exit 99; }
echo $(($2 * $2)) > "square-$2.txt"
echo end >&9
"""
_POLL = 0.2


@dataclass
class Client:
    """One spec, and the process that applies it again until that succeeds."""

    folder: Path
    tasks: int
    data: Path
    process: subprocess.Popen[bytes] | None = None
    codes: list[int] = field(default_factory=list)
    done: bool = False

    def lay_out(self, nodes: int) -> None:
        """Write the spec and the program of its tasks."""
        (self.folder / "marks").mkdir(parents=True)
        (self.folder / "task.sh").write_text(TASK)
        text = SPEC.format(
            name=self.folder.name, nodes=nodes, end=self.tasks + 1, folder=self.folder
        )
        (self.folder / "spec.yaml").write_text(text)

    def step(self) -> None:
        """Start the next apply, unless one runs or has succeeded."""
        if self.process is not None and self.process.poll() is None:
            return
        if self.process is not None:
            self.codes.append(self.process.returncode)
            self.done = self.process.returncode == 0
            self.process = None
        if not self.done:
            environment = {k: v for k, v in os.environ.items() if not k.startswith("AZURE_")}
            with (self.folder / f"apply-{len(self.codes)}.log").open("wb") as log:
                self.process = subprocess.Popen(
                    [*BATCHSPEC, "apply", "spec.yaml", "--target", "local", "-y"],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env={**environment, "BATCHSPEC_LOCAL_HOME": str(self.data)},
                    cwd=self.folder,
                )

    def kill(self) -> None:
        """Send SIGKILL to the running apply."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def wrong(self) -> list[str]:
        """Every difference from the results of one run without a kill."""
        expected = {f"square-{n}.txt": str(n * n) for n in range(1, self.tasks + 1)}
        found = {path.name: path for path in (self.folder / "results").rglob("square-*")}
        wrong = [f"{self.folder.name}: did not end"] * (not self.done)
        wrong += [f"{self.folder.name}: lost {name}" for name in expected.keys() - found.keys()]
        wrong += [f"{self.folder.name}: {name} in addition" for name in found.keys() - expected]
        wrong += [
            f"{self.folder.name}: {name} is wrong"
            for name, path in found.items()
            if name in expected and path.read_text().strip() != expected[name]
        ]
        doubled = self.folder / "doubled"
        ran = doubled.read_text().split() if doubled.exists() else []
        return wrong + [f"{self.folder.name}: task {n} ran twice at the same time" for n in ran]

    def repeated(self) -> int:
        """The number of repeated runs of tasks."""
        marks = (self.folder / "marks").iterdir()
        return sum(path.read_bytes().count(b"end\n") - 1 for path in marks)


def soak(
    clients: Sequence[Client], data: Path, chance: random.Random, *, kills: int, every: float
) -> Counter[str]:
    """Run all clients to their end, with kills; returns the number of kills of each kind."""
    killed: Counter[str] = Counter()
    due = time.monotonic() + chance.expovariate(1 / every)
    while not all(client.done for client in clients):
        for client in clients:
            client.step()
        if killed.total() < kills and time.monotonic() >= due:
            kind = chance.choice(("service", "store", "client"))
            if kill(kind, clients, data, chance):
                killed[kind] += 1
            due = time.monotonic() + chance.expovariate(1 / every)
        time.sleep(_POLL)
    return killed


def kill(kind: str, clients: Sequence[Client], data: Path, chance: random.Random) -> bool:
    """Kill the service, its store or a client; false if it does not run now."""
    if kind == "client":
        running = [client for client in clients if client.process is not None]
        if running:
            chance.choice(running).kill()
        return bool(running)
    home = Home(data)
    process = Process.read(home.daemon_lock if kind == "service" else home.azurite_lock)
    found = process is not None and process.signal(signal.SIGKILL)
    if kind == "service":
        local.start(data)
    return found


def main() -> int:
    """Run the soak; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--tasks", type=int, default=500, help="of each client")
    parser.add_argument("--nodes", type=int, default=100, help="of all clients together")
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--every", type=float, default=10, help="mean seconds between two kills")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--limit", type=int, default=7200, help="seconds until this fails")
    parser.add_argument("--keep", action="store_true")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="batchspec-soak-"))
    data = folder / "home"
    print(f"seed {options.seed}, in {folder}", flush=True)
    clients = [Client(folder / f"soak-{n:02}", options.tasks, data) for n in range(options.clients)]
    for client in clients:
        client.lay_out(max(1, options.nodes // options.clients))
    start = time.monotonic()
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.alarm(options.limit)
    killed: Counter[str] = Counter()
    try:
        local.start(data)
        killed = soak(
            clients, data, random.Random(options.seed), kills=options.kills, every=options.every
        )
    except KeyboardInterrupt:
        print("interrupted, or the time limit passed")
    finally:
        for client in clients:
            client.kill()
        local.stop(data)
    wrong = [line for client in clients for line in client.wrong()]
    codes = Counter(code for client in clients for code in client.codes)
    print(f"{options.clients} x {options.tasks} tasks in {time.monotonic() - start:.0f} s")
    print(f"killed: {dict(killed)}; exit codes of apply: {dict(codes)}")
    print(f"repeated tasks: {sum(client.repeated() for client in clients)}")
    print(*wrong[:50], f"{len(wrong)} wrong", sep="\n")
    if wrong or options.keep:
        print(f"kept in {folder}")
    else:
        shutil.rmtree(folder)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
