"""Change the structure of specs and check that every mutant is explained or planned.

    python -m tools.structure_fuzz [--mutants 2000] [--seed 1] [--show]

The specs are those of ``specs/``, ``tests/spec/good`` and the examples of ``docs/spec.md``. A
mutant has one to four changes: sections swapped or moved, long forms for short ones, duplicated
keys, nulls, huge numbers, other types, odd templates, deep nesting. It is validated, printed by
``config``, read again, and planned for an empty account, in this process.

A mutant fails if it raises an unexpected exception, if an error of the spec has no position, if the
spec that ``config`` prints is not the same, or if it needs more than 10 seconds or 1 GB. Failures
are written to a folder and printed; the exit code is 1.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from batchspec.diagnostics import BatchspecError, Diagnostic, Severity
from batchspec.render import diagnostics_text
from batchspec.spec import (
    Spec,
    dump_document,
    expanded_document,
    read_spec,
)
from tests.spec.empty_account import plan
from tests.spec.structure_mutations import ROOT, mutant, seeds

SECONDS = 10
MEGABYTES = 1024

PLACELESS = frozenset(
    {"empty", "more-faults", "too-large", "unknown-variable", "unknown-image", "no-images"}
)
"""Errors of a whole file, of many tasks, of the command line, or of the account."""


# --- checks --------------------------------------------------------------------------------------


class TooSlowError(BaseException):
    """A mutant needs more than :data:`SECONDS`; no exception handler may catch this exception."""


@dataclass(slots=True)
class Tally:
    """The outcomes of the mutants; ``failures`` are numbers with the reason."""

    outcomes: Counter[str] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[int, str]] = field(default_factory=list)
    slowest: float = 0.0


@contextmanager
def time_limit(seconds: int) -> Iterator[None]:
    """Raise :class:`TooSlowError` in the block after a time."""

    def stop(*_: object) -> None:
        raise TooSlowError

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def check(path: Path) -> tuple[str, tuple[Diagnostic, ...]]:
    """The outcome of a spec, ``refused`` or ``planned``, and its problems.

    Raises:
        AssertionError: a problem has no position, or ``config`` does not print the same spec.
    """
    try:
        document = expanded_document(path)
        spec = read_spec(path, needs_secrets=False)
        check_round_trip(path, document, spec)
        plan(spec)
    except BatchspecError as error:
        assert error.problems, "an error without problems"
        for problem in error.problems:
            placed = problem.where is not None or problem.code in PLACELESS
            assert placed or problem.severity is not Severity.ERROR, f"no position: {problem}"
        diagnostics_text(error.problems)
        return "refused", error.problems
    return "planned", spec.warnings


def check_round_trip(path: Path, document: Mapping[str, object], spec: Spec) -> None:
    """Whether ``config`` prints the same spec."""
    printed = path.with_name(f"printed-{path.name}")
    try:
        for form in ("yaml", "json"):
            printed.write_text(dump_document(document, form), "utf-8", newline="")
            again = read_spec(printed, needs_secrets=False)
            assert again.digest == spec.digest, f"config --format {form} prints another spec"
    finally:
        printed.unlink(missing_ok=True)


def peak() -> int:
    """The peak memory of this process, in megabytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def run(mutants: int, seed: int, folder: Path, *, first: int = 0) -> Tally:
    """Make and check mutants; failures are written to ``folder``."""
    tally, specs, before = Tally(), seeds(), peak()
    workplace = folder / "specs"
    shutil.copytree(ROOT / "specs", workplace)
    shutil.copytree(ROOT / "task_app", folder / "task_app")
    for number in range(first, first + mutants):
        name, text = mutant(number, seed, specs)
        path = workplace / f"mutant-{number}.yaml"
        path.write_text(text, "utf-8", newline="")
        started, reason = time.monotonic(), ""
        try:
            with time_limit(SECONDS):
                outcome, problems = check(path)
            tally.outcomes[outcome] += 1
            tally.codes.update({problem.code for problem in problems})
        except TooSlowError:
            reason = f"more than {SECONDS} seconds"
        except Exception as error:  # noqa: BLE001  any exception is what this looks for
            last = traceback.extract_tb(error.__traceback__)[-1]
            reason = f"{type(error).__name__}: {error} ({last.filename}:{last.lineno})"
        tally.slowest = max(tally.slowest, time.monotonic() - started)
        if reason:
            tally.failures.append((number, f"{name}: {reason}"))
            shutil.copy(path, folder / path.name)
        path.unlink()
        if peak() - before > MEGABYTES:
            tally.failures.append((number, f"{name}: more than {MEGABYTES} MB"))
            break
    return tally


def main() -> int:
    """Read the options and run; the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--mutants", type=int, default=2000)
    parser.add_argument("--first", type=int, default=0, help="the number of the first mutant")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--show", action="store_true", help="print how often each code was found")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="batchspec-structure-"))
    started = time.monotonic()
    tally = run(options.mutants, options.seed, folder, first=options.first)
    for number, reason in tally.failures:
        print(f"{folder}/mutant-{number}.yaml: {reason}")
    outcomes = ", ".join(f"{count} {name}" for name, count in sorted(tally.outcomes.items()))
    print(
        f"{options.mutants} mutants: {outcomes}, {len(tally.failures)} failed; {len(tally.codes)}"
        f" codes; slowest {tally.slowest:.1f} s, {peak()} MB,"
        f" {time.monotonic() - started:.0f} s in total"
    )
    if options.show:
        for code, count in tally.codes.most_common():
            print(f"{count:6} {code}")
    if not tally.failures:
        shutil.rmtree(folder)
    return 1 if tally.failures else 0


if __name__ == "__main__":
    sys.exit(main())
