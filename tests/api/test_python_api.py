"""The Python interface on the embedded service: values, events, errors, questions, no output."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import batchspec
from batchspec import aio, events
from tests.e2e.conftest import Workplace, until

SECRET = "hunter2-and-more"


@pytest.fixture
def spec(place: Workplace) -> batchspec.LoadedSpec:
    return batchspec.load(place.spec, variables={"top": 2})


def test_a_run_from_load_to_destroy(
    place: Workplace, spec: batchspec.LoadedSpec, capfd: pytest.CaptureFixture[str]
) -> None:
    assert (spec.name, spec.parameters, spec.stages) == ("topn", {"top": 2}, ("count",))
    plan = batchspec.plan(spec)
    assert [step.subject for step in plan.steps if step.verb == "submit"] == ["tasks of count"]
    assert not plan.empty
    assert "| create pool topn |" in plan.markdown
    assert batchspec.status(spec).job is None

    seen: list[batchspec.Stamped] = []
    report = batchspec.apply(plan, on_event=seen.append)

    assert (report.outcome, report.tasks.succeeded) == (batchspec.Outcome.DONE, 3)
    assert report.good
    assert [stamped.seq for stamped in seen] == list(range(1, len(seen) + 1))
    assert isinstance(seen[-1].event, events.RunEnded)
    lines = (place.results / "lighthouse.txt.top.txt").read_text().splitlines()
    assert sum(not line.startswith("#") for line in lines) == 2
    assert place.run("report", place.spec, "--var", "top=2").code == 0, "the run is recorded"
    tasks = batchspec.status(spec).tasks
    assert tasks is not None
    assert tasks.succeeded == 3

    with pytest.raises(batchspec.StalePlanError) as stale:
        batchspec.apply(plan)
    assert {problem.code for problem in stale.value.problems} == {"plan-stale"}
    assert batchspec.apply(spec).outcome is batchspec.Outcome.NOTHING_TO_DO
    assert batchspec.retry(spec).outcome is batchspec.Outcome.NOTHING_TO_DO
    assert batchspec.destroy(spec).outcome is batchspec.Outcome.DONE
    assert batchspec.status(spec).pool is None
    assert capfd.readouterr() == ("", "")


def test_failed_tasks_are_an_exception_with_the_report(place: Workplace) -> None:
    place.edit(
        "command: python3", "command: test -e fixed || { echo no luck >&2; exit 3; }; python3"
    )
    with pytest.raises(batchspec.RunError, match="tasks failed") as failed:
        batchspec.apply(place.spec)
    assert failed.value.report.tasks.failed == 3
    assert failed.value.exit == 3
    assert "no luck" in failed.value.problems[0].detail
    with pytest.raises(batchspec.UsageError, match="no-such-cause"):
        batchspec.retry(place.spec, causes=["no-such-cause"])
    report = batchspec.retry(place.spec, causes=["exit-3"], check=False)
    assert not report.good
    assert report.failures[0].exit_code == 3


def test_a_run_from_elsewhere_needs_consent(
    place: Workplace, spec: batchspec.LoadedSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.hold()
    monkeypatch.setenv("BATCHSPEC_ORIGIN", "another place")
    assert batchspec.apply(place.spec, detach=True).outcome is batchspec.Outcome.DETACHED
    monkeypatch.delenv("BATCHSPEC_ORIGIN")
    place.let_go()
    (question,) = batchspec.plan(spec).questions
    asked: list[batchspec.Question] = []

    def answer(question: batchspec.Question) -> bool:
        asked.append(question)
        return False

    with pytest.raises(batchspec.ConsentError):
        batchspec.apply(spec)
    with pytest.raises(batchspec.ConsentError) as declined:
        batchspec.apply(spec, confirm=answer)
    assert [each.problems[0].code for each in asked] == [question.code]
    assert "[y/N]" not in asked[0].text
    assert declined.value.question == asked[0]
    assert batchspec.apply(spec, confirm=True).good


def test_errors_of_a_spec_are_exceptions_with_all_diagnostics(place: Workplace) -> None:
    place.edit("files: data/*.txt", "files: no-data/*.txt")
    place.edit("vm_size:", "vm_sise:")
    with pytest.raises(batchspec.SpecError) as wrong:
        batchspec.load(place.spec)
    codes = [problem.code for problem in wrong.value.problems]
    assert codes == ["no-match", "unknown-key"]
    assert all(problem.where is not None for problem in wrong.value.problems)


async def test_events_are_iterated_over_during_the_run(place: Workplace) -> None:
    place.hold()
    spec = batchspec.load(place.spec)
    async with aio.apply(spec) as run:
        async for stamped in run:
            if isinstance(stamped.event, events.TasksSeen) and stamped.event.running:
                place.let_go()
    assert run.report.tasks.succeeded == 3
    assert batchspec.status(spec).job == "topn", "also where an event loop runs"
    assert (await aio.destroy(spec)).good


async def test_a_run_that_is_left_is_interrupted_and_can_be_resumed(place: Workplace) -> None:
    place.hold()
    async with aio.apply(place.spec) as run:
        async for stamped in run:
            if isinstance(stamped.event, events.TasksSeen):
                break
    with pytest.raises(RuntimeError, match="has not ended"):
        _ = run.report
    assert (await aio.status(place.spec)).job_state == "active"
    async with aio.apply(place.spec, check=False) as run:
        async for stamped in run:
            if isinstance(stamped.event, events.TasksSeen):
                run.stop()
    assert run.report.outcome is batchspec.Outcome.INTERRUPTED
    waiting = asyncio.ensure_future(_report(aio.apply(place.spec)))
    place.let_go()
    assert (await waiting).good


async def _report(run: aio.Run) -> batchspec.Report:
    return await run


def test_ctrl_c_interrupts_a_program(place: Workplace) -> None:
    place.hold()
    program = place.folder / "program.py"
    program.write_text(
        "import batchspec, signal\n"
        # A test that runs in the background inherits an ignored SIGINT.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "try:\n"
        f"    batchspec.apply({str(place.spec)!r}, on_event=lambda s: print(s.event, flush=True))\n"
        "except KeyboardInterrupt:\n"
        "    print('interrupted')\n"
    )
    process = subprocess.Popen(
        [sys.executable, program],
        env=place.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        until(process, "TasksSeen")
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert "outcome=<Outcome.INTERRUPTED" in rest
    assert rest.endswith("interrupted\n")
    place.let_go()
    assert batchspec.apply(place.spec).good


def test_no_value_shows_a_secret(place: Workplace) -> None:
    place.edit("parameters:", "parameters:\n  token: {type: string, secret: true}")
    place.edit("env: {", 'env: {TOKEN: "{{ token }}", ')
    spec = batchspec.load(place.spec, variables={"token": batchspec.Secret(SECRET)})
    plan = batchspec.plan(spec)
    assert (
        SECRET not in repr((spec, plan, spec.options, plan.options)) + plan.markdown + plan.text()
    )
    without = batchspec.load(place.spec)
    assert str(without.parameters["token"]) == "***"
    with pytest.raises(batchspec.SpecError, match="`token` has no value"):
        batchspec.apply(without)
    assert batchspec.apply(plan).good


def test_the_environment_is_an_argument(place: Workplace) -> None:
    environ = {"AZURE_BATCH_ACCOUNT": "a", "PATH": os.environ["PATH"]}
    spec = batchspec.load(place.spec, environ=environ)
    with pytest.raises(batchspec.UsageError) as missing:
        batchspec.plan(spec)
    assert "AZURE_BATCH_ENDPOINT" in repr(missing.value.problems)


def test_names_of_functions_and_packages() -> None:
    """``batchspec.plan`` is a function whichever module is imported first."""
    program = "import batchspec; print(callable(batchspec.plan), callable(batchspec.apply))"
    for first in (
        "batchspec",
        "batchspec.plan.build, batchspec.apply.events",
        "batchspec.cli.main",
    ):
        line = [sys.executable, "-c", f"import {first}; {program}"]
        done = subprocess.run(line, capture_output=True, text=True, check=True)
        assert done.stdout == "True True\n", first


def test_all_public_names_exist() -> None:
    assert all(getattr(batchspec, name) is not None for name in batchspec.__all__)
    assert Path(batchspec.__file__).with_name("py.typed").exists()
