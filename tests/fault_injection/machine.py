"""The hypothesis state machine over :class:`tests.fault_injection.sequences.Run`."""

from __future__ import annotations

import itertools
import shutil
from collections import Counter
from pathlib import Path

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from tests.e2e.conftest import Done
from tests.fault_injection.rounds import Bench
from tests.fault_injection.sequences import Run

EDITS = ["program", "command", "parameter", "input", "add", "remove", "break", "repair"]


def machine_of(
    bench: Bench, folder: Path, prefix: str, played: Counter[str]
) -> type[RuleBasedStateMachine]:
    """The state machine whose runs share the service of ``bench``; each has a separate name.

    ``played`` counts the ``examples`` and their ``steps``.
    """
    numbers = itertools.count(1)

    class Sequences(RuleBasedStateMachine):
        """What users do with one spec, in any order."""

        run: Run

        @initialize(explicit_ids=st.booleans(), merges=st.booleans())
        def begin(self, explicit_ids: bool, merges: bool) -> None:
            name = f"{prefix}-{next(numbers)}"
            self.run = Run(folder / name, name, bench.endpoints, explicit_ids, merges)
            self.run.steps.append(f"ids: {explicit_ids}, merge: {merges}")

        @rule(what=st.sampled_from(EDITS))
        def edit(self, what: str) -> None:
            self.run.edit(what)

        @rule(what=st.sampled_from(["results", "outputs"]))
        def lose(self, what: str) -> None:
            self.run.lose(what, bench.blobs)
            if what == "outputs":
                self.run.forget()

        @rule()
        def apply(self) -> None:
            run = self.run
            quiet = not run.interrupted
            planned = run.planned()
            before = run.journal
            done = run.call("apply", "-y")
            run.interrupted = False
            fails = {run.work(s).line for s in run.broken & run.inputs.keys()}
            assert done.code in ({0, 3} if fails else {0}), run.story(done)
            if done.code == 0:
                run.check_results(done)
                self.nothing_left(done)
            else:
                assert fails & set(run.journal), run.story(done, "no task of the run can fail")
            if quiet and done.code == 0:
                started = len(run.journal) - len(before)
                assert planned == started, run.story(done, f"{planned} planned, {started} started")
            run.note_success()

        @rule()
        def interrupted_apply(self) -> None:
            self.run.interrupt()

        @rule()
        def retry(self) -> None:
            run = self.run
            if run.interrupted:
                return
            done = run.call("retry", "-y")
            assert done.code in (0, 2, 3), run.story(done)
            run.note_success()
            if done.code == 0 and not done.text.startswith("No task"):
                run.check_results(done, retried=True)
                run.accept()
                self.nothing_left(done)

        @rule()
        def destroy(self) -> None:
            done = self.run.call("destroy", "-y", "--force")
            assert done.code == 0, self.run.story(done)
            self.run.interrupted = False
            self.run.forget()

        def nothing_left(self, done: Done) -> None:
            """A second plan has nothing to do, and no task runs."""
            again = self.run.call("plan", "--exit-code")
            assert again.code == 0, self.run.story(again, "the next plan has something to do")

        def teardown(self) -> None:
            if hasattr(self, "run"):
                played.update(examples=1, steps=len(self.run.steps))
                self.run.call("destroy", "-y", "--force")
                shutil.rmtree(self.run.folder, ignore_errors=True)

    return Sequences
