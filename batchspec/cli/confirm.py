"""Questions on the terminal, before a plan is executed and during its run."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from batchspec.cli.activity import clear_activity
from batchspec.cli.console import show_diagnostics
from batchspec.diagnostics import Diagnostic, UsageError, redact

if TYPE_CHECKING:
    import asyncio

    from batchspec.apply import Cancellation
    from batchspec.apply.ports import Deletion
    from batchspec.cli.options import ProgressKind
    from batchspec.plan import Plan
    from batchspec.render import View


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

    A running event loop would cancel its task, which does not run while the line is read.
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
    """Whether the user agrees; the default is no. ``problems`` are why the command has to ask.

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
