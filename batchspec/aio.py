"""The functions of ``import batchspec`` for programs with an event loop.

The names and arguments are the same; ``await`` returns the result. ``apply``, ``retry`` and
``destroy`` return a :class:`Run`, which is also an asynchronous iterator of events::

    async with aio.apply(spec) as run:
        async for stamped in run:
            print(stamped.seq, stamped.event)
    print(run.report.outcome)

Files are read and requests are sent in another thread, so that the event loop is never blocked.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterable
from types import TracebackType
from typing import Any, Self

from batchspec.api.runs import (
    Background,
    RunControl,
    options_of,
    plan_options,
    run_apply,
    run_destroy,
    run_plan,
    run_retry,
    run_status,
)
from batchspec.api.values import Confirm, LoadedSpec, RunPlan
from batchspec.apply import Cancellation
from batchspec.apply.events import Stamped
from batchspec.render import Report, Status

__all__ = ["Run", "apply", "destroy", "plan", "retry", "status"]


class Run:
    """A run: await it for its report, or iterate over its events.

    It starts when it is awaited, entered or iterated over. If the block of ``async with`` is left
    before the run ends, the run is interrupted as by Ctrl-C: nothing is deleted, tasks that are
    submitted continue, and the same call resumes it.
    """

    def __init__(
        self,
        work: Callable[[RunControl], Coroutine[Any, Any, Report]],
        confirm: Confirm,
        check: bool,
    ) -> None:
        self._work = work
        self._confirm = confirm
        self._check = check
        self._cancellation = Cancellation()
        self._events: asyncio.Queue[Stamped | None] = asyncio.Queue()
        self._background: Background[Report] | None = None
        self._report: Report | None = None

    @property
    def report(self) -> Report:
        """The report of the run.

        Raises:
            RuntimeError: the run has not ended, or it ended with an exception.
        """
        if self._report is None:
            raise RuntimeError("the run has no report: it has not ended")
        return self._report

    def stop(self) -> None:
        """Stop the run at a safe point, as the first Ctrl-C does."""
        self._start().call(self._cancellation.request)

    def __await__(self) -> Generator[Any, None, Report]:
        """Wait for the report."""
        return self._result().__await__()

    async def __aenter__(self) -> Self:
        """Start the run."""
        self._start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Interrupt the run if it has not ended."""
        await self._start().end()

    async def __aiter__(self) -> AsyncIterator[Stamped]:
        """Each event with its number and time, to the end of the run.

        Raises:
            BatchspecError: as the operation.
        """
        background = self._start()
        try:
            while (stamped := await self._events.get()) is not None:
                yield stamped
            await self._result()
        finally:
            background.cancel()

    async def _result(self) -> Report:
        self._report = await self._start().result()
        return self._report

    def _start(self) -> Background[Report]:
        if self._background is None:
            loop = asyncio.get_running_loop()

            def put(stamped: Stamped | None) -> None:
                if not loop.is_closed():
                    loop.call_soon_threadsafe(self._events.put_nowait, stamped)

            control = RunControl(self._confirm, put, self._check, self._cancellation)
            self._background = Background(lambda: self._work(control), ended=lambda: put(None))
        return self._background


async def plan(
    spec: LoadedSpec | str | os.PathLike[str],
    *,
    rerun: bool = False,
    replace: Iterable[str] = (),
    step: str = "",
) -> RunPlan:
    """See :func:`batchspec.plan`."""
    options, wanted = options_of(spec), plan_options(rerun, replace, step)
    return await Background(lambda: run_plan(options, wanted)).result()


def apply(
    spec: LoadedSpec | RunPlan | str | os.PathLike[str],
    *,
    rerun: bool = False,
    replace: Iterable[str] = (),
    step: str = "",
    detach: bool = False,
    confirm: Confirm = False,
    check: bool = True,
) -> Run:
    """See :func:`batchspec.apply`."""
    wanted = plan_options(rerun, replace, step)
    return Run(lambda control: run_apply(spec, wanted, detach, control), confirm, check)


def retry(
    spec: LoadedSpec | str | os.PathLike[str],
    *,
    causes: Iterable[str] = (),
    tasks: Iterable[str] = (),
    confirm: Confirm = False,
    check: bool = True,
) -> Run:
    """See :func:`batchspec.retry`."""
    options = options_of(spec)
    return Run(lambda control: run_retry(options, causes, tasks, control), confirm, check)


def destroy(
    spec: LoadedSpec | str | os.PathLike[str],
    *,
    force: bool = False,
    confirm: Confirm = False,
    check: bool = True,
) -> Run:
    """See :func:`batchspec.destroy`."""
    options = options_of(spec)
    return Run(lambda control: run_destroy(options, force, control), confirm, check)


async def status(spec: LoadedSpec | str | os.PathLike[str]) -> Status:
    """See :func:`batchspec.status`."""
    options = options_of(spec)
    return await Background(lambda: run_status(options)).result()
