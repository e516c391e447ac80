"""The interfaces that ``apply`` uses: a clock, questions to the user, and the record of a run.

``cloud`` implements the account, ``api`` and ``cli`` the others.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import field
from datetime import UTC, datetime, timedelta
from typing import Protocol

from batchspec.account import Account, NodeRecord, TaskRecord
from batchspec.apply.concurrency import Cancellation
from batchspec.apply.record import NodeLogs
from batchspec.diagnostics import Diagnostic
from batchspec.frozen import frozen
from batchspec.plan.observed import JobFacts


class Clock(Protocol):
    """The time, and waiting."""

    def now(self) -> datetime:
        """The time of day (UTC)."""
        ...

    def monotonic(self) -> float:
        """Seconds of a clock that never goes back."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait.

        Raises:
            RunCancelled: cancellation was requested.
        """
        ...


@frozen
class Deletion:
    """A deletion that the user confirms at the end of a run; ``subject`` is, e.g., ``pool topn``.

    ``nodes`` is the number of nodes that a pool has or will have; ``None`` for everything else.
    ``failed``: the run has not succeeded, so that its objects may still be needed.
    """

    subject: str
    nodes: int | None
    failed: bool

    @property
    def advised(self) -> bool:
        """The default answer: after a failure, delete only what is billed."""
        return not self.failed or self.nodes is not None


class Questions(Protocol):
    """The questions to the user."""

    async def accept(self, problem: Diagnostic) -> bool:
        """Whether to continue in spite of ``problem``.

        Raises:
            RunCancelled: cancellation was requested.
        """
        ...

    async def agree(self, deletion: Deletion) -> bool:
        """Whether to delete an object.

        Raises:
            RunCancelled: cancellation was requested.
        """
        ...


class RunRecord(Protocol):
    """Stores the facts about the tasks and nodes of a run, until a disk error occurs."""

    @property
    def earlier_jobs(self) -> Sequence[str]:
        """Other jobs of the run whose tasks are in no record on this disk."""
        ...

    def is_complete(self, job: JobFacts) -> bool:
        """Whether a record on this disk contains the final facts about the tasks of a job.

        A job that was created again has the id of the deleted one, and other tasks.
        """
        ...

    async def save_tasks(
        self, job: JobFacts, at: datetime, tasks: AsyncIterator[TaskRecord]
    ) -> Sequence[str]:
        """Save the state of the tasks of a job; ``at`` is the service's time.

        Returns:
            Failed tasks whose output the record lacks: one for each cause, ten at most.
        """
        ...

    def save_output(self, task_id: str, stderr: str) -> None:
        """Save the last lines of the stderr of a failed task."""
        ...

    async def save_nodes(
        self, pool_id: str, at: datetime, nodes: AsyncIterator[NodeRecord]
    ) -> None:
        """Save the state of the nodes of a pool; ``at`` is the service's time."""
        ...


POLL_INTERVAL = {"local": 0.1, "azure": 2.0}
"""The shortest time between two polls in seconds, by target.

The embedded service answers in milliseconds.
"""

_SAME_TIME = timedelta(seconds=2)
"""A smaller difference between two clocks is not visible in dates with whole seconds."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@frozen
class Runtime:
    """Everything outside a run that the run uses.

    ``shortest_poll_interval`` is in seconds. ``cancellation`` stops the run.
    ``node_logs`` records where the output of failed start tasks is stored. ``record`` keeps the
    facts about tasks and nodes; ``None``: they are not read.
    """

    account: Account
    clock: Clock
    questions: Questions
    shortest_poll_interval: float = 2.0
    cancellation: Cancellation = field(default_factory=Cancellation)
    node_logs: NodeLogs = field(default_factory=NodeLogs)
    record: RunRecord | None = None

    def in_storage_time(self, at: datetime) -> datetime:
        """A time of the Batch service on the clock of the storage account, to the second.

        Last-Modified of a blob has whole seconds. The clock of the Batch service may be ahead; with
        ``--speed``, the clock of the embedded service runs ahead more and more. Then the result is
        too early rather than too late, so that a blob written at that time never counts as older.
        """
        ahead = self.account.now() - self.account.storage_now()
        earlier = at - ahead if ahead > _SAME_TIME and at > _EPOCH else at
        return earlier.replace(microsecond=0)
