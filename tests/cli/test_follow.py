"""The output of tasks during a run: an error of the program is not lost."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from batchspec.apply.events import Stamped, TasksSeen
from batchspec.cli.execute import TaskOutputPrinter
from tests.observe.test_task_streams import SPEC, RunningAccount
from tests.render.recordings import START


@pytest.mark.parametrize("error", [BrokenPipeError, ZeroDivisionError])
async def test_a_closed_output_ends_it_and_another_error_is_raised(
    error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(_: bytes) -> None:
        raise error

    monkeypatch.setattr("batchspec.cli.execute.out_bytes", write)
    account: Any = RunningAccount(1)
    account.started = account.ended = 1
    account.names = SimpleNamespace(target="local")
    session: Any = SimpleNamespace(cloud=account, spec=SPEC)
    printer = TaskOutputPrinter(session)
    printer(Stamped(1, START, TasksSeen("j", 1, 0, 0, 1, 0)))
    if error is BrokenPipeError:
        await asyncio.wait_for(printer.finish(), timeout=60)
    else:
        with pytest.raises(error):
            await printer.finish()
