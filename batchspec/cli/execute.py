"""Executes a plan: shows it, asks, runs it with progress and signals, and prints a summary.

The first Ctrl-C stops a run at a safe point, the second immediately; SIGTERM and SIGHUP have the
same effect. With ``--follow``, the output of tasks is printed; each line begins with the id of its
task.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from types import FrameType

from batchspec.api import BlobStoreWatch, Execution, Session, SystemClock, first_error
from batchspec.apply import POLL_INTERVAL, Cancellation
from batchspec.apply.events import Event, Noticed, Outcome, RunEnded, Stamped, TasksSeen
from batchspec.cli.console import (
    RunQuestions,
    clear_activity,
    confirm_plan,
    needs_confirmation,
    out,
    out_bytes,
    show_diagnostics,
    show_plan,
    use_color,
    width,
    write_utf8,
    writing_output,
)
from batchspec.cli.options import Format, ProgressKind
from batchspec.cli.resume_command import ResumeCommand, completed_event, resume_command
from batchspec.diagnostics import Diagnostic, DiskError, ServiceError, Severity
from batchspec.exit_codes import Exit
from batchspec.observe import StartedTasks, TaskStreams
from batchspec.plan import Plan, Step
from batchspec.render import (
    Kind,
    Report,
    StepState,
    Tally,
    View,
    is_live,
    next_commands,
    open_view,
    record_unwritable,
    stopping,
    summary_text,
)
from batchspec.render.logs import PrefixedOutput
from batchspec.version import __version__

_FILES = ("stdout.txt", "stderr.txt")
_LAST = 10.0
"""Seconds that the output of the last tasks may take to arrive after the run."""


@dataclass(slots=True)
class TaskOutputPrinter:
    """A consumer of the events of a run, which follows the tasks of its job."""

    session: Session
    _jobs: dict[str, asyncio.Task[None]] = field(default_factory=dict)

    def __call__(self, stamped: Stamped) -> None:
        """Start at the first event with counts of a job."""
        event = stamped.event
        if isinstance(event, TasksSeen) and event.job not in self._jobs:
            self._jobs[event.job] = asyncio.create_task(self._follow(event.job))

    async def finish(self) -> None:
        """Print the rest of the output, if it arrives in time."""
        tasks = self._jobs.values()
        if tasks:
            done, _ = await asyncio.wait(tasks, timeout=_LAST)
            for task in done:
                task.result()
        self.cancel()

    def cancel(self) -> None:
        """Stop at once."""
        for task in self._jobs.values():
            task.cancel()

    async def _follow(self, job: str) -> None:
        cloud = self.session.cloud

        async def pause() -> None:
            await asyncio.sleep(POLL_INTERVAL[cloud.names.target])

        started = StartedTasks(cloud, job, pause, earlier=True)
        streams = TaskStreams(cloud, self.session.spec, _FILES, pause)
        lines = PrefixedOutput(shown=sys.stdout.isatty(), color=use_color())
        try:
            with first_error():
                async for output in streams.read(started()):
                    out_bytes(lines(output))
        except (BrokenPipeError, DiskError):
            # The view of the run detects the same error and stops the run.
            return
        except ServiceError as error:
            # The run does not depend on it.
            warnings = [replace(each, severity=Severity.WARNING) for each in error.problems]
            show_diagnostics(warnings)


_OPTIONAL_SIGNALS = ("SIGTERM", "SIGHUP")
"""A CI system that cancels its job sends SIGTERM; a terminal that closes sends SIGHUP."""


@dataclass(slots=True)
class Interrupts:
    """Whether the run is to stop, and whether it is to stop immediately (``immediate``)."""

    cancellation: Cancellation = field(default_factory=Cancellation)
    immediate: bool = False


STOP_SECONDS = 5.0
"""The maximum seconds that a run takes to stop after the first signal."""


@contextmanager
def interruptible(
    interrupts: Interrupts, on_first: Callable[[], None], *, patience: float = STOP_SECONDS
) -> Iterator[None]:
    """Stop the run of the current task at the first signal, and cancel the task at the second.

    The task is also cancelled ``patience`` seconds after the first signal: a request in progress
    may wait for a service that does not answer. ``on_first`` is called at the first signal, to show
    what the command waits for.
    """
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    over = False

    def interrupt() -> None:
        # The loop calls this function after the signal; the run may have ended in the meantime.
        if over:
            return
        if interrupts.cancellation.requested:
            interrupts.immediate = True
            task.cancel()
            return
        interrupts.cancellation.request()
        loop.call_later(patience, interrupt)
        on_first()

    def handle(_number: int, _frame: FrameType | None) -> None:
        # This handler runs in the main thread between any two instructions; the loop does the rest.
        loop.call_soon_threadsafe(interrupt)

    before = {number: signal.signal(number, handle) for number in _signals()}
    try:
        yield
    finally:
        over = True
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def suspendable(view: View) -> Iterator[None]:
    """Leave the screen of the run while the process is suspended (Ctrl-Z)."""
    if not hasattr(signal, "SIGTSTP") or signal.getsignal(signal.SIGTSTP) is signal.SIG_IGN:
        yield
        return
    loop = asyncio.get_running_loop()

    def suspend() -> None:
        with view.paused():
            # Returns when the process continues.
            signal.raise_signal(signal.SIGSTOP)

    def handle(_number: int, _frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(suspend)

    before = signal.signal(signal.SIGTSTP, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGTSTP, before)


def _signals() -> Iterator[signal.Signals]:
    """The signals to handle, without those that ``nohup`` ignores or the system lacks."""
    yield signal.SIGINT
    for name in _OPTIONAL_SIGNALS:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            yield number


async def confirm_and_execute(
    plan: Plan,
    session: Session,
    progress: ProgressKind,
    resumed_with: ResumeCommand,
    *,
    yes: bool,
    verbose: bool = False,
    follow: bool = False,
) -> int:
    """Show the plan, ask for confirmation where it is needed, and execute it; the exit code.

    The steps of a plan that needs no confirmation are not shown if the screen of the run shows
    them at once.

    Raises:
        UsageError: confirmation is needed, and there is no terminal.
    """
    asks = needs_confirmation(plan)
    if progress.shows_plan:
        live = is_live(Kind(progress.value), sys.stdout, os.environ)
        folded = live and not (asks or verbose or plan.empty)
        show_plan(plan, Format.TEXT, verbose=verbose, folded=folded)
        if plan.empty:
            return Exit.DONE
    if asks and not confirm_plan(plan, progress, yes=yes):
        return Exit.DONE
    return await execute(
        plan, session, progress, resumed_with, yes=yes, verbose=verbose, follow=follow
    )


def _open_view(progress: ProgressKind, clock: SystemClock, *, full_ids: bool) -> View:
    kind = Kind(progress.value)
    if kind is Kind.JSON:
        write_utf8()
    return open_view(
        kind,
        sys.stdout,
        now=clock.now,
        environ=os.environ,
        version=__version__,
        full_ids=full_ids,
    )


async def execute(
    plan: Plan,
    session: Session,
    progress: ProgressKind,
    resumed_with: ResumeCommand,
    *,
    yes: bool,
    verbose: bool = False,
    follow: bool = False,
    notifies: bool = True,
) -> int:
    """Run a plan, show its progress, and print a summary; the exit code.

    ``resumed_with`` is the command that resumes it; ``verbose`` shows the ids of nodes in full,
    ``follow`` prints the output of tasks; ``notifies``: the spec's notification is sent at the end.
    """
    clear_activity()
    interrupts = Interrupts()
    clock = SystemClock(interrupts.cancellation)
    view = _open_view(progress, clock, full_ids=verbose)
    tally = Tally()
    command = partial(resume_command, session.options, session.spec)

    def resume() -> tuple[str, ...]:
        return resumed_with(_lasting(plan, tally.report()))

    def complete(event: Event) -> Event:
        if isinstance(event, RunEnded) and event.outcome is Outcome.INTERRUPTED:
            event = replace(event, resume=command(*resume()))
        return completed_event(event)

    def unwritable(error: OSError) -> None:
        if progress is not ProgressKind.JSON:
            show_diagnostics([record_unwritable(error.strerror or str(error))])

    viewer = _ViewUntilClosed(view, interrupts)
    printer = TaskOutputPrinter(session) if follow else None
    consumers: list[Callable[[Stamped], None]] = [viewer, tally, *([printer] if printer else [])]
    execution = Execution(
        plan, session, clock, consumers, complete, unwritable, command, notifies=notifies
    )
    questions = RunQuestions(view, plan.account.target, interrupts.cancellation, yes=yes)
    blob_store = BlobStoreWatch(plan.account.target)
    try:
        with (
            interruptible(interrupts, lambda: execution.emit(Noticed(stopping()))),
            suspendable(view),
        ):
            code = await execution.run(
                questions, interrupts.cancellation, unshown_findings(plan, progress)
            )
            if printer is not None and not interrupts.cancellation.requested:
                await printer.finish()
    except asyncio.CancelledError:
        if not interrupts.immediate:
            raise
        code = Exit.INTERRUPTED
    finally:
        if printer is not None:
            printer.cancel()
        with writing_output():
            view.close()
            if viewer.error is not None and not isinstance(viewer.error, BrokenPipeError):
                raise viewer.error
        if progress.shows_plan:
            out(_summary(tally.report(), session, shlex.join(resume())))
    _warn_of_lost_blobs(code, blob_store)
    return code


def _lasting(plan: Plan, report: Report) -> list[Step]:
    """The steps that are done, without those of a job that no longer exists."""
    done = {step.step for step in report.steps if step.state is StepState.DONE}
    gone = not _JOB_GONE.isdisjoint(problem.code for problem in report.problems)
    return [
        step
        for step in plan.steps
        if step.id in done and not (gone and step.subject.startswith("job "))
    ]


_JOB_GONE = frozenset({"job-gone", "job-not-found", "job-being-deleted"})
"""Codes of problems of a job that another client has deleted."""


def _warn_of_lost_blobs(code: int, blob_store: BlobStoreWatch) -> None:
    """Name the end of the embedded blob store, which may be the cause of a failure."""
    if code in {Exit.DONE, Exit.INTERRUPTED}:
        return
    if (problem := blob_store.problem()) is not None:
        show_diagnostics([problem])


def unshown_findings(plan: Plan, progress: ProgressKind) -> Iterator[Diagnostic]:
    """The findings of a plan that is not shown; ``quiet`` omits notes."""
    if not progress.shows_plan:
        for finding in plan.findings:
            if progress is ProgressKind.JSON or finding.severity is not Severity.NOTE:
                yield finding


@dataclass(slots=True)
class _ViewUntilClosed:
    """Shows events until the output cannot be written, and then halts the run as Ctrl-C does.

    The reader has closed the output, the terminal is closed, or the disk is full.
    """

    view: View
    interrupts: Interrupts
    error: OSError | None = None

    def __call__(self, stamped: Stamped) -> None:
        if self.error is not None:
            return
        try:
            self.view(stamped)
        except OSError as error:
            self.error = error
            self.interrupts.cancellation.request()


def _summary(report: Report, session: Session, again: str) -> str:
    """The summary; ``again`` is the command that resumes the run: a verb and its options."""

    def command(text: str) -> str:
        return resume_command(session.options, session.spec, *shlex.split(text))

    commands = next_commands(report, again, scheduled=session.spec.job.schedule is not None)
    return summary_text(
        report,
        destroy=command("destroy"),
        commands={command(name): purpose for name, purpose in commands.items()},
        color=use_color(),
        width=width(),
        cost=_spent(report, session),
    )


def _spent(report: Report, session: Session) -> str:
    """The cost of the nodes in this run; empty if the spec has no ``cost`` section."""
    if report.prices is None or not report.node_hours:
        return ""
    from batchspec.render import kept_text, spent_text
    from batchspec.spec import PoolKind

    texts = [spent_text(report.node_hours, report.prices, report.currency, report.target)]
    pool = session.spec.pool
    if pool.kind is PoolKind.OWN:
        # The service deletes an auto pool.
        texts.append(kept_text(report, pool.id, report.prices, report.currency))
    return "; ".join(filter(None, texts))
