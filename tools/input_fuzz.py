"""Give hostile inputs to ``validate`` and ``plan``, and check that each ends with a diagnostic.

    python -m tools.input_fuzz [--inputs 20000] [--seed 1] [--workers 2] [--first 0]

Each input (``tests/spec/hostile_inputs.py``) is a spec with its files: expressions, rows, items,
parameters, numbers and times at their limits, bytes of the text, files to upload, and changes of
the structure. ``batchspec validate`` runs on it, and what is valid is planned for an empty account,
in this process.

An input fails if a command ends with exit code 1, raises, prints more than 1 MB, or needs more than
10 seconds of processor time (a plan also 0.2 ms for each of its tasks) or 1 GB of memory. Specs
with more than 200,000 tasks are only validated. Failures are printed with their number:
``--first NUMBER --inputs 1`` repeats one. The exit code is 1 if there are any.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from batchspec.cli import main as cli
from batchspec.diagnostics import BatchspecError
from batchspec.spec import ValueSources, read_spec
from tests.spec.empty_account import plan
from tests.spec.hostile_inputs import Case, case

SECONDS = 10
"""Seconds of processor time."""
SECONDS_FOR_TASK = 0.0002
"""Additional seconds of processor time per task of a plan: a stage may have ten million tasks."""
MOST_PLANNED = 200_000
"""Specs with more tasks are only validated: a plan of ten million tasks takes half an hour."""
HANGS = 1200
"""Seconds after which a worker without an answer is stopped."""
MEGABYTES = 1024
BYTES = 1 << 20
"""The maximum number of characters that a command may print."""


class TooManyTasksError(Exception):
    """A spec has more tasks than are planned here."""


class TooSlowError(BaseException):
    """An input exceeds its time limit; no exception handler may catch this exception."""


@dataclass(slots=True)
class Tally:
    """The outcomes of the inputs; ``failures`` are numbers with the reason."""

    outcomes: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[int, str]] = field(default_factory=list)
    slowest: float = 0.0
    largest: int = 0


@contextmanager
def _time_limit() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise TooSlowError

    before = signal.signal(signal.SIGPROF, stop)
    _limit(SECONDS)
    try:
        yield
    finally:
        _limit(0)
        signal.signal(signal.SIGPROF, before)


def _limit(seconds: float) -> None:
    """Raise :class:`TooSlowError` after this additional processor time; 0: never."""
    signal.setitimer(signal.ITIMER_PROF, seconds)


def command(*arguments: str) -> tuple[int, str]:
    """The exit code and the output of a command that runs in this process."""
    printed = io.StringIO()
    before, sys.argv = sys.argv, ["batchspec", *arguments]
    try:
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            code = cli.run()
    finally:
        sys.argv = before
    return code, printed.getvalue()


def check(found: Case) -> str:
    """Validate and plan an input; ``refused``, ``planned`` or ``validated``.

    Raises:
        AssertionError: a command ends with exit code 1 or prints too much.
    """
    options = [f"--var={value}" for value in found.variables]
    options += [f"--var-file={file}" for file in found.variable_files]
    code, printed = command("validate", str(found.spec), *options)
    assert code in {0, 2}, f"exit code {code}: {_cause(printed)}"
    assert len(printed) < BYTES, f"{len(printed):,} characters are printed"
    if code:
        return "refused"
    variables = dict(text.split("=", 1) for text in found.variables)
    try:
        _limit(SECONDS)
        plan(
            read_spec(
                found.spec, ValueSources(variables, found.variable_files), needs_secrets=False
            ),
            on_tasks=_allow,
        )
    except TooManyTasksError:
        return "validated"
    except BatchspecError as error:
        assert error.exit == 2, f"exit code {error.exit}"
        return "refused by plan"
    return "planned"


def _allow(tasks: int) -> None:
    """Give a plan more time for its tasks.

    Raises:
        TooManyTasksError: there are more than :data:`MOST_PLANNED`.
    """
    if tasks > MOST_PLANNED:
        raise TooManyTasksError
    _limit(SECONDS + tasks * SECONDS_FOR_TASK)


def _cause(printed: str) -> str:
    """The end of the traceback that an internal error names."""
    for word in printed.split():
        if word.startswith(tempfile.gettempdir()) and word.rstrip(";").endswith(".log"):
            lines = Path(word.rstrip(";")).read_text("utf-8").strip().splitlines()
            places = [line.strip() for line in lines if line.lstrip().startswith("File ")]
            return f"{lines[-1][:200]} ({places[-1] if places else ''})"
    return printed[-300:]


def one(number: int, seed: int, checks: Callable[[int, int, Path], str]) -> str:
    """The outcome of one input; a failure begins with ``!``."""
    with tempfile.TemporaryDirectory(prefix="batchspec-input-") as folder:
        try:
            with _time_limit():
                return checks(number, seed, Path(folder))
        except TooSlowError:
            return "! more processor time than the limit"
        except MemoryError:
            return f"! more than {MEGABYTES} MB"
        except Exception as error:  # noqa: BLE001  any exception is what this looks for
            last = traceback.extract_tb(error.__traceback__)[-1]
            where = "" if isinstance(error, AssertionError) else f" ({last.filename}:{last.lineno})"
            return f"! {type(error).__name__}: {str(error)[:300]}{where}"


def checked_input(number: int, seed: int, folder: Path) -> str:
    """Check the input of this number."""
    found = case(number, seed, folder)
    try:
        return f"{found.kind} {check(found)}"
    except AssertionError as error:
        raise AssertionError(f"{found.kind}: {error}") from None


# --- workers -------------------------------------------------------------------------------------

_BATCH = 100
"""The number of inputs for each process, whose peak memory is measured."""


def _work(numbers: range, seed: int, pipe: int, checks: Callable[[int, int, Path], str]) -> None:
    """Check inputs; a line for each goes to the pipe, and a line of its number before."""
    now = _kilobytes()
    resource.setrlimit(resource.RLIMIT_AS, (_virtual() + (MEGABYTES << 20), -1))
    sys.stdin = io.StringIO()
    for number in numbers:
        os.write(pipe, f"{number}\n".encode())
        started = time.process_time()
        outcome = " ".join(one(number, seed, checks).split())
        spent = time.process_time() - started
        peak = (_kilobytes() - now) // 1024
        os.write(
            pipe, f"{number}\t{spent:.2f}\t{peak}\t{outcome[:600]}\n".encode("utf-8", "replace")
        )


def _virtual() -> int:
    """The size of the address space of this process in bytes."""
    return int(Path("/proc/self/statm").read_text("ascii").split()[0]) * resource.getpagesize()


def _kilobytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@dataclass(slots=True)
class _Worker:
    """A process that checks a range of inputs; ``at`` is the current input."""

    process: int
    pipe: int
    numbers: range
    at: int
    since: float
    rest: bytes = b""


def _started(numbers: range, seed: int, checks: Callable[[int, int, Path], str]) -> _Worker:
    ours, theirs = os.pipe()
    process = os.fork()
    if process == 0:
        try:
            os.close(ours)
            _work(numbers, seed, theirs, checks)
        finally:
            os._exit(0)
    os.close(theirs)
    return _Worker(process, ours, numbers, numbers.start, time.monotonic())


def run(
    numbers: range,
    seed: int,
    *,
    workers: int = 1,
    checks: Callable[[int, int, Path], str] = checked_input,
    batch: int = _BATCH,
    notify: Callable[[str], None] = lambda _: None,
) -> Tally:
    """Check inputs in processes that are replaced when they hang or end."""
    tally = Tally()
    waiting = [numbers[at : at + batch] for at in range(0, len(numbers), batch)][::-1]
    active: list[_Worker] = []

    def fail(number: int, reason: str) -> None:
        tally.failures.append((number, reason))
        notify(f"{number}: {reason}")

    while waiting or active:
        while waiting and len(active) < workers:
            active.append(_started(waiting.pop(), seed, checks))
        ready, _, _ = select.select([worker.pipe for worker in active], [], [], 1)
        for worker in list(active):
            ended = False
            if worker.pipe in ready:
                data = os.read(worker.pipe, 1 << 16)
                ended = not data
                *lines, worker.rest = (worker.rest + data).split(b"\n")
                for line in lines:
                    _note(line.decode(), worker, tally, fail)
            hangs = time.monotonic() - worker.since > HANGS
            if not ended and not hangs:
                continue
            if hangs:
                os.kill(worker.process, signal.SIGKILL)
            os.waitpid(worker.process, 0)
            os.close(worker.pipe)
            active.remove(worker)
            if worker.at < worker.numbers.stop:
                fail(
                    worker.at, f"no answer within {HANGS} seconds" if hangs else "the process ended"
                )
                tally.outcomes["failed"] += 1
                if rest := range(worker.at + 1, worker.numbers.stop):
                    waiting.append(rest)
    return tally


def _note(line: str, worker: _Worker, tally: Tally, fail: Callable[[int, str], None]) -> None:
    number, *facts = line.split("\t", 3)
    worker.since = time.monotonic()
    if not facts:
        worker.at = int(number)
        return
    seconds, megabytes, outcome = float(facts[0]), int(facts[1]), facts[2]
    tally.slowest = max(tally.slowest, seconds)
    tally.largest = max(tally.largest, megabytes)
    worker.at = int(number) + 1
    if outcome.startswith("!"):
        fail(int(number), outcome[2:])
        outcome = "failed"
    elif megabytes > MEGABYTES:
        fail(int(number), f"more than {MEGABYTES} MB")
        outcome = "failed"
    tally.outcomes[outcome] += 1


def main() -> int:
    """Read the options and run; the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--inputs", type=int, default=20_000)
    parser.add_argument("--first", type=int, default=0, help="the number of the first input")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--show", metavar="FOLDER", help="write the first input to a folder")
    options = parser.parse_args()
    if options.show:
        shutil.rmtree(options.show, ignore_errors=True)
        Path(options.show).mkdir(parents=True)
        print(case(options.first, options.seed, Path(options.show)))
        return 0
    started = time.monotonic()
    numbers = range(options.first, options.first + options.inputs)
    tally = run(
        numbers, options.seed, workers=options.workers, notify=lambda text: print(text, flush=True)
    )
    outcomes = ", ".join(f"{count:,} {name}" for name, count in sorted(tally.outcomes.items()))
    print(
        f"{len(numbers):,} inputs, seed {options.seed}: {outcomes}; {len(tally.failures)} failed;"
        f" slowest {tally.slowest:.1f} s, {tally.largest} MB more than at the start,"
        f" {time.monotonic() - started:.0f} s in total"
    )
    return 1 if tally.failures else 0


if __name__ == "__main__":
    sys.exit(main())
