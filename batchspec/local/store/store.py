"""The store: all tables over one database."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from batchspec.local.store.autoscale import Autoscale
from batchspec.local.store.database import Database
from batchspec.local.store.jobs import Jobs
from batchspec.local.store.nodes import Nodes
from batchspec.local.store.pools import Pools
from batchspec.local.store.preparations import Preparations
from batchspec.local.store.runs import Runs, Subtasks
from batchspec.local.store.schedules import Schedules
from batchspec.local.store.tasks import Tasks


class Store:
    """The state of the service. It is used from one thread, and every method is short.

    Writes that belong together are grouped::

            with store.transaction():
                store.pools.complete_resize(pool, now)
                store.nodes.delete(node)
    """

    def __init__(self, path: Path | str) -> None:
        self._database = Database(path)
        self.pools = Pools(self._database)
        self.nodes = Nodes(self._database)
        self.jobs = Jobs(self._database)
        self.tasks = Tasks(self._database)
        self.runs = Runs(self._database)
        self.subtasks = Subtasks(self._database)
        self.preparations = Preparations(self._database)
        self.autoscale = Autoscale(self._database)
        self.schedules = Schedules(self._database)

    @property
    def version(self) -> int:
        """Grows with each committed change; while it is equal, nothing has changed."""
        return self._database.version

    def on_change(self, call: Callable[[], None]) -> None:
        """Call ``call`` after each commit, in the thread that committed; one callback at a time."""
        self._database.changed = call

    def transaction(self) -> AbstractContextManager[None]:
        """All or nothing for the writes inside."""
        return self._database.transaction()

    def close(self) -> None:
        """Close the database."""
        self._database.close()
