"""Standard output and error: where words go, and whether anybody could answer a question."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from batchspec.cli.options import Format
from batchspec.diagnostics import Diagnostic, Severity, UsageError, redact
from batchspec.render.diagnostics import diagnostic_json, diagnostics_text
from batchspec.render.output import json_text
from batchspec.render.style import wants_color

if TYPE_CHECKING:
    import asyncio

    from batchspec.apply.events import Waiting
    from batchspec.apply.halt import Halt
    from batchspec.apply.ports import Deletion
    from batchspec.plan.plan import Plan
    from batchspec.render.progress.views import View


def out(text: str) -> None:
    """Write to standard output; the last net against secrets is here."""
    print(redact(text), flush=True)


def err(text: str) -> None:
    """Write to standard error."""
    print(redact(text), file=sys.stderr, flush=True)


def width() -> int:
    """The columns of the terminal, within what reads well."""
    return max(40, min(shutil.get_terminal_size((80, 24)).columns, 110))


def has_terminal() -> bool:
    """Whether somebody can be asked."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def show_problems(problems: Sequence[Diagnostic], form: Format = Format.TEXT) -> None:
    """Problems to standard error, or as JSON to standard output."""
    if form is Format.JSON:
        out(json_text({"version": 1, "problems": [diagnostic_json(p) for p in problems]}))
        return
    err(diagnostics_text(problems, color=wants_color(sys.stderr, os.environ), width=width()))


def show_plan(plan: Plan, form: Format, *, verbose: bool, nothing: str = "") -> None:
    """A plan to standard output; ``nothing`` is what is said of one without steps."""
    from batchspec.render.plan import plan_json, plan_markdown, plan_text
    from batchspec.render.symbols import symbols_for

    match form:
        case Format.JSON:
            out(plan_json(plan))
        case Format.MARKDOWN:
            out(plan_markdown(plan, here=Path.cwd()))
        case Format.TEXT:
            color = wants_color(sys.stdout, os.environ)
            symbols = symbols_for(sys.stdout)
            out(
                plan_text(
                    plan,
                    color=color,
                    width=width(),
                    symbols=symbols,
                    verbose=verbose,
                    here=Path.cwd(),
                    nothing=nothing,
                )
            )


def show_refusal(spec: Path, problems: Sequence[Diagnostic], form: Format) -> None:
    """Why there is no plan, to standard output: as JSON or markdown where that was asked for."""
    from batchspec.render.plan import refusal_markdown

    match form:
        case Format.JSON:
            show_problems(problems, form)
        case Format.MARKDOWN:
            out(refusal_markdown(str(spec), problems))
        case Format.TEXT:
            pass


def confirm(question: str, *, default: bool) -> bool:
    """Ask on the terminal until the answer is yes or no; the default is a bare Enter.

    Raises:
        KeyboardInterrupt: Ctrl-C, which is no answer.
    """
    with _ctrl_c_ends():
        return _ask(question, default=default)


@contextlib.contextmanager
def _ctrl_c_ends() -> Iterator[None]:
    """Let Ctrl-C end the wait for a line.

    A loop that runs would take it for a wish to cancel the task, which has no ear while it waits.
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


def _ask(question: str, *, default: bool) -> bool:
    while True:
        print(redact(question), end="", file=sys.stderr, flush=True)
        line = sys.stdin.readline()
        answer = line.strip().lower()
        if not line:
            return False
        if not answer:
            return default
        if answer in {"y", "yes", "n", "no"}:
            return answer.startswith("y")


def needs_answer(words: str, detail: str = "") -> UsageError:
    """The error of a run that has to ask without a terminal; ``detail`` is what it would ask."""
    return UsageError(Diagnostic("needs-answer", words, detail, fix="Use `-y` to answer yes."))


class Notices:
    """Where it goes that a service makes requests wait.

    To standard error; while a run is shown, among its events, since the screen is taken then.
    """

    def __init__(self) -> None:
        self._emit: Callable[[Waiting], None] | None = None

    def __call__(self, wait: Waiting) -> None:
        """Show it, or pass it on."""
        if self._emit is not None:
            self._emit(wait)
        elif not wait.resolved:
            note = Diagnostic(wait.code, wait.summary, severity=Severity.NOTE)
            show_problems([note])

    @contextlib.contextmanager
    def among(self, emit: Callable[[Waiting], None]) -> Iterator[None]:
        """Meanwhile, pass them on to ``emit``."""
        self._emit = emit
        try:
            yield
        finally:
            self._emit = None


class Asker:
    """Asks during a run: about clean-up at its end, and about other runs that it meets.

    ``-y`` answers yes; after a failure, to the deletion of the pool alone. Without a terminal and
    without ``-y`` the answer is no.
    """

    def __init__(self, view: View, target: str, halt: Halt, *, yes: bool) -> None:
        self._view = view
        self._target = target
        self._halt = halt
        self._yes = yes

    async def agree(self, deletion: Deletion) -> bool:
        """Whether to delete something; ``-y`` is what :attr:`Deletion.advised` says.

        Raises:
            Halted: the run is to stop; Ctrl-C is no answer.
        """
        from batchspec.render.questions import delete_question

        if self._yes:
            return deletion.advised
        if not has_terminal():
            return False
        question = delete_question(deletion, target=self._target)
        return await self._ask(lambda: confirm(question, default=deletion.advised))

    async def accept(self, problem: Diagnostic) -> bool:
        """Whether to continue although ``problem`` came up; without a terminal, no.

        Raises:
            Halted: the run is to stop; Ctrl-C is no answer.
        """
        from batchspec.render.questions import CONTINUE

        if self._yes:
            return True
        if not has_terminal():
            return False

        def ask() -> bool:
            show_problems([problem])
            return confirm(CONTINUE, default=False)

        return await self._ask(ask)

    async def _ask(self, ask: Callable[[], bool]) -> bool:
        with self._view.paused():
            return await self._halt.race(_answer(ask))


async def _answer(ask: Callable[[], bool]) -> bool:
    """An answer from the terminal, without stopping the loop.

    The thread is a daemon: after Ctrl-C nobody waits for a line that never comes.
    """
    import asyncio

    loop = asyncio.get_running_loop()
    answer: asyncio.Future[bool] = loop.create_future()

    def settle(agreed: bool) -> None:
        if not answer.done():
            answer.set_result(agreed)

    def wait() -> None:
        agreed = ask()
        with contextlib.suppress(RuntimeError):  # The loop was closed meanwhile.
            loop.call_soon_threadsafe(settle, agreed)

    threading.Thread(target=wait, name="question", daemon=True).start()
    return await answer
