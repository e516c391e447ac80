"""Apply, kill at a random moment, apply again, many times. Each must end as one complete run.

    python tools/kill_sweep.py [--rounds 50] [--seed 1] [--data DIR] [--keep]

Every round has a new embedded service and a new copy of ``specs/topn.yaml`` whose tasks append
their id to a file when they end. The moment is a time or a number of events; in some rounds the
service is not running, so that its start can be interrupted as well. After the second apply the
round is checked without batchspec: the job contains one task for each input, completed with exit
code 0 (azure-batch); each task ended exactly once (the file); the results match an independent
count. The output is one line for each round. The exit code is 1 if a round failed; its folder is
kept.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from azure.batch import BatchClient
from azure.core.credentials import AzureNamedKeyCredential

from batchspec import local

ROOT = Path(__file__).parents[1]
BATCHSPEC = [
    *(sys.executable, "-c"),
    "import sys; from batchspec.cli.main import main; sys.exit(main())",
]
TIME_LIMIT = 300.0
TOP = 3


@dataclass(frozen=True)
class Round:
    """A new embedded service, a spec, and the file that its tasks append to."""

    folder: Path
    inputs: dict[str, str] = field(default_factory=dict)

    @property
    def spec(self) -> Path:
        return self.folder / "project" / "specs" / "topn.yaml"

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def marks(self) -> Path:
        return self.folder / "marks"

    @property
    def results(self) -> Path:
        return self.folder / "project" / "results"


def lay_out(folder: Path, data: Path) -> Round:
    """Copy the spec, its program and its inputs; let the tasks append their id when they end."""
    here = Round(folder)
    shutil.copytree(ROOT / "task_app", folder / "project" / "task_app")
    shutil.copytree(ROOT / "specs", folder / "project" / "specs")
    inputs = folder / "project" / "specs" / "data"
    shutil.rmtree(inputs)
    inputs.mkdir()
    for source in sorted(data.iterdir()):
        if source.is_file() and not source.is_symlink():
            name = source.name if source.suffix == ".txt" else f"{source.name}.txt"
            text = source.read_text(encoding="utf-8")
            (inputs / name).write_text(text, encoding="utf-8")
            here.inputs[name] = text
    text = here.spec.read_text(encoding="utf-8")
    mark = f' && echo "$AZ_BATCH_TASK_ID" >> {shlex.quote(str(here.marks))}'
    marked, times = re.subn(r"(?m)^(    command: python3 .*)$", lambda m: m[1] + mark, text)
    if times != 1:
        raise SystemExit(f"{here.spec} has no one task command to put a mark into")
    here.spec.write_text(marked, encoding="utf-8")
    return here


@dataclass(frozen=True)
class Applied:
    """The exit code of an apply (negative: a signal), and its last step."""

    code: int
    seconds: float
    events: int
    step: str
    log: str


@dataclass(frozen=True)
class Moment:
    """When to kill: after seconds or lines of events; after TIME_LIMIT at the latest."""

    seconds: float = TIME_LIMIT
    events: int = sys.maxsize


def apply(here: Round, number: int, moment: Moment) -> Applied:
    """Run ``batchspec apply`` and kill it at that moment if it still runs."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("AZURE_")
    }
    environment["BATCHSPEC_LOCAL_HOME"] = str(here.home)
    line = [*BATCHSPEC, "apply", str(here.spec), "--target", "local", "--progress", "json"]
    events, errors = here.folder / f"apply-{number}.jsonl", here.folder / f"apply-{number}.err"
    start = time.monotonic()
    with (
        events.open("wb") as out,
        errors.open("wb") as err,
        subprocess.Popen(
            line, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=environment, cwd=here.folder
        ) as process,
    ):
        while process.poll() is None:
            if time.monotonic() - start >= moment.seconds or lines_in(events) >= moment.events:
                process.send_signal(signal.SIGKILL)
                break
            time.sleep(0.002)
    seconds = time.monotonic() - start
    log = errors.read_text(encoding="utf-8", errors="replace")
    return Applied(process.returncode, seconds, lines_in(events), last_step(events), log)


def lines_in(path: Path) -> int:
    """The number of complete lines of a file."""
    return path.read_bytes().count(b"\n")


def last_step(events: Path) -> str:
    """The step that started last, by the event stream; its last line may be incomplete."""
    step = "nothing"
    for line in events.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if event.get("type") in ("run_ended", "RunEnded"):
            return "the end"
        step = event.get("step") or step
    return step


def independent_count(text: str) -> list[tuple[str, int]]:
    """The most frequent words of a text without combining marks, counted independently."""
    plain = text.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'").casefold()
    words = Counter(re.findall(r"[^\W_]+(?:'[^\W_]+)*", plain))
    return sorted(words.items(), key=lambda item: (-item[1], item[0]))[:TOP]


def faults(here: Round) -> list[str]:
    """Every difference from the state that one run without a kill leaves."""
    found = []
    endpoints = local.start(here.home)
    credential = AzureNamedKeyCredential(endpoints.batch_account, endpoints.batch_key)
    with BatchClient(endpoints.batch_url, credential) as client:
        jobs = [job.id for job in client.list_jobs()]
        if jobs != ["topn"]:
            found.append(f"the jobs are {jobs}")
        tasks = [task for job in jobs for task in client.list_tasks(job)]
    ids = [task.id for task in tasks]
    if len(tasks) != len(here.inputs):
        found.append(f"{len(tasks)} tasks for {len(here.inputs)} inputs")
    for task in tasks:
        code = task.execution_info.exit_code if task.execution_info else None
        if str(getattr(task.state, "value", task.state)) != "completed" or code != 0:
            found.append(f"task {task.id} is {task.state} with exit code {code}")
    ran = here.marks.read_text().split() if here.marks.exists() else []
    if sorted(ran) != sorted(ids):
        found.append(f"ran to their end: {dict(Counter(ran))}, of {ids}")
    results = {path.name: path for path in here.results.rglob("*") if path.is_file()}
    if set(results) != {f"{name}.top.txt" for name in here.inputs}:
        found.append(f"the results are {sorted(results)}")
    for name, text in here.inputs.items():
        path = results.get(f"{name}.top.txt")
        lines = path.read_text(encoding="utf-8").splitlines()[1:] if path else []
        expected = [f"{word}\t{count}" for word, count in independent_count(text)]
        if path and lines != expected:
            found.append(f"the result of {name} is {lines}, instead of {expected}")
    return found


@dataclass(frozen=True)
class Outcome:
    """The result of a round: its text, its differences, and how its first apply ended."""

    text: str
    wrong: list[str]
    first: Applied


def one_round(folder: Path, data: Path, *, warm: bool, moment: Moment | None) -> Outcome:
    """Run one round; without a moment there is one apply, which is not killed."""
    here = lay_out(folder, data)
    try:
        if warm:
            local.start(here.home)
        first = last = apply(here, 1, moment or Moment())
        ended = f"ended with {first.code}" if first.code >= 0 else "killed"
        text = f"{'warm' if warm else 'cold'}  {ended} after {first.seconds:5.2f} s"
        text += f" and {first.events:>3} events, in {first.step:<20}"
        wrong = [] if first.code in (0, -signal.SIGKILL) else [f"exit code {first.code}"]
        if moment is not None:
            last = apply(here, 2, Moment())
            text += f" again {last.seconds:5.2f} s"
        if last.code != 0:
            wrong.append(f"the last apply ended with {last.code}: {last.log[-2000:]}")
        return Outcome(text, wrong + faults(here), first)
    finally:
        local.stop(here.home)


def main() -> int:
    """Run all rounds; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--data", type=Path, default=ROOT / "specs" / "data", help="the inputs")
    parser.add_argument("--keep", action="store_true", help="keep the folder of every round")
    options = parser.parse_args()
    chance = random.Random(options.seed)
    base = Path(tempfile.mkdtemp(prefix="batchspec-kill-"))
    print(f"seed {options.seed}; {options.rounds} rounds in {base}", flush=True)
    bad = 0
    complete: list[Applied] = []
    for number in range(-1, options.rounds + 1):
        folder = base / f"round-{number}"
        folder.mkdir()
        # The first two runs are not killed: they measure the duration of a run and check the round.
        warm = number == 0 or (number > 0 and number % 5 > 0)
        moment = None
        if number > 0:
            first = complete[warm]
            by_time = Moment(seconds=chance.uniform(0, first.seconds))
            by_event = Moment(events=chance.randint(1, first.events))
            moment = by_time if number % 2 else by_event
        outcome = one_round(folder, options.data, warm=warm, moment=moment)
        if moment is None:
            complete.append(outcome.first)
        print(f"{number:>3}  {outcome.text}  {'; '.join(outcome.wrong) or 'ok'}", flush=True)
        if outcome.wrong:
            bad += 1
            if moment is None:
                break
        elif not options.keep:
            shutil.rmtree(folder)
    if not bad and not options.keep:
        base.rmdir()
    print(f"{options.rounds} rounds, {bad} failed" + (f"; kept in {base}" if bad else ""))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
