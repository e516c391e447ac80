"""The operations of the Python interface as coroutines: prepare, get consent, execute, report.

:class:`Background` runs them in another thread, because reading files and starting a service block
an event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable, Coroutine, Iterable, Mapping
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from batchspec.api.execution import Execution, SystemClock, deletes
from batchspec.api.loading import check_spec
from batchspec.api.operations import (
    Prepared,
    prepare_apply,
    prepare_destroy,
    prepare_plan,
    prepare_retry,
    saved_options,
)
from batchspec.api.options import RunOptions, Target, variable_text
from batchspec.api.session import NoNotices
from batchspec.api.status import read_status
from batchspec.api.values import (
    Answers,
    Confirm,
    ConsentError,
    LoadedSpec,
    RunError,
    RunPlan,
    plain_question,
)
from batchspec.apply import Cancellation
from batchspec.apply.events import Outcome, Stamped
from batchspec.exit_codes import Exit
from batchspec.plan import Part, PlanOptions
from batchspec.render import Report, Status, Tally
from batchspec.render.questions import plan_question

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RunControl:
    """The callbacks and options that control a run.

    ``confirm`` answers its questions, ``on_event`` receives its events, ``check``: a run without
    success is an error. ``cancellation`` stops it at a safe point.
    """

    confirm: Confirm
    on_event: Callable[[Stamped], object] | None
    check: bool
    cancellation: Cancellation


def run_control(
    confirm: Confirm, on_event: Callable[[Stamped], object] | None, check: bool
) -> RunControl:
    """The control of a run for a function that waits for its end."""
    return RunControl(confirm, on_event, check, Cancellation())


def load_checked(
    path: str | os.PathLike[str],
    variables: Mapping[str, object] | None,
    variable_files: Iterable[str | os.PathLike[str]],
    target: str | None,
    environ: Mapping[str, str] | None,
) -> LoadedSpec:
    """See :func:`batchspec.load`."""
    texts = {name: variable_text(value) for name, value in (variables or {}).items()}
    options = RunOptions(
        Path(path),
        texts,
        tuple(map(Path, variable_files)),
        None if target is None else Target(target),
        dict(os.environ if environ is None else environ),
    )
    spec, warnings = check_spec(options)
    return LoadedSpec.of(spec, warnings, options)


def options_of(spec: LoadedSpec | str | os.PathLike[str]) -> RunOptions:
    """The options of a loaded spec, or those for a path alone."""
    if isinstance(spec, LoadedSpec):
        return spec.options
    return RunOptions(Path(spec), {}, (), None, dict(os.environ))


def plan_options(rerun: bool, replace: Iterable[str], step: str) -> PlanOptions:
    """The options of a plan from plain values.

    Raises:
        ValueError: ``replace`` contains a value other than ``pool`` and ``job``.
    """
    return PlanOptions(rerun=rerun, replace=frozenset(map(Part, replace)), step=step)


async def run_plan(options: RunOptions, wanted: PlanOptions) -> RunPlan:
    """See :func:`batchspec.plan`."""
    async with prepare_plan(options, wanted, NoNotices()) as prepared:
        return RunPlan.of(prepared)


async def run_apply(
    spec: LoadedSpec | RunPlan | str | os.PathLike[str],
    wanted: PlanOptions,
    detach: bool,
    control: RunControl,
) -> Report:
    """See :func:`batchspec.apply`."""
    saved = None
    if isinstance(spec, RunPlan):
        saved, options = spec.saved, spec.options
        # The saved variables are those of the options, which contain the secrets as well.
        secrets = {
            name: options.variables[name] for name in saved.secrets if name in options.variables
        }
        given = RunOptions(
            options.path,
            secrets,
            (),
            options.target,
            options.environ,
            read_value=options.read_value,
        )
        options, wanted = saved_options(saved, given, wanted), saved.options
    else:
        options = options_of(spec)
    return await _run(
        prepare_apply(options, wanted, NoNotices(), saved=saved, detach=detach), control
    )


async def run_retry(
    options: RunOptions, causes: Iterable[str], tasks: Iterable[str], control: RunControl
) -> Report:
    """See :func:`batchspec.retry`."""
    return await _run(
        prepare_retry(options, NoNotices(), causes=tuple(causes), tasks=tuple(tasks)), control
    )


async def run_destroy(options: RunOptions, force: bool, control: RunControl) -> Report:
    """See :func:`batchspec.destroy`."""
    preparing = prepare_destroy(options, NoNotices(), force=force)
    return await _run(preparing, control, requested=True)


async def run_status(options: RunOptions) -> Status:
    """See :func:`batchspec.status`."""
    return await read_status(options, NoNotices())


async def _run(
    preparing: AbstractAsyncContextManager[Prepared],
    control: RunControl,
    *,
    requested: bool = False,
) -> Report:
    """Execute a prepared plan. ``requested``: the caller requested its deletions.

    Raises:
        ConsentError: a question was not answered with yes.
        RunError: the run failed, and ``control.check`` is true.
    """
    async with preparing as prepared:
        plan, session = prepared.plan, prepared.session
        if not prepared.needed:
            account = plan.account
            return Report(
                plan.name,
                account.target,
                account.batch,
                account.storage,
                Outcome.NOTHING_TO_DO,
                Exit.DONE,
            )
        answers = Answers(control.confirm, plan.account.target)
        if plan.questions or (deletes(plan) and not requested):
            verb = "destroy" if requested else "apply"
            question = plain_question(plan_question(plan, verb=verb), plan.questions)
            if not await answers.ask(question):
                raise ConsentError(question)
        tally = Tally()
        on_event = () if control.on_event is None else (control.on_event,)
        clock = SystemClock(control.cancellation)
        consumers = (tally, *on_event)
        execution = Execution(plan, session, clock, consumers, notifies=not requested)
        await execution.run(answers, control.cancellation, plan.findings)
    report = tally.report()
    if control.check and not report.good:
        raise RunError(report)
    return report


class Background(Generic[T]):
    """Runs a coroutine in the event loop of another thread, starting immediately.

    ``ended`` is called in that thread when the result is known.
    """

    def __init__(
        self, work: Callable[[], Coroutine[Any, Any, T]], ended: Callable[[], None] | None = None
    ) -> None:
        self._work = work
        self._ended = ended
        self._started = threading.Event()
        self._result: Future[T] = Future()
        self._loop: asyncio.AbstractEventLoop
        self._task: asyncio.Task[Any]
        # A daemon thread: the process can end without waiting. The next call resumes the run.
        threading.Thread(target=self._run, name="batchspec", daemon=True).start()

    def call(self, function: Callable[[], object]) -> None:
        """Call a function in that thread, between two steps of the coroutine."""
        self._started.wait()
        if self._result.done():
            return
        with contextlib.suppress(RuntimeError):  # The loop is closed: the coroutine has ended.
            self._loop.call_soon_threadsafe(function)

    def cancel(self) -> None:
        """Cancel the coroutine, which interrupts the requests in progress. Does not wait."""
        self.call(self._task_cancel)

    def wait(self) -> T:
        """Block until the result. Ctrl-C cancels the coroutine.

        Raises:
            BaseException: the exception of the coroutine.
        """
        try:
            return self._result.result()
        except KeyboardInterrupt:
            self.cancel()
            self._result.exception()
            raise

    async def result(self) -> T:
        """The result; a cancellation of the waiting task cancels the coroutine.

        Raises:
            BaseException: the exception of the coroutine.
        """
        future = asyncio.wrap_future(self._result)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            await self.end()
            raise

    async def end(self) -> None:
        """Cancel the coroutine if it has not ended, and wait for its end."""
        self.cancel()
        future = asyncio.wrap_future(self._result)
        await asyncio.wait({future})
        future.exception()  # It is raised where the result is awaited.

    def _task_cancel(self) -> None:
        self._task.cancel()

    def _run(self) -> None:
        main = self._main()
        try:
            result = asyncio.run(main)
        except BaseException as error:  # noqa: BLE001 - raised in the waiting thread
            self._result.set_exception(error)
        else:
            self._result.set_result(result)
        main.close()  # It was not started if the system refused an event loop.
        self._started.set()
        if self._ended is not None:
            self._ended()

    async def _main(self) -> T:
        task = asyncio.current_task()
        assert task is not None
        self._loop, self._task = asyncio.get_running_loop(), task
        self._started.set()
        return await self._work()


def wait_for(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """The result of a coroutine, even if this thread runs an event loop, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work())
    return Background(work).wait()
