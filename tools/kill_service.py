"""Kill the embedded service under load repeatedly, and check that nothing acknowledged is lost.

    python tools/kill_service.py [--rounds 100] [--seed 1] [--longest 1.5] [--bare] [--keep]

While clients create, change and delete jobs, tasks and a pool, the service gets SIGKILL at a random
moment and is started again. After each start, everything that a 2xx reply acknowledged must exist:
created objects, the newest changes, deletions, and tasks that were reported as completed. At the
end all jobs must complete with all of their tasks, exit code 0.

Each task locks a file named by its id, which all its processes inherit and keep locked while one of
them runs, and appends a line when it starts and one when it ends. This shows a task that runs
twice at the same time, or more often than the store records. Some tasks leave processes in separate
sessions, some run with an empty environment.

The exit code is 1 after a failure, and the folder is then kept.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from azure.batch import BatchClient, models
from killing.checks import check, check_end
from killing.targets import Bare, Daemon, Target
from killing.writers import Writer

SCRIPT = """\
exec 9>> "$1"
flock --nonblock 9 || { echo "$1" >> "$2"; exit 99; }
echo begin >&9
if [ "$3" = stays ]; then setsid sleep 60 & fi
sleep "$4"
echo end >&9
"""


def sweep(
    target: Target, folder: Path, *, rounds: int, longest: float, chance: random.Random
) -> list[str]:
    """Kill ``target`` repeatedly, each time after at most ``longest`` seconds; return failures."""
    (folder / "marks").mkdir()
    (folder / "task.sh").write_text(SCRIPT)
    writers = [Writer(name, folder, random.Random(chance.random())) for name in ("one", "two")]
    with closing(target.start()) as client:
        for writer in writers:
            client.create_pool(pool(writer.pool))
        target.kill()
    for number in range(1, rounds + 1):
        with closing(target.start()) as client:
            # One in four services is killed during its recovery.
            early = number % 4 == 0
            wrong = [] if early else check(client, writers)
            load(target, client, writers, chance.uniform(0, longest / (20 if early else 1)))
        writes = sum(writer.writes for writer in writers)
        tasks = sum(len(job.tasks) for writer in writers for job in writer.jobs)
        result = "; ".join(wrong) or "ok"
        print(f"{number:>3}  {writes:>6} writes, {tasks:>5} tasks  {result}", flush=True)
        if wrong:
            return wrong
    with closing(target.start()) as client:
        return check(client, writers) or check_end(client, writers, folder)


def load(target: Target, client: BatchClient, writers: Sequence[Writer], seconds: float) -> None:
    """Let the writers write, and kill ``target`` after a number of seconds."""
    threads = [threading.Thread(target=writer.work, args=(client,)) for writer in writers]
    for thread in threads:
        thread.start()
    time.sleep(seconds)
    target.kill()
    for thread in threads:
        thread.join()


def pool(pool_id: str) -> models.BatchPoolCreateOptions:
    """A pool for four tasks at a time."""
    return models.BatchPoolCreateOptions(
        id=pool_id,
        vm_size="standard_d2s_v3",
        virtual_machine_configuration=models.VirtualMachineConfiguration(
            image_reference=models.BatchVmImageReference(
                publisher="canonical", offer="ubuntu-24_04-lts", sku="server"
            ),
            node_agent_sku_id="batch.node.ubuntu 24.04",
        ),
        target_dedicated_nodes=2,
        task_slots_per_node=2,
    )


def main() -> int:
    """Run all rounds; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--longest", type=float, default=1.5, help="seconds from start to kill")
    parser.add_argument("--bare", action="store_true", help="the Batch service, without Azurite")
    parser.add_argument("--keep", action="store_true", help="keep the folder in any case")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="batchspec-kill-"))
    print(f"seed {options.seed}; {options.rounds} rounds in {folder}", flush=True)
    target = (Bare if options.bare else Daemon)(folder / "account")
    try:
        wrong = sweep(
            target,
            folder,
            rounds=options.rounds,
            longest=options.longest,
            chance=random.Random(options.seed),
        )
    finally:
        target.stop()
    print("\n".join(wrong) or f"{options.rounds} kills, no failure")
    if not wrong and not options.keep:
        shutil.rmtree(folder)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
