"""Carries out a plan: changes the account, transfers files, and emits what happens as events.

In: a ``Plan`` and a :class:`Runtime <batchspec.apply.ports.Runtime>`: the account, a clock and the
questions to the user. Out: events, the last of which is ``RunEnded``, and an exit code.

Public are the names below and three modules: ``events`` (what happens in a run), ``ports`` (what
a run uses besides the plan) and ``monitor`` (why a run waits).

Not here: decisions (``plan``), HTTP requests (``cloud``), and formatted output (``render``).

Functions are imported on first use, because most commands need only the values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchspec.lazy_imports import lazy_names

if TYPE_CHECKING:
    from batchspec.apply.concurrency import Cancellation, RunCancelled
    from batchspec.apply.executor import run
    from batchspec.apply.ports import POLL_INTERVAL
    from batchspec.apply.record import NodeLogs
    from batchspec.apply.upload import archive_of
    from batchspec.apply.wait import DELETION_LIMIT, TERMINATION_LIMIT

__getattr__ = lazy_names(
    __name__,
    {
        "concurrency": "Cancellation RunCancelled",
        "wait": "DELETION_LIMIT TERMINATION_LIMIT",
        "record": "NodeLogs",
        "ports": "POLL_INTERVAL",
        "upload": "archive_of",
        "executor": "run",
    },
)
