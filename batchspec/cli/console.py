"""The terminal: text, diagnostics, plans, the line about what a command does, and questions.

The line is on standard error, and only if that is a terminal.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO, cast

from batchspec.cli.options import Format
from batchspec.diagnostics import Diagnostic, DiskError, MissingSecret, Severity, UsageError, redact

if TYPE_CHECKING:
    import asyncio

    from batchspec.api import RunOptions
    from batchspec.apply import Cancellation
    from batchspec.apply.events import Waiting
    from batchspec.apply.ports import Deletion
    from batchspec.cli.options import ProgressKind
    from batchspec.local import Simulation, StartupPhase
    from batchspec.plan import Plan
    from batchspec.render import View
    from batchspec.render.local import LocalSimulation
    from batchspec.spec import Spec

_PAUSE = 0.1
"""Seconds between two texts about the same subject."""
_ERASE = "\r\x1b[2K"

_subject = ""
_shown_at = 0.0


def show_activity(subject: str, detail: str = "") -> None:
    """Show what the command does, such as ``reading files of input``; ``detail`` changes often."""
    global _subject, _shown_at
    now = time.monotonic()
    if (subject == _subject and now - _shown_at < _PAUSE) or not _has_terminal():
        return
    _subject, _shown_at = subject, now
    text = f"{subject}: {detail} ..." if detail else f"{subject} ..."
    room = shutil.get_terminal_size((80, 24)).columns - 1
    _write(_ERASE + "".join(filter(str.isprintable, text))[:room])


def clear_activity() -> None:
    """Remove the line before other output."""
    global _subject  # noqa: PLW0603
    if _subject:
        _subject = ""
        _write(_ERASE)


def _has_terminal() -> bool:
    return sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def _write(text: str) -> None:
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except (OSError, UnicodeEncodeError):
        # The line is a convenience: a terminal that cannot show it is not an error.
        return


def out(text: str) -> None:
    """Write to standard output, redacted."""
    clear_activity()
    with writing_output():
        print(redact(text), flush=True)


def out_document(text: str) -> None:
    """Write a document for programs or files, such as JSON, to standard output, redacted."""
    write_utf8()
    out(text)


def write_utf8() -> None:
    """Write UTF-8 to standard output, as programs expect, unless it is a terminal."""
    if isinstance(sys.stdout, io.TextIOWrapper) and not sys.stdout.isatty():
        sys.stdout.reconfigure(encoding="utf-8")


def out_part(text: str) -> None:
    """Write a part of a text to standard output, redacted, without a newline after it."""
    clear_activity()
    with writing_output():
        sys.stdout.write(redact(text))


def out_bytes(data: bytes) -> None:
    """Write bytes, which are redacted already, to standard output."""
    if not data:
        return
    clear_activity()
    with writing_output():
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()


def err(text: str) -> None:
    """Write to standard error, redacted. The exit code remains if it cannot be written."""
    clear_activity()
    try:
        print(redact(text), file=sys.stderr, flush=True)
    except OSError:
        # No other place is left. Python would end with exit code 120 for the rest of the text.
        discard(sys.stderr)


def discard(stream: TextIO) -> None:
    """Discard the text that a stream could not write, and all later text."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def prepare_streams() -> None:
    """Make the standard streams usable, whatever the process was started with.

    Streams that are closed (``>&-``) are opened. Otherwise the next file or connection gets their
    descriptor, and the text of a child process is written to it. Writing to standard output remains
    an error, since its text would be lost. Characters that the encoding of standard output lacks,
    and bytes of file names that are not UTF-8, are written as escapes, as on standard error.
    """
    # In this order, since each stream gets the lowest free descriptor.
    if sys.stdin is None:
        sys.stdin = _nowhere(os.O_RDONLY, "r")
    if sys.stdout is None:
        sys.stdout = _nowhere(os.O_RDONLY, "w")
    if sys.stderr is None:
        sys.stderr = _nowhere(os.O_WRONLY, "w")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _nowhere(access: int, mode: str) -> TextIO:
    descriptor = os.open(os.devnull, access)
    os.set_inheritable(descriptor, True)
    return cast("TextIO", os.fdopen(descriptor, mode, encoding="utf-8", closefd=False))


@contextlib.contextmanager
def writing_output() -> Iterator[None]:
    """Write to standard output.

    Raises:
        DiskError: it cannot be written.
        BrokenPipeError: its reader has closed it.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        # Python would report the rest of the text again when it flushes at exit.
        discard(sys.stdout)
        raise DiskError(_output_unwritable(error)) from error


def _output_unwritable(error: OSError) -> Diagnostic:
    if error.errno == errno.EBADF:
        why, fix = "standard output is closed", "Redirect it to a file or to `/dev/null`"
    else:
        why = error.strerror or str(error)
        fix = "Free disk space or write the output elsewhere"
    return Diagnostic(
        "output-unwritable",
        f"the output of the command cannot be written: {why}",
        detail="A run stops at this point, as after Ctrl-C; tasks in progress continue.",
        fix=f"{fix}, and run the command again.",
    )


def width() -> int:
    """The columns of the terminal, from 40 to 110."""
    return max(40, min(shutil.get_terminal_size((80, 24)).columns, 110))


def use_color() -> bool:
    """Whether text on standard output is coloured."""
    from batchspec.render import wants_color

    return wants_color(sys.stdout, os.environ)


def show_diagnostics(diagnostics: Sequence[Diagnostic], form: Format = Format.TEXT) -> None:
    """Write diagnostics to standard error, or as JSON to standard output."""
    from batchspec.cli.resume_command import completed_problem
    from batchspec.render import diagnostics_json, diagnostics_text, json_text, wants_color

    diagnostics = [completed_problem(problem) for problem in diagnostics]
    if form is Format.JSON:
        out_document(json_text(diagnostics_json(diagnostics)))
        return
    color = wants_color(sys.stderr, os.environ)
    err(diagnostics_text(diagnostics, color=color, width=width()))


def show_plan(
    plan: Plan, form: Format, *, verbose: bool, nothing: str = "", folded: bool = False
) -> None:
    """Write a plan to standard output; ``nothing`` is the text for a plan without steps.

    ``folded``: the text omits the steps.
    """
    from batchspec.cli.resume_command import completed_plan
    from batchspec.render import plan_json, plan_markdown, plan_text, symbols_for

    plan = completed_plan(plan)
    match form:
        case Format.JSON:
            out_document(plan_json(plan))
        case Format.MARKDOWN:
            out_document(plan_markdown(plan, here=Path.cwd()))
        case Format.TEXT:
            out(
                plan_text(
                    plan,
                    color=use_color(),
                    width=width(),
                    symbols=symbols_for(sys.stdout),
                    verbose=verbose,
                    here=Path.cwd(),
                    nothing=nothing,
                    folded=folded,
                )
            )


def show_plan_errors(spec: Path, diagnostics: Sequence[Diagnostic], form: Format) -> None:
    """Write the errors that prevent a plan to standard output, as JSON or markdown."""
    from batchspec.cli.resume_command import completed_problem
    from batchspec.render import refusal_markdown

    diagnostics = [completed_problem(problem) for problem in diagnostics]
    match form:
        case Format.JSON:
            show_diagnostics(diagnostics, form)
        case Format.MARKDOWN:
            out_document(refusal_markdown(str(spec), diagnostics))
        case Format.TEXT:
            pass


class ConsoleNotices:
    """Prints the notices of an operation on standard error.

    Commands in messages are completed with ``options`` from now on, and with the spec as soon as it
    is loaded. With ``BATCHSPEC_LOG=debug`` in the environment, requests are logged from then on.
    """

    def __init__(self, options: RunOptions | None = None) -> None:
        from batchspec.cli.resume_command import select

        self._options = options
        select(options)

    def loaded(self, spec: Spec) -> None:
        """Complete commands for the spec, and log its requests."""
        from batchspec.cli.resume_command import select

        select(self._options, spec)
        if self._options and self._options.environ.get("BATCHSPEC_LOG", "").lower() == "debug":
            from batchspec.cli.request_log import log_requests
            from batchspec.plan.receipt import receipt_path

            log_requests(receipt_path(spec.path, spec.name).parent)

    def starting(self, phase: StartupPhase) -> None:
        """Print the phases of a start of the embedded service."""
        show_phase(phase)

    def started(self, simulation: Simulation) -> None:
        """Print a simulated clock or injected faults: users must not mistake them for Azure."""
        from batchspec.render.local import simulation_notice

        if notice := simulation_notice(simulation_of(simulation)):
            err(notice)

    def working(self, subject: str, detail: str = "") -> None:
        """Show it on a terminal, until something else is printed."""
        show_activity(subject, detail)

    def waiting(self, wait: Waiting) -> None:
        """Print that a service delays requests."""
        if not wait.resolved:
            show_diagnostics([Diagnostic(wait.code, wait.summary, severity=Severity.NOTE)])


def show_phase(phase: StartupPhase) -> None:
    """Print a phase of the start of the embedded service."""
    from batchspec.render.local import phase_text

    err(phase_text(phase.value))


def simulation_of(simulation: Simulation) -> LocalSimulation:
    """The simulation options of the embedded service, for display."""
    from batchspec.render.local import LocalSimulation

    return LocalSimulation(
        speed=simulation.speed,
        allocation=simulation.allocation_text,
        chaos=simulation.faults.text,
        seed=simulation.faults.seed,
        entra_only=simulation.entra_only,
    )


def note_missing_secrets(spec: Spec) -> None:
    """Print the secrets without a value, which are not redacted in the output of tasks."""
    from batchspec.render.logs import unredacted_note

    values = spec.parameters.items()
    if names := [name for name, value in values if isinstance(value, MissingSecret)]:
        err(unredacted_note(names))


def has_terminal() -> bool:
    """Whether the user can answer a question."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def confirm(question: str, *, default: bool) -> bool:
    """Ask on the terminal until the answer is yes or no; Enter alone is ``default``.

    Raises:
        KeyboardInterrupt: the user pressed Ctrl-C.
    """
    with ctrl_c_raises():
        while True:
            clear_activity()
            print(redact(question), end="", file=sys.stderr, flush=True)
            line = sys.stdin.readline()
            answer = line.strip().lower()
            if not line:
                return False
            if not answer:
                return default
            if answer in {"y", "yes", "n", "no"}:
                return answer.startswith("y")


@contextlib.contextmanager
def ctrl_c_raises() -> Iterator[None]:
    """Let Ctrl-C end the wait for a line.

    A running event loop would only cancel its task, which waits for the line.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        print(file=sys.stderr)
        raise
    finally:
        signal.signal(signal.SIGINT, before)


def agreed(question: str, *, yes: bool, problems: Sequence[Diagnostic] = ()) -> bool:
    """Whether the user agrees; the default is no. ``problems`` are the reasons for the question.

    Raises:
        UsageError: there is no terminal, and ``-y`` (``yes``) is not given.
    """
    from batchspec.render.questions import unanswered

    if yes:
        return True
    if not has_terminal():
        raise UsageError(unanswered(question, problems))
    return confirm(question, default=False)


def confirm_plan(plan: Plan, progress: ProgressKind, *, yes: bool, verb: str = "apply") -> bool:
    """Whether the user agrees to a plan and to each of its questions.

    Raises:
        UsageError: there is no terminal, and ``-y`` (``yes``) is not given.
    """
    from batchspec.render.questions import plan_question

    if not yes and has_terminal() and not progress.shows_plan and plan.questions:
        show_diagnostics(plan.questions)
    return agreed(plan_question(plan, verb=verb), yes=yes, problems=plan.questions)


def needs_confirmation(plan: Plan) -> bool:
    """Whether a plan must be confirmed: on Azure always, elsewhere if it replaces or deletes.

    Clean-up does not count: the spec requests it, and ``cleanup: ask`` has its own question.
    """
    from batchspec.api import deletes

    if plan.empty:
        return False
    return plan.account.target == "azure" or bool(plan.questions) or deletes(plan)


class RunQuestions:
    """The questions of a run: about clean-up, and about other runs in the account.

    ``-y`` answers yes, except that after a failure it keeps the job. Without a terminal and
    without ``-y`` the answer is no.
    """

    def __init__(self, view: View, target: str, cancellation: Cancellation, *, yes: bool) -> None:
        import asyncio

        self._view = view
        self._target = target
        self._cancellation = cancellation
        self._yes = yes
        self._lock = asyncio.Lock()
        self._answers: dict[str, bool] = {}

    async def agree(self, deletion: Deletion) -> bool:
        """Whether to delete something; ``-y`` answers :attr:`Deletion.advised`.

        Raises:
            RunCancelled: the user pressed Ctrl-C.
        """
        from batchspec.render.questions import delete_question

        if self._yes:
            return deletion.advised
        if not has_terminal():
            return False
        question = delete_question(deletion, target=self._target)
        return await self._ask(lambda: confirm(question, default=deletion.advised))

    async def accept(self, problem: Diagnostic) -> bool:
        """Whether to continue despite ``problem``; without a terminal, no.

        Steps with the same problem at the same time ask once.

        Raises:
            RunCancelled: the user pressed Ctrl-C.
        """
        from batchspec.render.questions import CONTINUE

        if self._yes:
            return True
        if not has_terminal():
            return False

        def ask() -> bool:
            show_diagnostics([problem])
            return confirm(CONTINUE, default=False)

        async with self._lock:
            if problem.summary not in self._answers:
                self._answers[problem.summary] = await self._ask(ask)
            return self._answers[problem.summary]

    async def _ask(self, ask: Callable[[], bool]) -> bool:
        with self._view.paused():
            return await self._cancellation.race(_ask_in_thread(ask))


async def _ask_in_thread(ask: Callable[[], bool]) -> bool:
    """The answer, while the event loop continues.

    The thread is a daemon: after Ctrl-C the process ends without waiting for a line.
    """
    import asyncio

    loop = asyncio.get_running_loop()
    answer: asyncio.Future[bool] = loop.create_future()

    def settle(agreed: bool) -> None:
        if not answer.done():
            answer.set_result(agreed)

    def wait() -> None:
        agreed = ask()
        with contextlib.suppress(RuntimeError):  # The loop is closed.
            loop.call_soon_threadsafe(settle, agreed)

    threading.Thread(target=wait, name="question", daemon=True).start()
    return await answer
