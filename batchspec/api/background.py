"""Runs a coroutine in another thread: reading files and starting a service block an event loop."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

T = TypeVar("T")


def _nothing() -> None:
    pass


class Background(Generic[T]):
    """A coroutine in an event loop of another thread, from now on.

    ``ended`` is called in that thread when the result is known.
    """

    def __init__(
        self, work: Callable[[], Coroutine[Any, Any, T]], ended: Callable[[], None] = _nothing
    ) -> None:
        self._work = work
        self._ended = ended
        self._started = threading.Event()
        self._result: Future[T] = Future()
        self._loop: asyncio.AbstractEventLoop
        self._task: asyncio.Task[Any]
        # A daemon: the end of the process does not wait for it. What it has done can be resumed.
        threading.Thread(target=self._run, name="batchspec", daemon=True).start()

    def call(self, function: Callable[[], object]) -> None:
        """Call a function in that thread, between two steps of the coroutine."""
        self._started.wait()
        if self._result.done():
            return
        with contextlib.suppress(RuntimeError):  # The loop is closed: the coroutine has ended.
            self._loop.call_soon_threadsafe(function)

    def cancel(self) -> None:
        """Cancel the coroutine; it is done when the requests in progress are cut off."""
        self.call(self._task_cancel)

    def wait(self) -> T:
        """Block until the result. Ctrl-C cancels the coroutine.

        Raises:
            BaseException: what the coroutine raises.
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
            BaseException: what the coroutine raises.
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
        self._ended()

    async def _main(self) -> T:
        task = asyncio.current_task()
        assert task is not None
        self._loop, self._task = asyncio.get_running_loop(), task
        self._started.set()
        return await self._work()


def wait_for(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """The result of a coroutine, also where this thread runs an event loop, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work())
    return Background(work).wait()
